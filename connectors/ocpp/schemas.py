"""OCPP's JSON schemas (from the `ocpp` package), compiled once at start.

Strict in what we say, tolerant in what we hear: a request with fields the schema does not know is read
without them, and they are counted (many 1.6 charge points send vendor fields).
"""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, cast

import jsonschema_rs

Json = dict[str, Any]


class Version(StrEnum):
    """Values are the websocket subprotocols."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"


class Invalid(Exception):
    """A payload does not fit its schema; `keyword` is the JSON-schema keyword that failed."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


class Schemas:
    """All requests and responses of one version."""

    def __init__(self, version: Version) -> None:
        folder = files("ocpp") / ("v16" if version is Version.V16 else "v201") / "schemas"
        self.dropped: Counter[str] = Counter()
        self._schemas: dict[tuple[str, bool], Json] = {}
        self._validators: dict[tuple[str, bool], jsonschema_rs.Validator] = {}
        for file in folder.iterdir():
            name = file.name.removesuffix(".json")
            is_response = name.endswith("Response")
            action = name.removesuffix("Response") if is_response else name.removesuffix("Request")
            schema: Json = json.loads(file.read_text(encoding="utf-8-sig"))
            self._schemas[action, is_response] = schema
            self._validators[action, is_response] = jsonschema_rs.validator_for(schema)

    def knows(self, action: str) -> bool:
        return (action, False) in self._validators

    def check(self, action: str, payload: Json, *, response: bool = False) -> None:
        """Raises Invalid."""
        validator = self._validators[action, response]
        if validator.is_valid(payload):
            return
        for error in validator.iter_errors(payload):
            raise Invalid(type(error.kind).__name__.rsplit("_", 1)[-1])
        raise Invalid("schema")

    def read(self, action: str, payload: Json, *, response: bool = False) -> Json:
        """The payload, without fields we do not know. Raises Invalid where the rest does not fit."""
        validator = self._validators[action, response]
        if validator.is_valid(payload):
            return payload
        schema = self._schemas[action, response]
        known = cast(Json, self._known_part(schema, schema, payload, action))
        self.check(action, known, response=response)
        return known

    def _known_part(self, root: Json, schema: Json, value: Any, action: str) -> Any:
        if "$ref" in schema:
            schema = root["definitions"][str(schema["$ref"]).rsplit("/", 1)[-1]]
        if isinstance(value, dict):
            properties = cast("dict[str, Json]", schema.get("properties", {}))
            kept: Json = {}
            for key, item in cast(Json, value).items():
                if key in properties:
                    kept[key] = self._known_part(root, properties[key], item, action)
                elif schema.get("additionalProperties") is False:
                    self.dropped[action] += 1
                else:
                    kept[key] = item
            return kept
        if isinstance(value, list) and "items" in schema:
            return [
                self._known_part(root, schema["items"], item, action) for item in cast("list[Any]", value)
            ]
        return cast(Any, value)


@cache
def schemas_of(version: Version) -> Schemas:
    return Schemas(version)
