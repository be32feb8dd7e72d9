"""Robustness: every malformed frame gets its one answer, and no connection's loop dies of it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from models.commands import CommandKind, CommandOutcome, CommandReply
from tests.ocpp.conftest import Site
from tests.ocpp.malformed_frames import ALL, ENVELOPES, V16, V21, V201, Case
from tests.ocpp.malformed_payloads import PAYLOADS
from tests.ocpp.malformed_replies import REPLIES
from tests.ocpp.malformed_runner import Runner, Tally
from tests.ocpp.malformed_transactions import TRANSACTIONS

FRAMES = [*ENVELOPES, *PAYLOADS, *TRANSACTIONS]


def of(version: str) -> list[Case]:
    return [case for case in FRAMES if version in case.frames]


def verdict(
    version: str,
    what: str,
    tally: Tally,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print the counts, then fail with every failed case by name. Nothing may have died unseen either."""
    gc.collect()  # a task that died without being awaited is logged when it is collected
    unseen = [r.getMessage() for r in caplog.records if r.name in ("asyncio", "websockets.server")]
    with capsys.disabled():
        print(f"\nmalformed {what}, {version}: {tally}")  # noqa: T201
    report = "\n".join(f"  {name}: {text}" for name, text in tally.failures.items())
    assert not tally.failures, f"{tally}\n{report}"
    assert not unseen, unseen
    assert (tally.loop_deaths, tally.unanswered) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ALL)
async def test_every_malformed_frame_gets_its_one_answer(
    site: Site, version: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("ERROR")
    runner = Runner(lambda: _socket(site, version), version)
    await runner.open()
    for case in of(version):
        await runner.frame(case)
    assert site.gateway.connected == 1
    await runner.close()
    verdict(version, "frames", runner.tally, caplog, capsys)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ALL)
async def test_every_malformed_reply_leaves_the_caller_with_an_outcome(
    site: Site, version: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("ERROR")

    async def send(kind: CommandKind, timeout_s: float) -> CommandReply:
        return await site.gateway.send(site.command(kind, timeout_s=timeout_s))

    runner = Runner(lambda: _socket(site, version), version)
    await runner.open()
    for case in REPLIES:
        await runner.reply(case, send)
    await runner.close()
    verdict(version, "replies", runner.tally, caplog, capsys)


async def _socket(site: Site, version: str) -> ClientConnection:
    return (await site.connect(version)).socket


def test_the_corpus_is_what_it_says() -> None:
    names = Counter([case.name for case in FRAMES])
    assert [name for name, times in names.items() if times > 1] == []
    assert all(len(name) <= 36 for name in names), "a name is a message id"
    assert len({case.name for case in REPLIES}) == len(REPLIES)
    assert all(case.frames.keys() == case.expected.keys() for case in FRAMES)
    assert len(FRAMES) + len(REPLIES) >= 70
    for version in (V16, V201, V21):
        assert len(of(version)) >= 70


# --- negative control: the same runner must find each of these servers wanting ----------------------------


def frame_of(raw: str | bytes) -> tuple[str, bool]:
    """The id (or "-1") and whether the frame is the station's own boot or Heartbeat between two cases."""
    try:
        frame = json.loads(raw)
        message_id = str(frame[1])
        return message_id, message_id == "boot" or message_id.startswith("beat-")
    except (ValueError, TypeError, LookupError, RecursionError):
        return "-1", False


class Broken:
    """A server with one fault each; boots and Heartbeats are answered, so that only the fault shows."""

    async def echo(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        await socket.send(raw)

    async def mute(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        pass

    async def twice(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        for _ in range(2):
            await socket.send(json.dumps([4, message_id, "FormationViolation", "", {}]))

    async def talkative(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        details = {"received": str(raw)[:2000].ljust(300)}
        await socket.send(json.dumps([4, message_id, "FormationViolation", "", details]))

    async def vague(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        await socket.send(json.dumps([4, message_id, "GenericError", "", {}]))

    async def dying(self, socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        await socket.close(1011)


async def dial(url: str) -> ClientConnection:
    return await connect(url, compression=None, proxy=None)


@asynccontextmanager
async def broken_server(
    fault: Callable[[ServerConnection, str | bytes, str], Awaitable[None]],
) -> AsyncIterator[str]:
    async def run(socket: ServerConnection) -> None:
        try:
            async for raw in socket:
                message_id, fence = frame_of(raw)
                if fence:
                    await socket.send(json.dumps([3, message_id, {"currentTime": "2026-01-01T00:00:00Z"}]))
                else:
                    await fault(socket, raw, message_id)
        except ConnectionClosed:
            pass

    async with serve(run, "127.0.0.1", 0, max_size=1 << 22, compression=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["echo", "mute", "twice", "talkative", "vague", "dying"])
async def test_a_broken_server_fails_every_case(fault: str) -> None:
    every, patience_s = (30, 0.5) if fault == "mute" else (3, 5.0)
    due = [case for case in of(V16) if case.expected[V16].kinds and not case.expected[V16].optional][::every]
    silent = [case for case in of(V16) if not case.expected[V16].kinds and case.name != "not-utf-8"]
    cases = [*due, *silent]
    async with broken_server(getattr(Broken(), fault)) as url:
        runner = Runner(lambda: dial(url), V16, patience_s=patience_s)
        await runner.open()
        for case in cases:
            await runner.frame(case)
        await runner.close()
    tally = runner.tally
    wrong = {case.name for case in (due if fault == "mute" else cases)}
    assert set(tally.failures) == wrong, tally
    assert tally.unanswered == (len(due) if fault == "mute" else 0)
    assert tally.loop_deaths == (len(cases) if fault == "dying" else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["credulous", "hanging", "crashing"])
async def test_a_broken_caller_fails_every_reply(fault: str) -> None:
    """Believes every reply, waits for ever, or falls over."""
    joined: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def keep(socket: ServerConnection, raw: str | bytes, message_id: str) -> None:
        if not joined.done():
            joined.set_result(socket)

    async def send(kind: CommandKind, timeout_s: float) -> CommandReply:
        await (await joined).send(json.dumps([2, "ours", "RemoteStartTransaction", {}]))
        if fault == "hanging":
            await asyncio.Event().wait()
        if fault == "crashing":
            raise TypeError("unhashable type: 'dict'")
        return CommandReply(outcome=CommandOutcome.ACCEPTED)

    every, patience_s = (12, 0.5) if fault == "hanging" else (1, 5.0)
    cases = [case for case in REPLIES if CommandOutcome.ACCEPTED not in case.outcomes]
    cases = [case for case in cases if case.kind is CommandKind.START][::every]
    async with broken_server(keep) as url:
        runner = Runner(lambda: dial(url), V16, patience_s=patience_s)
        await runner.open()
        await runner.say("hello")
        for case in cases:
            await runner.reply(case, send)
        await runner.close()
    assert set(runner.tally.failures) == {case.name for case in cases}, runner.tally
