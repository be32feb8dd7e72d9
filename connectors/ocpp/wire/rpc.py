"""OCPP-J's RPC layer: one explicit state machine per direction (docs/ocpp.md uses the same words).

Towards the station a connection is IDLE (no CALL of ours is out) or AWAITING_RESULT (one is; the others wait
in a bounded queue, by priority, each until its own deadline), and CLOSED in the end.
From the station, CALLs are taken in order by a task of their own: a slow handler never delays a CALLRESULT,
and it may itself call the station. What is answered first and done afterwards is a handler's `then`.
Sources: OCPP-J 1.6 sections 4.1 to 4.2.3, OCPP 2.0.1 and 2.1 part 4 section 4.
"""

from __future__ import annotations

import asyncio
import heapq
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from itertools import count
from typing import Any, NamedTuple, cast

import orjson
import structlog

from connectors.ocpp.wire.frames import (
    CALL,
    ERROR,
    RESULT,
    RESULT_ERROR,
    SEND,
    Unreadable,
    error_code,
    error_of,
    parse,
)
from connectors.ocpp.wire.schemas import Dropped, Invalid, Json, Schemas, Version, schemas_of

_log = structlog.get_logger(__name__)

_MAX_QUEUED_CALLS = _MAX_WAITING = 64


class CallError(Exception):
    """The peer answered with CALLERROR, or we must: `code` is the specification's word."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class NotSent(Exception):
    """The connection was gone, the queue full, or the deadline there before the CALL went out: nothing
    happened at the station."""


class NoReply(Exception):
    """The CALL went out and no usable reply came: it may have worked."""


class Priority(IntEnum):
    """Lower goes first. What ends a session overtakes what starts one; housekeeping waits."""

    SAFETY = 0
    SESSION = 1
    OPERATOR = 2
    LOAD = 3
    HOUSEKEEPING = 4


class State(IntEnum):
    IDLE = 0
    AWAITING_RESULT = 1
    CLOSED = 2


class Answer(NamedTuple):
    """`then` runs after the answer has been sent; it may call the station."""

    payload: Json
    then: Callable[[], Awaitable[None]] | None = None


class Rules(NamedTuple):
    """What a version's gateway serves.

    `repair`: actions that must be answered whenever their essentials can be read; it makes a valid payload of
    what came, or raises KeyError, TypeError or ValueError. Such an action gets no error of ours: where its
    handler fails, the connection is dropped instead; the station keeps the message and tells it again.
    `allowed(action)`: False while the station is not accepted yet."""

    handled: frozenset[str]
    repair: Mapping[str, Callable[[Json], Json]] = {}
    allowed: Callable[[str], bool] = lambda action: True


Handler = Callable[[str, Json], Awaitable[Answer]]


class _Call:
    """One CALL of ours: its turn on the line, then its result."""

    __slots__ = ("message_id", "result", "sent", "turn")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.message_id = str(uuid.uuid4())
        self.turn: asyncio.Future[None] = loop.create_future()
        self.result: asyncio.Future[Json] = loop.create_future()
        self.sent = False


class Rpc:
    """One connection's RPC.

    `handle(action, payload)` returns once what it says is durable; it raises CallError to refuse.
    `drop()` ends the connection. `watch(direction, text)`, where set, sees every frame ("in", "out")."""

    __slots__ = (
        "_awaited", "_drop", "_handle", "_incoming", "_numbers", "_room", "_rules", "_schemas", "_send",
        "_tasks", "_waiting", "_worker", "counts", "dropped_field", "repaired", "state", "version", "watch",
    )  # fmt: skip

    def __init__(
        self,
        version: Version,
        send: Callable[[str], Awaitable[None]],
        handle: Handler,
        rules: Rules,
        drop: Callable[[], None],
        counts: Counter[str] | None = None,
    ) -> None:
        self.version, self.state = version, State.IDLE
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.watch: Callable[[str, str], None] | None = None
        self.dropped_field: Dropped | None = None
        self.repaired: Callable[[str, Json], None] | None = None
        self._schemas: Schemas = schemas_of(version)
        self._send, self._handle, self._rules, self._drop = send, handle, rules, drop
        self._incoming: list[tuple[str | None, str, Json]] = []
        self._worker: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._waiting: list[tuple[int, int, _Call]] = []
        self._numbers = count()
        self._awaited: _Call | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- from the station -------------------------------------------------------------------------------

    async def receive(self, raw: str | bytes) -> None:
        """Take one frame. Never raises for what the frame says."""
        if self.watch is not None:
            self.watch("in", raw if isinstance(raw, str) else "<binary>")
        try:
            frame = parse(raw)
        except Unreadable as unreadable:
            call = self._awaited
            if call is not None and call.message_id == unreadable.message_id:
                _end(call.result, NoReply("the reply cannot be read"))
            elif unreadable.is_reply:
                self.counts["late or unsolicited reply"] += 1
            else:
                await self._error(unreadable.message_id, error_code(self.version, "frame"), "unreadable")
            return
        kind, message_id = frame[0], frame[1]
        if kind == CALL:
            await self._take_call(message_id, frame)
        elif kind in (RESULT, ERROR):
            self._take_reply(kind, message_id, frame)
        elif kind == SEND and self.version is Version.V21:
            await self._take_send(frame)
        elif kind == RESULT_ERROR and self.version is Version.V21:
            self.counts["our result refused"] += 1  # what we said was durable; nothing is to be undone
        elif self.version is Version.V16:
            self.counts["ignored"] += 1  # OCPP-J 1.6, 4.1.3: unknown message types are ignored
        else:
            await self._error(message_id, "MessageTypeNotSupported", "")

    async def _take_call(self, message_id: str, frame: list[Any]) -> None:
        if len(frame) != 4 or not isinstance(frame[2], str) or not isinstance(frame[3], dict):
            await self._error(message_id, error_code(self.version, "frame"), "a CALL has four elements")
            return
        action, payload = frame[2], cast(Json, frame[3])
        if not self._schemas.knows(action):
            await self._error(message_id, "NotImplemented", "")
        elif action not in self._rules.handled or not self._schemas.answers(action):
            await self._error(message_id, "NotSupported", "")
        elif not self._rules.allowed(action):
            await self._error(message_id, "SecurityError", "not accepted yet")
        else:
            try:
                known = self._read(action, payload)
            except Invalid as invalid:
                await self._error(message_id, error_of(self.version, invalid), "")
            else:
                await self._enqueue((message_id, action, known))

    def _read(self, action: str, payload: Json) -> Json:
        """Raises Invalid where not even the essentials can be read."""
        try:
            return self._schemas.read(action, payload, dropped=self.dropped_field)
        except Invalid as first:
            mend = self._rules.repair.get(action)
            if mend is None:
                raise
            try:
                mended = mend(payload)
                known = self._schemas.read(action, mended)
            except (KeyError, TypeError, ValueError, OverflowError, Invalid):
                raise first from None
            self.counts[f"repaired {action}"] += 1
            if self.repaired is not None:
                self.repaired(action, payload)
            return known

    async def _take_send(self, frame: list[Any]) -> None:
        """2.1's unconfirmed message: taken or counted, never answered."""
        if len(frame) == 4 and isinstance(frame[2], str) and isinstance(frame[3], dict):
            action, payload = frame[2], cast(Json, frame[3])
            served = action in self._rules.handled and self._schemas.knows(action)
            if served and not self._schemas.answers(action) and self._rules.allowed(action):
                try:
                    known = self._schemas.read(action, payload, dropped=self.dropped_field)
                except Invalid:
                    known = None
                if known is not None:
                    await self._enqueue((None, action, known))
                    return
        self.counts["send not taken"] += 1

    async def _enqueue(self, item: tuple[str | None, str, Json]) -> None:
        """A full queue makes the reader wait, and the station with it: nothing is dropped."""
        while len(self._incoming) >= _MAX_QUEUED_CALLS and self.state is not State.CLOSED:
            self._room = asyncio.Event()
            await self._room.wait()
        if self.state is not State.CLOSED:
            self._incoming.append(item)
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._incoming:
                await self._serve(*self._incoming.pop(0))
                if self._room is not None:
                    self._room.set()
                    self._room = None
        finally:
            self._worker = None

    async def _serve(self, message_id: str | None, action: str, payload: Json) -> None:
        try:
            answer = await self._handle(action, payload)
            if message_id is not None:
                self._schemas.check(action, answer.payload, response=True)
        except CallError as refused:
            if message_id is not None:
                await self._error(message_id, refused.code, refused.description)
        except Exception as error:  # noqa: BLE001  the loop outlives any handler; the station tells it again
            _log.warning("ocpp handler failed", action=action, error=type(error).__name__, exc_info=error)
            self.counts["handler failed"] += 1
            if action in self._rules.repair:
                self._drop()  # an error would burn one of the station's attempts, and then the data is lost
            elif message_id is not None:
                await self._error(message_id, "InternalError", "")
        else:
            said = message_id is None or await self._say([RESULT, message_id, answer.payload])
            if said and answer.then is not None:
                self._afterwards(answer.then)

    def _afterwards(self, then: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await then()
            except (CallError, NotSent, NoReply) as error:
                self.counts[f"afterwards {type(error).__name__}"] += 1
            except Exception as error:  # noqa: BLE001  the answer stands; what follows must not end the loop
                self.counts["afterwards failed"] += 1
                _log.warning("ocpp follow-up failed", error=type(error).__name__, exc_info=error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _error(self, message_id: str, code: str, text: str) -> None:
        self.counts[f"refused {code}"] += 1
        await self._say([ERROR, message_id, code, text[:255], {}])  # never an echo of what was sent

    async def _say(self, frame: list[Any]) -> bool:
        """False: the line is closed or broke. That ends neither the reader nor the worker: each sees it for
        himself, and a worker that died of it would leave a reader waiting for room for ever."""
        if self.state is State.CLOSED:
            return False
        text = orjson.dumps(frame).decode()
        if self.watch is not None:
            self.watch("out", text)
        try:
            await self._send(text)
        except Exception:  # noqa: BLE001  whatever the transport raises
            self.counts["send failed"] += 1
            return False
        return True

    # --- to the station ---------------------------------------------------------------------------------

    async def call(
        self, action: str, payload: Json, timeout_s: float, priority: Priority = Priority.OPERATOR
    ) -> Json:
        """Send a CALL and wait for its result, both within `timeout_s`.

        Raises Invalid (nothing was sent), NotSent, NoReply, or CallError with the station's own code."""
        self._schemas.check(action, payload)
        if self.state is State.CLOSED:
            raise NotSent("disconnected")
        mine = _Call()
        self._queue(mine, priority)
        try:
            async with asyncio.timeout(timeout_s):
                self._next()
                await mine.turn
                if not mine.result.done():  # done: closed between the turn and now
                    mine.sent = True
                    if not await self._say([CALL, mine.message_id, action, payload]):
                        raise NoReply("the line is broken")
                reply = await mine.result
        except TimeoutError as late:
            if mine.sent:
                raise NoReply("no reply in time") from late
            raise NotSent("the station has not answered an earlier command") from late
        finally:
            self._forget(mine)
        try:
            return self._schemas.read(action, reply, response=True, dropped=self.dropped_field)
        except Invalid as invalid:
            if self.version is Version.V21:
                await self._say([RESULT_ERROR, mine.message_id, error_of(self.version, invalid), "", {}])
            raise NoReply("the reply does not fit its schema") from invalid

    def _queue(self, call: _Call, priority: Priority) -> None:
        """Raises NotSent where the queue is full of what is as urgent; else the least urgent makes room."""
        if len(self._waiting) >= _MAX_WAITING:
            last = max(self._waiting)
            if last[0] <= priority:
                raise NotSent("too many commands wait for this station")
            self._waiting.remove(last)
            heapq.heapify(self._waiting)
            _end(last[2].turn, NotSent("a more urgent command took its place"))
        heapq.heappush(self._waiting, (priority, next(self._numbers), call))

    def _next(self) -> None:
        """IDLE -> AWAITING_RESULT: the most urgent CALL that is still wanted has its turn, and is sent by who
        wants it, within his own deadline."""
        while self.state is State.IDLE and self._waiting:
            _, _, call = heapq.heappop(self._waiting)
            if not call.turn.done():
                self.state, self._awaited = State.AWAITING_RESULT, call
                call.turn.set_result(None)

    def _forget(self, call: _Call) -> None:
        """A CALL is over, however it ended. A late reply to it will be counted and passed over."""
        for future in (call.turn, call.result):
            if not future.cancel() and not future.cancelled():
                future.exception()  # known, even where nobody came to hear it
        self._waiting = [item for item in self._waiting if item[2] is not call]
        heapq.heapify(self._waiting)
        if self._awaited is call:
            self._awaited = None
            if self.state is State.AWAITING_RESULT:
                self.state = State.IDLE
                self._next()

    def _take_reply(self, kind: int, message_id: str, frame: list[Any]) -> None:
        call = self._awaited
        if call is None or call.message_id != message_id or call.result.done():
            self.counts["late or unsolicited reply"] += 1
        elif kind == RESULT:
            call.result.set_result(frame[2])
        else:
            text = str(frame[3])[:255] if len(frame) > 3 else ""
            call.result.set_exception(CallError(str(frame[2])[:50], text))

    def close(self) -> None:
        """-> CLOSED. The socket is gone: what waits is told, what comes is refused."""
        self.state = State.CLOSED
        if self._room is not None:
            self._room.set()
        for task in (self._worker, *self._tasks):
            if task is not None:
                task.cancel()
        if self._awaited is not None:
            end = NoReply if self._awaited.sent else NotSent
            _end(self._awaited.result, end("disconnected"))
        for _, _, call in self._waiting:
            _end(call.turn, NotSent("disconnected"))
        self._waiting.clear()


def _end(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
