"""The RPC state machine and its handlers: slow, failing, calling back, and the queue in front of them."""

from __future__ import annotations

import asyncio

import pytest

from connectors.ocpp.wire.rpc import Answer, CallError, NoReply, State
from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.rpc_peer import ANSWERS, NOW, PATIENCE_S, TRIGGER, Peer, ended, quiet, trigger, until

VERSIONS = pytest.mark.parametrize("version", list(Version))
HEARTBEAT = [3, "a", ANSWERS["Heartbeat"]]
START = {"connectorId": 1, "idTag": "T", "meterStart": 5, "timestamp": NOW}


async def lives(peer: Peer) -> None:
    assert await peer.ask("Heartbeat", {}) == HEARTBEAT


# --- handlers ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_slow_handler_does_not_delay_a_result() -> None:
    gate = asyncio.Event()

    async def handle(action: str, payload: Json) -> Answer:
        await gate.wait()
        return Answer(ANSWERS[action])

    peer = Peer(handle=handle)
    await peer.say(2, "a", "Heartbeat", {})
    task = peer.call(1)
    await peer.accept(await peer.heard())
    assert await task == {"status": "Accepted"}
    gate.set()
    assert await peer.heard() == HEARTBEAT


@pytest.mark.asyncio
async def test_a_handler_may_call_the_station() -> None:
    async def handle(action: str, payload: Json) -> Answer:
        await peer.rpc.call(TRIGGER, trigger(1), PATIENCE_S)
        return Answer(ANSWERS[action])

    peer = Peer(handle=handle)
    await peer.say(2, "a", "Heartbeat", {})
    call = await peer.heard()
    assert call[2] == TRIGGER
    await peer.accept(call)
    assert await peer.heard() == HEARTBEAT


@pytest.mark.asyncio
async def test_afterwards_comes_after_the_answer_and_may_call_the_station() -> None:
    done = asyncio.Event()

    async def then() -> None:
        await peer.rpc.call(TRIGGER, trigger(1), PATIENCE_S)
        done.set()

    async def handle(action: str, payload: Json) -> Answer:
        return Answer(ANSWERS[action], then if action == "MeterValues" else None)

    peer = Peer(Version.V16, handle)
    meter = {"connectorId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": "1"}]}]}
    assert await peer.ask("MeterValues", meter) == [3, "a", {}]
    call = await peer.heard()
    assert call[2] == TRIGGER
    await lives(peer)
    await peer.accept(call)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (NoReply("late"), "afterwards NoReply"),
        (CallError("InternalError"), "afterwards CallError"),
        (RuntimeError("no"), "afterwards failed"),
    ],
)
async def test_what_fails_afterwards_is_counted_only(error: Exception, counted: str) -> None:
    async def then() -> None:
        raise error

    async def handle(action: str, payload: Json) -> Answer:
        return Answer(ANSWERS[action], then)

    peer = Peer(handle=handle)
    await lives(peer)
    await until(lambda: peer.rpc.counts[counted] == 1)
    await lives(peer)
    assert peer.drops == 0


@pytest.mark.asyncio
async def test_what_was_not_answered_is_not_followed_up() -> None:
    followed: list[str] = []

    async def then() -> None:
        followed.append("then")

    async def handle(action: str, payload: Json) -> Answer:
        return Answer(ANSWERS[action], then)

    peer = Peer(handle=handle)
    peer.broken = ConnectionResetError("gone")
    await peer.say(2, "b", "Heartbeat", {})
    await until(lambda: peer.rpc.counts["send failed"] == 1)
    await quiet()
    assert followed == []
    peer.broken = None
    await lives(peer)
    await until(lambda: followed == ["then"])


@pytest.mark.asyncio
async def test_a_handlers_refusal_is_its_own_word() -> None:
    async def handle(action: str, payload: Json) -> Answer:
        raise CallError("SecurityError", "y" * 1000)

    peer = Peer(handle=handle)
    answer = await peer.ask("Heartbeat", {})
    assert answer == [4, "a", "SecurityError", "y" * 255, {}]


@pytest.mark.asyncio
@VERSIONS
@pytest.mark.parametrize("wrong", [{}, {"currentTime": "now"}, {"currentTime": NOW, "extra": 1}, None])
async def test_a_wrong_reply_never_reaches_the_wire(version: Version, wrong: Json | None) -> None:
    async def handle(action: str, payload: Json) -> Answer:
        if wrong is None:
            raise RuntimeError("a secret of ours")
        return Answer(wrong)

    peer = Peer(version, handle)
    assert await peer.ask("Heartbeat", {}) == [4, "a", "InternalError", "", {}]
    assert peer.rpc.counts["handler failed"] == 1
    assert peer.drops == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("fails", [True, False])
async def test_a_transaction_that_cannot_be_kept_drops_the_connection(fails: bool) -> None:
    async def handle(action: str, payload: Json) -> Answer:
        if action == "StartTransaction" and fails:
            raise RuntimeError("no database")
        return Answer({} if action == "StartTransaction" else ANSWERS[action])

    peer = Peer(handle=handle, repair={"StartTransaction": lambda payload: payload})
    await peer.say(2, "b", "StartTransaction", START)
    await lives(peer)
    assert peer.drops == 1
    assert peer.frames == [HEARTBEAT], "an error would burn one of the station's attempts"


# --- repair and vendor fields -----------------------------------------------------------------------------


def mend(payload: Json) -> Json:
    return {**START, "idTag": str(payload["idTag"])[:20]}


@pytest.mark.asyncio
async def test_what_can_be_repaired_is_answered_and_its_raw_kept() -> None:
    peer, raw = Peer(repair={"StartTransaction": mend}), []
    peer.rpc.repaired = lambda action, payload: raw.append((action, payload))
    broken = {"idTag": "T" * 30, "meterStart": "five"}
    assert await peer.ask("StartTransaction", broken) == [3, "a", ANSWERS["StartTransaction"]]
    assert peer.handled == [("StartTransaction", {**START, "idTag": "T" * 20})]
    assert raw == [("StartTransaction", broken)]
    assert peer.rpc.counts["repaired StartTransaction"] == 1
    assert (await peer.ask("StartTransaction", START))[0] == 3
    assert len(raw) == 1, "what fits is not repaired"


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError, OverflowError, None])
async def test_what_cannot_be_repaired_gets_the_first_violations_word(error: type[Exception] | None) -> None:
    def fail(payload: Json) -> Json:
        if error is None:
            return {"idTag": 5}
        raise error("no")

    peer, raw = Peer(repair={"StartTransaction": fail}), []
    peer.rpc.repaired = lambda action, payload: raw.append(payload)
    assert (await peer.ask("StartTransaction", {**START, "idTag": "T" * 30}))[:3] == [
        4, "a", "PropertyConstraintViolation",
    ]  # fmt: skip
    assert raw == peer.handled == []
    await lives(peer)


@pytest.mark.asyncio
async def test_vendor_fields_are_dropped_and_told_at_any_depth() -> None:
    peer, dropped = Peer(), []
    peer.rpc.dropped_field = lambda action, field, value: dropped.append((action, field))
    sample = {"value": "1", "vendorUnit": 1}
    meter = {"timestamp": NOW, "sampledValue": [sample, {"value": "2"}], "x" * 99: []}
    assert (await peer.ask("MeterValues", {"connectorId": 1, "meterValue": [meter], "vendor": None}))[0] == 3
    known = {"timestamp": NOW, "sampledValue": [{"value": "1"}, {"value": "2"}]}
    assert peer.handled == [("MeterValues", {"connectorId": 1, "meterValue": [known]})]
    assert sorted(dropped) == sorted(("MeterValues", field) for field in ("vendor", "vendorUnit", "x" * 50))


# --- the queue, and the end -------------------------------------------------------------------------------


def gated() -> tuple[asyncio.Event, Peer]:
    gate = asyncio.Event()

    async def handle(action: str, payload: Json) -> Answer:
        await gate.wait()
        return Answer(ANSWERS[action])

    return gate, Peer(handle=handle)


@pytest.mark.asyncio
async def test_a_full_queue_makes_the_reader_wait_and_loses_nothing() -> None:
    gate, peer = gated()
    done: list[int] = []

    async def read() -> None:
        for number in range(200):
            await peer.say(2, str(number), "Heartbeat", {})
            done.append(number)

    reader = asyncio.create_task(read())
    await until(lambda: len(done) >= 64)
    await quiet()
    assert len(done) <= 65, "one is served, 64 wait, and the next is not taken from the socket"
    gate.set()
    answers = [await peer.heard() for _ in range(200)]
    await reader
    assert [answer[1] for answer in answers] == [str(number) for number in range(200)]


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["close", "break"])
async def test_a_reader_that_waits_for_room_is_freed_by_the_end(how: str) -> None:
    """Was a bug: the worker died of the broken line, and the reader waited for room for ever."""
    gate, peer = gated()

    async def read() -> None:
        for number in range(100):
            await peer.say(2, str(number), "Heartbeat", {})

    reader = asyncio.create_task(read())
    await quiet()
    if how == "close":
        peer.rpc.close()
    else:
        peer.broken = ConnectionResetError("gone")
        gate.set()
    async with asyncio.timeout(PATIENCE_S):
        await reader
    if how == "break":
        await until(lambda: len(peer.handled) == 100)
    assert peer.frames == []


@pytest.mark.asyncio
async def test_after_close_nothing_is_served_or_said() -> None:
    gate, peer = gated()
    for number in range(3):
        await peer.say(2, str(number), "Heartbeat", {})
    await quiet()
    peer.rpc.close()
    gate.set()
    await peer.say(2, "b", "Heartbeat", {})
    await peer.rpc.receive("no frame")
    await quiet()
    assert len(peer.handled) == 1, "the one that was being served"
    assert (peer.frames, peer.rpc.state) == ([], State.CLOSED)


@pytest.mark.asyncio
async def test_what_was_to_follow_ends_with_the_connection() -> None:
    ends: list[str] = []

    async def then() -> None:
        try:
            await peer.rpc.call(TRIGGER, trigger(1), PATIENCE_S)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    async def handle(action: str, payload: Json) -> Answer:
        return Answer(ANSWERS[action], then)

    peer = Peer(handle=handle)
    await lives(peer)
    assert (await peer.heard())[2] == TRIGGER
    peer.rpc.close()
    await until(lambda: bool(ends))
    assert isinstance(await ended(peer.call(2)), Exception)
