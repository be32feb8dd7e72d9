"""The malformed corpus: frames that no station should send, and the one answer each OCPP version owes them.

Here: envelopes, JSON, sizes, message types and ids. `malformed_payloads` holds payloads that break their
schema, `malformed_replies` broken answers to our own CALLs. In a frame `$` stands for the message id, which
is the case's name. Sources: OCPP-J 1.6 section 4, OCPP 2.0.1 part 4 section 4, OCPP 2.1 part 4 section 4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

V16, V201, V21 = "ocpp1.6", "ocpp2.0.1", "ocpp2.1"
V2 = (V201, V21)
ALL = (V16, *V2)
MAX_FRAME_BYTES = 256 * 1024
MAX_DEPTH = 32


@dataclass(frozen=True)
class RawText:
    """Bytes sent as a text frame, valid UTF-8 or not."""

    data: bytes


Frame = str | bytes | RawText | tuple[str, ...]
"""Text, a binary frame, raw text, or the fragments of one text message."""


@dataclass(frozen=True)
class Expected:
    """The answer due. No kinds: nothing may come. `optional`: it may also stay out."""

    kinds: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    optional: bool = False
    close_code: int | None = None
    """The socket may (with `kinds`) or must (without) be closed with this code instead."""


@dataclass(frozen=True)
class Case:
    """One frame, by version; a version without a frame is not asked."""

    name: str
    frames: dict[str, Frame]
    expected: dict[str, Expected]


SILENCE = Expected()


def result(message_id: str) -> Expected:
    return Expected(frozenset({3}), ids=frozenset({message_id}))


def error(message_id: str, *codes: str) -> Expected:
    return Expected(frozenset({4}), frozenset(codes), frozenset({message_id}))


def call(message_id: str, action: Any, payload: Any) -> str:
    return json.dumps([2, message_id, action, payload])


def frame_code(version: str) -> str:
    return "FormationViolation" if version == V16 else "RpcFrameworkError"


def unreadable(name: str, frame: Frame, *ids: str, optional: bool = False) -> Case:
    """CALLERROR with `ids`; by default the frame's own id where it has one, else "-1"."""
    own = isinstance(frame, str) and "$" in frame
    allowed = frozenset(ids or ((name if own else "-1"),))
    sent = frame.replace("$", name) if isinstance(frame, str) else frame
    expected = {
        version: Expected(frozenset({4}), frozenset({frame_code(version)}), allowed, optional)
        for version in ALL
    }
    return Case(name, dict.fromkeys(ALL, sent), expected)


def refused(name: str, code: str, frame: str) -> Case:
    """CALLERROR with the same code in every version."""
    return Case(name, dict.fromkeys(ALL, frame.replace("$", name)), dict.fromkeys(ALL, error(name, code)))


def answered(name: str, frame: Frame, message_id: str | None = None) -> Case:
    """Odd, but right: CALLRESULT. These are the corpus's own positive controls."""
    sent = frame.replace("$", name) if isinstance(frame, str) else frame
    return Case(name, dict.fromkeys(ALL, sent), dict.fromkeys(ALL, result(message_id or name)))


def unheard(name: str, frame: str) -> Case:
    """No answer in any version."""
    return Case(name, dict.fromkeys(ALL, frame), dict.fromkeys(ALL, SILENCE))


def of_unknown_type(name: str, kind: int) -> Case:
    expected = {V16: SILENCE, **dict.fromkeys(V2, error(name, "MessageTypeNotSupported"))}
    return Case(name, dict.fromkeys(ALL, f'[{kind}, "{name}", "Heartbeat", {{}}]'), expected)


def of_21_type(name: str, frame: str) -> Case:
    """CALLRESULTERROR and SEND: 2.1 takes them without an answer, 2.0.1 does not know them."""
    expected = {V16: SILENCE, V201: error(name, "MessageTypeNotSupported"), V21: SILENCE}
    return Case(name, dict.fromkeys(ALL, frame.replace("$", name)), expected)


def _sized(name: str, size: int) -> str:
    return call(name, "Heartbeat", {}).ljust(size)


def _nested(depth: int) -> str:
    """A CALL whose deepest array lies at `depth`, in a vendor field that is dropped."""
    arrays = depth - 2
    return f'[2, "$", "DataTransfer", {{"vendorId": "V", "extra": {"[" * arrays}{"]" * arrays}}}]'


def _oversize(name: str, size: int) -> Case:
    expected = {
        version: Expected(
            frozenset({4}), frozenset({frame_code(version)}), frozenset({"-1", name}), close_code=1009
        )
        for version in ALL
    }
    return Case(name, dict.fromkeys(ALL, _sized(name, size)), expected)


def _behind_closers(depth: int) -> str:
    arrays = "[" * depth + "]" * depth
    return f'[2, "$", "DataTransfer", {{"vendorId": "V", "note": "{"]" * 2000}", "extra": {arrays}}}]'


_BEHIND_CLOSERS, _FAR_BEHIND = _behind_closers(MAX_DEPTH + 1), _behind_closers(1000)
_HEARTBEAT = '[2, "$", "Heartbeat", {}]'
_EMOJI_ID, _NUL_ID = "\N{ELECTRIC PLUG}" * 36, "a\x00b"

JSON_CASES: list[Case] = [
    unreadable("empty-text", ""),
    unreadable("blanks", " \t\r\n "),
    unreadable("not-json", "not json"),
    unreadable("http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    unreadable("python-none", "None"),
    unreadable("null", "null"),
    unreadable("number", "17"),
    unreadable("string", '"Heartbeat"'),
    unreadable("object", "{}"),
    unreadable("object-of-a-call", '{"0": 2, "1": "a", "2": "Heartbeat", "3": {}}'),
    unreadable("empty-array", "[]"),
    unreadable("one-element", "[2]"),
    unreadable("array-in-array", '[[2, "a", "Heartbeat", {}]]'),
    unreadable("truncated", '[2, "a", "Heartbeat", {}'),
    unreadable("truncated-in-a-string", '[2, "a", "Heart'),
    unreadable("trailing-comma", '[2, "a", "Heartbeat", {},]'),
    unreadable("single-quotes", "[2, 'a', 'Heartbeat', {}]"),
    unreadable("comment", '[2, "a", "Heartbeat", {}] // beat'),
    unreadable("two-frames", '[2, "a", "Heartbeat", {}][2, "b", "Heartbeat", {}]'),
    unreadable("garbage-behind", '[2, "a", "Heartbeat", {}]\x00'),
    unreadable("nan", '[2, "a", "Heartbeat", {"x": NaN}]'),
    unreadable("infinity", '[2, "a", "Heartbeat", {"x": -Infinity}]'),
    unreadable("number-beyond-double", '[2, "a", "Heartbeat", {"x": 1e400}]'),
    unreadable("number-of-100k-digits", '[2, "a", "Heartbeat", {"x": ' + "1" * 100_000 + "}]"),
    unreadable("leading-zero", '[02, "a", "Heartbeat", {}]'),
    unreadable("lone-surrogate", '[2, "a", "Heartbeat", {"x": "\\ud800"}]'),
    unreadable("bad-escape", '[2, "a", "Heartbeat", {"x": "\\x41"}]'),
    unreadable("raw-newline-in-a-string", '[2, "a", "Heart\nbeat", {}]'),
    unreadable("byte-order-mark", '\ufeff[2, "a", "Heartbeat", {}]'),
    unreadable("binary", b"\x00\x01binary"),
    unreadable("binary-empty", b""),
    unreadable("binary-call", b'[2, "binary-call", "Heartbeat", {}]', "-1", "binary-call"),
    unreadable("brackets-100k", "[" * 100_000),
    unreadable("braces-100k", '{"a":' * 40_000),
    unreadable("too-deep", _nested(MAX_DEPTH + 1), "-1", "too-deep"),
    # Closing brackets in a string must not hide what is opened behind them.
    unreadable("too-deep-behind-a-string", _BEHIND_CLOSERS, "-1", "too-deep-behind-a-string"),
    unreadable("far-too-deep-behind-a-string", _FAR_BEHIND, "-1", "far-too-deep-behind-a-string"),
    answered("as-deep-as-allowed", _nested(MAX_DEPTH)),
    answered(
        "brackets-in-a-string", '[2, "$", "DataTransfer", {"vendorId": "V", "data": "' + "[{" * 99 + '"}]'
    ),
    answered(
        "escaped-quotes-and-brackets", '[2, "$", "DataTransfer", {"vendorId": "\\"[[\\\\", "data": "]"}]'
    ),
    answered("duplicate-keys", '[2, "$", "DataTransfer", {"vendorId": 17, "vendorId": "V"}]'),
    answered("blanks-around", "\r\n\t " + _HEARTBEAT + " \n"),
    answered("escaped-action", '[2, "$", "\\u0048eartbeat", {}]'),
    answered("in-fragments", ("[2, ", '"in-fragments"', "", ', "Heartbeat"', ", {}]")),
    answered("as-large-as-allowed", _sized("as-large-as-allowed", MAX_FRAME_BYTES)),
    _oversize("one-byte-too-large", MAX_FRAME_BYTES + 1),
    _oversize("a-megabyte", 1 << 20),
    Case(
        "not-utf-8",
        dict.fromkeys(ALL, RawText(b'[2, "a", "Heartbeat", {"x": "\xed\xa0\x80\xff"}]')),
        dict.fromkeys(ALL, Expected(close_code=1007)),  # RFC 6455 8.1: the connection must fail
    ),
]

TYPE_CASES: list[Case] = [
    unreadable("type-as-string", '["2", "$", "Heartbeat", {}]'),
    unreadable("type-null", '[null, "$", "Heartbeat", {}]'),
    unreadable("type-true", '[true, "$", "Heartbeat", {}]'),
    unreadable("type-fraction", '[2.5, "$", "Heartbeat", {}]'),
    unreadable("type-float", '[2.0, "$", "Heartbeat", {}]'),
    unreadable("type-array", '[[2], "$", "Heartbeat", {}]'),
    unreadable("type-object", '[{"t": 2}, "$", "Heartbeat", {}]'),
    unreadable("type-beyond-int64", '[1000000000000000000000000000000, "$", "Heartbeat", {}]'),
    of_unknown_type("type-9", 9),
    of_unknown_type("type-0", 0),
    of_unknown_type("type-1", 1),
    of_unknown_type("type-negative", -2),
    of_unknown_type("type-int64-max", 2**63 - 1),
    of_21_type("callresulterror", '[5, "$", "FormatViolation", "", {}]'),
    of_21_type("callresulterror-long", '[5, "$", "FormatViolation", "", {}, 1, 2]'),
    of_21_type(
        "send",
        '[6, "$", "NotifyPeriodicEventStream", {"id": 1, "pending": 0, "basetime": "2026-01-01T00:00:00Z",'
        ' "data": [{"t": 0, "v": "1"}]}]',
    ),
    of_21_type("send-unknown", '[6, "$", "NoSuchStream", {}]'),
    of_21_type("send-without-payload", '[6, "$", "NotifyPeriodicEventStream"]'),
    of_21_type("send-action-number", '[6, "$", 17, []]'),
    unheard("result-unsolicited", '[3, "nobody", {}]'),
    unheard("result-repeated", '[3, "nobody", {}]'),
    unheard("result-null", '[3, "nobody", null]'),
    unheard("result-long", '[3, "nobody", {}, {}, {}]'),
    unheard("error-unsolicited", '[4, "nobody", "InternalError", "", {}]'),
    unheard("error-repeated", '[4, "nobody", "InternalError", "", {}]'),
    unheard("error-of-three", '[4, "nobody", 17]'),
    unheard("error-of-seven", '[4, "nobody", "InternalError", "", {}, 6, 7]'),
    unheard("error-answers-minus-one", '[4, "-1", "RpcFrameworkError", "", {}]'),
    # A reply that cannot be read may be refused or passed over; it must not be refused twice.
    unreadable("result-id-number", "[3, 17, {}]", optional=True),
    unreadable("error-id-null", '[4, null, "InternalError", "", {}]', optional=True),
    unreadable("result-of-two", '[3, "$"]', "-1", "result-of-two", optional=True),
]

ID_CASES: list[Case] = [
    unreadable("id-number", '[2, 17, "Heartbeat", {}]'),
    unreadable("id-null", '[2, null, "Heartbeat", {}]'),
    unreadable("id-true", '[2, true, "Heartbeat", {}]'),
    unreadable("id-empty", '[2, "", "Heartbeat", {}]'),
    unreadable("id-array", '[2, ["a"], "Heartbeat", {}]'),
    unreadable("id-object", '[2, {"a": 1}, "Heartbeat", {}]'),
    unreadable("id-of-37", call("x" * 37, "Heartbeat", {})),
    unreadable("id-of-10k", call("x" * 10_000, "Heartbeat", {})),
    answered("id-of-36", call("x" * 36, "Heartbeat", {}), "x" * 36),
    answered("id-of-36-emoji", call(_EMOJI_ID, "Heartbeat", {}), _EMOJI_ID),
    answered("id-with-nul", call(_NUL_ID, "Heartbeat", {}), _NUL_ID),
    answered("id-blank", call(" ", "Heartbeat", {}), " "),
    answered("id-minus-one", call("-1", "Heartbeat", {}), "-1"),
]

CALL_CASES: list[Case] = [
    unreadable("call-of-two", '[2, "$"]'),
    unreadable("call-of-three", '[2, "$", "Heartbeat"]'),
    unreadable("call-of-five", '[2, "$", "Heartbeat", {}, {}]'),
    unreadable("call-of-1000", '[2, "$", "Heartbeat"' + ", {}" * 997 + "]"),
    unreadable("action-number", '[2, "$", 17, {}]'),
    unreadable("action-null", '[2, "$", null, {}]'),
    unreadable("action-object", '[2, "$", {"Heartbeat": 1}, {}]'),
    unreadable("action-array", '[2, "$", ["Heartbeat"], {}]'),
    unreadable("payload-null", '[2, "$", "Heartbeat", null]'),
    unreadable("payload-array", '[2, "$", "Heartbeat", []]'),
    unreadable("payload-string", '[2, "$", "Heartbeat", "{}"]'),
    unreadable("payload-number", '[2, "$", "Heartbeat", 0]'),
    unreadable("payload-false", '[2, "$", "Heartbeat", false]'),
    unreadable("action-and-payload-swapped", '[2, "$", {}, "Heartbeat"]'),
    refused("action-unknown", "NotImplemented", '[2, "$", "NoSuchAction", {}]'),
    refused("action-empty", "NotImplemented", '[2, "$", "", {}]'),
    refused("action-lower-case", "NotImplemented", '[2, "$", "heartbeat", {}]'),
    refused("action-trailing-blank", "NotImplemented", '[2, "$", "Heartbeat ", {}]'),
    refused("action-with-suffix", "NotImplemented", '[2, "$", "HeartbeatRequest", {}]'),
    refused("action-of-a-response", "NotImplemented", '[2, "$", "HeartbeatResponse", {}]'),
    refused("action-dunder", "NotImplemented", '[2, "$", "__class__", {}]'),
    refused("action-path", "NotImplemented", '[2, "$", "../schemas/Heartbeat", {}]'),
    refused("action-with-nul", "NotImplemented", '[2, "$", "Heartbeat\\u0000", {}]'),
    refused("action-format-string", "NotImplemented", '[2, "$", "%s%n{0.__class__}", {}]'),
    refused("action-of-200k", "NotImplemented", '[2, "$", "' + "A" * 200_000 + '", {}]'),
    refused(
        "action-unknown-200k", "NotImplemented", '[2, "$", "NoSuchAction", {"x": "' + "y" * 200_000 + '"}]'
    ),
]

ENVELOPES: list[Case] = [*JSON_CASES, *TYPE_CASES, *ID_CASES, *CALL_CASES]
