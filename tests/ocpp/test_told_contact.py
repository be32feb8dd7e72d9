"""That a station is away, and that it is back: told once each, to our sessions and for every connector, and
never where it is our own doing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from connectors.ocpp.server import Gateway
from models.commands import CommandKind, CommandOutcome
from models.evidence import Evidence, EvidenceKind
from simulators.twin import Fault, FaultKind
from tests.ocpp.conftest import Client, Site
from tests.ocpp.limit_bench import DC, VERSIONS, live, until
from tests.ocpp.truth_site import V16, from_now, outage, start
from workers.gateway.house import OcppHouse

pytestmark = pytest.mark.asyncio
K = EvidenceKind
AWAY_AFTER_S = 0.3


async def opened(site: Site, queue: str, away_after_s: float = AWAY_AFTER_S) -> Site:
    gateway = Gateway(OcppHouse(site.store, queue, site.sink), 0.0, away_after_s=away_after_s)
    await gateway.start("127.0.0.1", 0)
    return replace(site, gateway=gateway)


@pytest_asyncio.fixture
async def here(site: Site) -> AsyncIterator[Site]:
    """The site behind a gateway that tells an absence after 0.3 s."""
    made = await opened(site, "backstop-ocpp-here")
    yield made
    await made.gateway.stop()


@pytest_asyncio.fixture
async def elsewhere(site: Site) -> AsyncIterator[Site]:
    made = await opened(site, "backstop-ocpp-elsewhere")
    yield made
    await made.gateway.stop()


async def leave(site: Site, client: Client) -> None:
    client.socket.transport.abort()
    async with asyncio.timeout(10):
        while site.gateway.connected:
            await asyncio.sleep(0.01)


def whom(told: list[Evidence]) -> set[tuple[str | None, str | None]]:
    return {(item.attempt_id, item.charger_id) for item in told}


async def here_settles(site: Site) -> None:
    """Until nothing of the gateway's is left to be told."""
    tasks = site.gateway._tasks  # pyright: ignore[reportPrivateUsage]
    async with asyncio.timeout(10):
        while any("Absences.lost" in repr(task.get_coro()) for task in tasks):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("comes_back_elsewhere", [False, True])
async def test_away_and_back_is_told_once_each_wherever_it_comes_back(
    here: Site, elsewhere: Site, comes_back_elsewhere: bool
) -> None:
    attempt_id = await here.attempt()
    client = await here.connect(V16)
    await start(client, from_now())
    await leave(here, client)
    expected = {
        (attempt_id, here.charger(1).charger_id),
        (None, here.charger(1).charger_id),
        (None, here.charger(2).charger_id),
    }
    away = await here.sink.until(K.STATION_OFFLINE, 3)
    assert whom(away) == expected
    assert len({item.observed_at for item in away}) == 1
    back = elsewhere if comes_back_elsewhere else here
    for _ in range(2):  # the second replaces the first, and says nothing new
        await (await back.connect(V16)).call("Heartbeat", {})
    online = await here.sink.until(K.STATION_ONLINE, 3)
    assert whom(online) == expected
    assert min(item.observed_at for item in online) > away[0].observed_at
    assert len(here.sink.of(K.STATION_OFFLINE)) == len(here.sink.of(K.STATION_ONLINE)) == 3


async def test_a_second_absence_is_another(here: Site) -> None:
    for number in (1, 2):
        client = await here.connect(V16)
        await client.call("Heartbeat", {})
        await here.sink.until(K.STATION_ONLINE, 2 * (number - 1))
        await leave(here, client)
        await here.sink.until(K.STATION_OFFLINE, 2 * number)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_who_is_back_within_a_moment_was_never_away(here: Site, elsewhere: Site, where: str) -> None:
    client = await here.connect(V16)
    await client.call("Heartbeat", {})
    await leave(here, client)
    back = here if where == "here" else elsewhere
    await (await back.connect(V16)).call("Heartbeat", {})
    await here_settles(here)
    assert here.sink.of(K.STATION_OFFLINE) == here.sink.of(K.STATION_ONLINE) == []


async def test_a_newer_socket_takes_the_place_and_nobody_was_away(here: Site) -> None:
    older = await here.connect(V16)
    await older.call("Heartbeat", {})
    newer = await here.connect(V16)
    await newer.call("Heartbeat", {})
    await older.socket.wait_closed()
    await here_settles(here)
    assert here.sink.of(K.STATION_OFFLINE) == []


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_our_own_shutdown_is_never_the_stations_fault(site: Site, is_waiting: bool) -> None:
    """Also not for a station that had left a moment before: whether it comes back, nobody here will know."""
    made = await opened(site, "backstop-ocpp-ending", away_after_s=3600)
    await site.attempt()
    client = await made.connect(V16)
    await start(client, from_now())
    if is_waiting:
        await leave(made, client)
    await made.gateway.stop()
    assert site.sink.of(K.STATION_OFFLINE) == []
    again = await opened(site, "backstop-ocpp-ending")
    await (await again.connect(V16)).call("Heartbeat", {})
    assert site.sink.of(K.STATION_ONLINE) == []
    await again.gateway.stop()


async def test_an_outage_of_the_store_only_delays_it(here: Site) -> None:
    client = await here.connect(V16)
    await client.call("Heartbeat", {})
    with outage(here, "went_away") as tries:
        await leave(here, client)
        await until(lambda: tries["went_away"] >= 2)
        assert here.sink.of(K.STATION_OFFLINE) == []
    assert len(await here.sink.until(K.STATION_OFFLINE, 2)) == 2


async def test_an_outage_of_the_store_delays_the_return_too(here: Site) -> None:
    client = await here.connect(V16)
    await client.call("Heartbeat", {})
    await leave(here, client)
    await here.sink.until(K.STATION_OFFLINE, 2)
    with outage(here, "came_back") as tries:
        back = await here.connect(V16)
        await back.call("Heartbeat", {})
        await until(lambda: tries["came_back"] >= 2)
        assert here.sink.of(K.STATION_ONLINE) == []
    assert len(await here.sink.until(K.STATION_ONLINE, 2)) == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_live_station_that_goes_offline_and_comes_back(here: Site, version: Any) -> None:
    async with live(here, version, DC) as bench:
        await bench.charge()
        bench.station.drop(1.0)
        assert len(await here.sink.until(K.STATION_OFFLINE, 3)) == 3
        assert len(await here.sink.until(K.STATION_ONLINE, 3)) == 3


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fault", [FaultKind.STOP_IGNORED, FaultKind.STOP_DROPPED, FaultKind.STOP_LATE])
async def test_the_simulated_station_can_lose_a_stop(site: Site, version: Any, fault: FaultKind) -> None:
    async with live(site, version, DC) as bench:
        reference = await bench.charge()
        connector = bench.station.connectors[1]
        connector.faults.append(Fault(kind=fault, delay_s=0.4))
        stop = site.command(CommandKind.STOP, session_ref=reference, timeout_s=0.2)
        expected = {
            FaultKind.STOP_IGNORED: CommandOutcome.ACCEPTED,
            FaultKind.STOP_DROPPED: CommandOutcome.UNCERTAIN,
            FaultKind.STOP_LATE: CommandOutcome.UNCERTAIN,
        }
        assert (await site.gateway.send(stop)).outcome is expected[fault]
        if fault is FaultKind.STOP_LATE:
            await site.sink.until(K.SESSION_ENDED)
        else:
            assert connector.session is not None
            again = site.command(CommandKind.STOP, session_ref=reference)
            assert (await site.gateway.send(again)).outcome is CommandOutcome.ACCEPTED
            await site.sink.until(K.SESSION_ENDED)
        await until(lambda: connector.session is None)
