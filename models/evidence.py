"""Evidence: what a charger, a partner or a vehicle says happened. Vendor types never get this far.

Delivery is at least once and in any order; `event_id` removes repeats and `observed_at` gives the order.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, UtcDatetime
from models.money import Money
from models.reason_codes import ReasonCode


class EvidenceSource(StrEnum):
    OCPP = "ocpp"
    OCPI = "ocpi"
    TELEMATICS = "telematics"
    DRIVER = "driver"


class EvidenceKind(StrEnum):
    ARRIVED = "arrived"
    PLUGGED_IN = "plugged_in"
    UNPLUGGED = "unplugged"
    COMMAND_ACCEPTED = "command_accepted"
    COMMAND_FAILED = "command_failed"
    SESSION_PENDING = "session_pending"
    SESSION_STARTED = "session_started"
    ENERGY_FLOWING = "energy_flowing"
    METER = "meter"
    SUSPENDED_BY_VEHICLE = "suspended_by_vehicle"
    SUSPENDED_BY_CHARGER = "suspended_by_charger"
    CONNECTOR_FAULTED = "connector_faulted"
    CONNECTOR_AVAILABLE = "connector_available"
    STATION_OFFLINE = "station_offline"
    SESSION_ENDED = "session_ended"
    SESSION_INVALID = "session_invalid"
    CHARGE_RECORD = "charge_record"


class Evidence(Message):
    """One observation about one attempt (or about the vehicle of a stop)."""

    event_id: Annotated[str, Field(min_length=1, max_length=200)]
    source: EvidenceSource
    kind: EvidenceKind
    observed_at: UtcDatetime
    attempt_id: str | None = None
    charger_id: str | None = None
    session_ref: Annotated[str | None, Field(description="Transaction or session id of the partner.")] = None
    energy_kwh: Annotated[float | None, Field(description="Since the session's start.")] = None
    power_kw: float | None = None
    soc_percent: float | None = None
    cost: Money | None = None
    reason: Annotated[ReasonCode | None, Field(description="Our code, where the sender gave a cause.")] = None
    vendor_code: Annotated[str, Field(description="The sender's own words, kept for the audit.")] = ""
    detail: str = ""
    idle_minutes: Decimal | None = None
