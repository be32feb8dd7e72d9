"""Timestamps: ours as the specification wants them, theirs as they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

AHEAD = timedelta(minutes=5)
OLDEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Before OCPP: a clock that was never set."""

CLAMPED = "the station's clock cannot be right: this is when it was told"
"""In the detail of evidence whose time `instant` did not take."""


class Lag:
    """How far a station's clock is behind ours: at most as much as the youngest of its words was old when it
    came. A queue of an outage is older than that, whatever the clock says."""

    __slots__ = ("_is_known", "_least")

    def __init__(self) -> None:
        self._least = timedelta.max
        self._is_known = False

    def hear(self, at: datetime, now: datetime, *, queued: bool = False) -> None:
        """`at` == `now`: a time that `instant` did not take; it says nothing of the clock. `queued`: a word
        of the kind that a station keeps during an outage; it may be old."""
        if at == now:
            return
        # A clock that is ahead is not set back: it may have been put right since.
        self._least = min(self._least, max(timedelta(0), now - at))
        self._is_known = self._is_known or not queued

    def when(self, at: datetime, now: datetime) -> list[datetime]:
        """When what is told now as of `at` may have been by our clock, the likeliest first. Until a live word
        was heard, nobody can say whether it is old or the clock is behind."""
        return [at + min(self._least, max(timedelta(0), now - at))] if self._is_known else [at, now]


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
