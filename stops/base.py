"""The base of a stop's state: plain data that can be carried over to the next run of a long stop."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class State(BaseModel):
    """Mutable on purpose: each piece has one owner, who changes it. Dumped and read back whole when a stop
    is continued as new."""

    model_config = ConfigDict(extra="ignore")


def seconds_between(start: datetime | None, end: datetime | None) -> float:
    """Never negative; 0 where one of both is unknown."""
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0


def earliest(known: datetime | None, seen: datetime | None) -> datetime | None:
    if known is None or seen is None:
        return known or seen
    return min(known, seen)


def latest(known: datetime | None, seen: datetime | None) -> datetime | None:
    if known is None or seen is None:
        return known or seen
    return max(known, seen)
