"""OCPP-J's RPC layer: frames, one outstanding CALL per direction, spec-exact errors.

A connection is, towards the station, in one of two states: IDLE (no CALL of ours is out) or AWAITING_RESULT
(one is; the next waits its turn or its deadline). From the station, CALLs are handled one after the other,
in order, by a task of their own: a slow handler never delays a CALLRESULT. Sources: OCPP-J 1.6 sections 4.1
to 4.2.3, OCPP 2.0.1 part 4 section 4.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import structlog

from connectors.ocpp.schemas import Invalid, Json, Schemas, Version, schemas_of

_log = structlog.get_logger(__name__)

_CALL, _RESULT, _ERROR = 2, 3, 4
_MAX_QUEUED_CALLS = 64
_MAX_ID = 36
_MAX_DEPTH = 32
_UNREADABLE_ID = "-1"

_BY_KEYWORD = {
    "Required": "occurrence",
    "AdditionalProperties": "format",
    "Type": "type",
    "Enum": "property",
    "MaxLength": "property",
    "Maximum": "property",
    "Minimum": "property",
}
_ERRORS_16 = {
    "format": "FormationViolation",
    "occurrence": "OccurenceConstraintViolation",
    "property": "PropertyConstraintViolation",
    "type": "TypeConstraintViolation",
    "frame": "FormationViolation",
}
_ERRORS_201 = {
    "format": "FormatViolation",
    "occurrence": "OccurrenceConstraintViolation",
    "property": "PropertyConstraintViolation",
    "type": "TypeConstraintViolation",
    "frame": "RpcFrameworkError",
}


class CallError(Exception):
    """The peer answered with CALLERROR, or we must: `code` is the specification's word."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class NotSent(Exception):
    """The connection was gone, or the queue full, before the CALL went out: nothing happened there."""


class NoReply(Exception):
    """The CALL went out and no usable reply came: it may have worked."""


Handler = Callable[[str, Json], Awaitable[Json]]
Send = Callable[[str], Awaitable[None]]


class Rpc:
    """One connection's RPC. `handle(action, payload)` returns once what it says is durable, then it is
    answered; it raises CallError to refuse."""

    def __init__(self, version: Version, send: Send, handle: Handler, handled: frozenset[str]) -> None:
        self.version = version
        self.counts: Counter[str] = Counter()
        self._schemas: Schemas = schemas_of(version)
        self._send = send
        self._handle = handle
        self._handled = handled
        self._incoming: asyncio.Queue[tuple[str, str, Json]] = asyncio.Queue(_MAX_QUEUED_CALLS)
        self._turn = asyncio.Lock()
        self._awaited: tuple[str, asyncio.Future[Json]] | None = None
        self._closed = False
        self._worker = asyncio.create_task(self._work())

    # --- from the station -------------------------------------------------------------------------------

    async def receive(self, raw: str | bytes) -> None:
        """Take one frame. Never raises for what the frame says."""
        frame = self._parse(raw)
        if frame is None:
            await self._refuse(_UNREADABLE_ID, "frame", "unreadable")
            return
        kind, message_id = frame[0], frame[1]
        if kind == _CALL:
            await self._take_call(message_id, frame)
        elif kind in (_RESULT, _ERROR):
            self._take_reply(kind, message_id, frame)
        elif self.version is Version.V201:
            await self._error(message_id, "MessageTypeNotSupported", "")
        else:
            self.counts["ignored"] += 1  # OCPP-J 1.6, 4.1.3: unknown message types are ignored

    def _parse(self, raw: str | bytes) -> list[Any] | None:
        if isinstance(raw, bytes) or _too_deep(raw):
            return None
        try:
            frame: Any = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(frame, list):
            return None
        parts = cast("list[Any]", frame)
        if len(parts) < 3 or type(parts[0]) is not int or not isinstance(parts[1], str):
            return None
        return parts if 0 < len(parts[1]) <= _MAX_ID else None

    async def _take_call(self, message_id: str, frame: list[Any]) -> None:
        if len(frame) != 4 or not isinstance(frame[2], str) or not isinstance(frame[3], dict):
            await self._refuse(message_id, "frame", "a CALL has four elements")
            return
        action, payload = frame[2], cast(Json, frame[3])
        if not self._schemas.knows(action):
            await self._error(message_id, "NotImplemented", "")
        elif action not in self._handled:
            await self._error(message_id, "NotSupported", "")
        else:
            try:
                known = self._schemas.read(action, payload)
            except Invalid as invalid:
                await self._refuse(message_id, _BY_KEYWORD.get(invalid.keyword, "format"), "")
                return
            # A full queue makes the reader wait, and the station with it: nothing is dropped.
            await self._incoming.put((message_id, action, known))

    async def _work(self) -> None:
        while True:
            message_id, action, payload = await self._incoming.get()
            try:
                reply = await self._handle(action, payload)
                self._schemas.check(action, reply, response=True)
            except CallError as refused:
                await self._error(message_id, refused.code, refused.description)
            except Exception as error:  # noqa: BLE001  the loop outlives any handler; the station retries
                _log.warning("ocpp handler failed", action=action, error=type(error).__name__, exc_info=error)
                await self._error(message_id, "InternalError", "")
            else:
                await self._say([_RESULT, message_id, reply])

    async def _refuse(self, message_id: str, violation: str, text: str) -> None:
        errors = _ERRORS_16 if self.version is Version.V16 else _ERRORS_201
        await self._error(message_id, errors[violation], text)

    async def _error(self, message_id: str, code: str, text: str) -> None:
        self.counts[f"refused {code}"] += 1
        await self._say([_ERROR, message_id, code, text, {}])  # never an echo of what was sent

    async def _say(self, frame: list[Any]) -> None:
        if not self._closed:
            await self._send(orjson.dumps(frame).decode())

    # --- to the station ---------------------------------------------------------------------------------

    async def call(self, action: str, payload: Json, timeout_s: float) -> Json:
        """Send a CALL and wait for its result, both within `timeout_s`.

        Raises NotSent, NoReply, or CallError with the station's own code."""
        self._schemas.check(action, payload)
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError as late:
            raise NotSent("the station has not answered an earlier command") from late
        try:
            if self._closed:
                raise NotSent("disconnected")
            message_id = str(uuid.uuid4())
            awaited: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
            self._awaited = (message_id, awaited)
            await self._send(orjson.dumps([_CALL, message_id, action, payload]).decode())
            try:
                async with asyncio.timeout_at(deadline):
                    reply = await awaited
            except TimeoutError as late:
                raise NoReply("no reply in time") from late
        finally:
            self._awaited = None
            self._turn.release()
        try:
            return self._schemas.read(action, reply, response=True)
        except Invalid as invalid:
            raise NoReply("the reply does not fit its schema") from invalid

    def _take_reply(self, kind: int, message_id: str, frame: list[Any]) -> None:
        awaited = self._awaited
        if awaited is None or awaited[0] != message_id or awaited[1].done():
            self.counts["late or unsolicited reply"] += 1
            return
        if kind == _ERROR:
            awaited[1].set_exception(
                CallError(str(frame[2])[:50], str(frame[3])[:255] if len(frame) > 3 else "")
            )
        elif isinstance(frame[2], dict):
            awaited[1].set_result(cast(Json, frame[2]))
        else:
            awaited[1].set_exception(NoReply("the result is no object"))

    def close(self) -> None:
        """The socket is gone: what waits is told, what comes is refused."""
        self._closed = True
        self._worker.cancel()
        if self._awaited is not None and not self._awaited[1].done():
            self._awaited[1].set_exception(NoReply("disconnected before the reply"))


def _too_deep(raw: str) -> bool:
    """Nesting is counted before parsing: a hundred thousand brackets must not reach a parser."""
    depth = 0
    for character in raw:
        if character in "[{":
            depth += 1
            if depth > _MAX_DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False
