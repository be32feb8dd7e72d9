"""A station by another author (npm `ocpp-rpc`, strict mode) finds no fault with what the gateway says.

Its schemas, its validator (ajv, formats included) and its framing are not the ones we use ourselves.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from tests.ocpp.conftest import PASSWORD, Site
from tests.ocpp.strict_client.driver import (
    HERE,
    Json,
    Refused,
    StrictClient,
    node_folder,
    strict_client,
)
from workers.stack.settings import CHECKOUT

V16, V201, V21 = "ocpp1.6", "ocpp2.0.1", "ocpp2.1"
VERSIONS = [V16, V201, V21]
EACH_VERSION = pytest.mark.parametrize("version", VERSIONS)
NOT_SERVED = ("NotSupported", "NotImplemented")


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@asynccontextmanager
async def clean(site: Site, version: str) -> AsyncGenerator[StrictClient]:
    """A booted station; at the end nothing that was said on either side breaks the schemas."""
    async with strict_client(site.url, PASSWORD, version) as client:
        assert client.protocol == version
        boot = {"chargePointVendor": "V", "chargePointModel": "M"}
        if version != V16:
            boot = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
        assert (await client.call("BootNotification", boot))["status"] == "Accepted"
        yield client
    assert client.failures == []
    assert client.exit_code == 0


async def refusal(client: StrictClient, action: str, payload: Json) -> str | None:
    """Its code; None for a reply."""
    try:
        await client.call(action, payload)
    except Refused as refused:
        return refused.code
    return None


def start_action(version: str) -> str:
    return "RemoteStartTransaction" if version == V16 else "RequestStartTransaction"


def stop_action(version: str) -> str:
    return "RemoteStopTransaction" if version == V16 else "RequestStopTransaction"


async def asked_to_start(site: Site, client: StrictClient, version: str, attempt_id: str) -> Json:
    await client.expect(start_action(version), {"status": "Accepted"})
    reply = await site.gateway.send(site.command(CommandKind.START, attempt_id))
    assert reply.outcome is CommandOutcome.ACCEPTED, reply
    return await client.heard(start_action(version))


async def asked_to_stop(site: Site, client: StrictClient, version: str, reference: str) -> Json:
    await client.expect(stop_action(version), {"status": "Accepted"})
    reply = await site.gateway.send(site.command(CommandKind.STOP, session_ref=reference))
    assert reply.outcome is CommandOutcome.ACCEPTED, reply
    return await client.heard(stop_action(version))


# --- a session of each dialect: 5 kWh on the register before it, 17 kWh after it ----------------------------


async def session_16(site: Site, client: StrictClient, version: str, attempt_id: str) -> None:
    async def status(word: str) -> None:
        body = {"connectorId": 1, "errorCode": "NoError", "status": word, "timestamp": at()}
        assert await client.call("StatusNotification", body) == {}

    await status("Available")
    answer = await client.call("Authorize", {"idTag": "TAG1"})
    assert answer["idTagInfo"]["status"] == "Accepted"
    assert await asked_to_start(site, client, version, attempt_id) == {"idTag": "TAG1", "connectorId": 1}
    await status("Preparing")
    start = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5000, "timestamp": at()}
    started = await client.call("StartTransaction", start)
    assert started["idTagInfo"]["status"] == "Accepted"
    number = started["transactionId"]
    await status("Charging")
    sample = {"value": "9000", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
    values = [{"timestamp": at(1), "sampledValue": [sample]}]
    assert (
        await client.call("MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": values})
        == {}
    )
    assert await asked_to_stop(site, client, version, str(number)) == {"transactionId": number}
    stop = {"transactionId": number, "meterStop": 17000, "timestamp": at(2), "reason": "Remote"}
    await client.call("StopTransaction", stop)
    await status("Finishing")


async def session_2x(site: Site, client: StrictClient, version: str, attempt_id: str) -> None:
    token = {"idToken": "TAG1", "type": "Central"}
    reference = f"tx-{attempt_id[-8:]}"

    async def status(word: str) -> None:
        body = {"evseId": 1, "connectorId": 1, "connectorStatus": word, "timestamp": at()}
        assert await client.call("StatusNotification", body) == {}

    async def event(number: int, kind: str, trigger: str, meter_wh: float, info: Json, **more: Any) -> Json:
        sample = {
            "value": meter_wh,
            "measurand": "Energy.Active.Import.Register",
            "unitOfMeasure": {"unit": "Wh"},
        }
        body = {
            "eventType": kind,
            "timestamp": at(number),
            "triggerReason": trigger,
            "seqNo": number,
            "transactionInfo": {"transactionId": reference, **info},
            "meterValue": [{"timestamp": at(number), "sampledValue": [sample]}],
            **more,
        }
        return await client.call("TransactionEvent", body)

    await status("Available")
    answer = await client.call("Authorize", {"idToken": token})
    assert answer["idTokenInfo"]["status"] == "Accepted"
    request = await asked_to_start(site, client, version, attempt_id)
    assert request["idToken"]["idToken"] == "TAG1"
    assert request["evseId"] == 1
    await status("Occupied")
    remote = {"remoteStartId": request["remoteStartId"], "chargingState": "EVConnected"}
    evse = {"id": 1, "connectorId": 1}
    await event(0, "Started", "RemoteStart", 5000, remote, idToken=token, evse=evse)
    await event(1, "Updated", "ChargingStateChanged", 9000, {"chargingState": "Charging"})
    assert await asked_to_stop(site, client, version, reference) == {"transactionId": reference}
    await event(2, "Ended", "RemoteStop", 17000, {"stoppedReason": "Remote"}, idToken=token)
    await status("Available")


@pytest.mark.asyncio
@EACH_VERSION
async def test_a_whole_session_is_clean(site: Site, version: str) -> None:
    attempt_id = await site.attempt()
    session: Callable[[Site, StrictClient, str, str], Awaitable[None]]
    session = session_16 if version == V16 else session_2x
    async with clean(site, version) as client:
        await session(site, client, version, attempt_id)
        assert datetime.fromisoformat((await client.call("Heartbeat", {}))["currentTime"]).tzinfo
        unknown = await client.call("DataTransfer", {"vendorId": "com.example", "messageId": "m"})
        assert unknown["status"] == "UnknownVendorId"
    (ended,) = await site.sink.until(EvidenceKind.SESSION_ENDED)
    assert ended.attempt_id == attempt_id
    assert ended.energy_kwh == pytest.approx(12)


@pytest.mark.asyncio
@EACH_VERSION
async def test_firmware_news_is_answered(site: Site, version: str) -> None:
    async with clean(site, version) as client:
        news = {"status": "Downloading"} if version == V16 else {"status": "Downloading", "requestId": 1}
        assert await client.call("FirmwareStatusNotification", news) == {}


COMMANDS = [
    (CommandKind.START, None, "Rejected", CommandOutcome.REJECTED),
    (CommandKind.STOP, None, "Rejected", CommandOutcome.REJECTED),
    (CommandKind.UNLOCK, "UnlockConnector", "Unlocked", CommandOutcome.ACCEPTED),
    (CommandKind.UNLOCK, "UnlockConnector", "UnlockFailed", CommandOutcome.REJECTED),
    (CommandKind.TRIGGER_STATUS, "TriggerMessage", "Accepted", CommandOutcome.ACCEPTED),
    (CommandKind.TRIGGER_STATUS, "TriggerMessage", "NotImplemented", CommandOutcome.REJECTED),
]


@pytest.mark.asyncio
@EACH_VERSION
async def test_commands_are_clean_and_their_refusals_understood(site: Site, version: str) -> None:
    async with clean(site, version) as client:
        for kind, named, status, outcome in COMMANDS:
            action = named or (start_action if kind is CommandKind.START else stop_action)(version)
            await client.expect(action, {"status": status})
            reply = await site.gateway.send(site.command(kind, session_ref="7"))
            assert reply.outcome is outcome, (kind, status, reply)
            assert await client.heard(action)


OTHER_16: dict[str, Json] = {
    "DiagnosticsStatusNotification": {"status": "Uploading"},
    "LogStatusNotification": {"status": "Uploading", "requestId": 1},
    "SignedFirmwareStatusNotification": {"status": "Downloading", "requestId": 1},
    "SecurityEventNotification": {"type": "FirmwareUpdated", "timestamp": "2026-01-01T00:00:00Z"},
    "SignCertificate": {"csr": "a signing request"},
}
PERIOD = {"startPeriod": 0, "limit": 16.0}
SCHEDULE = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [PERIOD]}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [SCHEDULE],
}
VARIABLE = {"component": {"name": "EVSE"}, "variable": {"name": "Problem"}}
EVENT = {
    "eventId": 1,
    "timestamp": "2026-01-01T00:00:00Z",
    "trigger": "Alerting",
    "actualValue": "true",
    "eventNotificationType": "HardWiredNotification",
    **VARIABLE,
}
REPORT = {**VARIABLE, "variableAttribute": [{"value": "false"}]}
METER = {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": 1.0}]}
OTHER_2X: dict[str, Json] = {
    "MeterValues": {"evseId": 1, "meterValue": [METER]},
    "LogStatusNotification": {"status": "Uploading", "requestId": 1},
    "PublishFirmwareStatusNotification": {"status": "Downloading", "requestId": 1},
    "SecurityEventNotification": {"type": "FirmwareUpdated", "timestamp": "2026-01-01T00:00:00Z"},
    "SignCertificate": {"csr": "a signing request"},
    "NotifyEvent": {"generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0, "eventData": [EVENT]},
    "NotifyReport": {
        "requestId": 1,
        "generatedAt": "2026-01-01T00:00:00Z",
        "seqNo": 0,
        "reportData": [REPORT],
    },
    "NotifyMonitoringReport": {"requestId": 1, "generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0},
    "NotifyCustomerInformation": {
        "data": "none",
        "requestId": 1,
        "generatedAt": "2026-01-01T00:00:00Z",
        "seqNo": 0,
    },
    "NotifyDisplayMessages": {"requestId": 1},
    "ReportChargingProfiles": {
        "requestId": 1,
        "chargingLimitSource": "CSO",
        "evseId": 1,
        "chargingProfile": [PROFILE],
    },
    "NotifyChargingLimit": {"chargingLimit": {"chargingLimitSource": "EMS"}, "evseId": 1},
    "ClearedChargingLimit": {"chargingLimitSource": "EMS", "evseId": 1},
    "ReservationStatusUpdate": {"reservationId": 1, "reservationUpdateStatus": "Expired"},
    "NotifyEVChargingSchedule": {
        "timeBase": "2026-01-01T00:00:00Z",
        "evseId": 1,
        "chargingSchedule": SCHEDULE,
    },
    "NotifyEVChargingNeeds": {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC"}},
    "GetCertificateStatus": {
        "ocspRequestData": {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": "00",
            "issuerKeyHash": "00",
            "serialNumber": "00",
            "responderURL": "http://127.0.0.1/",
        }
    },
    "Get15118EVCertificate": {
        "iso15118SchemaVersion": "urn:iso:15118:2:2013:MsgDef",
        "action": "Install",
        "exiRequest": "",
    },
}


@pytest.mark.asyncio
@EACH_VERSION
async def test_all_else_that_a_station_says_gets_a_clean_reply_or_a_plain_no(
    site: Site, version: str
) -> None:
    async with clean(site, version) as client:
        for action, payload in (OTHER_16 if version == V16 else OTHER_2X).items():
            assert await refusal(client, action, payload) in (None, *NOT_SERVED), action


# --- does the judge judge? ----------------------------------------------------------------------------------


@pytest.mark.asyncio
@EACH_VERSION
async def test_the_station_refuses_to_say_nonsense_itself(site: Site, version: str) -> None:
    async with strict_client(site.url, PASSWORD, version) as client:
        with pytest.raises(Refused) as refused:
            await client.call("StatusNotification", {"connectorId": "one"})
        assert refused.value.code.endswith("Violation")
        (failure,) = client.failures
        assert (failure["sender"], failure["action"]) == ("station", "StatusNotification")
        await client.call("Heartbeat", {})  # the gateway heard nothing of it
    assert client.exit_code == 1


@pytest.mark.asyncio
@EACH_VERSION
async def test_a_gateway_that_breaks_the_schema_is_caught(version: str) -> None:
    """Every kind of message that a gateway can get wrong: reply, call, frame."""

    async def gateway(socket: ServerConnection) -> None:
        async for text in socket:
            frame = json.loads(text)
            if frame[0] == 2 and frame[2] == "Heartbeat":
                await socket.send(json.dumps([3, frame[1], {"currentTime": "yesterday"}]))
            elif frame[0] == 2:
                await socket.send(json.dumps([2, "mine", start_action(version), {"hello": 1}]))
                await socket.send("no frame at all")
                await socket.send(json.dumps([3, frame[1], {}]))

    async with serve(gateway, "127.0.0.1", 0, subprotocols=[Subprotocol(version)]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with strict_client(f"ws://127.0.0.1:{port}/cp", PASSWORD, version) as client:
            with pytest.raises(Refused, match="date-time"):
                await client.call("Heartbeat", {})
            with pytest.raises(Refused, match="required"):
                await client.call("DataTransfer", {"vendorId": "com.example"})
    assert sorted(failure["action"] for failure in client.failures) == sorted(
        ["Heartbeat", start_action(version), "", "DataTransfer"]
    )
    assert {failure["sender"] for failure in client.failures} == {"gateway"}
    assert client.exit_code == 1


# --- where its packages come from ---------------------------------------------------------------------------


def test_setup_and_driver_agree_on_the_folder() -> None:
    prepare = runpy.run_path(str(CHECKOUT / "tools" / "prepare.py"))
    assert prepare["node_folder"](prepare["STRICT_CLIENT"]) == node_folder()


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all(name == "" or "integrity" in package for name, package in packages.items())
