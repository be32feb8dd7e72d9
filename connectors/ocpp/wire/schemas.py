"""OCPP's JSON schemas (from the `ocpp` package), compiled once at start.

Strict in what we say, tolerant in what we hear: a request with fields the schema does not know is read
without them, and they are counted (many 1.6 charge points send vendor fields).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, cast

import jsonschema_rs

Json = dict[str, Any]
Dropped = Callable[[str, str, Any], None]

_INT32 = 2**31 - 1
_INT53 = 2**53
_REGISTERS = ("meterStart", "meterStop")  # an energy register in Wh may outgrow 32 bits
_TOLD_BY_PRIORITY = ("Required", "Type")


class Version(StrEnum):
    """Values are the websocket subprotocols."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"
    V21 = "ocpp2.1"


_FOLDERS = {Version.V16: "v16", Version.V201: "v201", Version.V21: "v21"}


class Invalid(Exception):
    """A payload does not fit its schema; `keyword` is the JSON-schema keyword that failed."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


class Schemas:
    """All requests and responses of one version."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self._schemas: dict[tuple[str, bool], Json] = {}
        self._validators: dict[tuple[str, bool], jsonschema_rs.Validator] = {}
        for file in (files("ocpp") / _FOLDERS[version] / "schemas").iterdir():
            name = file.name.removesuffix(".json")
            is_response = name.endswith("Response")
            action = name.removesuffix("Response") if is_response else name.removesuffix("Request")
            schema: Json = json.loads(file.read_text(encoding="utf-8-sig"))
            _bound_integers(schema, "")
            self._schemas[action, is_response] = schema
            self._validators[action, is_response] = jsonschema_rs.validator_for(
                schema, validate_formats=True, formats={"date-time": _is_instant}
            )

    @property
    def actions(self) -> frozenset[str]:
        return frozenset(action for action, is_response in self._validators if not is_response)

    def knows(self, action: str) -> bool:
        return (action, False) in self._validators

    def answers(self, action: str) -> bool:
        """False for what 2.1 sends without an answer (SEND)."""
        return (action, True) in self._validators

    def check(self, action: str, payload: Json, *, response: bool = False) -> None:
        """Raises Invalid."""
        validator = self._validators[action, response]
        if validator.is_valid(payload):
            return
        found = [type(error.kind).__name__.rsplit("_", 1)[-1] for error in validator.iter_errors(payload)]
        raise Invalid(next((word for word in _TOLD_BY_PRIORITY if word in found), (found or ["schema"])[0]))

    def read(
        self,
        action: str,
        payload: Json,
        *,
        response: bool = False,
        dropped: Dropped | None = None,
    ) -> Json:
        """The payload, without fields we do not know; `dropped(action, field, value)` is told of each.

        Raises Invalid where the rest does not fit."""
        validator = self._validators[action, response]
        if validator.is_valid(payload):
            return payload
        schema = self._schemas[action, response]
        known = cast(Json, _known_part(schema, schema, payload, action, dropped))
        self.check(action, known, response=response)
        return known


def _known_part(root: Json, schema: Json, value: Any, action: str, dropped: Dropped | None) -> Any:
    if "$ref" in schema:
        schema = root["definitions"][str(schema["$ref"]).rsplit("/", 1)[-1]]
    if isinstance(value, dict):
        properties = cast("dict[str, Json]", schema.get("properties", {}))
        kept: Json = {}
        for key, item in cast(Json, value).items():
            if key in properties:
                kept[key] = _known_part(root, properties[key], item, action, dropped)
            elif schema.get("additionalProperties") is not False:
                kept[key] = item
            elif dropped is not None:
                dropped(action, key[:50], item)
        return kept
    if isinstance(value, list) and "items" in schema:
        return [
            _known_part(root, schema["items"], item, action, dropped) for item in cast("list[Any]", value)
        ]
    return cast(Any, value)


def _is_instant(text: str) -> bool:
    """RFC 3339, and the local times without a zone that some stations send."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _bound_integers(schema: Any, name: str) -> None:
    """OCPP's integers are 32 bits wide (2.0.1 part 2, 2.1.1), and the schemas do not say so."""
    if isinstance(schema, list):
        for item in cast("list[Any]", schema):
            _bound_integers(item, name)
    if not isinstance(schema, dict):
        return
    node = cast(Json, schema)
    if node.get("type") == "integer":
        bound = _INT53 if name in _REGISTERS else _INT32
        node.setdefault("minimum", -bound - 1)
        node.setdefault("maximum", bound)
    for key, item in node.items():
        _bound_integers(item, key)


@cache
def schemas_of(version: Version) -> Schemas:
    return Schemas(version)
