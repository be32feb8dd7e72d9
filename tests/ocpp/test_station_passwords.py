"""Passwords of stations: rotation that locks nobody out; and what an operator may not send at all."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from connectors.ocpp.guards import Refused, check_call
from connectors.ocpp.redaction import shown
from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandOutcome
from models.station_commands import StationReply
from tests.ocpp.case_station import BOOT_16, BOOT_201, command, connected
from tests.ocpp.conftest import PASSWORD, Client, Site

V16, V201, V21 = Version.V16, Version.V201, Version.V21
OLD = PASSWORD.encode()
every_version = pytest.mark.parametrize("version", [V16, V201, V21])


async def enter(site: Site, version: Version, password: bytes) -> Client:
    token = base64.b64encode(site.station_id.encode() + b":" + password).decode()
    socket = await connect(
        site.url,
        subprotocols=[Subprotocol(version)],
        additional_headers={"Authorization": f"Basic {token}"},
        compression=None,
        proxy=None,
    )
    return Client(socket)


async def opens(site: Site, version: Version, password: bytes) -> bool:
    try:
        client = await enter(site, version, password)
    except InvalidStatus as refused:
        return refused.response.status_code == 101
    await client.socket.close()
    return True


class Rotation:
    """One rotation under way: what the station is asked, and what it makes of it."""

    def __init__(self, client: Client, call: list[Any], version: Version, task: asyncio.Task[Any]) -> None:
        self.client, self.task, self.version = client, task, version
        self.message_id, self.action, self.payload = call[1], call[2], call[3]

    @classmethod
    async def begin(cls, site: Site, version: Version, timeout_s: float = 5.0) -> Rotation:
        client = await enter(site, version, OLD)
        await client.call("BootNotification", BOOT_16 if version is V16 else BOOT_201)
        task = asyncio.create_task(site.gateway.rotate_password(site.station_id, timeout_s))
        return cls(client, await client.frame(), version, task)

    @property
    def told(self) -> str:
        """As it stands in the message."""
        if self.version is V16:
            return str(self.payload["value"])
        return str(self.payload["setVariableData"][0]["attributeValue"])

    @property
    def password(self) -> bytes:
        return bytes.fromhex(self.told) if self.version is V16 else self.told.encode()

    async def answer(self, word: str) -> None:
        asked = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
        result: Json = {"setVariableResult": [{"attributeStatus": word, **asked}]}
        answer = {"status": word} if self.version is V16 else result
        await self.client.socket.send(json.dumps([3, self.message_id, answer]))

    async def reply(self) -> StationReply:
        return await self.task


# --- rotation ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@every_version
async def test_an_accepted_password_is_the_only_one(site: Site, version: Version) -> None:
    rotation = await Rotation.begin(site, version)
    if version is V16:
        assert (rotation.action, rotation.payload["key"]) == ("ChangeConfiguration", "AuthorizationKey")
        assert 16 <= len(rotation.password) <= 20
        assert rotation.told == rotation.password.hex().upper()
    else:
        (asked,) = rotation.payload["setVariableData"]
        assert (rotation.action, asked["component"]) == ("SetVariables", {"name": "SecurityCtrlr"})
        assert 16 <= len(rotation.told) <= 40
    await rotation.answer("Accepted")
    assert (await rotation.reply()).outcome is CommandOutcome.ACCEPTED
    assert not await opens(site, version, OLD)
    assert await opens(site, version, rotation.password)


@pytest.mark.asyncio
@every_version
async def test_a_refused_password_opens_nothing(site: Site, version: Version) -> None:
    rotation = await Rotation.begin(site, version)
    await rotation.answer("Rejected")
    assert (await rotation.reply()).outcome is CommandOutcome.REJECTED
    assert not await opens(site, version, rotation.password)
    assert await opens(site, version, OLD)


@pytest.mark.asyncio
@every_version
async def test_an_error_of_the_station_is_a_refusal(site: Site, version: Version) -> None:
    rotation = await Rotation.begin(site, version)
    error = json.dumps([4, rotation.message_id, "NotSupported", "", {}])
    await rotation.client.socket.send(error)
    assert (await rotation.reply()).outcome is CommandOutcome.REJECTED
    assert not await opens(site, version, rotation.password)
    assert await opens(site, version, OLD)


async def both_open_until_the_new_one_is_shown(site: Site, version: Version, new: bytes) -> None:
    for _ in range(2):
        assert await opens(site, version, OLD)
    assert await opens(site, version, new)
    assert not await opens(site, version, OLD)
    assert await opens(site, version, new)


@pytest.mark.asyncio
@every_version
@pytest.mark.parametrize("lost_by", ["silence", "a late answer", "a broken connection", "nonsense"])
async def test_a_lost_answer_leaves_both_open(site: Site, version: Version, lost_by: str) -> None:
    rotation = await Rotation.begin(site, version, timeout_s=0.3)
    if lost_by == "a broken connection":
        rotation.client.socket.transport.abort()
    elif lost_by == "nonsense":
        await rotation.client.socket.send(json.dumps([3, rotation.message_id, {"status": 17}]))
    assert (await rotation.reply()).outcome is CommandOutcome.UNCERTAIN
    if lost_by == "a late answer":
        await rotation.answer("Accepted")
        await rotation.client.call("Heartbeat", {})
    await both_open_until_the_new_one_is_shown(site, version, rotation.password)


@pytest.mark.asyncio
@every_version
async def test_a_password_that_counts_after_a_reboot_leaves_both_open(site: Site, version: Version) -> None:
    rotation = await Rotation.begin(site, version)
    await rotation.answer("RebootRequired")
    assert (await rotation.reply()).outcome is CommandOutcome.ACCEPTED
    second = await site.gateway.rotate_password(site.station_id)
    assert (second.outcome, second.error_code) == (CommandOutcome.REJECTED, "NotSent")
    await both_open_until_the_new_one_is_shown(site, version, rotation.password)


@pytest.mark.asyncio
async def test_a_password_is_not_rotated_while_the_last_one_is_undecided(site: Site) -> None:
    """A second offer would overwrite the first, which the station may have taken."""
    rotation = await Rotation.begin(site, V201, timeout_s=0.5)
    second = await site.gateway.rotate_password(site.station_id)
    assert (second.outcome, second.error_code) == (CommandOutcome.REJECTED, "NotSent")
    assert (await rotation.reply()).outcome is CommandOutcome.UNCERTAIN
    third = await site.gateway.rotate_password(site.station_id)
    assert third.outcome is CommandOutcome.REJECTED
    again = await Rotation.begin(site, V201)  # it came back with the old one
    await again.answer("Accepted")
    assert (await again.reply()).outcome is CommandOutcome.ACCEPTED
    assert not await opens(site, V201, rotation.password)
    assert not await opens(site, V201, OLD)
    assert await opens(site, V201, again.password)


@pytest.mark.asyncio
async def test_a_station_that_is_not_there_keeps_its_password(site: Site) -> None:
    reply = await site.gateway.rotate_password(site.station_id)
    assert reply.outcome is CommandOutcome.UNREACHABLE
    assert await opens(site, V16, OLD)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_no_password_in_any_log(
    site: Site, version: Version, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="websockets.client")  # the test's own station
    caplog.set_level(logging.DEBUG)  # the last one sets the handler's level too
    frames: list[str] = []
    site.gateway.watch(site.station_id, lambda direction, text: frames.append(text))
    secrets: set[str] = {PASSWORD, base64.b64encode(f"{site.station_id}:{PASSWORD}".encode()).decode()}
    for word in ("Rejected", "Accepted"):
        rotation = await Rotation.begin(site, version)
        secrets |= {rotation.told, rotation.told.lower(), rotation.password.hex(), repr(rotation.password)}
        await rotation.answer(word)
        await rotation.reply()
    assert await opens(site, version, rotation.password)
    assert not await opens(site, version, OLD)
    generic = {"key": "AuthorizationKey", "value": rotation.told}
    assert (await site.gateway.request(site.station_id, "ChangeConfiguration", generic, 1.0)).error_code
    async with site.store.tenant(site.tenant_id) as unit:
        log = [event.model_dump_json() for event in await unit.stations.events(site.station_id, 100)]
        record = await unit.stations.get(site.station_id)
    assert record is not None
    assert log
    assert any(rotation.told in frame for frame in frames), "the station was told"
    output = capsys.readouterr()
    kept = [*log, record.model_dump_json(), *map(shown, frames), caplog.text, output.out, output.err]
    assert any("***" in text for text in kept)
    for secret in secrets:
        assert not any(secret in text for text in kept)


# --- what an operator may not send ------------------------------------------------------------------------


def variable(name: str, value: str, component: str = "SecurityCtrlr") -> Json:
    one = {"component": {"name": component}, "variable": {"name": name}, "attributeValue": value}
    return {"setVariableData": [{**one, "variable": {"name": "HeartbeatInterval"}}, one]}


def key(name: str, value: str) -> Json:
    return {"key": name, "value": value}


def profile(security_profile: int, url: str = "wss://example.org/ocpp", **more: Any) -> Json:
    data = {
        "ocppTransport": "JSON",
        "ocppCsmsUrl": url,
        "messageTimeout": 30,
        "securityProfile": security_profile,
        "ocppInterface": "Wired0",
        **more,
    }
    return {"configurationSlot": 1, "connectionData": data}


def firmware(location: str) -> Json:
    return {"requestId": 1, "firmware": {"location": location, "retrieveDateTime": "2026-01-01T00:00:00Z"}}


def firmware_16(location: str) -> Json:
    return {"location": location, "retrieveDate": "2026-01-01T00:00:00Z"}


SECRET = "00112233445566778899AABBCCDDEEFF"
REFUSED: list[tuple[Version, str, Json, str]] = [
    (V16, "ChangeConfiguration", key("AuthorizationKey", SECRET), "SecurityError"),
    (V16, "ChangeConfiguration", key("authorizationkey", SECRET), "SecurityError"),
    (V16, "ChangeConfiguration", key(" AuthorizationKey", SECRET), "SecurityError"),
    (V201, "SetVariables", variable("BasicAuthPassword", SECRET), "SecurityError"),
    (V201, "SetVariables", variable("BASICAUTHPASSWORD", SECRET), "SecurityError"),
    (V21, "SetVariables", variable("BasicAuthPassword", SECRET, "NetworkConfiguration"), "SecurityError"),
    (V21, "SetNetworkProfile", profile(3, basicAuthPassword=SECRET), "SecurityError"),
    (V16, "ChangeConfiguration", key("SecurityProfile", "1"), "SecurityError"),
    (V16, "ChangeConfiguration", key("securityprofile", "0"), "SecurityError"),
    (V16, "ChangeConfiguration", key("SecurityProfile", "\N{SUPERSCRIPT TWO}"), "SecurityError"),
    (V201, "SetNetworkProfile", profile(1, ocppVersion="OCPP20"), "SecurityError"),
    (V201, "SetVariables", variable("SecurityProfile", "1"), "SecurityError"),
    (V201, "SetNetworkProfile", profile(3, "wss://evil.example/", ocppVersion="OCPP20"), "SecurityError"),
    (V16, "RemoteStartTransaction", {"idTag": "TAG1", "connectorId": 1}, "NotSupported"),
    (
        V201,
        "RequestStartTransaction",
        {"idToken": {"idToken": "TAG1", "type": "Central"}, "remoteStartId": 1},
        "NotSupported",
    ),
    (V16, "GetDiagnostics", {"location": "ftp://evil.example/up"}, "SecurityError"),
    (V201, "PublishFirmware", {"location": "x", "checksum": "0" * 32, "requestId": 1}, "SecurityError"),
    (
        V201,
        "GetLog",
        {"logType": "SecurityLog", "requestId": 1, "log": {"remoteLocation": "evil.example/up"}},
        "SecurityError",
    ),
]
CROOKED = [
    "https://evil.example/fw.bin",
    "https://example.org.evil.example/fw.bin",
    "https://example.org@evil.example/fw.bin",
    "https://evil.example\\@example.org/fw.bin",
    "https://evil.example\t@example.org/fw.bin",
    "https://[example.org/fw.bin",
    "//evil.example/fw.bin",
    "evil.example/fw.bin",
    "file:///etc/passwd",
    "",
]


@pytest.mark.asyncio
@every_version
async def test_what_the_guards_refuse_never_reaches_the_station(site: Site, version: Version) -> None:
    cases = [(action, payload, code) for of, action, payload, code in REFUSED if of is version]
    of_firmware = firmware_16 if version is V16 else firmware
    cases += [("UpdateFirmware", of_firmware(location), "SecurityError") for location in CROOKED]
    async with connected(site, version) as station:
        held = site.gateway.connection(site.station_id)
        assert held is not None
        # As if agreed on 2: the test's station has no TLS.
        agreed = held.session.station.settings.model_copy(update={"security_profile": 2})
        held.session.station = held.session.station.model_copy(update={"settings": agreed})
        for action, payload, code in cases:
            reply = await site.gateway.request(site.station_id, action, payload, 1.0)
            assert (reply.outcome, reply.error_code) == (CommandOutcome.REJECTED, code), (action, payload)
            assert SECRET not in reply.model_dump_json()
        assert station.asked == station.unasked == []
        location = "https://user:word@EXAMPLE.org:8443/fw.bin?v=2"
        answer: Json = {} if version is V16 else {"status": "Accepted"}
        await command(site, station, "UpdateFirmware", of_firmware(location), answer)
        if version is V16:
            raised, accepted = key("SecurityProfile", "3"), {"status": "Accepted"}
            await command(site, station, "ChangeConfiguration", raised, accepted)


def test_a_guard_reads_both_generations_words_at_once() -> None:
    """What would not pass the schema later must not slip past the guard before."""
    mixed = {**key("HeartbeatInterval", "60"), **variable("BasicAuthPassword", SECRET)}
    with pytest.raises(Refused, match="SecurityError"):
        check_call(V201, "SetVariables", mixed, incoming=(), transfer_hosts=(), security_profile=1)
