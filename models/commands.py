"""Commands to chargers, partners and vehicles, and their replies. A reply says what the peer said, no more:
`accepted` is not `started`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message
from models.charger import Charger
from models.reason_codes import ReasonCode


class CommandKind(StrEnum):
    START = "start"
    STOP = "stop"
    UNLOCK = "unlock"
    TRIGGER_STATUS = "trigger_status"


class CommandOutcome(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"
    """Sent, and no usable reply: it may have worked."""
    UNREACHABLE = "unreachable"
    """Not sent: the peer could not be reached. Nothing has happened there."""


class ChargerCommand(Message):
    """One command. `command_id` is the idempotency key: a repeat gives the first reply and sends nothing."""

    command_id: str
    tenant_id: str
    stop_id: str
    attempt_id: str
    kind: CommandKind
    charger: Charger
    token_uid: Annotated[str, Field(description="OCPP idTag / OCPI token uid.", max_length=36)]
    remote_start_id: int
    vehicle_telematics_id: str | None = None
    session_ref: Annotated[str | None, Field(description="Needed to stop.")] = None
    timeout_s: float = 30.0


class CommandReply(Message):
    outcome: CommandOutcome
    reason: ReasonCode | None = None
    vendor_code: str = ""
    detail: str = ""
    session_ref: str | None = None
