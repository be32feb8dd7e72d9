"""A station's live messages over a real socket: shown to its tenant while it looks, and to nobody else."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
import uvicorn
from temporalio.client import Client

from api.station_messages import FrameHub
from store.database import Store
from store.notices import listen
from store.platform import CHANNEL_FRAMES, CHANNEL_WATCH
from tests.api.stations_bench import StationsApi, stations_api

RENEWAL_S = 0.2


@dataclass
class Served:
    api: StationsApi
    http: httpx.AsyncClient

    @property
    def hub(self) -> FrameHub:
        return self.api.app.state.frames

    @asynccontextmanager
    async def tail(self, station_id: str, who: str = "commander") -> AsyncIterator[AsyncIterator[str]]:
        """Lines of the stream, once it watches."""
        path = f"/v1/stations/{station_id}/messages"
        async with (
            asyncio.timeout(20),
            self.http.stream("GET", path, headers=self.api.headers(who)) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await until(lines, "event: watching")
            yield lines

    async def show(self, station_id: str, text: str) -> None:
        """A frame, as a gateway publishes it."""
        frame = {"station_id": station_id, "at": "2026-01-01T00:00:00.000", "direction": "in", "frame": text}
        async with self.api.store.platform() as unit:
            await unit.tell(CHANNEL_FRAMES, json.dumps(frame))

    async def nobody_looks(self) -> None:
        async with asyncio.timeout(10):
            while self.hub.viewers:
                await asyncio.sleep(0.02)


async def until(lines: AsyncIterator[str], start: str) -> str:
    async for line in lines:
        if line.startswith(start):
            return line
    return ""


@pytest_asyncio.fixture
async def served(temporal_client: Client, store: Store) -> AsyncIterator[Served]:
    async with stations_api(temporal_client, store, watch_renewal_s=RENEWAL_S, tails=3) as api:
        server = uvicorn.Server(uvicorn.Config(api.app, port=0, log_config=None, access_log=False))
        server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield Served(api, http)
        server.should_exit = True
        await serving


@pytest.mark.asyncio
async def test_frames_of_the_station_are_shown_and_no_others(served: Served) -> None:
    mine, other = await served.api.add(), await served.api.add()
    async with served.tail(mine) as lines:
        await served.show(other, "not mine")
        await served.show(mine, '[2,"1","Heartbeat",{}]')
        shown = json.loads((await until(lines, "data: ")).removeprefix("data: "))
        if "frame" not in shown:  # the data of `watching`
            shown = json.loads((await until(lines, "data: ")).removeprefix("data: "))
        assert (shown["station_id"], shown["frame"]) == (mine, '[2,"1","Heartbeat",{}]')
    await served.nobody_looks()


@pytest.mark.asyncio
async def test_the_watch_is_said_again_while_somebody_looks_and_not_after(served: Served) -> None:
    station_id, other = await served.api.add(), await served.api.add()
    asked = Counter[str]()

    async def count() -> None:
        async for _, text in listen(served.api.store.url, [CHANNEL_WATCH]):
            asked[text] += 1

    counting = asyncio.create_task(count())
    try:
        async with served.tail(station_id) as lines:
            for _ in range(4):
                assert await until(lines, ": still here")
            assert asked[station_id] >= 3
        await served.nobody_looks()
        assert served.hub.is_idle
        seen = asked[station_id]
        async with served.tail(other) as lines:  # another's watch is renewed three times meanwhile
            while asked[other] < 4:
                assert await until(lines, ": still here")
        assert asked[station_id] - seen <= 1  # what was on its way
        await served.nobody_looks()
        assert served.hub.is_idle
    finally:
        counting.cancel()


@pytest.mark.asyncio
async def test_it_ends_with_the_right_to_look(served: Served) -> None:
    station_id = await served.api.add()
    async with served.tail(station_id) as lines:
        await _revoke(served.api.store, served.api.tenant_id, "commander")
        async for _ in lines:  # the server ends the stream
            pass
    await served.nobody_looks()


async def _revoke(store: Store, tenant_id: str, name: str) -> None:
    from sqlalchemy import text

    async with store.platform() as unit:
        connection = unit._connection  # pyright: ignore[reportPrivateUsage]
        await connection.execute(
            text("DELETE FROM api_key WHERE tenant_id = :t AND name = :n"), {"t": tenant_id, "n": name}
        )


@pytest.mark.asyncio
async def test_room_is_limited_and_given_back(served: Served) -> None:
    station_id = await served.api.add()
    path = f"/v1/stations/{station_id}/messages"
    async with served.tail(station_id), served.tail(station_id), served.tail(station_id):
        full = await served.http.get(path, headers=served.api.headers("commander"))
        assert (full.status_code, full.json()["code"]) == (503, "tail.too_many")
        assert full.headers["retry-after"]
    await served.nobody_looks()
    async with served.tail(station_id):
        pass


@pytest.mark.asyncio
async def test_who_reads_slowly_is_told_what_he_missed(served: Served) -> None:
    """The hub never waits for a viewer: what does not fit is counted."""
    name = f"CP-{uuid.uuid4().hex[:8]}"
    async with served.hub.viewing(name) as viewer:
        for number in range(510):
            served.hub.hear(CHANNEL_FRAMES, json.dumps({"station_id": name, "frame": str(number)}))
        assert (viewer.frames.qsize(), viewer.missed) == (500, 10)
        served.hub.hear(CHANNEL_FRAMES, "no json")
        assert viewer.frames.qsize() == 500
