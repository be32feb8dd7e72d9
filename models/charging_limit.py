"""Limits for what chargers draw: what the depot scheduler commands, and what the charger was seen to obey.

*Accepted is not applied*: a limit counts as applied only once the charger's own read-back or its meter shows
it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.base import Message, UtcDatetime


class LimitPurpose(StrEnum):
    """OCPP 1.6 section 3.13.1, OCPP 2.0.1 part 2 K.3: purposes combine by their minimum."""

    STATION = "station"
    """All connectors together: ChargePointMaxProfile (1.6), ChargingStationMaxProfile (2.x)."""
    DEFAULT = "default"
    """Every transaction that has no limit of its own: TxDefaultProfile."""
    TRANSACTION = "transaction"
    """One running transaction: TxProfile."""


class LimitPeriod(Message):
    """From `start_s` seconds after the schedule's start on. 0 kW means pause."""

    start_s: Annotated[int, Field(ge=0)] = 0
    limit_kw: Annotated[float, Field(ge=0, le=10_000)]


class ChargingLimit(Message):
    """`limit_id` is the idempotency key. `connector_number` 0 is the whole station.

    `phases` None: direct current. An open end (`duration_s` None) never falls back to a lower stack level."""

    limit_id: str
    tenant_id: str
    station_id: str
    connector_number: Annotated[int, Field(ge=0)]
    purpose: LimitPurpose
    periods: Annotated[tuple[LimitPeriod, ...], Field(min_length=1, max_length=100)]
    phases: Literal[1, 2, 3] | None = None
    voltage_v: Annotated[float, Field(gt=0)] = 230.0
    starts_at: UtcDatetime | None = None
    duration_s: Annotated[int | None, Field(gt=0)] = None
    session_ref: Annotated[str | None, Field(description="Transaction id as the station knows it.")] = None

    @model_validator(mode="after")
    def _fits_its_purpose(self) -> Self:
        if self.periods[0].start_s != 0:
            raise ValueError("the first period must start at 0")
        if any(a.start_s >= b.start_s for a, b in zip(self.periods, self.periods[1:], strict=False)):
            raise ValueError("periods must ascend")
        if self.purpose is LimitPurpose.STATION and self.connector_number != 0:
            raise ValueError("a station limit is for connector 0")
        if self.purpose is LimitPurpose.TRANSACTION and (self.connector_number < 1 or not self.session_ref):
            raise ValueError("a transaction limit names its connector and its transaction")
        return self


class ChargingTraits(Message):
    """How one station (or its model) wants its profiles: the tolerance list of docs/ocpp.md.

    `unit` None: ask the station (1.6 ChargingScheduleAllowedChargingRateUnit, 2.x SmartChargingCtrlr
    RateUnit), then A for AC and W for DC."""

    unit: Literal["A", "W"] | None = None
    stack_level: Annotated[int, Field(ge=0)] = 0
    kind: Literal["absolute", "relative"] = "absolute"
    backdate_s: Annotated[int, Field(ge=0, description="Some drop a schedule that starts now.")] = 60


class LimitState(StrEnum):
    ACCEPTED = "accepted"
    """The station said yes. Nothing has been seen of it."""
    APPLIED = "applied"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNCERTAIN = "uncertain"
    CLEARED = "cleared"


class ReadBack(StrEnum):
    """How a limit was seen, in the order in which it is looked for."""

    CURRENT_OFFERED = "current_offered"
    POWER_OFFERED = "power_offered"
    COMPOSITE_SCHEDULE = "composite_schedule"
    METER = "meter"


class LimitReply(Message):
    limit_id: str
    state: LimitState
    read_back_kw: float | None = None
    read_back_by: ReadBack | None = None
    vendor_code: str = ""
    detail: str = ""
