"""Timestamps: ours as the specification wants them, theirs as they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

AHEAD = timedelta(minutes=5)
OLDEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Before OCPP: a clock that was never set."""

CLAMPED = "the station's clock cannot be right: this is when it was told"
"""In the detail of evidence whose time `instant` did not take."""


def now_text() -> str:
    """RFC 3339 with milliseconds: some stations cannot read more digits."""
    return stamp(datetime.now(UTC))


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clamped(text: Any, now: datetime) -> str:
    """CLAMPED where a timestamp was said and `instant` does not take it; else nothing."""
    return CLAMPED if text is not None and instant(text, now) == now else ""


def instant(text: Any, now: datetime | None = None) -> datetime:
    """A station's timestamp in UTC; the present where it cannot be read, is before OCPP, or lies more than
    5 minutes ahead (a station with a wrong clock must not hide the truth behind it)."""
    present = now or datetime.now(UTC)
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return present
    try:
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return present
    return present if at > present + AHEAD or at < OLDEST else at
