"""The malformed corpus: what stations really answer to our CALLs, and what our caller may be told then.

`$` stands for the id of the CALL. A reply that cannot be used leaves the command UNCERTAIN (it may have
worked); an error of the station is REJECTED where it can be read."""

from __future__ import annotations

from dataclasses import dataclass

from models.commands import CommandKind, CommandOutcome
from tests.ocpp.malformed_frames import MAX_FRAME_BYTES, Frame

_ACCEPTED = frozenset({CommandOutcome.ACCEPTED})
_REJECTED = frozenset({CommandOutcome.REJECTED})
_UNCERTAIN = frozenset({CommandOutcome.UNCERTAIN})
_NOT_ACCEPTED = _REJECTED | _UNCERTAIN
_IGNORED_S = 0.6  # such replies are passed over: the caller waits until its own deadline


@dataclass(frozen=True)
class ReplyCase:
    """Frames sent in answer to one command; `max_answers` of them may be refused by a CALLERROR."""

    name: str
    frames: tuple[Frame, ...]
    outcomes: frozenset[CommandOutcome]
    timeout_s: float = 2.0
    max_answers: int = 0
    close_code: int | None = None
    kind: CommandKind = CommandKind.START


def _one(name: str, frame: Frame, outcomes: frozenset[CommandOutcome], **more: int | float) -> ReplyCase:
    return ReplyCase(name, (frame,), outcomes, **more)  # type: ignore[arg-type]


def _passed_over(name: str, frame: Frame, max_answers: int = 1) -> ReplyCase:
    return ReplyCase(name, (frame,), _NOT_ACCEPTED, timeout_s=_IGNORED_S, max_answers=max_answers)


_GOOD = '[3, "$", {"status": "Accepted"}]'

REPLIES: list[ReplyCase] = [
    # The controls: what is right is taken, through noise of every sort.
    _one("good", _GOOD, _ACCEPTED),
    _one("good-with-vendor-fields", '[3, "$", {"status": "Accepted", "vendor": {"a": [1]}}]', _ACCEPTED),
    ReplyCase("good-after-a-stranger", ('[3, "nobody", {"status": "Rejected"}]', _GOOD), _ACCEPTED),
    ReplyCase("good-after-a-strange-error", ('[4, "nobody", "InternalError", "", {}]', _GOOD), _ACCEPTED),
    ReplyCase("good-after-garbage", ("not json", "[]", _GOOD), _ACCEPTED, max_answers=2),
    ReplyCase("good-after-a-call-of-its-id", ('[2, "$", "Heartbeat", {}]', _GOOD), _ACCEPTED, max_answers=1),
    ReplyCase("good-twice", (_GOOD, _GOOD), _ACCEPTED),
    ReplyCase("good-then-rejected", (_GOOD, '[3, "$", {"status": "Rejected"}]'), _ACCEPTED),
    ReplyCase("good-then-error", (_GOOD, '[4, "$", "InternalError", "", {}]'), _ACCEPTED),
    ReplyCase("error-then-good", ('[4, "$", "InternalError", "", {}]', _GOOD), _REJECTED),
    # Results.
    _one("result-null", '[3, "$", null]', _UNCERTAIN),
    _one("result-array", '[3, "$", [{"status": "Accepted"}]]', _UNCERTAIN),
    _one("result-string", '[3, "$", "Accepted"]', _UNCERTAIN),
    _one("result-true", '[3, "$", true]', _UNCERTAIN),
    _one("result-empty", '[3, "$", {}]', _UNCERTAIN),
    _one("status-unknown", '[3, "$", {"status": "Perhaps"}]', _UNCERTAIN),
    _one("status-empty", '[3, "$", {"status": ""}]', _UNCERTAIN),
    _one("status-null", '[3, "$", {"status": null}]', _UNCERTAIN),
    _one("status-number", '[3, "$", {"status": 1}]', _UNCERTAIN),
    _one("status-array", '[3, "$", {"status": ["Accepted"]}]', _UNCERTAIN),
    _one("status-object", '[3, "$", {"status": {"Accepted": true}}]', _UNCERTAIN),
    _one("status-of-200k", '[3, "$", {"status": "' + "A" * 200_000 + '"}]', _UNCERTAIN),
    ReplyCase(
        "unlock-says-accepted",
        ('[3, "$", {"status": "Accepted"}]',),
        _UNCERTAIN,  # the word of another action: UnlockConnector knows only Unlocked
        kind=CommandKind.UNLOCK,
    ),
    ReplyCase(
        "trigger-says-unlocked",
        ('[3, "$", {"status": "Unlocked"}]',),
        _UNCERTAIN,
        kind=CommandKind.TRIGGER_STATUS,
    ),
    _one(
        "result-of-four",
        '[3, "$", {"status": "Rejected"}, {}]',
        _NOT_ACCEPTED,
        timeout_s=_IGNORED_S,
        max_answers=1,
    ),
    _passed_over("result-of-two", '[3, "$"]'),
    _passed_over("result-in-an-array", '[[3, "$", {"status": "Accepted"}]]'),
    _passed_over("result-type-as-string", '["3", "$", {"status": "Accepted"}]'),
    _passed_over("result-id-in-an-array", '[3, ["$"], {"status": "Accepted"}]'),
    _passed_over("result-id-with-a-blank", '[3, " $", {"status": "Accepted"}]'),
    _passed_over("result-truncated", '[3, "$", {"status": "Accepted"'),
    _passed_over("result-with-nan", '[3, "$", {"status": "Accepted", "x": NaN}]'),
    _passed_over("result-too-deep", '[3, "$", {"status": "Accepted", "x": ' + "[" * 99 + "]" * 99 + "}]"),
    _passed_over("result-binary", b'[3, "$", {"status": "Accepted"}]'),
    _passed_over("no-reply-at-all", '[3, "nobody", {"status": "Accepted"}]', max_answers=0),
    ReplyCase(
        "result-too-large",
        ('[3, "$", {"status": "Accepted"}]' + " " * MAX_FRAME_BYTES,),
        _UNCERTAIN,
        timeout_s=_IGNORED_S,
        max_answers=1,
        close_code=1009,
    ),
    # Errors.
    _one("error", '[4, "$", "InternalError", "no", {}]', _REJECTED),
    _one("error-of-three", '[4, "$", "InternalError"]', _REJECTED),
    _one("error-of-four", '[4, "$", "InternalError", "no"]', _REJECTED),
    _one("error-of-six", '[4, "$", "InternalError", "no", {}, 6]', _REJECTED),
    _one("error-of-seven", '[4, "$", "InternalError", "no", {}, 6, 7]', _REJECTED),
    _passed_over("error-of-two", '[4, "$"]'),
    _one("error-code-unknown", '[4, "$", "NoSuchCode", "", {}]', _REJECTED),
    _one("error-code-empty", '[4, "$", "", "", {}]', _NOT_ACCEPTED),
    _one("error-code-number", '[4, "$", 17, "", {}]', _NOT_ACCEPTED),
    _one("error-code-null", '[4, "$", null, "", {}]', _NOT_ACCEPTED),
    _one("error-code-object", '[4, "$", {"code": "InternalError"}, "", {}]', _NOT_ACCEPTED),
    _one("error-code-array", '[4, "$", ["InternalError"], "", {}]', _NOT_ACCEPTED),
    _one("error-code-of-200k", '[4, "$", "' + "C" * 200_000 + '", "", {}]', _REJECTED),
    _one("error-code-with-nul", '[4, "$", "Internal\\u0000Error", "a\\u0000b", {}]', _REJECTED),
    _one("error-description-of-200k", '[4, "$", "InternalError", "' + "d" * 200_000 + '", {}]', _REJECTED),
    _one("error-description-null", '[4, "$", "InternalError", null, {}]', _REJECTED),
    _one("error-description-object", '[4, "$", "InternalError", {"text": "no"}, {}]', _REJECTED),
    _one("error-details-null", '[4, "$", "InternalError", "", null]', _REJECTED),
    _one("error-details-string", '[4, "$", "InternalError", "", "details"]', _REJECTED),
    _one("error-details-array", '[4, "$", "InternalError", "", [1, 2]]', _REJECTED),
    _one("error-details-of-200k", '[4, "$", "InternalError", "", {"x": "' + "y" * 200_000 + '"}]', _REJECTED),
    # 2.1's own types do not answer a CALL of ours, and no other version knows them.
    _passed_over("callresulterror", '[5, "$", "InternalError", "", {}]'),
    _passed_over("send", '[6, "$", "NotifyPeriodicEventStream", {}]'),
    _passed_over("type-unknown", '[9, "$", {"status": "Accepted"}]'),
]
