"""Commands that operators and schedulers send to a station, beyond a stop's own (models.commands)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from models.base import Message
from models.charging_limit import ChargingLimit, LimitReply
from models.commands import CommandOutcome


class StationTaskKind(StrEnum):
    CALL = "call"
    """One OCPP CALL in the station's own version, within the gateway's guards."""
    SET_LIMIT = "set_limit"
    CLEAR_LIMIT = "clear_limit"
    ROTATE_PASSWORD = "rotate_password"  # noqa: S105  a word, no secret
    RENEW_CERTIFICATE = "renew_certificate"


class StationTask(Message):
    """One thing to do at a station. `command_id` is the idempotency key: a repeat gives the first reply and
    sends nothing. `actor`: the name of the API key, for the audit."""

    command_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
    tenant_id: str
    station_id: str
    kind: StationTaskKind = StationTaskKind.CALL
    action: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{0,50}$")] = ""
    payload: dict[str, Any] = {}
    limit: ChargingLimit | None = None
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    actor: str = ""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.kind is StationTaskKind.CALL and not self.action:
            raise ValueError("a call names its action")
        limited = self.kind in (StationTaskKind.SET_LIMIT, StationTaskKind.CLEAR_LIMIT)
        if limited and self.limit is None:
            raise ValueError("a limit task carries its limit")
        return self


class StationReply(Message):
    """`payload` is the station's CALLRESULT. `error_code`: its CALLERROR, or why nothing was sent."""

    outcome: CommandOutcome
    payload: dict[str, Any] | None = None
    error_code: str = ""
    detail: str = ""
    limit: LimitReply | None = None


class StationRoute(Message):
    """The queue of the gateway that holds a station; None: nobody does."""

    task_queue: str | None = None


class StationTaskDone(Message):
    """For the station's log."""

    task: StationTask
    reply: StationReply
