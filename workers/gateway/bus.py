"""What gateways tell each other: who holds a station now, and whose frames somebody wants to see.

Both are told by NOTIFY and by nothing that must last: a notice that is missed costs a dead socket its ping
time-out, or an operator a second."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import psycopg
import structlog

from connectors.ocpp.connection import Connection
from connectors.ocpp.redaction import shown
from connectors.ocpp.server import Gateway
from store.database import Store
from store.notices import listen
from store.platform import CHANNEL_FRAMES, CHANNEL_ROUTES, CHANNEL_WATCH

_log = structlog.get_logger(__name__)

WATCH_S = 15.0
"""A watch ends by itself when it is not renewed."""
_MOST_WAITING = 500


class GatewayBus:
    """One per gateway process."""

    def __init__(self, gateway: Gateway, store: Store, url: str) -> None:
        self._gateway, self._store, self._url = gateway, store, url
        self._frames: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        self._ends: dict[str, float] = {}
        self._checks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """For ever; an outage of the database is waited out."""
        await asyncio.gather(self._listen(), self._publish(), self._expire())

    async def _listen(self) -> None:
        while True:
            try:
                async for channel, text in listen(self._url, [CHANNEL_ROUTES, CHANNEL_WATCH]):
                    self.hear(channel, text)
            except psycopg.Error as error:
                _log.warning("gateway bus waits", error=type(error).__name__)
            await asyncio.sleep(1.0)

    def hear(self, channel: str, text: str) -> None:
        if channel == CHANNEL_ROUTES:
            station_id, _, generation = text.partition(" ")
            mine = self._gateway.connection(station_id)
            # Before our own claim is known, a notice can only be about one that ours comes after.
            if mine is not None and mine.is_claimed and mine.generation != generation:
                task = asyncio.create_task(self._check(mine, station_id, generation))
                self._checks.add(task)
                task.add_done_callback(self._checks.discard)
        elif channel == CHANNEL_WATCH:
            self._ends[text] = asyncio.get_running_loop().time() + WATCH_S
            self._gateway.watch(text, lambda direction, frame: self._see(text, direction, frame))

    async def _check(self, mine: Connection, station_id: str, generation: str) -> None:
        """A notice may be late, and the station long back with us: the route says who holds it."""
        try:
            async with self._store.platform() as unit:
                route = await unit.find_route(station_id)
        except Exception as error:  # noqa: BLE001  the dead socket is found by its ping all the same
            _log.warning("claim not checked", error=type(error).__name__)
            return
        is_ours = route is not None and route.generation == mine.generation
        if not is_ours and self._gateway.connection(station_id) is mine:
            self._gateway.replaced_elsewhere(station_id, generation)

    def _see(self, station_id: str, direction: str, frame: str) -> None:
        if self._frames.full():
            return  # who looks on must never slow down who works
        seen = {
            "station_id": station_id,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "direction": direction,
            "frame": shown(frame),
        }
        text = json.dumps(seen, ensure_ascii=False)
        if len(text.encode()) > 7_900:  # PostgreSQL's limit of a notice is 8,000 bytes
            text = json.dumps({**seen, "frame": seen["frame"][:1_500] + "..."}, ensure_ascii=False)
        self._frames.put_nowait(text)

    async def _publish(self) -> None:
        while True:
            text = await self._frames.get()
            try:
                async with self._store.platform() as unit:
                    await unit.tell(CHANNEL_FRAMES, text)
                    while not self._frames.empty():
                        await unit.tell(CHANNEL_FRAMES, self._frames.get_nowait())
            except Exception as error:  # noqa: BLE001  only a view is lost
                _log.warning("frames not shown", error=type(error).__name__)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            for station_id in [name for name, end in self._ends.items() if end < now]:
                del self._ends[station_id]
                self._gateway.watch(station_id, None)
