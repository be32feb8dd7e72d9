"""The other end of an Rpc, in memory: what it says is heard here, and the line can stall or break."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from connectors.ocpp.wire.rpc import Answer, Priority, Rpc, Rules
from connectors.ocpp.wire.schemas import Json, Version

PATIENCE_S = 5.0
NOW = "2026-11-21T08:00:00Z"
ANSWERS: dict[str, Json] = {
    "Heartbeat": {"currentTime": NOW},
    "DataTransfer": {"status": "UnknownVendorId"},
    "MeterValues": {},
    "NotifyPeriodicEventStream": {},
    "StartTransaction": {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
}
TRIGGER = "TriggerMessage"

Handle = Callable[[str, Json], Awaitable[Answer]]


def trigger(number: int, version: Version = Version.V16) -> Json:
    """A CALL of ours that carries a number."""
    if version is Version.V16:
        return {"requestedMessage": "StatusNotification", "connectorId": number}
    return {"requestedMessage": "StatusNotification", "evse": {"id": number}}


def number_of(frame: list[Any]) -> int:
    body = frame[3]
    return int(body["evse"]["id"] if "evse" in body else body["connectorId"])


class Peer:
    """`frames`: all that was said to us. `handle` is the Rpc's handler; by default each action has an answer.
    `clear` not set: the line is full, nothing more goes through. `broken`: sending raises."""

    def __init__(
        self,
        version: Version = Version.V16,
        handle: Handle | None = None,
        handled: frozenset[str] = frozenset(ANSWERS),
        **rules: Any,
    ) -> None:
        self.frames: list[list[Any]] = []
        self.unread: deque[list[Any]] = deque()
        self.handled: list[tuple[str, Json]] = []
        self.drops = 0
        self.broken: Exception | None = None
        self.clear = asyncio.Event()
        self.clear.set()
        self._handle = handle or self._answer
        self._news = asyncio.Event()
        self.rpc = Rpc(version, self._take, self._serve, Rules(handled, **rules), self._dropped)

    async def _take(self, text: str) -> None:
        if self.broken is not None:
            raise self.broken
        await self.clear.wait()
        frame = orjson.loads(text)
        self.frames.append(frame)
        self.unread.append(frame)
        self._news.set()

    async def _serve(self, action: str, payload: Json) -> Answer:
        self.handled.append((action, payload))
        return await self._handle(action, payload)

    async def _answer(self, action: str, payload: Json) -> Answer:
        return Answer(ANSWERS[action])

    def _dropped(self) -> None:
        self.drops += 1

    async def say(self, *frame: Any) -> None:
        await self.rpc.receive(orjson.dumps(list(frame)).decode())

    async def heard(self) -> list[Any]:
        """The next frame that was said to us."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.unread:
                self._news.clear()
                await self._news.wait()
        return self.unread.popleft()

    async def ask(self, action: str, payload: Json, message_id: str = "a") -> list[Any]:
        await self.say(2, message_id, action, payload)
        return await self.heard()

    def calls(self) -> list[int]:
        """The numbers of the CALLs that were said to us."""
        return [number_of(frame) for frame in self.frames if frame[0] == 2]

    def call(
        self, number: int, timeout_s: float = PATIENCE_S, priority: Priority = Priority.OPERATOR
    ) -> asyncio.Task[Json]:
        """Have the Rpc call us."""
        payload = trigger(number, self.rpc.version)
        return asyncio.create_task(self.rpc.call(TRIGGER, payload, timeout_s, priority))

    async def accept(self, frame: list[Any]) -> None:
        await self.say(3, frame[1], {"status": "Accepted"})


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


async def quiet() -> None:
    """All that can run now, has run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ended(task: asyncio.Task[Json]) -> Json | BaseException:
    """What a call came to, the exception not raised."""
    async with asyncio.timeout(PATIENCE_S):
        (found,) = await asyncio.gather(task, return_exceptions=True)
    return found
