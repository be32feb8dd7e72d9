"""Frames and log lines as an operator may see them: tokens and passwords are masked, wherever they stand."""

from __future__ import annotations

import re
from typing import Any, cast

import orjson

from connectors.ocpp.wire.frames import is_too_deep

_MASK = "***"
_SECRET_KEYS = frozenset(
    {
        "idtag", "parentidtag", "idtoken", "idtokens", "groupidtoken", "additionalidtoken", "password",
        "basicauthpassword", "apnpassword", "simpin", "csr", "hashvalue", "customeridentifier",
    }
)  # fmt: skip
_SECRET_NAME = re.compile(r"password|secret|authorizationkey|vpnkey|simpin|masterpassgroupid", re.IGNORECASE)
_VALUES = frozenset({"value", "attributeValue", "actualValue"})
_ADDRESS = re.compile(r"(?<=://)\S+")
_MOST = 6_000


def shown(text: str) -> str:
    """A frame without secrets, at most 6,000 characters. What is no JSON is shown up to where a payload would
    begin, at most 200 characters."""
    frame = _read(text)
    if frame is None:
        return text.partition("{")[0][:200]
    if isinstance(frame, list) and "NotifyCustomerInformation" in cast("list[Any]", frame[2:3]):
        return f'[2,"{_MASK}","NotifyCustomerInformation",{{}}]'  # personal, whatever it says
    return orjson.dumps(masked(frame)).decode()[:_MOST]


def masked(value: Any, names_secret: bool = False) -> Any:
    """The same without secrets. `names_secret`: it stands in a variable whose value is one."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [masked(item, names_secret) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    node = cast("dict[str, Any]", value)
    variable = node.get("variable")
    name = cast("dict[str, Any]", variable).get("name") if isinstance(variable, dict) else node.get("key")
    secret = names_secret or (isinstance(name, str) and _SECRET_NAME.search(name) is not None)
    return {
        key: _hidden(item)
        if key.lower() in _SECRET_KEYS
        or (secret and key in _VALUES)
        or (key == "key" and "server" in node)  # a VPN's shared key
        else masked(item, secret)
        for key, item in node.items()
    }


def _hidden(value: Any) -> Any:
    """2.x says {"idToken": {"idToken": "...", "type": "..."}}: the inner one is the secret."""
    if isinstance(value, dict):
        return masked(value)
    return [_hidden(item) for item in cast("list[Any]", value)] if isinstance(value, list) else _MASK


def _text(text: str) -> str:
    """Addresses lose what opens their doors; JSON within JSON (DataTransfer) is read as such."""
    inner = _read(text) if text.lstrip()[:1] in ("{", "[") else None
    if inner is not None:
        return orjson.dumps(masked(inner)).decode()
    return _ADDRESS.sub(_address, text)


def _address(found: re.Match[str]) -> str:
    """Without user, password and query: uploads are often signed in it."""
    _, user, rest = found[0].rpartition("@")
    place, query, _ = rest.partition("?")
    return (f"{_MASK}@" if user else "") + place + (f"?{_MASK}" if query else "")


def _read(text: str) -> Any:
    """None where it is no JSON, or nests deeper than is read anywhere."""
    try:
        return None if is_too_deep(text) else orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
