"""The RPC state machine towards the station: IDLE, AWAITING_RESULT, CLOSED, and one end for every CALL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from connectors.ocpp.wire.rpc import CallError, NoReply, NotSent, Priority, State
from connectors.ocpp.wire.schemas import Invalid, Version
from tests.ocpp.rpc_peer import PATIENCE_S, TRIGGER, Peer, ended, number_of, quiet, trigger, until

SOON_S = 0.05
ACCEPTED = {"status": "Accepted"}
VERSIONS = pytest.mark.parametrize("version", list(Version))


async def waiting(peer: Peer, number: int, priority: Priority = Priority.OPERATOR) -> list[Any]:
    """`number` calls that wait behind one that is out; all but the first."""
    out = peer.call(0)
    assert number_of(await peer.heard()) == 0
    tasks = [peer.call(n + 1, PATIENCE_S, priority) for n in range(number)]
    await quiet()
    assert peer.calls() == [0]
    return [out, *tasks]


@pytest.mark.asyncio
@VERSIONS
async def test_idle_awaiting_idle_closed(version: Version) -> None:
    peer = Peer(version)
    assert peer.rpc.state is State.IDLE
    task = peer.call(1)
    frame = await peer.heard()
    assert frame == [2, frame[1], TRIGGER, trigger(1, version)]
    assert 0 < len(frame[1]) <= 36
    assert peer.rpc.state is State.AWAITING_RESULT
    await peer.accept(frame)
    assert await task == ACCEPTED
    assert peer.rpc.state is State.IDLE
    peer.rpc.close()
    assert peer.rpc.state is State.CLOSED


@pytest.mark.asyncio
async def test_one_call_is_out_and_equals_go_in_order() -> None:
    peer = Peer()
    tasks = [peer.call(number) for number in range(5)]
    for number, task in enumerate(tasks):
        frame = await peer.heard()
        assert number_of(frame) == number
        await quiet()
        assert not peer.unread, "a second CALL is out before the first is answered"
        await peer.accept(frame)
        assert await task == ACCEPTED
    assert len({frame[1] for frame in peer.frames}) == 5


@pytest.mark.asyncio
async def test_the_most_urgent_of_those_that_wait_goes_first() -> None:
    peer = Peer()
    tasks = [peer.call(0, priority=Priority.LOAD)]
    first = await peer.heard()
    order = [Priority.HOUSEKEEPING, Priority.LOAD, Priority.SESSION, Priority.LOAD, Priority.SAFETY]
    tasks += [peer.call(n, priority=priority) for n, priority in enumerate(order, start=1)]
    await quiet()
    assert peer.calls() == [0], "what is out is not taken back"
    await peer.accept(first)
    for _ in order:
        await peer.accept(await peer.heard())
    assert peer.calls() == [0, 5, 3, 2, 4, 1]
    assert [await task for task in tasks] == [ACCEPTED] * 6


@pytest.mark.asyncio
async def test_a_full_queue_refuses_and_sends_nothing_later() -> None:
    peer = Peer()
    out, *tasks = await waiting(peer, 64)
    with pytest.raises(NotSent):
        await peer.call(99)
    await peer.accept(peer.frames[0])
    for _ in tasks:
        await peer.accept(await peer.heard())
    assert [await task for task in (out, *tasks)] == [ACCEPTED] * 65
    assert peer.calls() == list(range(65))


@pytest.mark.asyncio
async def test_a_full_queue_of_loads_does_not_keep_a_stop_out() -> None:
    peer = Peer()
    out, *tasks = await waiting(peer, 64, Priority.LOAD)
    stop = peer.call(99, priority=Priority.SAFETY)
    assert isinstance(await ended(tasks[-1]), NotSent), "the last of the least urgent makes room"
    await peer.accept(peer.frames[0])
    assert await out == ACCEPTED
    await until(lambda: len(peer.frames) == 2)
    assert peer.calls() == [0, 99]
    await peer.accept(peer.frames[1])
    assert await stop == ACCEPTED
    peer.rpc.close()
    ends = [await ended(task) for task in tasks]
    assert [type(end) for end in ends] == [NoReply] + [NotSent] * 63, "one had gone out by then"


@pytest.mark.asyncio
async def test_a_deadline_that_passes_in_the_queue_is_not_sent_ever() -> None:
    peer = Peer()
    out = peer.call(1)
    frame = await peer.heard()
    with pytest.raises(NotSent):
        await peer.call(2, SOON_S)
    await peer.accept(frame)
    assert await out == ACCEPTED
    await quiet()
    assert peer.calls() == [1]
    assert peer.rpc.state is State.IDLE


@pytest.mark.asyncio
async def test_a_deadline_that_passes_after_sending_lets_the_next_go() -> None:
    peer = Peer()
    silent, following = peer.call(1, SOON_S), peer.call(2)
    assert isinstance(await ended(silent), NoReply)
    first, second = await peer.heard(), await peer.heard()
    assert (number_of(first), number_of(second)) == (1, 2)
    await peer.accept(first)
    assert peer.rpc.counts["late or unsolicited reply"] == 1
    assert peer.rpc.state is State.AWAITING_RESULT
    await peer.accept(second)
    assert await following == ACCEPTED


@pytest.mark.asyncio
async def test_two_replies_out_of_order_find_their_own_calls() -> None:
    peer = Peer()
    late, second = peer.call(1, SOON_S), peer.call(2)
    frames = [await peer.heard()]
    assert isinstance(await ended(late), NoReply)
    frames.append(await peer.heard())
    await peer.say(3, frames[1][1], {"status": "NotImplemented"})
    await peer.say(3, frames[0][1], {"status": "Rejected"})
    assert await second == {"status": "NotImplemented"}
    assert peer.rpc.counts["late or unsolicited reply"] == 1


@pytest.mark.asyncio
async def test_unsolicited_and_repeated_replies_reach_nobody() -> None:
    peer = Peer()
    await peer.say(3, "never-asked", ACCEPTED)
    task = peer.call(1)
    frame = await peer.heard()
    await peer.say(3, "never-asked", {"status": "Rejected"})
    await peer.say(4, "-1", "InternalError", "", {})
    assert peer.rpc.state is State.AWAITING_RESULT
    await peer.accept(frame)
    await peer.say(3, frame[1], {"status": "Rejected"})
    await peer.say(4, frame[1], "InternalError", "", {})
    assert await task == ACCEPTED
    await peer.say(3, frame[1], {"status": "Rejected"})
    assert peer.rpc.counts["late or unsolicited reply"] == 6
    assert peer.frames == [frame], "none of them is answered"


@pytest.mark.asyncio
@VERSIONS
@pytest.mark.parametrize("payload", [{"status": "Perhaps"}, {}, {"status": 1}, [], "Accepted", None, 3])
async def test_a_reply_that_does_not_fit(version: Version, payload: Any) -> None:
    peer = Peer(version)
    task, following = peer.call(1), peer.call(2)
    frame = await peer.heard()
    await peer.say(3, frame[1], payload)
    assert isinstance(await ended(task), NoReply)
    answers = [await peer.heard() for _ in range(2 if version is Version.V21 else 1)]
    if version is Version.V21:
        (refused,) = [answer for answer in answers if answer[0] == 5]
        assert refused[1:2] + refused[3:] == [frame[1], "", {}]
        assert refused[2].endswith("ConstraintViolation")
    (second,) = [answer for answer in answers if answer[0] == 2]
    await peer.accept(second)
    assert await following == ACCEPTED


@pytest.mark.asyncio
@pytest.mark.parametrize("shape", ["[3, ID]", '["3", ID, {}]', "[3.0, ID, {}]", "[null, ID, {}, {}]"])
async def test_a_reply_that_cannot_be_read_ends_the_call_and_gets_no_error(shape: str) -> None:
    peer = Peer()
    task = peer.call(1)
    frame = await peer.heard()
    await peer.rpc.receive(shape.replace("ID", f'"{frame[1]}"'))
    assert isinstance(await ended(task), NoReply)
    await peer.rpc.receive(shape.replace("ID", f'"{frame[1]}"'))
    if shape.startswith("[null"):  # nobody can tell whether that was a reply
        assert (await peer.heard())[:2] == [4, frame[1]]
    else:
        assert peer.rpc.counts["late or unsolicited reply"] == 1, "a reply gets no error, late or not"
        assert not peer.unread
    assert peer.rpc.state is State.IDLE


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rest", "code", "text"),
    [
        (["NotSupported", "not here", {}], "NotSupported", "not here"),
        (["NotSupported"], "NotSupported", ""),
        ([17, None, {}], "17", "None"),
        (["x" * 1000, "y" * 1000, {}], "x" * 50, "y" * 255),
    ],
)
async def test_an_error_of_the_station_is_told_in_its_words(rest: list[Any], code: str, text: str) -> None:
    peer = Peer()
    task = peer.call(1)
    await peer.say(4, (await peer.heard())[1], *rest)
    error = await ended(task)
    assert isinstance(error, CallError)
    assert (error.code, error.description) == (code, text)
    assert peer.rpc.state is State.IDLE


@pytest.mark.asyncio
async def test_vendor_fields_of_a_reply_are_dropped_and_told() -> None:
    peer, dropped = Peer(), []
    peer.rpc.dropped_field = lambda action, field, value: dropped.append((action, field))
    task = peer.call(1)
    await peer.say(3, (await peer.heard())[1], {"status": "Accepted", "vendorWord": {"deep": 1}})
    assert await task == ACCEPTED
    assert dropped == [(TRIGGER, "vendorWord")]


@pytest.mark.asyncio
async def test_what_does_not_fit_our_own_schema_is_never_sent() -> None:
    peer = Peer()
    for payload in ({}, {"requestedMessage": "Nonsense"}, {**trigger(1), "extra": 1}):
        with pytest.raises(Invalid):
            await peer.rpc.call(TRIGGER, payload, PATIENCE_S)
    assert (peer.frames, peer.rpc.state) == ([], State.IDLE)


@pytest.mark.asyncio
async def test_close_wakes_everybody_and_says_who_may_have_been_heard() -> None:
    peer = Peer()
    tasks = await waiting(peer, 10)
    peer.rpc.close()
    ends = [await ended(task) for task in tasks]
    assert [type(end) for end in ends] == [NoReply] + [NotSent] * 10
    assert isinstance(await ended(peer.call(99)), NotSent)
    await peer.accept(peer.frames[0])
    await quiet()
    assert peer.calls() == [0]
    assert peer.rpc.state is State.CLOSED


@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_the_queue() -> None:
    peer = Peer()
    out, gone, following = await waiting(peer, 2)
    gone.cancel()
    await asyncio.wait([gone])
    await peer.accept(peer.frames[0])
    assert await out == ACCEPTED
    await until(lambda: len(peer.frames) == 2)
    await peer.accept(peer.frames[1])
    assert await following == ACCEPTED
    assert peer.calls() == [0, 2]


@pytest.mark.asyncio
async def test_cancelled_callers_make_room() -> None:
    peer = Peer()
    out, *gone = await waiting(peer, 64)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    tasks = [peer.call(100 + number) for number in range(64)]
    await peer.accept(peer.frames[0])
    assert await out == ACCEPTED
    for task in tasks:
        await peer.accept(await peer.heard())
        assert await task == ACCEPTED


@pytest.mark.asyncio
async def test_who_is_cancelled_in_the_moment_of_his_turn_passes_it_on() -> None:
    peer = Peer()
    out, gone, following = await waiting(peer, 2)
    out.cancel()
    gone.cancel()
    await asyncio.wait([out])
    assert await peer.heard() == [2, peer.frames[1][1], TRIGGER, trigger(2)]
    await peer.accept(peer.frames[1])
    assert await following == ACCEPTED
    assert (out.cancelled(), gone.cancelled()) == (True, True)


@pytest.mark.asyncio
async def test_a_close_before_the_turn_is_used_sends_nothing() -> None:
    peer = Peer()

    async def call_and_close() -> None:
        await peer.rpc.call(TRIGGER, trigger(0), PATIENCE_S)
        peer.rpc.close()

    out = asyncio.create_task(call_and_close())
    frame = await peer.heard()
    following = peer.call(1)
    await quiet()
    await peer.accept(frame)
    await out
    assert isinstance(await ended(following), NotSent), "it had its turn, and was never sent"
    assert peer.calls() == [0]


@pytest.mark.asyncio
async def test_a_caller_cancelled_while_awaiting_frees_the_line() -> None:
    peer = Peer()
    gone, following = await waiting(peer, 1)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    await until(lambda: len(peer.frames) == 2)
    await peer.accept(peer.frames[0])
    await peer.accept(peer.frames[1])
    assert await following == ACCEPTED
    assert peer.rpc.counts["late or unsolicited reply"] == 1


@pytest.mark.asyncio
async def test_a_broken_line_is_no_reply_and_takes_nobody_elses_answer() -> None:
    peer = Peer()
    first, second = await waiting(peer, 1)
    peer.broken = ConnectionResetError("gone")
    await peer.accept(peer.frames[0])
    assert await first == ACCEPTED, "its answer had come"
    assert isinstance(await ended(second), NoReply)
    assert isinstance(await ended(peer.call(3)), NoReply)
    assert peer.rpc.state is State.IDLE


@pytest.mark.asyncio
async def test_a_stalled_line_holds_nobody_beyond_his_deadline() -> None:
    peer = Peer()
    first = peer.call(1)
    frame = await peer.heard()
    second = peer.call(2, SOON_S)
    await quiet()
    peer.clear.clear()
    await peer.accept(frame)
    async with asyncio.timeout(SOON_S * 10):
        assert await first == ACCEPTED, "does not wait for the sending of the next"
    assert isinstance(await ended(second), NoReply), "part of it may have gone"


@pytest.mark.asyncio
async def test_who_watches_sees_both_directions() -> None:
    peer, seen = Peer(), []
    peer.rpc.watch = lambda direction, text: seen.append((direction, text[:3]))
    task = peer.call(1)
    await peer.accept(await peer.heard())
    await task
    await peer.rpc.receive(b"\x00")
    assert seen == [("out", "[2,"), ("in", "[3,"), ("in", "<bi"), ("out", "[4,")]
