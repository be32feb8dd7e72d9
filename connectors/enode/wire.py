"""The vendor's JSON, as far as we read it. Any field may be null; fields we do not know are ignored here and
kept in the raw log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat
from pydantic.alias_generators import to_camel

from models.base import HeardInstant, UtcDatetime
from models.ids import ExternalId

Printable = Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")]
"""Words of the vendor that we store: printable ASCII, so that no NUL reaches the database."""


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class ChargeState(_Wire):
    """`chargeRate` is kW into the battery; `batteryCapacity` kWh; `batteryLevel` percent."""

    battery_level: Annotated[StrictFloat, Field(ge=0, le=100)] | None = None
    battery_capacity: Annotated[StrictFloat, Field(gt=0, le=2000)] | None = None
    is_plugged_in: StrictBool | None = None
    is_charging: StrictBool | None = None
    charge_rate: Annotated[StrictFloat, Field(ge=-2000, le=5000)] | None = None
    power_delivery_state: Printable | None = None
    last_updated: HeardInstant = None


class Location(_Wire):
    latitude: Annotated[StrictFloat, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[StrictFloat, Field(ge=-180, le=180)] | None = None
    last_updated: HeardInstant = None


class Vehicle(_Wire):
    id: ExternalId
    is_reachable: StrictBool | None = None
    last_seen: HeardInstant = None
    charge_state: ChargeState | None = None
    location: Location | None = None


class FailureReason(_Wire):
    """The enum of `type` is not public: open text, kept as the vendor's code."""

    type: Printable = ""


class Action(_Wire):
    """A vendor action: PENDING, then CONFIRMED, FAILED or CANCELLED."""

    id: ExternalId
    state: Printable
    kind: Printable | None = None
    target_id: ExternalId | None = None
    failure_reason: FailureReason | None = None
    updated_at: HeardInstant = None
    created_at: HeardInstant = None


class Event(_Wire):
    """The envelope of one entry of a webhook delivery; what it carries is read by event name. The
    action of `user:vendor-action:updated` is taken from `action` or `vendorAction`: the public pages do not
    settle which."""

    event: Annotated[str, Field(pattern=r"^[A-Za-z0-9:._-]{1,80}$")]
    created_at: UtcDatetime
    version: Printable = ""
    vehicle: object = None
    action: object = None
    vendor_action: object = None
    pending_events: object = None


class Token(BaseModel):
    """OAuth 2 token response (RFC 6749 section 5.1)."""

    access_token: Annotated[str, Field(min_length=1, max_length=8192)]
    expires_in: Annotated[float, Field(gt=0)] = 3600.0


class Pagination(_Wire):
    after: str | None = None


class VehiclePage(BaseModel):
    """One page of GET /vehicles; entries stay raw, so that one broken vehicle spoils no page."""

    data: list[dict[str, object]]
    pagination: Pagination = Pagination()


def first_known(*instants: datetime | None) -> datetime | None:
    """The first instant that is given, in the order of preference."""
    return next((instant for instant in instants if instant is not None), None)
