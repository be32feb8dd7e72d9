"""Each fault that a simulated charge point can be given, as a central system meets it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from central_system import PACE, VAN, VERSIONS, Site, site_of

from simulators.twin import Fault, FaultKind

Json = dict[str, Any]
V2 = VERSIONS[1:]
ENERGY = "Energy.Active.Import.Register"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def energies(readings: list[list[Json]]) -> list[tuple[float, str]]:
    """Value and unit of each reading's raw energy register."""
    found = [s for sampled in readings for s in sampled if s.get("measurand") == ENERGY]
    raw = [s for s in found if s.get("format") != "SignedData"]
    return [(float(s["value"]), s.get("unit") or s["unitOfMeasure"]["unit"]) for s in raw]


async def settled(site: Site) -> None:
    await site.central.until(lambda: not len(site.station.outbox))


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_old_statuses_come_again_with_the_times_of_then(version: str) -> None:
    async with site_of(version, FaultKind.KEEP_OLD_TIMESTAMPS) as site:
        await site.charge()
        await settled(site)
        site.station.drop(0.6)
        # What was under way is heard, or will come again after the old statuses.
        await site.central.until(lambda: site.central.socket is None and not site.station.is_online)
        before = len(site.central.of("StatusNotification"))
        seen = len(site.central.heard)
        again = await site.central.until_heard("StatusNotification", before + 2)
        old, older = again[before : before + 2]
        assert at(old["timestamp"]) > at(older["timestamp"])
        assert {old["timestamp"], older["timestamp"]} <= {s["timestamp"] for s in again[:before]}
        assert [action for action, _ in site.central.heard[seen:]][:2] == ["StatusNotification"] * 2
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_register_falls_to_zero_in_mid_charge(version: str) -> None:
    async with site_of(version, Fault(kind=FaultKind.REGISTER_RESET, delay_s=0.6)) as site:
        await site.charge()
        values = [v for v, _ in energies(await site.until_metered(5))]
        falls = [later for earlier, later in pairwise(values) if later < earlier]
        assert len(falls) == 1
        assert falls[0] < 10_000 < values[0]
        await site.stop()
        ended = await site.until_ended()
        truth = site.booked("session_ended")[0].energy_kwh
        assert truth is not None
        assert truth * 1000 > values[-1]
        if version == "ocpp1.6":
            assert ended["meterStop"] < site.central.of("StartTransaction")[0]["meterStart"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_register_rolls_over_at_two_to_the_31(version: str) -> None:
    async with site_of(version, FaultKind.REGISTER_ROLLOVER) as site:
        await site.charge()
        values = [v for v, _ in energies(await site.until_metered(2))]
        assert values[-1] < 50_000
        await site.stop()
        await site.until_ended()
        if version == "ocpp1.6":
            start = site.central.of("StartTransaction")[0]["meterStart"]
        else:
            start = energies([site.central.events("Started")[0]["meterValue"][0]["sampledValue"]])[0][0]
        truth = site.booked("session_ended")[0].energy_kwh
        assert truth is not None
        assert 2**31 - 1000 < start < 2**31
        if version == "ocpp1.6":
            stop = site.central.of("StopTransaction")[0]["meterStop"]
            assert stop == pytest.approx((start + truth * 1000) % 2**31, abs=1)
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_kwh_and_wh_take_turns(version: str) -> None:
    async with site_of(version, FaultKind.KWH_AND_WH_MIXED) as site:
        await site.charge()
        read = energies(await site.until_metered(4))
        assert [unit for _, unit in read[:4]] == ["Wh", "kWh", "Wh", "kWh"]
        in_wh = [value if unit == "Wh" else value * 1000 for value, unit in read]
        assert in_wh == sorted(in_wh)
        await settled(site)
        assert site.central.invalid == []


@pytest.mark.asyncio
async def test_a_stop_of_transaction_minus_one() -> None:
    async with site_of("ocpp1.6", FaultKind.MINUS_ONE_TRANSACTION) as site:
        await site.charge()
        await site.stop()
        assert (await site.until_ended())["transactionId"] == -1
        assert {body["transactionId"] for body in site.central.of("MeterValues")} == {101}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_meter_values_without_unit_and_measurand(version: str) -> None:
    async with site_of(version, FaultKind.MISSING_METER_FIELDS) as site:
        await site.charge()
        for sampled in await site.until_metered(2):
            assert [set(s) for s in sampled] == [{"value"}]
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_signed_meter_values(version: str) -> None:
    async with site_of(version, FaultKind.SIGNED_METER) as site:
        await site.charge()
        await site.stop()
        ended = await site.until_ended()
        if version == "ocpp1.6":
            values = [
                ended["transactionData"][0],
                *(b["meterValue"][0] for b in site.central.of("MeterValues")),
            ]
            signed = [
                s["value"] for v in values for s in v["sampledValue"] if s.get("format") == "SignedData"
            ]
            assert len(signed) == len(values)
        else:
            samples = [
                s for e in site.central.events() for v in e.get("meterValue", []) for s in v["sampledValue"]
            ]
            records = [s["signedMeterValue"] for s in samples if s["measurand"] == ENERGY]
            assert {r["encodingMethod"] for r in records} == {"OCMF"}
            signed = [r["signedMeterData"] for r in records]
        assert all(text.startswith("OCMF|{") for text in signed)
        await settled(site)
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_vendor_fields_break_the_schema_and_nothing_else_does(version: str) -> None:
    async with site_of(version, FaultKind.VENDOR_FIELDS) as site:
        await site.charge()
        await site.stop()
        ended = await site.until_ended()
        assert ended["vendorState"] == {"relay": 1}
        await settled(site)
        assert site.central.invalid
        assert all("vendorState" in fault or "vendorFirmwareTag" in fault for fault in site.central.invalid)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_transaction_starts_before_the_reply(version: str) -> None:
    async with site_of(version, FaultKind.START_BEFORE_REPLY) as site:
        site.connector.plug(VAN)
        await settled(site)
        for first in ("before", "after"):  # spent by the first start
            site.central.order.clear()
            assert await site.start() == "Accepted"
            action = "StartTransaction" if version == "ocpp1.6" else "TransactionEvent"
            await site.central.until(lambda action=action: action in site.central.order)
            order = [word for word in site.central.order if word in ("reply", action)]
            assert order[0] == (action if first == "before" else "reply")
            await site.until_metered()
            await site.stop()
            await site.until_ended()
            await site.central.until(lambda: site.connector.session is None)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_black_hole_keeps_the_socket_and_answers_neither_call_nor_ping(version: str) -> None:
    async with site_of(version, Fault(kind=FaultKind.BLACK_HOLE, delay_s=1.5)) as site:
        socket = site.central.socket
        assert socket is not None
        site.connector.plug(VAN)
        await settled(site)
        starting = asyncio.create_task(site.start())
        await site.central.until(lambda: not site.connector.armed(FaultKind.BLACK_HOLE))
        pong = await socket.ping()
        site.connector.unplug()
        heard, done = len(site.central.heard), asyncio.ensure_future(pong)
        finished, _ = await asyncio.wait({starting, done}, timeout=0.7)
        assert finished == set()
        assert len(site.central.heard) == heard
        await done  # the light again, on the same socket
        await site.central.until(lambda: len(site.central.heard) > heard)
        assert site.central.socket is socket
        starting.cancel()
        assert site.booked("command_start") == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_vehicle_that_does_not_draw(version: str) -> None:
    async with site_of(version, FaultKind.SUSPENDED_EV) as site:
        await site.charge()
        assert site.connector.status == "SuspendedEV"
        await site.until_metered(2)
        await site.stop()
        await site.until_ended()
        assert site.booked("session_ended")[0].energy_kwh == 0
        await settled(site)
        assert site.central.invalid == []
        if version == "ocpp1.6":
            assert "SuspendedEV" in [s["status"] for s in site.central.of("StatusNotification")]
            assert "Charging" not in [s["status"] for s in site.central.of("StatusNotification")]
        else:
            states = {e["transactionInfo"]["chargingState"] for e in site.central.events()}
            assert states == {"EVConnected", "SuspendedEV"}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stale_transaction_blocks_a_connector_that_says_available(version: str) -> None:
    async with site_of(version, FaultKind.STALE_TRANSACTION) as site:
        site.connector.plug(VAN)
        assert await site.start() == "Rejected"
        await settled(site)
        told = site.central.of("StatusNotification")[-1]
        assert "Available" in (told.get("status"), told.get("connectorStatus"))
        assert site.connector.state().status == "available"
        assert await site.start() == "Accepted"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_that_never_tells_a_status(version: str) -> None:
    async with site_of(version, FaultKind.NO_STATUS) as site:
        await site.charge()
        await site.stop()
        await site.until_ended()
        await settled(site)
        assert site.central.of("StatusNotification") == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_clock_two_hours_ahead(version: str) -> None:
    async with site_of(version, FaultKind.WRONG_CLOCK) as site:
        await site.charge()
        told = [at(site.central.of("StatusNotification")[-1]["timestamp"])]
        bodies = site.central.of("StartTransaction") + site.central.events()
        told += [at(body["timestamp"]) for body in bodies]
        ahead = [time - datetime.now(UTC) for time in told]
        assert all(timedelta(hours=1, minutes=59) < by <= timedelta(hours=2) for by in ahead)


@pytest.mark.asyncio
@pytest.mark.parametrize("mrec", ["CX002", "CX004", "CX008", "CX016"])
async def test_16_tells_a_fault_with_its_chargex_code(mrec: str) -> None:
    fault = Fault(kind=FaultKind.FAULT_MID_CHARGE, delay_s=0.5, mrec=mrec)
    async with site_of("ocpp1.6", fault) as site:
        await site.charge()
        ended = await site.until_ended()
        told = next(s for s in site.central.of("StatusNotification") if s["status"] == "Faulted")
        assert (told["vendorId"], told["vendorErrorCode"]) == ("https://chargex.inl.gov", mrec)
        words = {"CX002": "GroundFailure", "CX004": "OverCurrentFailure"}
        assert told["errorCode"] == words.get(mrec, "OtherError")
        assert ended["reason"] == ("EmergencyStop" if mrec == "CX008" else "Other")
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_2x_tells_a_fault_as_an_event_and_its_clearing(version: str) -> None:
    fault = Fault(kind=FaultKind.FAULT_MID_CHARGE, delay_s=0.5, mrec="CX004")
    async with site_of(version, fault, pace=PACE) as site:
        await site.charge()
        ended = await site.until_ended()
        assert ended["transactionInfo"]["stoppedReason"] == "OvercurrentFault"
        event = (await site.central.until_heard("NotifyEvent"))[0]["eventData"][0]
        assert event["techCode"] == "CX004"
        assert (event["component"]["name"], event["component"]["evse"]["id"]) == ("EVSE", 1)
        assert (event["variable"]["name"], event["actualValue"]) == ("Problem", "true")
        assert site.central.of("StatusNotification")[-1]["connectorStatus"] == "Faulted"
        site.connector.say("Available")
        cleared = (await site.central.until_heard("NotifyEvent", 2))[1]["eventData"][0]
        assert (cleared["techCode"], cleared["cleared"]) == ("CX004", True)
        assert site.central.invalid == []


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_duplicates_and_disorder_as_before(version: str) -> None:
    async with site_of(version, FaultKind.DUPLICATE_EVENTS, FaultKind.REORDERED_EVENTS) as site:
        await site.charge()
        await settled(site)
        if version == "ocpp1.6":
            first, second = site.central.of("StartTransaction")
            order = [a for a, _ in site.central.heard]
            charging = next(
                i
                for i, (a, b) in enumerate(site.central.heard)
                if a.startswith("Status") and b["status"] == "Charging"
            )
            assert first == second
            assert charging < order.index("StartTransaction")
        else:
            assert [e["seqNo"] for e in site.central.events()][:3] == [1, 0, 0]
        assert site.central.invalid == []
