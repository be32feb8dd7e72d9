"""Any interleaving: every CALL of the station gets one answer, every CALL of ours comes to one end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.ocpp.wire.rpc import Answer, CallError, NoReply, NotSent, Priority, State
from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.rpc_peer import ANSWERS, PATIENCE_S, TRIGGER, Peer, ended, number_of, quiet, trigger, until

EXPIRES_S = 0.002
NEVER_S = 60.0
_REPLIES: dict[str, list[Any]] = {
    "yes": [{"status": "Accepted"}],
    "error": ["InternalError", "", {}],
    "misfit": [{}],
    "unreadable": [],
}
_index = st.integers(0, 7)
_step = st.one_of(
    st.tuples(st.just("station"), st.sampled_from(["Heartbeat", "DataTransfer", "Reset", "Nonsense", "bad"])),
    st.tuples(st.just("ours"), st.sampled_from(list(Priority)), st.sampled_from([EXPIRES_S, NEVER_S])),
    st.tuples(st.just("cancel"), _index),
    st.tuples(st.just("reply"), st.sampled_from(list(_REPLIES)), _index),
    st.tuples(st.just("serve")),
    st.tuples(st.just("wait")),
    st.tuples(st.just("stall")),
    st.tuples(st.just("flow")),
)


@dataclass
class Play:
    """A script of both sides. `said`: ids of the station's CALLs. `tasks`: our calls by number. `replied`:
    the numbers of those that were answered before they ended, `fitting`: and answered well."""

    version: Version
    said: list[str] = field(default_factory=list)
    tasks: dict[int, asyncio.Task[Json]] = field(default_factory=dict)
    fitting: set[int] = field(default_factory=set)
    replied: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.open = False
        self.peer = Peer(self.version, self.handle, frozenset({"Heartbeat", "DataTransfer"}))
        self.peer.rpc.watch = self.judge
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        """A stalled line may stall the reader too, but not the script."""
        while True:
            await self.peer.rpc.receive(await self.inbox.get())

    def say(self, *frame: Any) -> None:
        self.inbox.put_nowait(orjson.dumps(list(frame)).decode())

    async def handle(self, action: str, payload: Json) -> Answer:
        if not self.open:
            await self.turns.acquire()
        if action == "DataTransfer":
            return Answer(ANSWERS[action], self.then)
        return Answer(ANSWERS[action])

    async def then(self) -> None:
        await self.peer.rpc.call(TRIGGER, trigger(0, self.version), EXPIRES_S, Priority.HOUSEKEEPING)

    def judge(self, direction: str, text: str) -> None:
        """At each CALL of ours: all that went out before it are over."""
        if direction == "out" and text.startswith("[2,"):
            for number in set(self.peer.calls()) - {0}:
                task = self.tasks[number]
                assert task.done() or task.cancelling() or number in self.replied, number

    async def play(self, step: tuple[Any, ...]) -> None:
        peer = self.peer
        match step:
            case ("station", action):
                payload: Json = {"vendorId": "V"} if action == "DataTransfer" else {}
                self.said.append(f"s{len(self.said)}")
                self.say(2, self.said[-1], *(["Heartbeat"] if action == "bad" else [action, payload]))
            case ("ours", priority, timeout_s):
                number = len(self.tasks) + 1
                self.tasks[number] = peer.call(number, timeout_s, priority)
            case ("cancel", index) if self.tasks:
                self.tasks[index % len(self.tasks) + 1].cancel()
            case ("reply", kind, index):
                sent = [frame for frame in peer.frames if frame[0] == 2]
                if sent:
                    self.reply(kind, sent[-1 - index % len(sent)])
            case ("serve",):
                self.turns.release()
            case ("wait",):
                await asyncio.sleep(EXPIRES_S * 2)
            case ("stall",):
                peer.clear.clear()
            case _:
                peer.clear.set()
        await quiet()

    def reply(self, kind: str, frame: list[Any]) -> None:
        number = number_of(frame)
        task = self.tasks.get(number)
        if task is not None and not task.done() and number not in self.replied:
            self.replied.add(number)
            if kind == "yes":
                self.fitting.add(number)
        body: list[Any] = {"yes": [{"status": "Accepted"}], "error": ["InternalError", "", {}]}.get(
            kind, [{}]
        )
        self.say(4 if kind == "error" else 3, frame[1], *([] if kind == "unreadable" else body))

    async def finish(self) -> None:
        self.open = True
        self.peer.clear.set()
        for _ in self.said:
            self.turns.release()
        await until(lambda: len(self.answers()) >= len(self.said))
        await until(self.inbox.empty)
        self.peer.rpc.close()
        await quiet()
        self.reader.cancel()

    def answers(self) -> list[list[Any]]:
        return [frame for frame in self.peer.frames if frame[0] in (3, 4)]


@pytest.mark.asyncio
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(Version)), st.lists(_step, max_size=40))
async def test_any_interleaving(version: Version, steps: list[tuple[Any, ...]]) -> None:
    play = Play(version)
    for step in steps:
        await play.play(step)
    await play.finish()
    assert sorted(answer[1] for answer in play.answers()) == sorted(play.said), "one answer each"
    sent = play.peer.calls()
    assert len([number for number in sent if number]) == len(set(sent) - {0}), "nothing is sent twice"
    for number, task in play.tasks.items():
        end = await ended(task)
        cancelled = isinstance(end, asyncio.CancelledError)
        assert isinstance(end, dict | CallError | NotSent | NoReply) or cancelled, end
        if isinstance(end, NotSent):
            assert number not in sent
        elif isinstance(end, dict):
            assert number in play.fitting
        elif isinstance(end, CallError):
            assert number in play.replied - play.fitting
    assert play.peer.rpc.state is State.CLOSED
    assert isinstance(await ended(play.peer.call(1_000, PATIENCE_S)), NotSent)
