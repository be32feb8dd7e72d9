"""What every file reader answers with: what was kept, and what was set aside and why."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from models.base import Message

Kept = TypeVar("Kept")


class RejectionReason(StrEnum):
    """Why something in a file was set aside."""

    UNREADABLE = "unreadable_record"
    UNKNOWN_PLUG = "unknown_plug"
    IMPLAUSIBLE_POWER = "implausible_power"
    IMPOSSIBLE_PLACE = "impossible_place"
    NO_PLUGS = "no_plugs"
    NO_BATTERY = "no_battery"
    IMPOSSIBLE_CURVE = "impossible_curve"
    DUPLICATE = "duplicate_id"


class Rejected(Message):
    """One record, or one connector of it, that was not taken. `raw` is what stood in the file."""

    reason: RejectionReason
    detail: str
    raw: bytes


class ImportResult(Message, Generic[Kept]):
    """`read` counts what was looked at: it equals what was kept plus what was rejected."""

    kept: tuple[Kept, ...]
    rejected: tuple[Rejected, ...]

    @property
    def read(self) -> int:
        return len(self.kept) + len(self.rejected)


class UnknownFormat(Exception):
    """The file as a whole is nothing we know; the text says what was expected."""


def parse_json(raw: bytes) -> Any:
    """Raises UnknownFormat."""
    try:
        return json.loads(raw)
    except ValueError as error:
        raise UnknownFormat(f"not JSON: {error}") from error


def rejected(reason: RejectionReason, record: Any, detail: str) -> Rejected:
    return Rejected(reason=reason, detail=detail, raw=json.dumps(record, ensure_ascii=False).encode())


def faults_of(error: ValidationError) -> str:
    """Fields and messages of a validation error, without the values."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
