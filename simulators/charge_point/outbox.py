"""A charge point's queue of CALLs: in order, one at a time, retried as firmware does, kept over a kill -9.

OCPP 1.6 sections 3.7.1 and 4 (transaction-related messages), 2.0.1 part 2 E04 and E13: transaction messages
wait out an outage and stay in order; others may overtake them while a refused one waits for its next attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from simulators.charge_point.memory import Json, StationMemory

_OTHER_ATTEMPTS = 5
_OTHER_INTERVAL_S = 0.5
_NEVER = frozenset({"NotImplemented", "NotSupported"})


class CallRefused(Exception):
    """A CALLERROR came, or (`code` empty) no answer at all."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _ignore(reply: Json) -> None: ...


@dataclass(eq=False)
class Outgoing:
    """A CALL to deliver. `session_ref` set: a transaction message, which is on disk as `row`. A 1.6
    transactionId of None is filled in when it is sent: it may come only then. `told`: set once it is sent."""

    action: str
    body: Json
    on_reply: Callable[[Json], None] = _ignore
    keep: bool = True
    connector: int = 0
    session_ref: str | None = None
    row: int = 0
    attempts: int = 0
    due_s: float = 0.0
    is_replay: bool = False
    told: asyncio.Event | None = None


Call = Callable[[str, Json, asyncio.Event | None], Awaitable[Json]]
"""Sends a CALL, returns the CALLRESULT's payload. Raises CallRefused, or ConnectionError when cut off."""


class Outbox:
    """`on_number(connector, session_ref, number)`: a 1.6 transaction got its id. `on_lost`: a transaction
    message was dropped after its last attempt."""

    def __init__(
        self,
        memory: StationMemory,
        *,
        attempts: int,
        interval_s: float,
        on_number: Callable[[int, str, int], None],
        on_lost: Callable[[Outgoing], None],
    ) -> None:
        self.attempts, self.interval_s = attempts, interval_s
        self._memory, self._on_number, self._on_lost = memory, on_number, on_lost
        self._news = asyncio.Event()
        self._queue: deque[Outgoing] = deque(
            Outgoing(
                action=stored.action,
                body=stored.body,
                connector=stored.connector,
                session_ref=stored.session_ref,
                row=stored.row,
                attempts=stored.attempts,
                is_replay=True,
            )
            for stored in memory.waiting()
        )

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: Outgoing, *, front: bool = False) -> None:
        if front:
            self._queue.appendleft(message)
        else:
            self._queue.append(message)
        self._news.set()

    def add_kept(self, message: Outgoing, snapshot: Json) -> None:
        """A transaction message: on disk, with the connector's snapshot, before anyone may send it."""
        assert message.session_ref is not None
        message.row = self._memory.put(
            message.action, message.body, message.connector, message.session_ref, snapshot
        )
        self.add(message)

    def has_queued(self, session_ref: str | None) -> bool:
        """Messages of this transaction (None: of any) wait."""
        refs = {message.session_ref for message in self._queue} - {None}
        return bool(refs) if session_ref is None else session_ref in refs

    def connection_lost(self) -> None:
        """What waits now is a replay at the next connection."""
        for message in self._queue:
            message.is_replay, message.due_s = True, 0.0

    async def deliver(self, call: Call) -> None:
        """For ever. Raises ConnectionError (or the socket's own error) when the connection is lost: what was
        not answered stays in the queue."""
        while True:
            self._news.clear()
            message, wait_s = self._next()
            if message is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._news.wait()
                continue
            try:
                reply = await call(message.action, self._wire(message), message.told)
                self._answered(message, reply)
            except CallRefused as refusal:
                self._refused(message, refusal.code)

    def _next(self) -> tuple[Outgoing | None, float | None]:
        """The message to send now, else how long to wait for the earliest (None: for news only)."""
        now_s = asyncio.get_running_loop().time()
        waits: list[float] = []
        blocked = False
        for message in self._queue:
            in_turn = message.session_ref is None or not blocked
            if in_turn and message.due_s <= now_s:
                return message, None
            if in_turn:
                waits.append(message.due_s - now_s)
            blocked = blocked or message.session_ref is not None
        return None, min(waits, default=None)

    def _wire(self, message: Outgoing) -> Json:
        body = message.body
        if "transactionId" in body and body["transactionId"] is None:
            body = body | {"transactionId": self._memory.recall(f"number:{message.session_ref}") or -1}
        if message.is_replay and message.action == "TransactionEvent":
            body = body | {"offline": True}
        return body

    def _answered(self, message: Outgoing, reply: Json) -> None:
        if message.action == "StartTransaction" and message.session_ref is not None:
            number = reply.get("transactionId")
            if not isinstance(number, int):
                raise CallRefused("FormationViolation")
            self._memory.keep(f"number:{message.session_ref}", number)
            self._on_number(message.connector, message.session_ref, number)
        self._remove(message)
        message.on_reply(reply)

    def _refused(self, message: Outgoing, code: str) -> None:
        message.attempts += 1
        now_s = asyncio.get_running_loop().time()
        if message.session_ref is not None:
            self._memory.burn(message.row, message.attempts)
            message.due_s = now_s + self.interval_s * message.attempts
            if message.attempts >= self.attempts:
                self._remove(message)
                self._on_lost(message)
        else:
            message.due_s = now_s + _OTHER_INTERVAL_S * message.attempts
            if not message.keep or code in _NEVER or message.attempts >= _OTHER_ATTEMPTS:
                self._remove(message)

    def _remove(self, message: Outgoing) -> None:
        with contextlib.suppress(ValueError):
            self._queue.remove(message)
        if message.session_ref is not None:
            self._memory.done(message.row)
