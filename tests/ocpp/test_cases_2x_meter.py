"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md): meter values, alerts, and limits set by others."""

from __future__ import annotations

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from models.evidence import EvidenceKind
from tests.ocpp.case_station import Say, at, connected, play
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_2x import Tx, authorise, status

V201 = Version.V201


def meter(wh: float, context: str, *, signed: bool = False) -> list[Json]:
    sample: Json = {
        "value": wh,
        "context": context,
        "measurand": "Energy.Active.Import.Register",
        "unitOfMeasure": {"unit": "Wh"},
    }
    if signed:
        words = ("signedMeterData", "signingMethod", "encodingMethod", "publicKey")
        sample["signedMeterValue"] = dict.fromkeys(words, "c2lnbmVk")
    return [{"timestamp": at(), "sampledValue": [sample]}]


async def begin(tx: Tx, wh: float, *, signed: bool = False) -> None:
    await authorise(tx.station)
    values = meter(wh, "Transaction.Begin", signed=signed)
    await tx.tell("Started", "Authorized", "EVConnected", token=True, meterValue=values)


# --- J: meter values ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tc_j_01_csms_clock_aligned_and_nothing_running(site: Site) -> None:
    async with connected(site, V201) as station:
        for evse_id in (0, 1, 2):
            body = {"evseId": evse_id, "meterValue": meter(100, "Sample.Clock")}
            await station.says(("MeterValues", body))
        assert site.sink.heard == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trigger", "context", "signed"),
    [
        pytest.param("MeterValueClock", "Sample.Clock", False, id="TC_J_02_CSMS"),
        pytest.param("MeterValueClock", "Sample.Clock", True, id="TC_J_04_CSMS"),
        pytest.param("MeterValuePeriodic", "Sample.Periodic", False, id="TC_J_09_CSMS"),
        pytest.param("MeterValuePeriodic", "Sample.Periodic", True, id="TC_J_11_CSMS"),
    ],
)
async def test_tc_samples_while_charging(site: Site, trigger: str, context: str, signed: bool) -> None:
    """Energy counts from the register at the start, signed or not."""
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await begin(tx, 1000, signed=signed)
        for wh in (1500, 2500):
            await tx.tell("Updated", trigger, "Charging", meterValue=meter(wh, context, signed=signed))
        told = site.sink.of(EvidenceKind.ENERGY_FLOWING) + site.sink.of(EvidenceKind.METER)
        assert sorted({evidence.energy_kwh or 0.0 for evidence in told} - {0.0}) == [0.5, 1.5]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "context",
    [pytest.param("Sample.Clock", id="TC_J_03_CSMS"), pytest.param("Transaction.End", id="TC_J_10_CSMS")],
)
async def test_tc_samples_in_the_last_event(site: Site, context: str) -> None:
    attempt_id = await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await begin(tx, 1000)
        values = meter(3500, context)
        await tx.tell("Ended", "StopAuthorized", "EVConnected", stopped="Local", meterValue=values)
        (ended,) = site.sink.of(EvidenceKind.SESSION_ENDED)
        assert (ended.attempt_id, ended.energy_kwh) == (attempt_id, 2.5)


@pytest.mark.asyncio
async def test_tc_j_07_csms_first_sample_at_a_known_evse(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await begin(tx, 1000)
        assert (await tx.kept(site)).meter_start_wh == 1000


@pytest.mark.asyncio
async def test_tc_j_08_csms_first_sample_comes_with_the_evse(site: Site) -> None:
    """The transaction begins before any EVSE is chosen, without a register; the sample follows."""
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await authorise(station)
        await tx.tell("Started", "Authorized", token=True, evse=None)
        await station.says(status("Occupied"))
        values = meter(1000, "Transaction.Begin")
        await tx.tell("Updated", "CablePluggedIn", "EVConnected", meterValue=values)
        assert (await tx.kept(site)).ended_at is None


# --- G, N: alerts ---------------------------------------------------------------------------------------


def event(kind: str, name: str, variable: str, value: str, trigger: str = "Alerting", **more: object) -> Say:
    one: Json = {
        "eventId": 1,
        "timestamp": at(),
        "trigger": trigger,
        "actualValue": value,
        "component": {"name": name, "evse": {"id": 1, "connectorId": 1}},
        "variable": {"name": variable},
        "eventNotificationType": kind,
        **more,
    }
    return Say("NotifyEvent", {"generatedAt": at(), "seqNo": 0, "eventData": [one]})


ALERTS: dict[str, list[Say]] = {
    "TC_G_20_CSMS": [event("HardWiredNotification", "ConnectorPlugRetentionLock", "Problem", "true")],
    "TC_N_21_CSMS": [event("HardWiredMonitor", "EVSE", "Power", "60000", variableMonitoringId=3)],
    "TC_N_24_CSMS": [event("CustomMonitor", "EVSE", "Power", "1", "Periodic", variableMonitoringId=3)] * 3,
    "TC_N_48_CSMS": [event("CustomMonitor", "SecurityCtrlr", "BasicAuthPassword", "", "Delta")],
    "TC_N_49_CSMS": [event("CustomMonitor", "EVSE", "Power", "0", cleared=True, variableMonitoringId=3)],
    "TC_N_50_CSMS": [event("CustomMonitor", "EVSE", "Power", "1", "Periodic", variableMonitoringId=4)],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", ALERTS)
async def test_tc_alert(site: Site, case: str) -> None:
    async with connected(site, V201) as station:
        await play(site, station, *ALERTS[case])


# --- K: limits set by others ----------------------------------------------------------------------------

SCHEDULE = {
    "id": 1,
    "chargingRateUnit": "A",
    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
}
LIMITED = Say(
    "NotifyChargingLimit",
    {"evseId": 1, "chargingLimit": {"chargingLimitSource": "EMS"}, "chargingSchedule": [SCHEDULE]},
)
LIFTED = Say("ClearedChargingLimit", {"evseId": 1, "chargingLimitSource": "EMS"})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said", [pytest.param(LIMITED, id="TC_K_48_CSMS"), pytest.param(LIFTED, id="TC_K_50_CSMS")]
)
async def test_tc_outside_limit(site: Site, said: Say) -> None:
    async with connected(site, V201) as station:
        await play(site, station, said)


@pytest.mark.asyncio
async def test_tc_k_51_csms_outside_limit_lifted_while_charging(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await play(site, station, LIMITED)
        await tx.tell("Updated", "ChargingRateChanged", "Charging")
        await play(site, station, LIFTED)
        await tx.tell("Updated", "ChargingRateChanged", "Charging")
        assert (await tx.kept(site)).ended_at is None
