"""A station's messages as they pass, for who commissions it: Server-Sent Events.

Gateways show frames only while somebody asks for them, again and again (NOTIFY); secrets are blacked out
there. Nothing is kept: who does not look sees nothing, and who is too slow misses frames and is told so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import DBAPIError

from api.auth import Authenticator, Caller, Scope, StationCommander
from api.problems import unavailable
from api.settings import ApiSettings
from api.station_bodies import StationPathId
from api.stations import station_in
from api.stops import TheStore, refusals
from store.database import Store
from store.notices import listen
from store.platform import CHANNEL_FRAMES, CHANNEL_WATCH

_log = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/stations/{station_id}", tags=["station commands"])

_WAITING_FRAMES = 500
_SECOND = 1.0


@dataclass(eq=False)
class Viewer:
    """One who looks at a station. `heard`: our own notice came back, so that no frame is missed any more."""

    station_id: str
    frames: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(_WAITING_FRAMES))
    missed: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class FrameHub:
    """One listening connection per process, however many look on; none while nobody does."""

    def __init__(self, store: Store, most: int) -> None:
        self._store, self._most = store, most
        self._viewers: set[Viewer] = set()
        self._listening: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def is_idle(self) -> bool:
        return self._listening is None

    def check_room(self) -> None:
        """Raises Problem 503 where too many look on already."""
        if len(self._viewers) >= self._most:
            raise unavailable("tail.too_many", "Too many look at messages; try again later.")

    @asynccontextmanager
    async def viewing(self, station_id: str) -> AsyncGenerator[Viewer, None]:
        viewer = Viewer(station_id)
        self._viewers.add(viewer)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._rest()

    def _rest(self) -> None:
        if not self._viewers and self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def ask(self, station_id: str) -> None:
        """Gateways show the station's frames for some seconds from now."""
        try:
            async with self._store.platform() as unit:
                await unit.tell(CHANNEL_WATCH, station_id)
        except DBAPIError as error:
            _log.warning("tails wait", error=type(error).__name__)

    async def _listen(self) -> None:
        while True:
            try:
                async for channel, text in listen(self._store.url, [CHANNEL_FRAMES, CHANNEL_WATCH]):
                    self.hear(channel, text)
            except psycopg.Error as error:
                _log.warning("tails wait", error=type(error).__name__)
            await asyncio.sleep(_SECOND)

    def hear(self, channel: str, text: str) -> None:
        station_id = text if channel == CHANNEL_WATCH else _station_of(text)
        for viewer in self._viewers:
            if viewer.station_id != station_id:
                continue
            if channel == CHANNEL_WATCH:
                viewer.heard.set()
            elif viewer.frames.full():
                viewer.missed += 1
            else:
                viewer.frames.put_nowait(text)


def _station_of(frame: str) -> str | None:
    try:
        return str(json.loads(frame)["station_id"])
    except (ValueError, KeyError, TypeError):
        return None


@router.get(
    "/messages",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **refusals(404, 422)},
)
async def station_messages(
    station_id: StationPathId, caller: StationCommander, store: TheStore, request: Request
) -> StreamingResponse:
    """The station's OCPP frames as they pass: events `watching`, `frame` (`station_id`, `at`, `direction`,
    `frame`; passwords and tokens are blacked out) and `missed`. Ends when the client leaves, or its key is
    revoked."""
    settings: ApiSettings = request.app.state.settings
    hub: FrameHub = request.app.state.frames
    async with store.tenant(caller.tenant_id) as unit:
        await station_in(unit, station_id)
    hub.check_room()
    still = _still(request, caller, store, station_id)
    return StreamingResponse(
        _events(hub, station_id, settings.watch_renewal_s, still),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    hub: FrameHub, station_id: str, renewal_s: float, still: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[str, None]:
    clock = asyncio.get_running_loop().time
    async with hub.viewing(station_id) as viewer:
        while not viewer.heard.is_set():
            await hub.ask(station_id)
            try:
                async with asyncio.timeout(_SECOND):
                    await viewer.heard.wait()
            except TimeoutError:
                yield ": waiting\n\n"
        yield _event("watching", json.dumps({"station_id": station_id}))
        renew_at = clock() + renewal_s
        while True:
            if clock() >= renew_at:
                if not await still():
                    return
                await hub.ask(station_id)
                renew_at = clock() + renewal_s
                yield ": still here\n\n"
            try:
                async with asyncio.timeout_at(renew_at):
                    frame = await viewer.frames.get()
            except TimeoutError:
                continue
            if viewer.missed:
                missed, viewer.missed = viewer.missed, 0
                yield _event("missed", json.dumps({"frames": missed}))
            yield _event("frame", frame)


def _event(kind: str, text: str) -> str:
    """`text` is JSON and so holds no line break."""
    return f"event: {kind}\ndata: {text}\n\n"


def _still(request: Request, caller: Caller, store: Store, station_id: str) -> Callable[[], Awaitable[bool]]:
    """Whether the caller may go on looking: his key counts, and the station is his."""
    authenticator: Authenticator = request.app.state.authenticator
    key = request.headers.get("authorization", "").partition(" ")[2]

    async def ask() -> bool:
        try:
            known = await authenticator.caller(key)
            if known is None or not known.scopes & {Scope.STATIONS_COMMAND, Scope.ADMIN}:
                return False
            async with store.tenant(caller.tenant_id) as unit:
                return await unit.stations.get(station_id) is not None
        except DBAPIError:
            return True  # an outage takes nobody's right away

    return ask
