"""Fields that stations send and no schema knows: passed over, counted per model, one value kept of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from connectors.ocpp.redaction import masked

_MOST_KINDS = 10_000
_MOST_CHARACTERS = 200

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class SeenField:
    """`example`: one value as JSON, without secrets, cut after 200 characters."""

    tenant_id: str
    model: str
    action: str
    field: str
    messages: int
    example: str


class VendorFields:
    """Since they were taken last. A station that makes names up fills no memory: 10,000 kinds are kept."""

    def __init__(self) -> None:
        self._messages: dict[_Key, int] = {}
        self._examples: dict[_Key, str] = {}

    def count(self, tenant_id: str, model: str, action: str, field: str, value: Any) -> None:
        key = (tenant_id, model, action, field)
        if key not in self._messages:
            if len(self._messages) >= _MOST_KINDS:
                return
            self._examples[key] = orjson.dumps(masked({field: value})[field]).decode()[:_MOST_CHARACTERS]
        self._messages[key] = self._messages.get(key, 0) + 1

    def take(self) -> list[SeenField]:
        messages, examples = self._messages, self._examples
        self._messages, self._examples = {}, {}
        return [SeenField(*key, number, examples[key]) for key, number in messages.items()]

    def put_back(self, fields: list[SeenField]) -> None:
        """What could not be kept counts on."""
        for seen in fields:
            key = (seen.tenant_id, seen.model, seen.action, seen.field)
            self._messages[key] = self._messages.get(key, 0) + seen.messages
            self._examples[key] = seen.example
