"""Frames as an operator may see them: tokens and passwords are masked, whatever message they stand in."""

from __future__ import annotations

from typing import Any, cast

import orjson

_MASK = "***"
_SECRET_KEYS = frozenset(
    {
        "idTag", "parentIdTag", "idToken", "groupIdToken", "additionalIdToken", "password",
        "basicAuthPassword", "csr", "hashValue", "customerIdentifier",
    }
)  # fmt: skip
_SECRET_NAMES = frozenset({"AuthorizationKey", "BasicAuthPassword"})
_MOST = 6_000


def shown(text: str) -> str:
    """A frame without secrets, at most 6,000 characters. What is no JSON is shown in its first 200."""
    try:
        frame: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text[:200]
    return orjson.dumps(_masked(frame)).decode()[:_MOST]


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    node = cast("dict[str, Any]", value)
    names_secret = node.get("key") in _SECRET_NAMES or _variable(node) in _SECRET_NAMES
    return {
        key: _MASK
        if (key in _SECRET_KEYS and isinstance(item, str))
        or (names_secret and key in ("value", "attributeValue"))
        else _masked(item)
        for key, item in node.items()
    }


def _variable(node: dict[str, Any]) -> Any:
    variable = node.get("variable")
    return cast("dict[str, Any]", variable).get("name") if isinstance(variable, dict) else None
