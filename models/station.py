"""OCPP charge points as records: who they are, what they run, how they may connect."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, UtcDatetime
from models.charging_limit import ChargingTraits


class Admission(StrEnum):
    """The answer to BootNotification; until Accepted a station may tell us nothing else."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    REJECTED = "rejected"


class StationIdentity(Message):
    """As the station said at its last boot."""

    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware_version: str = ""

    @property
    def model_name(self) -> str:
        return f"{self.vendor} {self.model}".strip() or "unknown"


StationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9*\-_=|@.]{1,48}$")]
"""OCPP identifierString of at most 48 characters (2.0.1 part 2, 2.1.1; the colon is Basic auth's)."""


class StationSettings(Message):
    """What an operator decides about a station.

    `security_profile`: 1 Basic, 2 Basic over TLS, 3 TLS with a client certificate (OCPP 2.0.1 part 2 A.1.3);
    0 (no authentication) counts only where the gateway's development setting allows it."""

    station_id: StationId
    security_profile: Annotated[int, Field(ge=0, le=3)] = 1
    admission: Admission = Admission.ACCEPTED
    protocol_pin: Annotated[str | None, Field(pattern=r"^ocpp(1\.6|2\.0\.1|2\.1)$")] = None
    foreign_tokens: Annotated[bool, Field(description="Strangers may charge here.")] = False
    traits: ChargingTraits = ChargingTraits()
    failsafe_kw: Annotated[float | None, Field(ge=0, description="Installed at boot, shared equally.")] = None
    phases: Annotated[int | None, Field(ge=1, le=3, description="None: direct current.")] = None


class StationRecord(Message):
    """A station with what it last said of itself, and whether a gateway holds it now."""

    settings: StationSettings
    identity: StationIdentity = StationIdentity()
    booted_at: UtcDatetime | None = None
    connected: bool = False
    protocol_version: str = ""
    seen_at: UtcDatetime | None = None
    gateway: str = ""


class StationEventKind(StrEnum):
    BOOT = "boot"
    FAULT = "fault"
    SECURITY = "security"
    FIRMWARE = "firmware"
    LOG_UPLOAD = "log_upload"
    REPORT = "report"
    LIMIT = "limit"
    COMMAND = "command"
    CERTIFICATE = "certificate"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    DATA = "data"


class StationEvent(Message):
    """One line of a station's log. `body` holds no secret and no token."""

    kind: StationEventKind
    observed_at: UtcDatetime
    body: dict[str, object] = {}
