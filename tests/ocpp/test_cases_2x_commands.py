"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md) that begin with a command: variables, reports, resets,
network profiles, caches, local lists, triggers, availability, reservations, certificates."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.case_station import BOOT_201, Ask, Say, at, command, connected, play
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_2x import TOKEN, Tx, status

V201 = Version.V201
YES = {"status": "Accepted"}
EXPIRES = at(300)
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def line(word: str, evse: int = 1) -> Say:
    return Say(*status(word, evse))


# --- B: variables and reports ---------------------------------------------------------------------------


def of(component: str, variable: str) -> Json:
    return {"component": {"name": component}, "variable": {"name": variable}}


INTERVAL, MEASURANDS = of("OCPPCommCtrlr", "HeartbeatInterval"), of("AlignedDataCtrlr", "Measurands")


def read(*variables: Json) -> Ask:
    answer = [{"attributeStatus": "Accepted", "attributeValue": "300", **one} for one in variables]
    return Ask("GetVariables", {"getVariableData": list(variables)}, {"getVariableResult": answer})


def write(*variables: Json) -> Ask:
    asked = [{"attributeValue": "300", **one} for one in variables]
    answer = [{"attributeStatus": "Accepted", **one} for one in variables]
    return Ask("SetVariables", {"setVariableData": asked}, {"setVariableResult": answer})


def report(number: int, *, more: bool) -> Say:
    one = {**INTERVAL, "variableAttribute": [{"value": "300", "mutability": "ReadWrite"}]}
    body = {"requestId": 9, "seqNo": number, "tbc": more, "generatedAt": at(), "reportData": [one]}
    return Say("NotifyReport", body)


REPORT = [report(0, more=True), report(1, more=False)]


def base_report(kind: str) -> list[Ask | Say]:
    return [Ask("GetBaseReport", {"requestId": 9, "reportBase": kind}, YES), *REPORT]


def network(answer: str) -> Ask:
    connection = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "wss://example.org/ocpp",
        "messageTimeout": 30,
        "securityProfile": 2,
        "ocppInterface": "Wired0",
    }
    return Ask(
        "SetNetworkProfile", {"configurationSlot": 1, "connectionData": connection}, {"status": answer}
    )


# --- D, H: local lists, reservations --------------------------------------------------------------------


def local_list(kind: str, *entries: Json, version: int = 2) -> Ask:
    body: Json = {"versionNumber": version, "updateType": kind}
    if entries:
        body["localAuthorizationList"] = list(entries)
    return Ask("SendLocalList", body, YES)


ENTRY = {"idToken": TOKEN, "idTokenInfo": {"status": "Accepted"}}


def reserve(answer: str, number: int = 7, **where: Any) -> Ask:
    body = {"id": number, "expiryDateTime": EXPIRES, "idToken": TOKEN, **where}
    return Ask("ReserveNow", body, {"status": answer})


def reservation_over(word: str) -> Say:
    return Say("ReservationStatusUpdate", {"reservationId": 7, "reservationUpdateStatus": word})


# --- F, G: triggers, availability -----------------------------------------------------------------------


def trigger(name: str, answer: str = "Accepted", evse_id: int | None = None) -> Ask:
    where: Json = {}
    if evse_id is not None:
        where = {"evse": {"id": evse_id} | ({"connectorId": 1} if name == "StatusNotification" else {})}
    return Ask("TriggerMessage", {"requestedMessage": name, **where}, {"status": answer})


def sample(evse_id: int) -> Say:
    value = {"timestamp": at(), "sampledValue": [{"value": 0.0, "context": "Trigger"}]}
    return Say("MeterValues", {"evseId": evse_id, "meterValue": [value]})


def availability(word: str, answer: str = "Accepted", **evse: int) -> Ask:
    where: Json = {"evse": evse} if evse else {}
    return Ask("ChangeAvailability", {"operationalStatus": word, **where}, {"status": answer})


BOTH_OUT, BOTH_IN = [line("Unavailable"), line("Unavailable", 2)], [line("Available"), line("Available", 2)]

# --- M: certificates ------------------------------------------------------------------------------------

HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "a1", "issuerKeyHash": "b2", "serialNumber": "c3"}


def install(kind: str, answer: str = "Accepted") -> Ask:
    return Ask(
        "InstallCertificate", {"certificateType": kind, "certificate": CERTIFICATE}, {"status": answer}
    )


def installed(*kinds: str, found: bool = True) -> Ask:
    answer: Json = {"status": "NotFound"}
    if found:
        told = kinds or ("CSMSRootCertificate", "ManufacturerRootCertificate")
        chains = [{"certificateType": kind, "certificateHashData": HASH} for kind in told]
        answer = {"status": "Accepted", "certificateHashDataChain": chains}
    return Ask("GetInstalledCertificateIds", {"certificateType": list(kinds)} if kinds else {}, answer)


def delete(answer: str) -> Ask:
    return Ask("DeleteCertificate", {"certificateHashData": HASH}, {"status": answer})


CUSTOM_REPORT = {
    "requestId": 9,
    "componentCriteria": ["Problem"],
    "componentVariable": [
        {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Problem"}}
    ],
}
CASES: dict[str, list[Ask | Say]] = {
    "TC_B_06_CSMS": [read(INTERVAL)],
    "TC_B_07_CSMS": [read(INTERVAL, MEASURANDS)],
    "TC_B_09_CSMS": [write(INTERVAL)],
    "TC_B_10_CSMS": [write(INTERVAL, MEASURANDS)],
    "TC_B_12_CSMS": base_report("ConfigurationInventory"),
    "TC_B_13_CSMS": base_report("FullInventory"),
    "TC_B_14_CSMS": base_report("SummaryInventory"),
    "TC_B_18_CSMS": [Ask("GetReport", CUSTOM_REPORT, YES), *REPORT],
    "TC_B_25_CSMS": [
        Ask("Reset", {"type": "OnIdle", "evseId": 1}, YES),
        line("Unavailable"),
        line("Available"),
    ],
    "TC_B_42_CSMS": [network("Accepted")],
    "TC_B_44_CSMS": [network("Failed")],
    "TC_C_37_CSMS": [Ask("ClearCache", {}, YES)],
    "TC_C_38_CSMS": [Ask("ClearCache", {}, {"status": "Rejected"})],
    "TC_D_01_CSMS": [local_list("Full", ENTRY)],
    "TC_D_02_CSMS": [local_list("Differential", ENTRY)],
    "TC_D_03_CSMS": [local_list("Differential", {"idToken": TOKEN})],
    "TC_D_04_CSMS": [local_list("Full")],
    "TC_D_08_CSMS": [Ask("GetLocalListVersion", {}, {"versionNumber": 2})],
    "TC_D_09_CSMS": [Ask("GetLocalListVersion", {}, {"versionNumber": 0})],
    "TC_F_11_CSMS": [trigger("MeterValues", evse_id=1), sample(1)],
    "TC_F_12_CSMS": [trigger("MeterValues"), sample(1), sample(2)],
    "TC_F_15_CSMS": [trigger("LogStatusNotification"), Say("LogStatusNotification", {"status": "Idle"})],
    "TC_F_18_CSMS": [
        trigger("FirmwareStatusNotification"),
        Say("FirmwareStatusNotification", {"status": "Idle"}),
    ],
    "TC_F_23_CSMS": [trigger("StatusNotification", evse_id=1), line("Available")],
    "TC_F_24_CSMS": [trigger("StatusNotification", evse_id=1), line("Occupied")],
    "TC_F_27_CSMS": [trigger("SignCombinedCertificate", "NotImplemented")],
    "TC_G_03_CSMS": [availability("Inoperative", id=1), line("Unavailable")],
    "TC_G_04_CSMS": [availability("Operative", id=1), line("Available")],
    "TC_G_05_CSMS": [availability("Inoperative"), *BOTH_OUT],
    "TC_G_06_CSMS": [availability("Operative"), *BOTH_IN],
    "TC_G_07_CSMS": [availability("Inoperative", id=1, connectorId=1), line("Unavailable")],
    "TC_G_08_CSMS": [availability("Operative", id=1, connectorId=1), line("Available")],
    "TC_H_01_CSMS": [reserve("Accepted", evseId=1), line("Reserved")],
    "TC_H_07_CSMS": [
        reserve("Accepted", evseId=1),
        line("Reserved"),
        reservation_over("Expired"),
        line("Available"),
    ],
    "TC_H_08_CSMS": [reserve("Accepted")],
    "TC_H_14_CSMS": [reserve("Accepted", 7), reserve("Accepted", 8), line("Reserved"), line("Reserved", 2)],
    "TC_H_15_CSMS": [reserve("Accepted", connectorType="cCCS2")],
    "TC_H_17_CSMS": [
        reserve("Accepted", evseId=1),
        line("Reserved"),
        Ask("CancelReservation", {"reservationId": 7}, YES),
        line("Available"),
    ],
    "TC_H_20_CSMS": [
        reserve("Accepted", evseId=1),
        line("Reserved"),
        line("Faulted"),
        reservation_over("Removed"),
    ],
    "TC_H_22_CSMS": [reserve("Rejected", evseId=1)],
    "TC_M_01_CSMS": [install("CSMSRootCertificate")],
    "TC_M_02_CSMS": [install("ManufacturerRootCertificate")],
    "TC_M_03_CSMS": [install("V2GRootCertificate")],
    "TC_M_04_CSMS": [install("MORootCertificate")],
    "TC_M_05_CSMS": [install("CSMSRootCertificate", "Failed")],
    "TC_M_12_CSMS": [installed("CSMSRootCertificate")],
    "TC_M_13_CSMS": [installed("ManufacturerRootCertificate")],
    "TC_M_14_CSMS": [installed("V2GRootCertificate")],
    "TC_M_15_CSMS": [installed("V2GCertificateChain")],
    "TC_M_16_CSMS": [installed("MORootCertificate")],
    "TC_M_17_CSMS": [installed("CSMSRootCertificate", "ManufacturerRootCertificate")],
    "TC_M_18_CSMS": [installed()],
    "TC_M_19_CSMS": [installed("ManufacturerRootCertificate", found=False)],
    "TC_M_20_CSMS": [installed("CSMSRootCertificate"), delete("Accepted")],
    "TC_M_21_CSMS": [installed("CSMSRootCertificate"), delete("Failed")],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_tc_command(site: Site, case: str) -> None:
    async with connected(site, V201) as station:
        await play(site, station, *CASES[case])
        assert station.unasked == []


@pytest.mark.asyncio
async def test_tc_f_20_csms_trigger_a_heartbeat(site: Site) -> None:
    async with connected(site, V201) as station:
        await play(site, station, trigger("Heartbeat"))
        assert set(await station.call("Heartbeat", {})) == {"currentTime"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "evse_id", [pytest.param(1, id="TC_F_13_CSMS"), pytest.param(None, id="TC_F_14_CSMS")]
)
async def test_tc_trigger_transaction_events(site: Site, evse_id: int | None) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await play(site, station, trigger("TransactionEvent", evse_id=evse_id))
        await tx.tell("Updated", "Trigger", "Charging")
        assert (await tx.kept(site)).ended_at is None


# --- B, G: with a transaction running -------------------------------------------------------------------


@pytest.mark.asyncio
async def test_tc_b_20_csms_reset_when_idle(site: Site) -> None:
    async with connected(site, V201) as station:
        await command(site, station, "Reset", {"type": "OnIdle"}, YES)
    async with connected(site, V201) as station:  # boots again
        await station.says(status("Available"), status("Available", 2))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("asked", "answer", "trigger_reason", "stopped"),
    [
        pytest.param({"type": "OnIdle"}, "Scheduled", "StopAuthorized", "Local", id="TC_B_21_CSMS"),
        pytest.param({"type": "Immediate"}, "Accepted", "ResetCommand", "ImmediateReset", id="TC_B_22_CSMS"),
        pytest.param(
            {"type": "OnIdle", "evseId": 1}, "Scheduled", "StopAuthorized", "Local", id="TC_B_26_CSMS"
        ),
        pytest.param(
            {"type": "Immediate", "evseId": 1},
            "Accepted",
            "ResetCommand",
            "ImmediateReset",
            id="TC_B_27_CSMS",
        ),
    ],
)
async def test_tc_reset_while_charging(
    site: Site, asked: Json, answer: str, trigger_reason: str, stopped: str
) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await command(site, station, "Reset", asked, {"status": answer})
        await tx.tell("Ended", trigger_reason, "EVConnected", stopped=stopped)
        if "evseId" not in asked:
            reply = await station.call("BootNotification", {**BOOT_201, "reason": "RemoteReset"})
            assert reply["status"] == "Accepted"
        await station.says(status("Available"))
        assert (await tx.kept(site)).ended_at is not None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "evse",
    [
        pytest.param({"id": 1}, id="TC_G_11_CSMS"),
        pytest.param({}, id="TC_G_14_CSMS"),
        pytest.param({"id": 1, "connectorId": 1}, id="TC_G_17_CSMS"),
    ],
)
async def test_tc_out_of_service_after_the_transaction(site: Site, evse: dict[str, int]) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await play(site, station, availability("Inoperative", "Scheduled", **evse))
        await tx.tell("Ended", "StopAuthorized", "EVConnected", stopped="Local")
        await station.says(status("Unavailable"))
        assert (await tx.kept(site)).ended_at is not None
