"""Payloads made from OCPP's own schemas: the least that fits, or with every field that there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from connectors.ocpp.wire.schemas import Json, Version, schemas_of

NOW = "2026-11-21T08:00:00.000Z"
_FOLDERS = {Version.V16: "v16", Version.V201: "v201", Version.V21: "v21"}
_SEND = ("NotifyPeriodicEventStream",)

Word = Callable[[str], Any]
"""What a field of a name holds, where it is free text; None for anything."""


def sample(
    version: Version, action: str, *, response: bool = False, full: bool = False, word: Word | None = None
) -> Json:
    """A payload that fits its schema; every field of it where `full`."""
    schema = _schema(version, action, response)
    made: Json = _made(schema, schema, "", full, word or (lambda name: None))
    schemas_of(version).check(action, made, response=response)
    return made


@cache
def _schema(version: Version, action: str, response: bool) -> Json:
    ending = "" if version is Version.V16 or action in _SEND else "Request"
    name = f"{action}{'Response' if response else ending}.json"
    text = (files("ocpp") / _FOLDERS[version] / "schemas" / name).read_text(encoding="utf-8-sig")
    return json.loads(text)


def _made(root: Json, schema: Json, name: str, full: bool, word: Word) -> Any:
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
    kind = schema.get("type", "object")
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        wanted = schema.get("properties", {}) if full else schema.get("required", [])
        return {key: _made(root, schema["properties"][key], key, full, word) for key in wanted}
    if kind == "array":
        number = max(1, schema.get("minItems", 0))
        return [_made(root, schema["items"], name, full, word) for _ in range(number)]
    if kind in ("integer", "number"):
        return min(max(1, schema.get("minimum", 1)), schema.get("maximum", 1_000))
    if kind == "boolean":
        return True
    if schema.get("format") == "date-time":
        return NOW
    text = word(name)
    return ("https://example.org/x" if schema.get("format") == "uri" else "x") if text is None else text
