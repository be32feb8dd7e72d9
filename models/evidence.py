"""Evidence: what a charger, a partner or a vehicle says happened. Vendor types never get this far.

Delivery is at least once and in any order; `event_id` removes repeats and `observed_at` gives the order.

A start is still a start where its meter lies: a figure beyond physics or money, an instant beside the point
and an id that cannot be kept are left out, with a mark in `detail`. Only who (`event_id`), what (`kind`) and
when (`observed_at`) cannot be left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from models.base import MOST_CHARACTERS, Message, UtcDatetime, VendorText, VendorWord, clean_text, is_fit
from models.money import MOST_OF_ONE_SESSION, Money
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
    CONNECTOR_OCCUPIED = "connector_occupied"
    """Somebody charges there, or has reserved it, and it is no session of ours."""
    CHARGER_REMOVED = "charger_removed"
    STATION_OFFLINE = "station_offline"
    STATION_ONLINE = "station_online"
    VEHICLE_PROGRESS = "vehicle_progress"
    """The vehicle on its way: its SOC a step lower, and how far it has yet to go."""
    SESSION_PROGRESS = "session_progress"
    """A quarter of what is needed has flowed, or more (made from meters by store.progress)."""
    TARGET_REACHED = "target_reached"
    """Energy or SOC has reached what the stop asked for (made from meters by store.progress)."""
    SESSION_SILENT = "session_silent"
    """No new energy for the stop's patience; `heard_at` tells whether anything was heard at all."""
    SESSION_ENDED = "session_ended"
    SESSION_INVALID = "session_invalid"
    CHARGE_RECORD = "charge_record"


_EVENT_ID_CHARACTERS = 200


def _kept_event_id(value: Any) -> Any:
    """An event id that cannot be kept as it is becomes what can be read of it, and its SHA-256: two different
    ids stay two, and a repeat stays a repeat."""
    if not isinstance(value, str) or is_fit(value, _EVENT_ID_CHARACTERS):
        return value
    mark = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
    return f"{clean_text(value, 100)}~{mark}"


EventId = Annotated[
    str, BeforeValidator(_kept_event_id), Field(min_length=1, max_length=_EVENT_ID_CHARACTERS)
]


_FLOAT, _DECIMAL, _INSTANT = TypeAdapter(float), TypeAdapter(Decimal), TypeAdapter[datetime](UtcDatetime)


def _within(
    least: float, most: float, kind: TypeAdapter[float] | TypeAdapter[Decimal] = _FLOAT
) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if type(value) is float or type(value) is int:
            return least <= value <= most  # never of NaN
        try:
            return least <= kind.validate_python(value) <= most
        except ValidationError:
            return False

    return fits


def _is_cost(value: Any) -> bool:
    try:
        cost = Money.model_validate(value)
    except ValidationError:
        return False
    return 0 <= cost.amount <= MOST_OF_ONE_SESSION


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and is_fit(value, 255)


def _is_known_reason(value: Any) -> bool:
    return isinstance(value, str) and value in ReasonCode._value2member_map_


def _is_instant(value: Any) -> bool:
    try:
        _INSTANT.validate_python(value)
    except ValidationError:
        return False
    return True


_LEFT_OUT_UNLESS: dict[str, Callable[[Any], bool]] = {
    "attempt_id": _is_id,
    "charger_id": _is_id,
    "session_ref": _is_id,
    "energy_kwh": _within(0, 5_000),
    "power_kw": _within(-5_000, 5_000),
    "soc_percent": _within(0, 100),
    "distance_km": _within(0, 40_100),
    "idle_minutes": _within(0, 1_000_000, _DECIMAL),
    "heard_at": _is_instant,
    "cost": _is_cost,
    "reason": _is_known_reason,
}
"""An id is left out rather than cleaned: cleaned, it might be the id of another session."""


class Evidence(Message):
    """One observation about one attempt (or about the vehicle of a stop).

    One session gives 0 to 5,000 kWh at up to 5,000 kW either way (a vehicle may feed back), and costs 0 to
    10^9 of any currency. Raises ValidationError where event, kind or `observed_at` cannot be true."""

    event_id: EventId
    source: EvidenceSource
    kind: EvidenceKind
    observed_at: UtcDatetime
    attempt_id: str | None = None
    charger_id: str | None = None
    session_ref: Annotated[str | None, Field(description="Transaction or session id of the partner.")] = None
    energy_kwh: Annotated[float | None, Field(description="Since the session's start.")] = None
    power_kw: float | None = None
    soc_percent: float | None = None
    distance_km: Annotated[
        float | None, Field(description="From the vehicle to the planned charger, as the crow flies.")
    ] = None
    heard_at: Annotated[
        UtcDatetime | None, Field(description="When anything was last heard of the session (silence only).")
    ] = None
    cost: Money | None = None
    reason: Annotated[ReasonCode | None, Field(description="Our code, where the sender gave a cause.")] = None
    vendor_code: Annotated[VendorWord, Field(description="The sender's own words, kept for the audit.")] = ""
    detail: VendorText = ""
    idle_minutes: Decimal | None = None

    @model_validator(mode="before")
    @classmethod
    def _leaves_out_what_cannot_be(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        beyond = {
            name: value
            for name, fits in _LEFT_OUT_UNLESS.items()
            if (value := given.get(name)) is not None and not fits(value)
        }
        if not beyond:
            return given
        marks = "; ".join(f"{name} out of bounds: {_shown(value)}" for name, value in beyond.items())
        said = clean_text(given.get("detail", ""), MOST_CHARACTERS - len(marks) - 2)
        return {**given, **dict.fromkeys(beyond), "detail": f"{said}; {marks}" if said else marks}


def _shown(value: Any) -> str:
    """Enough of a value to see what was wrong with it."""
    text = f"{value.amount} {value.currency}" if isinstance(value, Money) else repr(value)
    return cast(str, clean_text(text, 80))
