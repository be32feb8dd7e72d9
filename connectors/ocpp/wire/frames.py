"""OCPP-J frames: what is read before anything else is believed, and the errors of each version.

Sources: OCPP-J 1.6 section 4.2, OCPP 2.0.1 part 4 section 4, OCPP 2.1 part 4 section 4.
"""

from __future__ import annotations

import re
from typing import Any, cast

import orjson

from connectors.ocpp.wire.schemas import Invalid, Version

CALL, RESULT, ERROR, RESULT_ERROR, SEND = 2, 3, 4, 5, 6
MAX_FRAME_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_ID = 36
UNREADABLE_ID = "-1"
"""OCPP 2.0.1 part 4, 4.2.3: the id of an answer to a message whose own id could not be read."""

_REPLIES = ("3", "3.0", "4", "4.0", "5", "5.0")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")
_BY_KEYWORD = {
    "Required": "occurrence",
    "MinItems": "occurrence",
    "MaxItems": "occurrence",
    "Type": "type",
    "Enum": "property",
    "Constant": "property",
    "MaxLength": "property",
    "MinLength": "property",
    "Maximum": "property",
    "Minimum": "property",
    "Pattern": "property",
    "Format": "property",
    "MultipleOf": "property",
}
_ERRORS_16 = {
    # The spelling of the first two is the 1.6 specification's own.
    "format": "FormationViolation",
    "occurrence": "OccurenceConstraintViolation",
    "property": "PropertyConstraintViolation",
    "type": "TypeConstraintViolation",
    "frame": "FormationViolation",
}
_ERRORS_2X = {
    "format": "FormatViolation",
    "occurrence": "OccurrenceConstraintViolation",
    "property": "PropertyConstraintViolation",
    "type": "TypeConstraintViolation",
    "frame": "RpcFrameworkError",
}


class Unreadable(Exception):
    """No frame. `message_id` is the sender's where that much could be read. `is_reply`: meant as an answer to
    us, so that none is due."""

    def __init__(self, message_id: str = UNREADABLE_ID, *, is_reply: bool = False) -> None:
        super().__init__(message_id)
        self.message_id, self.is_reply = message_id, is_reply


def parse(raw: str | bytes) -> list[Any]:
    """At least [int, id, something]. Raises Unreadable."""
    if isinstance(raw, bytes) or len(raw) > MAX_FRAME_BYTES or is_too_deep(raw):
        raise Unreadable
    try:
        frame: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Unreadable from None
    if not isinstance(frame, list):
        raise Unreadable
    parts = cast("list[Any]", frame)
    if "\\u0000" in raw:
        parts[2:] = _without_nul(parts[2:])
    message_id = parts[1] if len(parts) > 1 else None
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_ID:
        raise Unreadable
    if len(parts) < 3 or type(parts[0]) is not int:
        raise Unreadable(message_id, is_reply=str(parts[0]) in _REPLIES)
    return parts


def is_too_deep(raw: str) -> bool:
    """Nesting is counted before parsing: a hundred thousand brackets must not reach a parser.

    Most messages have too few brackets to nest too deep; only in others are strings cut out and the rest
    counted."""
    if raw.count("[") + raw.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for character in _BRACKET.findall(_STRING.sub("", raw)):
        depth += 1 if character in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _without_nul(value: Any) -> Any:
    """PostgreSQL's text takes every character but this one; what holds it would be refused for ever."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def error_code(version: Version, violation: str) -> str:
    """`violation`: format, occurrence, property, type, or frame (the RPC framework itself)."""
    return (_ERRORS_16 if version is Version.V16 else _ERRORS_2X)[violation]


def error_of(version: Version, invalid: Invalid) -> str:
    return error_code(version, _BY_KEYWORD.get(invalid.keyword, "format"))
