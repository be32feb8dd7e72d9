"""OCPP 2.0.1 CSMS cases of part 6 (docs/ocpp-cases.md): firmware, logs, customer information, monitoring."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.case_station import BOOT_201, Ask, Say, at, connected, play
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_2x import TOKEN, Tx, status

V201 = Version.V201
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
CHECKSUM = "0123456789abcdef0123456789abcdef"
SOON, LATER = at(60), at(3600)
YES = {"status": "Accepted"}


# --- L: firmware ----------------------------------------------------------------------------------------


def update(answer: str = "Accepted", number: int = 5) -> Ask:
    firmware = {
        "location": "https://example.org/fw.bin",
        "retrieveDateTime": SOON,
        "installDateTime": LATER,
        "signature": "c2lnbmF0dXJl",
        "signingCertificate": CERTIFICATE,
    }
    return Ask(
        "UpdateFirmware", {"requestId": number, "retries": 1, "firmware": firmware}, {"status": answer}
    )


def told(*words: str, number: int = 5) -> list[Say]:
    return [Say("FirmwareStatusNotification", {"status": word, "requestId": number}) for word in words]


def security(kind: str) -> Say:
    return Say("SecurityEventNotification", {"type": kind, "timestamp": at()})


def publish(*words: str) -> list[Ask | Say]:
    where = {"location": "https://example.org/fw.bin", "checksum": CHECKSUM, "requestId": 6}
    name = "PublishFirmwareStatusNotification"
    says = [
        Say(
            name,
            {"status": word, "requestId": 6}
            | ({"location": ["https://lc/fw"]} if word == "Published" else {}),
        )
        for word in words
    ]
    return [Ask("PublishFirmware", where, YES), *says]


def unpublish(answer: str) -> Ask:
    return Ask("UnpublishFirmware", {"checksum": CHECKSUM}, {"status": answer})


VERIFIED = ("Downloading", "Downloaded", "SignatureVerified")

# --- N: logs and customers ------------------------------------------------------------------------------


def log(kind: str, answer: str = "Accepted", number: int = 4) -> Ask:
    where = {"remoteLocation": "https://example.org/logs", "oldestTimestamp": at(-7200)}
    body = {"logType": kind, "requestId": number, "log": where}
    return Ask("GetLog", body, {"status": answer} | ({"filename": "log.txt"} if answer != "Rejected" else {}))


def uploaded(*words: str, number: int = 4) -> list[Say]:
    return [Say("LogStatusNotification", {"status": word, "requestId": number}) for word in words]


def customer(answer: str = "Accepted", *, report: bool = True, clear: bool = False, **who: Any) -> Ask:
    body = {"requestId": 3, "report": report, "clear": clear, **(who or {"idToken": TOKEN})}
    return Ask("CustomerInformation", body, {"status": answer})


def told_about_customer(data: str) -> Say:
    body = {"requestId": 3, "seqNo": 0, "tbc": False, "generatedAt": at(), "data": data}
    return Say("NotifyCustomerInformation", body)


HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "a1", "issuerKeyHash": "b2", "serialNumber": "c3"}
FORGET = {"versionNumber": 2, "updateType": "Differential", "localAuthorizationList": [{"idToken": TOKEN}]}

# --- N: monitoring --------------------------------------------------------------------------------------

POWER = {"component": {"name": "ChargingStation"}, "variable": {"name": "Power"}}
STATE = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "AvailabilityState"}}


def monitors(answer: str = "Accepted", criteria: str = "", *variables: Json) -> list[Ask | Say]:
    body: Json = {"requestId": 2}
    if criteria:
        body["monitoringCriteria"] = [criteria]
    if variables:
        body["componentVariable"] = list(variables)
    asked = Ask("GetMonitoringReport", body, {"status": answer})
    if answer != "Accepted":
        return [asked]
    one = {"id": 1, "transaction": False, "value": 1.0, "type": "Delta", "severity": 8}
    reported = {"requestId": 2, "seqNo": 0, "tbc": False, "generatedAt": at()}
    return [
        asked,
        Say("NotifyMonitoringReport", {**reported, "monitor": [{**STATE, "variableMonitoring": [one]}]}),
    ]


def both(criteria: tuple[str, str], *lists: tuple[Json, ...]) -> list[Ask | Say]:
    """First a question with no answer, then one with a report."""
    first, second = lists or ((), ())
    return [*monitors("EmptyResultSet", criteria[0], *first), *monitors("Accepted", criteria[1], *second)]


def watch(*variables: Json) -> Ask:
    asked = [{"value": 1.0, "type": "Delta", "severity": 8, **one} for one in variables]
    answer = [
        {"id": number, "status": "Accepted", "type": "Delta", "severity": 8, **one}
        for number, one in enumerate(variables, 1)
    ]
    return Ask("SetVariableMonitoring", {"setMonitoringData": asked}, {"setMonitoringResult": answer})


def monitoring_base(word: str) -> Ask:
    return Ask("SetMonitoringBase", {"monitoringBase": word}, YES)


NONE, THRESHOLD = "DeltaMonitoring", "ThresholdMonitoring"
CASES: dict[str, list[Ask | Say]] = {
    "TC_L_02_CSMS": [update(), *told(*VERIFIED, "InstallScheduled", "Installing", "Installed")],
    "TC_L_03_CSMS": [update(), *told("DownloadScheduled", *VERIFIED, "Installing", "Installed")],
    "TC_L_04_CSMS": [update("RevokedCertificate")],
    "TC_L_05_CSMS": [update("InvalidCertificate"), security("InvalidFirmwareSigningCertificate")],
    "TC_L_06_CSMS": [
        update(),
        *told("Downloading", "Downloaded", "InvalidSignature"),
        security("InvalidFirmwareSignature"),
    ],
    "TC_L_07_CSMS": [update(), *told("Downloading", "DownloadFailed")],
    "TC_L_08_CSMS": [update(), *told(*VERIFIED, "Installing", "InstallVerificationFailed")],
    "TC_L_09_CSMS": [update(), *told(*VERIFIED, "Installing", "InstallationFailed")],
    "TC_L_10_CSMS": [
        update(),
        *told("Downloading"),
        update("AcceptedCanceled", 6),
        *told(*VERIFIED, "Installing", "Installed", number=6),
    ],
    "TC_L_11_CSMS": [update(), *told(*VERIFIED, "Installing"), update("Rejected", 6), *told("Installed")],
    "TC_L_17_CSMS": publish("Downloading", "Downloaded", "ChecksumVerified", "Published"),
    "TC_L_19_CSMS": publish("Downloading", "Downloaded", "InvalidChecksum"),
    "TC_L_20_CSMS": publish("Downloading", "Downloaded", "ChecksumVerified", "PublishFailed"),
    "TC_L_21_CSMS": [unpublish("Unpublished")],
    "TC_L_22_CSMS": [unpublish("NoFirmware")],
    "TC_L_23_CSMS": [unpublish("DownloadOngoing")],
    "TC_L_24_CSMS": publish("Downloading", "DownloadFailed"),
    "TC_N_01_CSMS": both((NONE, THRESHOLD)),
    "TC_N_02_CSMS": both(("", ""), (POWER,), (STATE,)),
    "TC_N_03_CSMS": both((NONE, THRESHOLD), (STATE,), (POWER,)),
    "TC_N_05_CSMS": [monitoring_base(word) for word in ("All", "FactoryDefault", "HardWiredOnly")],
    "TC_N_08_CSMS": [watch(STATE)],
    "TC_N_09_CSMS": [watch(STATE, POWER)],
    "TC_N_16_CSMS": [Ask("SetMonitoringLevel", {"severity": 4}, YES)],
    "TC_N_17_CSMS": [Ask("SetMonitoringLevel", {"severity": 4}, {"status": "Rejected"})],
    "TC_N_25_CSMS": [log("DiagnosticsLog"), *uploaded("Uploading", "Uploaded")],
    "TC_N_27_CSMS": [customer(), told_about_customer("known since May")],
    "TC_N_28_CSMS": [customer(), told_about_customer("")],
    "TC_N_29_CSMS": [customer("Rejected")],
    "TC_N_30_CSMS": [customer(clear=True), told_about_customer("known since May")],
    "TC_N_31_CSMS": [customer(clear=True), told_about_customer("")],
    "TC_N_32_CSMS": [customer(report=False, clear=True), told_about_customer("")],
    "TC_N_34_CSMS": [log("DiagnosticsLog", "Rejected")],
    "TC_N_35_CSMS": [log("SecurityLog"), *uploaded("Uploading", "Uploaded")],
    "TC_N_36_CSMS": [
        log("DiagnosticsLog"),
        *uploaded("Uploading"),
        log("DiagnosticsLog", "AcceptedCanceled", 5),
        *uploaded("AcceptedCanceled"),
        *uploaded("Uploading", "Uploaded", number=5),
    ],
    "TC_N_44_CSMS": [
        Ask(
            "ClearVariableMonitoring",
            {"id": [1]},
            {"clearMonitoringResult": [{"id": 1, "status": "Rejected"}]},
        )
    ],
    "TC_N_46_CSMS": [
        customer(clear=True),
        told_about_customer("known since May"),
        Ask("SendLocalList", FORGET, YES),
    ],
    "TC_N_47_CSMS": monitors(),
    "TC_N_60_CSMS": both((NONE, THRESHOLD), (POWER, STATE), (POWER, STATE)),
    "TC_N_62_CSMS": [customer(clear=True, customerIdentifier="customer-17"), told_about_customer("")],
    "TC_N_63_CSMS": [customer(clear=True, customerCertificate=HASH), told_about_customer("")],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_tc_upkeep(site: Site, case: str) -> None:
    async with connected(site, V201) as station:
        await play(site, station, *CASES[case])
        assert station.unasked == []


@pytest.mark.asyncio
async def test_tc_l_01_csms_firmware_installed(site: Site) -> None:
    async with connected(site, V201) as station:
        await play(site, station, update(), *told(*VERIFIED, "Installing", "InstallRebooting"))
        reply = await station.call("BootNotification", {**BOOT_201, "reason": "FirmwareUpdate"})
        assert reply["status"] == "Accepted"
        await play(site, station, security("FirmwareUpdated"), *told("Installed"))


@pytest.mark.asyncio
async def test_tc_l_13_csms_firmware_waits_for_the_transaction(site: Site) -> None:
    await site.attempt()
    async with connected(site, V201) as station:
        tx = Tx(station)
        await tx.charge()
        await play(site, station, update(), *told(*VERIFIED, "InstallScheduled"))
        await station.says(status("Unavailable", 2))  # no new session while an update is due
        await tx.tell("Ended", "StopAuthorized", "EVConnected", stopped="Local")
        await play(site, station, *told("Installing", "Installed"))
        assert (await tx.kept(site)).ended_at is not None
