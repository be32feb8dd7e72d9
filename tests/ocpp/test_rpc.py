"""The RPC state machine from the station's side: what comes, and the one answer that it gets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version
from tests.ocpp.rpc_peer import ANSWERS, NOW, Peer, quiet

VERSIONS = pytest.mark.parametrize("version", list(Version))
HEARTBEAT = [3, "a", ANSWERS["Heartbeat"]]
START = {"connectorId": 1, "idTag": "T", "meterStart": 5, "timestamp": NOW}
V16_WORDS = {
    "frame": "FormationViolation", "missing": "OccurenceConstraintViolation",
    "type": "TypeConstraintViolation", "property": "PropertyConstraintViolation",
}  # fmt: skip
V2X_WORDS = {
    "frame": "RpcFrameworkError", "missing": "OccurrenceConstraintViolation",
    "type": "TypeConstraintViolation", "property": "PropertyConstraintViolation",
}  # fmt: skip


def words(version: Version) -> dict[str, str]:
    return V16_WORDS if version is Version.V16 else V2X_WORDS


async def lives(peer: Peer) -> None:
    assert await peer.ask("Heartbeat", {}) == HEARTBEAT


# --- one answer -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@VERSIONS
async def test_calls_are_answered_in_order_with_their_own_ids(version: Version) -> None:
    peer = Peer(version)
    for number in range(20):
        await peer.say(2, f"id-{number}", "Heartbeat", {})
    answers = [await peer.heard() for _ in range(20)]
    assert answers == [[3, f"id-{number}", ANSWERS["Heartbeat"]] for number in range(20)]


@pytest.mark.asyncio
@VERSIONS
@pytest.mark.parametrize(
    ("frame", "message_id", "word"),
    [
        ("", "-1", "frame"),
        ("{}", "-1", "frame"),
        ('[2, "a", "Heartbeat", {}', "-1", "frame"),
        ('[2, 1, "Heartbeat", {}]', "-1", "frame"),
        ('[2, "", "Heartbeat", {}]', "-1", "frame"),
        (f'[2, "{"x" * 37}", "Heartbeat", {{}}]', "-1", "frame"),
        (f'[2, "a", "DataTransfer", {"[" * 40}{"]" * 40}]', "-1", "frame"),
        (f'[2, "a", "DataTransfer", {{"data": "{"x" * 300_000}"}}]', "-1", "frame"),
        ('["2", "a", "Heartbeat", {}]', "a", "frame"),
        ('[true, "a", "Heartbeat", {}]', "a", "frame"),
        ('[2, "a"]', "a", "frame"),
        ('[2, "a", "Heartbeat"]', "a", "frame"),
        ('[2, "a", "Heartbeat", {}, 1]', "a", "frame"),
        ('[2, "a", 7, {}]', "a", "frame"),
        ('[2, "a", "Heartbeat", null]', "a", "frame"),
        ('[2, "a", "DataTransfer", {}]', "a", "missing"),
        ('[2, "a", "DataTransfer", {"vendorId": 7}]', "a", "type"),
        (f'[2, "a", "DataTransfer", {{"vendorId": "{"x" * 256}"}}]', "a", "property"),
        ('[2, "a", "heartbeat", {}]', "a", "NotImplemented"),
        ('[2, "a", "SignCertificate", {}]', "a", "NotSupported"),
        ('[2, "a", "Reset", {}]', "a", "NotSupported"),
    ],
)
async def test_what_is_wrong_has_one_word_for_it(
    version: Version, frame: str, message_id: str, word: str
) -> None:
    peer = Peer(version)
    await peer.rpc.receive(frame)
    code = words(version).get(word, word)
    assert [await peer.heard()] == [[4, message_id, code, peer.frames[0][3], {}]]
    assert peer.rpc.counts[f"refused {code}"] == 1
    await lives(peer)


@pytest.mark.asyncio
async def test_binary_is_no_frame() -> None:
    peer = Peer(Version.V201)
    await peer.rpc.receive(b'[2, "a", "Heartbeat", {}]')
    assert (await peer.heard())[:3] == [4, "-1", "RpcFrameworkError"]


@pytest.mark.asyncio
async def test_until_it_is_accepted_a_station_may_not_speak() -> None:
    peer = Peer(allowed=lambda action: action == "Heartbeat")
    assert (await peer.ask("MeterValues", {"connectorId": 1, "meterValue": []}))[2] == "SecurityError"
    assert peer.handled == []
    await lives(peer)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("version", "kind", "code"),
    [
        (Version.V16, 5, None),
        (Version.V16, 6, None),
        (Version.V16, 99, None),
        (Version.V201, 5, "MessageTypeNotSupported"),
        (Version.V201, 6, "MessageTypeNotSupported"),
        (Version.V201, -3, "MessageTypeNotSupported"),
        (Version.V21, 5, None),
        (Version.V21, 6, None),
        (Version.V21, 7, "MessageTypeNotSupported"),
    ],
)
async def test_other_message_types_per_version(version: Version, kind: int, code: str | None) -> None:
    peer = Peer(version)
    await peer.say(kind, "b", "InternalError", "", {})
    if code is not None:
        assert (await peer.heard())[:3] == [4, "b", code]
    await lives(peer)
    assert len(peer.frames) == (1 if code is None else 2)


@pytest.mark.asyncio
async def test_a_result_error_is_taken_and_counted() -> None:
    peer = Peer(Version.V21)
    await lives(peer)
    await peer.say(5, "a", "FormatViolation", "", {})
    assert peer.rpc.counts["our result refused"] == 1
    await lives(peer)


# --- SEND (2.1) -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_send_is_taken_without_an_answer_even_where_its_handler_fails() -> None:
    stream = {"id": 1, "pending": 0, "basetime": NOW, "data": [{"t": 0.5, "v": "1"}]}

    async def handle(action: str, payload: Json) -> Answer:
        if payload.get("pending"):
            raise RuntimeError("no")
        return Answer(ANSWERS[action])

    peer = Peer(Version.V21, handle)
    await peer.say(6, "s", "NotifyPeriodicEventStream", stream)
    await peer.say(6, "s", "NotifyPeriodicEventStream", {**stream, "pending": 1})
    await lives(peer)
    assert [action for action, _ in peer.handled] == ["NotifyPeriodicEventStream"] * 2 + ["Heartbeat"]
    assert peer.handled[0][1] == stream
    assert len(peer.frames) == 1
    assert peer.rpc.counts["handler failed"] == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "frame",
    [
        [6, "s", "NoSuchAction", {}],
        [6, "s", "Heartbeat", {}],
        [6, "s", "NotifyPeriodicEventStream", {}],
        [6, "s", "NotifyPeriodicEventStream"],
        [6, "s", {}, {}],
        [6, "s", "NotifyPeriodicEventStream", []],
    ],
)
async def test_a_send_that_cannot_be_taken_is_counted(frame: list[Any]) -> None:
    peer = Peer(Version.V21)
    await peer.say(*frame)
    assert peer.rpc.counts["send not taken"] == 1
    await lives(peer)
    assert len(peer.frames) == 1


# --- no echo ----------------------------------------------------------------------------------------------

MARK = "c0ffee-is-not-to-be-seen"
_marked = st.one_of(st.just(MARK), st.just({MARK: MARK}), st.just([MARK]), st.just({"vendorId": [MARK]}))
_kinds = st.sampled_from([2, 2, 2, 3, 4, 5, 6, 9, "2", None])
_actions = st.sampled_from(["DataTransfer", "MeterValues", "Reset", "Heartbeat", MARK, 5])


@pytest.mark.asyncio
@given(
    st.sampled_from(list(Version)),
    st.one_of(
        st.tuples(_kinds, st.just("id"), _actions, _marked).map(list),
        st.tuples(_kinds, st.just("id"), _marked).map(list),
        st.tuples(_kinds, _marked, _actions, _marked).map(list),
        _marked,
    ),
    st.integers(0, 3),
)
async def test_no_answer_repeats_what_was_sent(version: Version, frame: Any, cut: int) -> None:
    peer = Peer(version)
    text = orjson.dumps(frame).decode()
    await peer.rpc.receive(text[: len(text) - cut])
    await quiet()
    assert len(peer.frames) <= 1
    for answer in peer.frames:
        assert MARK not in orjson.dumps(answer[2:]).decode()
