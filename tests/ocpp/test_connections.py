"""A connection's life: half-open sockets, rates, failures of ours, boots that wait, reconnects without."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from connectors.ocpp.door.entry import Bucket
from connectors.ocpp.server import Gateway
from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandKind, CommandOutcome
from models.station import Admission, StationEventKind, StationSettings
from models.station_commands import StationTask
from models.station_passwords import hash_password
from store.platform import StationRoute
from tests.ocpp.case_station import BOOT_16, BOOT_201, Refused, Station, at, command, connected, settle
from tests.ocpp.conftest import PASSWORD, Client, Site
from workers.gateway.house import OcppHouse

V16, V201, V21 = Version.V16, Version.V201, Version.V21
VERSIONS = [V16, V201, V21]


async def route_of(site: Site) -> StationRoute | None:
    async with site.store.platform() as unit:
        return await unit.find_route(site.station_id)


async def until_gone(site: Site) -> None:
    async with asyncio.timeout(15):
        while site.gateway.connected or await route_of(site) is not None:
            await asyncio.sleep(0.02)


# --- half-open sockets ------------------------------------------------------------------------------------


class Wire:
    """A cable between station and gateway. Cut, it takes all and passes nothing on, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = True
        self._writers: list[asyncio.StreamWriter] = []
        self._joined: list[asyncio.Task[Any] | None] = []
        self._server: asyncio.Server | None = None

    async def lay(self) -> int:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        self._whole = False

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._joined.append(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self._whole:
                    writer.write(data)
                    await writer.drain()
            if self._whole:
                writer.close()

    async def remove(self) -> None:
        assert self._server is not None
        for writer in self._writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*(task for task in self._joined if task), return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest_asyncio.fixture
async def quick_site(site: Site) -> AsyncIterator[Site]:
    """The site behind a gateway that pings every 0.3 s."""
    gateway = Gateway(OcppHouse(site.store, "backstop-ocpp-quick", site.sink), 0.0, ping_interval_s=0.3)
    await gateway.start("127.0.0.1", 0)
    yield replace(site, gateway=gateway)
    await gateway.stop()


@asynccontextmanager
async def wired(site: Site) -> AsyncIterator[tuple[Wire, Client]]:
    wire = Wire(site.gateway.port)
    port = await wire.lay()
    client = await site.connect(V16, url=f"ws://127.0.0.1:{port}/ocpp/{site.station_id}")
    await client.call("BootNotification", BOOT_16)
    yield wire, client
    client.socket.transport.abort()
    await wire.remove()


@pytest.mark.asyncio
async def test_a_half_open_socket_is_found_by_its_ping(quick_site: Site) -> None:
    site = quick_site
    async with wired(site) as (wire, _):
        assert await route_of(site) is not None
        wire.cut()
        await until_gone(site)
        reply = await site.gateway.send(site.command(CommandKind.UNLOCK))
        assert reply.outcome is CommandOutcome.UNREACHABLE
        async with site.store.tenant(site.tenant_id) as unit:
            (gone,) = await unit.stations.events(site.station_id, 10, StationEventKind.DISCONNECTED)
        assert gone.body["code"] == 1006


@pytest.mark.asyncio
async def test_a_half_open_socket_locks_nobody_out(quick_site: Site) -> None:
    """Elsewhere the newcomer is refused for as long as the dead socket looks alive."""
    site = quick_site
    async with wired(site) as (wire, _):
        wire.cut()
        back = await site.connect(V16)
        await back.call("Heartbeat", {})
        held = await route_of(site)
        async with asyncio.timeout(15):  # until the dead one is found and forgotten
            while site.gateway.counts["replaced"] < 1 or len(site.gateway.held()) != 1:
                await asyncio.sleep(0.02)
        await back.call("Heartbeat", {})
        assert await route_of(site) == held


# --- rates ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_station_that_talks_too_fast_waits_and_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bucket, "per_s", 100.0)
    monkeypatch.setattr(Bucket, "burst", 5.0)
    client = await site.connect(V16)
    begin = asyncio.get_running_loop().time()
    for number in range(40):  # all at once, without waiting for an answer
        await client.socket.send(json.dumps([2, f"m{number}", "Heartbeat", {}]))
    answered = [(await client.frame())[1] for _ in range(40)]
    took_s = asyncio.get_running_loop().time() - begin
    assert answered == [f"m{number}" for number in range(40)]
    assert took_s > 0.3, "35 messages more than the burst at 100 a second"
    assert site.gateway.counts["slowed down"] > 0


def test_the_bucket_fills_again_and_never_over() -> None:
    bucket = Bucket()
    assert all(bucket.wait_s(10.0) == 0 for _ in range(int(Bucket.burst)))
    assert bucket.wait_s(10.0) == pytest.approx(1 / Bucket.per_s)
    assert bucket.wait_s(10.0) == pytest.approx(2 / Bucket.per_s)
    assert bucket.wait_s(1000.0) == 0
    assert sum(bucket.wait_s(1000.0) == 0 for _ in range(2000)) == int(Bucket.burst) - 1


# --- failures of ours -------------------------------------------------------------------------------------


def start_of(version: Version) -> tuple[str, Json]:
    if version is V16:
        body = {"connectorId": 1, "idTag": "TAG1", "meterStart": 100, "timestamp": at()}
        return "StartTransaction", body
    return "TransactionEvent", {
        "eventType": "Started",
        "timestamp": at(),
        "triggerReason": "RemoteStart",
        "seqNo": 0,
        "transactionInfo": {"transactionId": f"tx-{at()}"[:36]},
        "evse": {"id": 1, "connectorId": 1},
        "idToken": {"idToken": "TAG1", "type": "Central"},
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_failure_of_ours_makes_the_station_repeat_and_nothing_is_lost(
    site: Site, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, payload = start_of(version)
    frame = json.dumps([2, "the-start", action, payload])
    client = await site.connect(version)

    async def broken(*_: Any) -> Any:
        raise OSError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(OcppHouse, "start", broken)
        await client.socket.send(frame)
        await client.socket.send(json.dumps([2, "behind-it", "Heartbeat", {}]))
        with pytest.raises(ConnectionClosed) as closed:
            raise AssertionError(f"answered: {await client.frame()}")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    again = await site.connect(version)
    answer = await again.raw(frame)
    assert answer[:2] == [3, "the-start"]
    assert await again.raw(frame) == answer, "and once more, as the first answer was lost"
    async with site.store.tenant(site.tenant_id) as unit:
        assert len(await unit.sessions.open_of_station(site.station_id)) == 1


@pytest.mark.asyncio
async def test_a_failure_of_ours_elsewhere_is_an_error_and_the_connection_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise OSError("the store is away")

    async with connected(site, V16) as station:
        with monkeypatch.context() as patched:
            patched.setattr(OcppHouse, "connector", broken)
            patched.setattr(OcppHouse, "note", broken)
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": at()}
            with pytest.raises(Refused, match="InternalError"):
                await station.call("StatusNotification", status)
        assert "currentTime" in await station.call("Heartbeat", {})


# --- boots that wait --------------------------------------------------------------------------------------

TELLS: dict[Version, list[tuple[str, Json]]] = {
    V16: [
        ("Heartbeat", {}),
        ("Authorize", {"idTag": "TAG1"}),
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}),
        ("DataTransfer", {"vendorId": "V"}),
    ],
    V201: [
        ("Heartbeat", {}),
        ("Authorize", {"idToken": {"idToken": "TAG1", "type": "Central"}}),
        ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": at()}),
        ("DataTransfer", {"vendorId": "V"}),
    ],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("admission", [Admission.PENDING, Admission.REJECTED])
@pytest.mark.parametrize("version", [V16, V201])
async def test_a_station_that_waits_is_heard_once_it_is_accepted(
    site: Site, version: Version, admission: Admission
) -> None:
    """It stays connected and repeats its Boot: the operator's word counts from the next one."""
    await settle(site, admission=admission)
    boot = BOOT_16 if version is V16 else BOOT_201
    all_tells = [*TELLS[version], start_of(version)]
    async with connected(site, version, boot=False) as station:
        for action, payload in all_tells:  # before the first Boot as well
            with pytest.raises(Refused, match="SecurityError"):
                await station.call(action, payload)
        reply = await station.call("BootNotification", boot)
        assert reply["status"] == admission.value.capitalize()
        assert reply["interval"] > 0
        for action, payload in all_tells:
            with pytest.raises(Refused, match="SecurityError"):
                await station.call(action, payload)
        wanted = {"requestedMessage": "BootNotification"}
        await command(site, station, "TriggerMessage", wanted, {"status": "Accepted"})
        reason = {} if version is V16 else {"reason": "Triggered"}
        assert (await station.call("BootNotification", {**boot, **reason}))["status"] != "Accepted"
        await settle(site, admission=Admission.ACCEPTED)
        assert (await station.call("BootNotification", boot))["status"] == "Accepted"
        for action, payload in all_tells:
            await station.call(action, payload)
    async with site.store.tenant(site.tenant_id) as unit:
        assert len(await unit.sessions.open_of_station(site.station_id)) == 1


# --- reconnects without Boot ------------------------------------------------------------------------------


async def asked_of(station: Station, number: int) -> list[tuple[str, Json]]:
    async with asyncio.timeout(10):
        while len(station.asked) < number:
            await asyncio.sleep(0.02)
    return station.asked


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_after_a_reconnect_without_boot_the_station_is_asked_how_things_stand(
    site: Site, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.ocpp.greeting._BOOT_WAIT_S", 0.3)
    action, payload = start_of(version)
    async with connected(site, version) as station:
        await station.call(action, payload)
    async with connected(site, version, boot=False) as station:
        station.answers("TriggerMessage", "NotImplemented", {"status": "Accepted"})
        station.answers("GetTransactionStatus", {"messagesInQueue": False, "ongoingIndicator": True})
        number = 2 if version is V16 else 3
        asked = await asked_of(station, number)
        per_connector = [
            {"connectorId": one} if version is V16 else {"evse": {"id": one, "connectorId": 1}}
            for one in (1, 2)
        ]
        expected = [
            ("TriggerMessage", {"requestedMessage": "StatusNotification", **where}) for where in per_connector
        ]
        if version is not V16:
            reference = payload["transactionInfo"]["transactionId"]
            expected.append(("GetTransactionStatus", {"transactionId": reference}))
        assert asked == expected
        assert station.unasked == []
        assert "currentTime" in await station.call("Heartbeat", {})


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_after_a_boot_nothing_is_asked(
    site: Site, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.ocpp.greeting._BOOT_WAIT_S", 0.3)
    async with connected(site, version) as station:
        held = site.gateway.connection(site.station_id)
        assert held is not None
        async with asyncio.timeout(5):  # until the boot has been taken for one
            while held.session.booted is None or not held.session.booted.is_set():
                await asyncio.sleep(0.01)
        async with asyncio.timeout(5):  # until the gateway has asked all that it wanted to
            while any("greet" in repr(task.get_coro()) for task in site.gateway._tasks):  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.01)
        await station.call("Heartbeat", {})
        assert station.asked == station.unasked == []


@pytest.mark.asyncio
async def test_a_pinned_version_is_the_only_one(site: Site) -> None:
    await settle(site, protocol_pin="ocpp1.6")
    client = await site.connect(V201, V16)
    assert client.socket.subprotocol == V16
    await client.call("Heartbeat", {})
    other = await site.connect(V201)
    with pytest.raises(ConnectionClosed) as closed:
        await other.frame()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1002
    assert "currentTime" in await client.call("Heartbeat", {}), "who speaks nothing of ours displaces nobody"
    await settle(site)
    assert (await site.connect(V201, V16)).socket.subprotocol == V201


# --- tenants ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_stations_commands_are_its_own_tenants(site: Site, unique: Any) -> None:
    """Was a bug: a charger record, or a limit, that names another tenant's station reached that station."""
    mine = unique("cp")
    async with site.store.tenant(site.tenant_id) as unit:
        await unit.stations.put(StationSettings(station_id=mine), hash_password(PASSWORD))
    other = await site.connect(V16, user=mine, url=site.url.replace(site.station_id, mine))
    await other.call("BootNotification", BOOT_16)
    async with connected(site, V16) as station:
        foreign = site.command(CommandKind.UNLOCK, tenant_id="somebody-else")
        assert (await site.gateway.send(foreign)).outcome is CommandOutcome.UNREACHABLE
        call: Json = {
            "command_id": "c1",
            "tenant_id": "somebody-else",
            "station_id": site.station_id,
            "action": "GetLocalListVersion",
        }
        limit: Json = {
            "limit_id": "l1",
            "tenant_id": site.tenant_id,
            "station_id": site.station_id,
            "connector_number": 1,
            "purpose": "default",
            "periods": [{"limit_kw": 0}],
        }
        of_mine = {**call, "tenant_id": site.tenant_id, "station_id": mine, "kind": "set_limit"}
        for task in (
            call,
            {**of_mine, "limit": limit},
            {**of_mine, "kind": "clear_limit", "limit": limit},
            {**of_mine, "limit": {**limit, "station_id": mine, "tenant_id": "somebody-else"}},
        ):
            reply = await site.gateway.do(StationTask.model_validate(task))
            assert reply.outcome is CommandOutcome.UNREACHABLE, task
        assert station.asked == station.unasked == []
    await other.socket.close()
