"""OCPP 1.6 CSMS cases of the compliance tool (docs/ocpp-cases.md) that begin with a command to the station:
it arrives word for word, the answer comes back, and what the station then says is answered."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.case_station import BOOT_16, Ask, Say, at, command, connected, play
from tests.ocpp.conftest import Site
from tests.ocpp.test_cases_16 import charge, start, status

V16 = Version.V16
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
YES = {"status": "Accepted"}
EXPIRES, SOON, LATER = at(300), at(60), at(3600)


def say(name: str, word: str, **more: Any) -> Say:
    return Say(name, {"status": word, **more})


def line(word: str, number: int = 1) -> Say:
    return Say(*status(word, number))


def local_list(version: int, kind: str, tag: str, answer: str) -> Ask:
    entry = {"idTag": tag, "idTagInfo": {"status": "Accepted"}}
    body = {"listVersion": version, "updateType": kind, "localAuthorizationList": [entry]}
    return Ask("SendLocalList", body, {"status": answer})


def reserve(answer: str, number: int = 1) -> Ask:
    body = {"connectorId": number, "expiryDate": EXPIRES, "idTag": "TAG1", "reservationId": 7}
    return Ask("ReserveNow", body, {"status": answer})


def cancel(answer: str) -> Ask:
    return Ask("CancelReservation", {"reservationId": 7}, {"status": answer})


def profile(purpose: str, number: int = 1, **more: Any) -> Json:
    schedule = {
        "chargingRateUnit": "W",
        "duration": 900,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 7000.0}],
    }
    return {
        "chargingProfileId": number,
        "stackLevel": 0,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Relative",
        "chargingSchedule": schedule,
        **more,
    }


def set_profile(connector: int, body: Json) -> Ask:
    return Ask("SetChargingProfile", {"connectorId": connector, "csChargingProfiles": body}, YES)


def install(kind: str, answer: str) -> Ask:
    return Ask(
        "InstallCertificate", {"certificateType": kind, "certificate": CERTIFICATE}, {"status": answer}
    )


def certificate_hash(algorithm: str = "SHA256") -> Json:
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": "a1",
        "issuerKeyHash": "b2",
        "serialNumber": "c3",
    }


def installed(kind: str, *hashes: Json) -> Ask:
    answer: Json = (
        {"status": "Accepted", "certificateHashData": list(hashes)} if hashes else {"status": "NotFound"}
    )
    return Ask("GetInstalledCertificateIds", {"certificateType": kind}, answer)


def deleted(algorithm: str) -> list[Ask]:
    root, one = "CentralSystemRootCertificate", certificate_hash(algorithm)
    gone = Ask("DeleteCertificate", {"certificateHashData": one}, YES)
    return [install(root, "Accepted"), installed(root, one), gone, installed(root)]


def secure_firmware(*words: str) -> list[Ask | Say]:
    firmware = {
        "location": "https://example.org/fw.bin",
        "retrieveDateTime": SOON,
        "installDateTime": LATER,
        "signature": "c2lnbmF0dXJl",
        "signingCertificate": CERTIFICATE,
    }
    asked = Ask("SignedUpdateFirmware", {"requestId": 5, "retries": 1, "firmware": firmware}, YES)
    return [asked, *(say("SignedFirmwareStatusNotification", word, requestId=5) for word in words)]


UPDATE = Ask(
    "UpdateFirmware",
    {"location": "https://example.org/fw.bin", "retrieveDate": SOON, "retries": 1, "retryInterval": 60},
    {},
)
DIAGNOSTICS = Ask(
    "GetDiagnostics",
    {"location": "https://example.org/logs", "startTime": at(-7200), "stopTime": at(-3600)},
    {"fileName": "diagnostics.log"},
)
SECURITY_LOG = Ask(
    "GetLog",
    {"logType": "SecurityLog", "requestId": 4, "log": {"remoteLocation": "https://example.org/logs"}},
    {"status": "Accepted", "filename": "security.log"},
)
KEYS = [
    {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
    {"key": "NumberOfConnectors", "readonly": True, "value": "2"},
]


def configure(key: str, value: str, answer: str) -> Ask:
    return Ask("ChangeConfiguration", {"key": key, "value": value}, {"status": answer})


def trigger(name: str, answer: str, connector: int | None = None) -> Ask:
    body: Json = {"requestedMessage": name} | ({"connectorId": connector} if connector else {})
    return Ask("TriggerMessage", body, {"status": answer})


def firmware(*words: str) -> list[Say]:
    return [say("FirmwareStatusNotification", word) for word in words]


METER = Say(
    "MeterValues",
    {"connectorId": 1, "meterValue": [{"timestamp": at(), "sampledValue": [{"value": "0", "unit": "Wh"}]}]},
)
SECURITY_EVENT = Say(
    "SecurityEventNotification",
    {"type": "InvalidCentralSystemCertificate", "timestamp": at(), "techInfo": "refused by the station"},
)

CASES: dict[str, list[Ask | Say]] = {
    "TC_019_1_CSMS": [Ask("GetConfiguration", {}, {"configurationKey": KEYS, "unknownKey": []})],
    "TC_019_2_CSMS": [
        Ask(
            "GetConfiguration",
            {"key": ["NumberOfConnectors"]},
            {"configurationKey": KEYS[1:], "unknownKey": []},
        )
    ],
    "TC_021_CSMS": [configure("MeterValueSampleInterval", "60", "Accepted")],
    "TC_040_1_CSMS": [configure("NoSuchKey", "1", "NotSupported")],
    "TC_040_2_CSMS": [configure("MeterValueSampleInterval", "-1", "Rejected")],
    "TC_042_1_CSMS": [Ask("GetLocalListVersion", {}, {"listVersion": -1})],
    "TC_042_2_CSMS": [Ask("GetLocalListVersion", {}, {"listVersion": 0})],
    "TC_043_1_CSMS": [local_list(1, "Full", "TAG1", "NotSupported")],
    "TC_043_3_CSMS": [local_list(1, "Full", "TAG1", "Failed")],
    "TC_043_4_CSMS": [local_list(1, "Full", "TAG1", "Accepted")],
    "TC_043_5_CSMS": [
        Ask("GetLocalListVersion", {}, {"listVersion": 1}),
        local_list(2, "Differential", "TAG2", "Accepted"),
    ],
    "TC_044_2_CSMS": [UPDATE, *firmware("Downloading", "DownloadFailed")],
    "TC_045_1_CSMS": [
        DIAGNOSTICS,
        say("DiagnosticsStatusNotification", "Uploading"),
        say("DiagnosticsStatusNotification", "Uploaded"),
    ],
    "TC_045_2_CSMS": [
        DIAGNOSTICS,
        say("DiagnosticsStatusNotification", "Uploading"),
        say("DiagnosticsStatusNotification", "UploadFailed"),
    ],
    "TC_047_CSMS": [reserve("Accepted"), line("Reserved"), line("Available")],
    "TC_048_1_CSMS": [reserve("Faulted")],
    "TC_048_2_CSMS": [line("Preparing"), reserve("Occupied")],
    "TC_048_3_CSMS": [
        Ask("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, YES),
        line("Unavailable"),
        reserve("Unavailable"),
    ],
    "TC_048_4_CSMS": [reserve("Rejected")],
    "TC_049_CSMS": [reserve("Accepted", 0), line("Reserved")],
    "TC_051_CSMS": [reserve("Accepted"), line("Reserved"), cancel("Accepted"), line("Available")],
    "TC_052_CSMS": [reserve("Accepted"), line("Reserved"), cancel("Rejected")],
    "TC_055_CSMS": [trigger("MeterValues", "Rejected", 1)],
    "TC_056_CSMS": [set_profile(1, profile("TxDefaultProfile", validFrom=SOON, validTo=LATER))],
    "TC_061_CSMS": [Ask("ClearCache", {}, YES)],
    "TC_066_CSMS": [
        Ask(
            "GetCompositeSchedule",
            {"connectorId": 1, "duration": 300, "chargingRateUnit": "W"},
            {
                "status": "Accepted",
                "connectorId": 1,
                "scheduleStart": at(),
                "chargingSchedule": {
                    "chargingRateUnit": "W",
                    "duration": 300,
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6000.0}],
                },
            },
        )
    ],
    "TC_075_1_CSMS": [
        install("ManufacturerRootCertificate", "Accepted"),
        installed("ManufacturerRootCertificate", certificate_hash()),
    ],
    "TC_075_2_CSMS": [
        install("CentralSystemRootCertificate", "Accepted"),
        installed("CentralSystemRootCertificate", certificate_hash()),
    ],
    "TC_076_CSMS": [*deleted("SHA256"), *deleted("SHA384"), *deleted("SHA512")],
    "TC_078_CSMS": [install("CentralSystemRootCertificate", "Rejected"), SECURITY_EVENT],
    "TC_079_CSMS": [
        SECURITY_LOG,
        say("LogStatusNotification", "Uploading", requestId=4),
        say("LogStatusNotification", "Uploaded", requestId=4),
    ],
    "TC_081_CSMS": secure_firmware("Downloading", "Downloaded", "InvalidSignature"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_tc_command(site: Site, case: str) -> None:
    async with connected(site, V16) as station:
        await play(site, station, *CASES[case])
        assert station.unasked == []


@pytest.mark.asyncio
async def test_tc_054_csms_trigger_message(site: Site) -> None:
    async with connected(site, V16) as station:
        await play(
            site, station, trigger("MeterValues", "Accepted", 1), METER, trigger("Heartbeat", "Accepted")
        )
        assert set(await station.call("Heartbeat", {})) == {"currentTime"}
        await play(site, station, trigger("StatusNotification", "Accepted", 1), line("Available"))
        for name in ("DiagnosticsStatusNotification", "FirmwareStatusNotification"):
            await play(site, station, trigger(name, "Accepted"), say(name, "Idle"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "kind", [pytest.param("Hard", id="TC_013_CSMS"), pytest.param("Soft", id="TC_014_CSMS")]
)
async def test_tc_reset(site: Site, kind: str) -> None:
    async with connected(site, V16) as station:
        await command(site, station, "Reset", {"type": kind}, YES)
    async with connected(site, V16) as station:  # boots again
        await station.says(*(status("Available", number) for number in (0, 1, 2)))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "end",
    [pytest.param("Installed", id="TC_044_1_CSMS"), pytest.param("InstallationFailed", id="TC_044_3_CSMS")],
)
async def test_tc_firmware(site: Site, end: str) -> None:
    numbers = (0, 1, 2)
    async with connected(site, V16) as station:
        await play(site, station, UPDATE, *firmware("Downloading", "Downloaded"))
        await play(
            site, station, *(line("Unavailable", number) for number in numbers), *firmware("Installing")
        )
        assert (await station.call("BootNotification", BOOT_16))["status"] == "Accepted"
        await play(site, station, *(line("Available", number) for number in numbers), *firmware(end))


@pytest.mark.asyncio
async def test_tc_080_csms_secure_firmware(site: Site) -> None:
    words = ("Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting")
    updated = {"type": "FirmwareUpdated", "timestamp": at()}
    async with connected(site, V16) as station:
        await play(site, station, *secure_firmware(*words))
        assert (await station.call("BootNotification", BOOT_16))["status"] == "Accepted"
        await play(site, station, Say("SecurityEventNotification", updated), line("Available", 0))
        await play(site, station, say("SignedFirmwareStatusNotification", "Installed", requestId=5))


@pytest.mark.asyncio
async def test_tc_046_csms_reserved_connector_is_used(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        await play(site, station, reserve("Accepted"), line("Reserved"))
        assert await start(station, reservationId=7) > 0
        await play(site, station, line("Charging"))


@pytest.mark.asyncio
async def test_tc_057_csms_tx_profile(site: Site) -> None:
    await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
        await play(site, station, set_profile(1, profile("TxProfile", transactionId=number)))


@pytest.mark.asyncio
async def test_tc_067_csms_clear_profiles(site: Site) -> None:
    by_criteria = {"connectorId": 1, "chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 0}
    await site.attempt()
    async with connected(site, V16) as station:
        number = await charge(station)
        await play(site, station, set_profile(0, profile("ChargePointMaxProfile", 1)))
        await play(site, station, set_profile(1, profile("TxDefaultProfile", 2)))
        await play(site, station, set_profile(1, profile("TxProfile", 3, transactionId=number)))
        for body in ({"id": 1}, by_criteria, {}):
            await command(site, station, "ClearChargingProfile", body, YES)
