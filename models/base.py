"""The one base for messages that cross a process border."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Message(BaseModel):
    """A payload of a workflow, an activity or an API. Additive changes only: unknown fields are ignored,
    so that an older worker can read what a newer one wrote."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StrictMessage(BaseModel):
    """A payload that a caller outside writes: a field we do not know is the caller's mistake, and told."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""An aware instant, always in UTC. A naive value is refused."""
