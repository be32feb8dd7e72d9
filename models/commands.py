"""Commands to chargers, partners and vehicles, and their replies. A reply says what the peer said, no more:
`accepted` is not `started`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast

from pydantic import Field, model_validator

from models.base import MOST_CHARACTERS, Count, Message, VendorText, VendorWord, clean_text, is_fit
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

    command_id: Annotated[str, Field(min_length=1, max_length=200)]
    tenant_id: str
    stop_id: str
    attempt_id: str
    kind: CommandKind
    charger: Charger
    token_uid: Annotated[str, Field(description="OCPP idTag / OCPI token uid.", max_length=36)]
    remote_start_id: Count
    vehicle_telematics_id: str | None = None
    session_ref: Annotated[str | None, Field(description="Needed to stop.")] = None
    timeout_s: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] = 30.0


class CommandReply(Message):
    """What the peer said. Its words are cleaned; a session id that cannot be kept is left out, with a mark in
    `detail`: cleaned, it might be the id of another session. So is a reason of a newer gateway: the outcome
    says what happened."""

    outcome: CommandOutcome
    reason: ReasonCode | None = None
    vendor_code: VendorWord = ""
    detail: VendorText = ""
    session_ref: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _leaves_out_what_cannot_be(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        marks: dict[str, str] = {}
        ref, reason = given.get("session_ref"), given.get("reason")
        if isinstance(ref, str) and not is_fit(ref, 255):
            marks["session_ref"] = f"session_ref out of bounds: {clean_text(ref, 80)!r}"
        if isinstance(reason, str) and reason not in ReasonCode._value2member_map_:
            marks["reason"] = f"unknown reason: {clean_text(reason, 80)!r}"
        if not marks:
            return given
        said = clean_text(given.get("detail", ""), MOST_CHARACTERS // 2)
        words = [said, *marks.values()] if said else marks.values()
        return {**given, **dict.fromkeys(marks), "detail": "; ".join(words)}
