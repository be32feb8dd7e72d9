"""Runs the malformed corpus on one socket and counts: one answer where one is due, none where not, and a
Heartbeat answered after each. Knows nothing of the gateway, so that broken servers can be judged with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from models.commands import CommandKind, CommandReply
from tests.ocpp.malformed_frames import V16, V21, Case, Expected, Frame, RawText
from tests.ocpp.malformed_replies import ReplyCase

_ANSWER_MAX_CHARS = 300
_DETAIL_MAX_CHARS = 600

Connect = Callable[[], Awaitable[ClientConnection]]
SendCommand = Callable[[CommandKind, float], Awaitable[CommandReply]]
"""Sends a command with a time limit in seconds; the station at the other end is ours."""


def boot_payload(version: str) -> dict[str, Any]:
    if version == V16:
        return {"chargePointVendor": "V", "chargePointModel": "M"}
    return {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}


@dataclass
class Tally:
    """`unanswered`: an answer was due and none came. `loop_deaths`: the socket or its Heartbeat died."""

    frames: int = 0
    answered: int = 0
    silent: int = 0
    closed: int = 0
    unanswered: int = 0
    loop_deaths: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, text: str) -> None:
        self.failures[name] = f"{self.failures[name]}; {text}" if name in self.failures else text

    def __str__(self) -> str:
        return (
            f"frames {self.frames}, answered {self.answered}, rightly silent {self.silent}, rightly closed"
            f" {self.closed}, unanswered {self.unanswered}, loop deaths {self.loop_deaths},"
            f" failed cases {len(self.failures)}"
        )


class Runner:
    """One station's side. `patience_s` is how long an answer may take."""

    def __init__(self, connect: Connect, version: str, patience_s: float = 5.0) -> None:
        self.tally = Tally()
        self._connect = connect
        self._version = version
        self._patience_s = patience_s
        self._socket: ClientConnection | None = None
        self._beats = 0
        self._sent: Frame = ""

    async def open(self) -> None:
        """Connect and boot. Raises AssertionError where even that is not answered."""
        if self._socket is not None:
            await self._socket.close()
        self._socket = await self._connect()
        try:
            await self.say(json.dumps([2, "boot", "BootNotification", boot_payload(self._version)]))
            raw = await self._next()
        except ConnectionClosed as closed:
            raise AssertionError(
                f"{self._version}: closed before the boot was answered: {closed}"
            ) from closed
        assert raw is not None, f"{self._version}: the boot is not answered"
        assert json.loads(raw)[:2] == [3, "boot"], raw

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    # --- frames to the gateway ---------------------------------------------------------------------------

    async def frame(self, case: Case) -> None:
        """Send one case and judge what comes back before the next Heartbeat's answer."""
        expected = case.expected[self._version]
        self.tally.frames += 1
        answers: list[str] = []
        try:
            await self.say(case.frames[self._version])
            if expected.kinds and not expected.optional and (first := await self._next()) is not None:
                answers.append(first)
            answers += await self._until_heartbeat(case.name)
        except ConnectionClosed as closed:
            await self._closed(case.name, closed, expected.close_code)
            return
        if expected.close_code is not None and not expected.kinds:
            self.tally.fail(case.name, f"the socket was not closed with {expected.close_code}")
            return
        self._judge(case.name, expected, answers)

    def _judge(self, name: str, expected: Expected, answers: list[str]) -> None:
        if not answers:
            if not expected.kinds or expected.optional:
                self.tally.silent += 1
            else:
                self.tally.unanswered += 1
                self.tally.fail(name, "no answer")
            return
        if not expected.kinds:
            self.tally.fail(name, f"answered, though nothing is due: {answers[0][:120]}")
            return
        self.tally.answered += 1
        if len(answers) > 1:
            self.tally.fail(name, f"{len(answers)} answers: {answers[1][:80]}")
        if len(answers[0]) >= _ANSWER_MAX_CHARS:
            self.tally.fail(name, f"an answer of {len(answers[0])} characters")
        if (wrong := _fault_of(answers[0], expected)) is not None:
            self.tally.fail(name, f"{wrong}: {answers[0][:120]}")

    async def _closed(self, name: str, closed: ConnectionClosed, allowed: int | None) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else None
        if allowed is not None and code == allowed:
            self.tally.closed += 1
        else:
            self.tally.loop_deaths += 1
            self.tally.fail(name, f"closed with {code}")
        await self.open()

    # --- replies to the gateway's CALLs ------------------------------------------------------------------

    async def reply(self, case: ReplyCase, send: SendCommand) -> None:
        """Have a command sent, answer it as the case says, and judge what the caller is told."""
        self.tally.frames += len(case.frames)
        told = asyncio.create_task(send(case.kind, case.timeout_s))
        extras: list[str] = []
        message_id = None
        try:
            message_id = await self._command(case.kind)
            if message_id is None:
                self.tally.fail(case.name, "no CALL came")
                return
            for frame in case.frames:
                await self.say(_with_id(frame, message_id))
            await self._hear_out(case, told)
            extras = await self._until_heartbeat(case.name)
        except ConnectionClosed as closed:
            await self._hear_out(case, told)
            await self._closed(case.name, closed, case.close_code)
        finally:
            told.cancel()
        extras = self._beside_the_result_error(extras, message_id)
        if len(extras) > case.max_answers:
            self.tally.fail(case.name, f"{len(extras)} frames came back: {extras[0][:80]}")

    def _beside_the_result_error(self, extras: list[str], message_id: str | None) -> list[str]:
        """2.1 lets the gateway say once that it could not use a CALLRESULT (part 4, CALLRESULTERROR)."""
        if self._version != V21:
            return extras
        told = [raw for raw in extras if (_loaded(raw) or [None])[:2] == [5, message_id]]
        return [raw for raw in extras if raw not in told[:1]]

    async def _hear_out(self, case: ReplyCase, told: asyncio.Task[CommandReply]) -> None:
        done, _ = await asyncio.wait({told}, timeout=case.timeout_s + self._patience_s)
        if not done:
            self.tally.unanswered += 1
            self.tally.fail(case.name, "the caller hangs")
            return
        if (crash := told.exception()) is not None:
            self.tally.fail(case.name, f"the caller gets {crash!r}"[:200])
            return
        reply = told.result()
        self.tally.answered += 1
        if reply.outcome not in case.outcomes:
            self.tally.fail(case.name, f"outcome {reply.outcome}")
        if len(reply.detail) + len(reply.vendor_code) > _DETAIL_MAX_CHARS:
            self.tally.fail(case.name, "the station's text is kept without bound")
        if "\x00" in reply.detail + reply.vendor_code:
            self.tally.fail(case.name, "a NUL is handed on, which PostgreSQL takes in no text")

    async def _command(self, kind: CommandKind) -> str | None:
        """The id of the CALL that carries the command; other CALLs on the way get NotSupported."""
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    frame = orjson.loads(await self._opened.recv())
                    if frame[0] == 2 and frame[2] in _CALLS_OF[kind]:
                        return str(frame[1])
                    if frame[0] == 2:
                        await self._opened.send(json.dumps([4, frame[1], "NotSupported", "", {}]))
        except TimeoutError:
            return None

    # --- the wire ----------------------------------------------------------------------------------------

    @property
    def _opened(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def say(self, frame: Frame) -> None:
        """Send a frame and wait for nothing."""
        self._sent = frame
        if isinstance(frame, RawText):
            await self._opened.send(frame.data, text=True)
        else:
            await self._opened.send(frame)

    async def _next(self) -> str | None:
        """The next frame that is no CALL of the gateway's (an echo is none); None when patience ends."""
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    raw = await self._opened.recv()
                    text = raw if isinstance(raw, str) else repr(raw)
                    message_id = _id_of_call(text)
                    if message_id is None or raw == self._sent:
                        return text
                    await self._opened.send(json.dumps([4, message_id, "NotSupported", "", {}]))
        except TimeoutError:
            return None

    async def _until_heartbeat(self, name: str) -> list[str]:
        """What comes before the answer to a Heartbeat sent now."""
        self._beats += 1
        beat = f"beat-{self._beats}"
        await self.say(json.dumps([2, beat, "Heartbeat", {}]))
        before: list[str] = []
        while (raw := await self._next()) is not None:
            if _is_answer_to(raw, beat):
                return before
            before.append(raw)
        self.tally.loop_deaths += 1
        self.tally.fail(name, "the Heartbeat behind it is not answered")
        await self.open()
        return before


_CALLS_OF = {
    CommandKind.START: ("RemoteStartTransaction", "RequestStartTransaction"),
    CommandKind.UNLOCK: ("UnlockConnector",),
    CommandKind.TRIGGER_STATUS: ("TriggerMessage",),
}


def _with_id(frame: Frame, message_id: str) -> Frame:
    if isinstance(frame, str):
        return frame.replace("$", message_id)
    return frame.replace(b"$", message_id.encode()) if isinstance(frame, bytes) else frame


def _loaded(raw: str) -> Any:
    try:
        return orjson.loads(raw)  # bounded in depth: an echo must not fell the judge
    except orjson.JSONDecodeError:
        return None


def _id_of_call(raw: str) -> str | None:
    frame = _loaded(raw)
    readable = isinstance(frame, list) and len(frame) == 4 and frame[0] == 2 and isinstance(frame[1], str)
    return frame[1] if readable else None


def _is_answer_to(raw: str, message_id: str) -> bool:
    frame = _loaded(raw)
    return isinstance(frame, list) and frame[:2] == [3, message_id] and "currentTime" in json.dumps(frame[2:])


def _fault_of(raw: str, expected: Expected) -> str | None:
    """What is wrong with an answer; None where it is what was due."""
    frame = _loaded(raw)
    if not isinstance(frame, list) or len(frame) < 3:
        return "no OCPP frame"
    if frame[0] not in expected.kinds:
        return "the wrong message type"
    if frame[1] not in expected.ids:
        return "the wrong id"
    if frame[0] == 3:
        return None if len(frame) == 3 and isinstance(frame[2], dict) else "a CALLRESULT of the wrong shape"
    if len(frame) != 5 or not isinstance(frame[3], str) or not isinstance(frame[4], dict):
        return "a CALLERROR of the wrong shape"
    return None if frame[2] in expected.codes else f"not one of {sorted(expected.codes)}"
