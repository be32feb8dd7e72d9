"""Two gateways over one store: a station moves from one to the other, as behind a load balancer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from websockets.exceptions import ConnectionClosed

from connectors.ocpp.server import Gateway
from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from models.station import StationEventKind
from store.database import Store
from store.platform import CHANNEL_FRAMES, CHANNEL_ROUTES, CHANNEL_WATCH, StationRoute
from tests.ocpp.case_station import BOOT_16, BOOT_201, at
from tests.ocpp.conftest import PASSWORD, Client, Site
from workers.gateway.bus import GatewayBus
from workers.gateway.house import OcppHouse

V16, V201 = Version.V16, Version.V201


class Half:
    """One gateway process: its sockets, its queue, its bus."""

    def __init__(self, site: Site, name: str, database_url: str) -> None:
        self.queue = f"backstop-ocpp-{name}-{site.station_id}"
        self.house = OcppHouse(site.store, self.queue, site.sink)
        self.gateway = Gateway(self.house, 0.0)
        self.bus = GatewayBus(self.gateway, site.store, database_url)
        self.site = replace(site, gateway=self.gateway)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.gateway.start("127.0.0.1", 0)
        self._task = asyncio.create_task(self.bus.run())

    async def hears(self, store: Store) -> None:
        """Until its LISTEN stands: notices of before are nobody's."""
        name = f"probe-{self.queue}"
        async with asyncio.timeout(15):
            while name not in self.bus._ends:
                async with store.platform() as unit:
                    await unit.tell(CHANNEL_WATCH, name)
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.gateway.stop()


@pytest_asyncio.fixture
async def halves(site: Site, database_url: str) -> AsyncIterator[tuple[Half, Half]]:
    pair = (Half(site, "left", database_url), Half(site, "right", database_url))
    for half in pair:
        await half.start()
    for half in pair:
        await half.hears(site.store)
    yield pair
    for half in pair:
        await half.stop()


async def route_of(site: Site) -> StationRoute | None:
    async with site.store.platform() as unit:
        return await unit.find_route(site.station_id)


async def until_empty(half: Half) -> None:
    async with asyncio.timeout(15):
        while half.gateway.connected:
            await asyncio.sleep(0.01)


async def unlocks(half: Half, client: Client) -> None:
    sent = asyncio.create_task(half.gateway.send(half.site.command(CommandKind.UNLOCK)))
    call = await client.frame()
    await client.socket.send(json.dumps([3, call[1], {"status": "Unlocked"}]))
    assert (await sent).outcome is CommandOutcome.ACCEPTED


# --- a session in either generation: start at one gateway, meter and end at the other -----------------------


class Session:
    def __init__(self, version: Version, attempt_id: str) -> None:
        self.version = version
        self.reference = f"tx-{attempt_id}"[-36:]
        self._start_id = remote_start_id_for(attempt_id)
        self._started_at = at()
        self._number = 0
        self.transaction_id = 0

    @property
    def start(self) -> Json:
        return {"connectorId": 1, "idTag": "TAG1", "meterStart": 5000, "timestamp": self._started_at}

    def _event(self, kind: str, wh: float, when: str | None = None, **info: Any) -> Json:
        sample = {"value": wh, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
        number, self._number = self._number, self._number + 1
        return {
            "eventType": kind,
            "timestamp": when or at(),
            "triggerReason": "MeterValuePeriodic",
            "seqNo": number,
            "transactionInfo": {"transactionId": self.reference, "remoteStartId": self._start_id, **info},
            "evse": {"id": 1, "connectorId": 1},
            "meterValue": [{"timestamp": when or at(), "sampledValue": [sample]}],
        }

    async def begin(self, client: Client) -> None:
        if self.version is V16:
            await client.call("BootNotification", BOOT_16)
            self.transaction_id = (await client.call("StartTransaction", self.start))["transactionId"]
        else:
            await client.call("BootNotification", BOOT_201)
            await client.call("TransactionEvent", self._event("Started", 5000, self._started_at))

    async def meter(self, client: Client, wh: int) -> None:
        if self.version is V16:
            values = [{"timestamp": at(), "sampledValue": [{"value": str(wh), "unit": "Wh"}]}]
            body = {"connectorId": 1, "transactionId": self.transaction_id, "meterValue": values}
            await client.call("MeterValues", body)
        else:
            await client.call("TransactionEvent", self._event("Updated", wh))

    async def end(self, client: Client, wh: int) -> None:
        if self.version is V16:
            body = {"transactionId": self.transaction_id, "meterStop": wh, "timestamp": at()}
            await client.call("StopTransaction", body)
        else:
            await client.call("TransactionEvent", self._event("Ended", wh, stoppedReason="Local"))


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_a_station_moves_in_mid_transaction(
    site: Site, halves: tuple[Half, Half], version: Version
) -> None:
    left, right = halves
    session = Session(version, await site.attempt())
    old = await left.site.connect(version)
    await session.begin(old)
    await session.meter(old, 6500)
    first = await route_of(site)
    assert first is not None
    assert first.queue == left.queue

    new = await right.site.connect(version)  # the old socket has not been closed: it hangs
    await session.meter(new, 8000)
    held = await route_of(site)
    assert held is not None
    assert (held.queue, held.generation) == (right.queue, right.gateway.held()[0])
    await until_empty(left)
    with pytest.raises(ConnectionClosed) as closed:
        await old.frame()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == "replaced"
    gone = await left.gateway.send(left.site.command(CommandKind.UNLOCK))
    assert gone.outcome is CommandOutcome.UNREACHABLE
    await unlocks(right, new)

    if version is V16:  # the start's answer may have been lost: told again, it is the same transaction
        assert (await new.call("StartTransaction", session.start))["transactionId"] == session.transaction_id
    await session.end(new, 9000)
    (ended,) = await site.sink.until(EvidenceKind.SESSION_ENDED)
    assert ended.energy_kwh == pytest.approx(4.0)
    (started,) = site.sink.of(EvidenceKind.SESSION_STARTED)
    assert started.session_ref == ended.session_ref
    assert await route_of(site) == held
    async with site.store.tenant(site.tenant_id) as unit:
        assert await unit.sessions.open_of_station(site.station_id) == []
        (replaced,) = await unit.stations.events(site.station_id, 9, StationEventKind.DISCONNECTED)
    assert replaced.body["reason"] == "replaced"
    assert replaced.body["by"] == held.generation


@pytest.mark.asyncio
async def test_a_station_moves_there_and_back(site: Site, halves: tuple[Half, Half]) -> None:
    """What the first gateway knew of the transaction is of yesterday when the station comes back."""
    left, right = halves
    session = Session(V16, await site.attempt())
    client = await left.site.connect(V16)
    await session.begin(client)
    for half, wh in ((right, 6000), (left, 7000), (right, 8000), (left, 9000)):
        client = await half.site.connect(V16)
        await session.meter(client, wh)
        held = await route_of(site)
        assert held is not None
        assert held.queue == half.queue
    await until_empty(right)
    await unlocks(left, client)
    await session.end(client, 9500)
    (ended,) = await site.sink.until(EvidenceKind.SESSION_ENDED)
    assert ended.energy_kwh == pytest.approx(4.5)


@pytest.mark.asyncio
async def test_the_old_gateways_goodbye_takes_nothing_away(site: Site, halves: tuple[Half, Half]) -> None:
    left, right = halves
    await left.site.connect(V16)
    old = left.gateway.connection(site.station_id)
    assert old is not None
    new = await right.site.connect(V16)
    await new.call("Heartbeat", {})
    held = await route_of(site)
    await left.house.release(old.session.station, old.generation)
    assert await route_of(site) == held
    await left.gateway.stop()
    assert await route_of(site) == held
    await unlocks(right, new)


@pytest.mark.asyncio
async def test_a_late_notice_drops_nobody(site: Site, halves: tuple[Half, Half]) -> None:
    """Was a bug: a notice of an earlier claim, heard after the station had come (back) to this gateway,
    dropped the living socket."""
    left, right = halves
    first = await left.site.connect(V16)
    await first.call("Heartbeat", {})
    overtaken = left.gateway.held()[0]
    client = await right.site.connect(V16)
    await client.call("Heartbeat", {})
    await until_empty(left)
    replaced = right.gateway.counts["replaced"]
    for generation in (overtaken, "0123456789abcdef"):
        async with site.store.platform() as unit:
            await unit.tell(CHANNEL_ROUTES, f"{site.station_id} {generation}")
    await right.hears(site.store)
    while right.bus._checks:
        await asyncio.gather(*right.bus._checks)
    right.bus.hear(CHANNEL_ROUTES, f"{site.station_id} {overtaken}")
    await asyncio.gather(*right.bus._checks)
    assert right.gateway.counts["replaced"] == replaced
    await unlocks(right, client)


@pytest.mark.asyncio
async def test_before_its_own_claim_is_known_a_gateway_believes_no_notice(
    site: Site, halves: tuple[Half, Half], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = halves
    first = await left.site.connect(V16)
    await first.call("Heartbeat", {})
    earlier = left.gateway.held()[0]
    may_claim = asyncio.Event()
    claim = right.house.claim

    async def slow(*args: Any) -> None:
        await may_claim.wait()
        await claim(*args)

    monkeypatch.setattr(right.house, "claim", slow)
    client = await right.site.connect(V16)
    async with asyncio.timeout(5):
        while not right.gateway.connected:
            await asyncio.sleep(0.01)
    right.bus.hear(CHANNEL_ROUTES, f"{site.station_id} {earlier}")
    checks = len(right.bus._checks)
    may_claim.set()
    assert checks == 0
    await client.call("Heartbeat", {})
    await until_empty(left)
    await unlocks(right, client)


# --- routes that nobody holds -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_hold_drops_what_is_not_held_and_only_that(
    site: Site, halves: tuple[Half, Half], database_url: str, schema: str
) -> None:
    left, right = halves

    async def age(queue: str, by: timedelta) -> None:
        """As if the gateway had said it so long ago."""
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            statement = sql.SQL("UPDATE {}.route SET seen_at = now() - %s WHERE queue = %s")
            await connection.execute(statement.format(sql.Identifier(schema)), (by, queue))

    client = await left.site.connect(V16)
    await client.call("Heartbeat", {})
    held = await route_of(site)
    await right.house.hold([])
    assert await route_of(site) == held, "another gateway's is not ours to drop"
    await left.house.hold([])
    assert await route_of(site) == held, "claimed a moment ago: perhaps not in the list yet"
    await age(left.queue, timedelta(minutes=1))
    await left.house.hold(left.gateway.held())
    still = await route_of(site)
    assert still is not None
    assert held is not None
    assert still.generation == held.generation
    assert still.seen_at >= held.seen_at, "said again"
    await age(left.queue, timedelta(minutes=1))
    await left.house.hold([])
    assert await route_of(site) is None


@pytest.mark.asyncio
async def test_a_gateway_that_starts_anew_drops_its_forerunners_routes(
    site: Site, halves: tuple[Half, Half]
) -> None:
    left, right = halves
    await (await left.site.connect(V16)).call("Heartbeat", {})
    held = await route_of(site)
    await right.house.begin()
    assert await route_of(site) == held
    await left.house.begin()
    assert await route_of(site) is None


# --- whose frames are watched -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_frames_are_shown_wherever_the_station_is_and_whatever_it_says(
    site: Site, halves: tuple[Half, Half], database_url: str
) -> None:
    left, right = halves
    shown: asyncio.Queue[Json] = asyncio.Queue()
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    await connection.execute(f"LISTEN {CHANNEL_FRAMES}")

    async def collect() -> None:
        async for notice in connection.notifies():
            frame = json.loads(notice.payload)
            if frame["station_id"] == site.station_id:
                shown.put_nowait(frame)

    collecting = asyncio.create_task(collect())
    try:
        for half in halves:
            half.bus.hear(CHANNEL_WATCH, site.station_id)
        for half in (left, right):
            client = await half.site.connect(V16)
            await client.raw("[" * 900 + "]" * 900)  # nested so deep that showing it might fail
            wide = {"vendorId": "V", "data": "\N{BATTERY}" * 5_000}
            await client.call("DataTransfer", wide)
            await client.call("Authorize", {"idTag": "A-SECRET-TAG"})
            seen: list[Json] = []
            async with asyncio.timeout(10):
                while len(seen) < 6:
                    seen.append(await shown.get())
            assert [frame["direction"] for frame in seen] == ["in", "out"] * 3
            assert "\N{BATTERY}" in seen[2]["frame"]
            assert "Authorize" in seen[4]["frame"]
            assert "A-SECRET-TAG" not in json.dumps(seen)
            assert PASSWORD not in json.dumps(seen)
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        await connection.close()
