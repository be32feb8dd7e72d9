"""Policy v1 as data. Every duration and threshold of a stop stands here; nothing is hard-coded elsewhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from models.base import Count, StrictMessage
from models.ids import fingerprint
from models.money import MOST_OF_ONE_SESSION, Currency

Seconds = Annotated[float, Field(ge=0.001, le=7 * 24 * 3600)]
"""At least a millisecond: Temporal takes a time-out of nothing for none at all."""
Name = Annotated[str, Field(max_length=200)]
Price = Annotated[Decimal, Field(ge=0, le=MOST_OF_ONE_SESSION, decimal_places=12)]
"""Refused where it is finer, not rounded: the version is the hash of what was written."""


_ADDED_SINCE_1_0 = ("presence_s", "silence_s", "pause_s", "keeper_s")


class NetworkPreference(StrictMessage):
    """Networks preferred (in order) where `region` or `contract` matches; empty matches everywhere.
    With `only`, others are rejected instead of being ranked lower."""

    region: Name = ""
    contract: Name = ""
    networks: Annotated[tuple[Name, ...], Field(max_length=200)]
    only: bool = False


class Policy(StrictMessage):
    """The business limits and the clockwork of a stop. Frozen: a changed policy is another version."""

    policy_id: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")] = "default"
    revision: Annotated[Count, Field(ge=1)] = 1

    preferred_networks: Annotated[tuple[NetworkPreference, ...], Field(max_length=200)] = ()
    max_detour_s: Seconds = 1800
    max_detour_km: Annotated[float, Field(gt=0, le=40_100)] = 40.0
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.30
    cost_ceiling: Annotated[Price | None, Field(description="Per stop, excl. VAT.")] = Decimal("80")
    currency: Currency = "EUR"
    reserve_soc_percent: Annotated[float, Field(ge=0, le=100)] = 8.0
    min_power_kw: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    value_of_time_per_hour: Price = Decimal("36")
    road_factor: Annotated[float, Field(ge=1, le=4, description="Road over beeline.")] = 1.35
    average_speed_kmh: Annotated[float, Field(ge=0.1, le=130)] = 45.0
    failed_attempt_s: Seconds = 480
    stranding_cost: Price = Decimal("250")
    max_candidates: Annotated[int, Field(ge=1, le=50)] = 8

    max_attempts: Annotated[int, Field(ge=1, le=10)] = 4
    attempts_per_connector: Annotated[int, Field(ge=1, le=5)] = 2
    arrival_grace_s: Annotated[Seconds, Field(description="Waited beyond the window's end or the ETA.")] = (
        1800
    )
    geofence_m: Annotated[float, Field(gt=0, le=5000)] = 120.0
    plan_timeout_s: Seconds = 60
    command_timeout_s: Annotated[Seconds, Field(description="For the charger's reply to one command.")] = 30
    route_wait_s: Annotated[Seconds, Field(description="For the gateway's queue to take a command.")] = 8
    offline_patience_s: Annotated[Seconds, Field(description="For an unreachable charger to come back.")] = 20
    confirmation_s: Annotated[Seconds, Field(description="From accepted to evidence of energy.")] = 120
    uncertain_guard_s: Annotated[Seconds, Field(description="For a stop of an uncertain start.")] = 60
    presence_s: Annotated[
        Seconds, Field(description="A vehicle told to leave counts as still there for so long.")
    ] = 600
    silence_s: Annotated[
        Seconds, Field(description="Without any word of a running session, before a person is asked.")
    ] = 3600
    pause_s: Annotated[
        Seconds, Field(description="Paused by the charger (load management), before it counts as a stall.")
    ] = 6 * 3600
    keeper_s: Annotated[
        Seconds, Field(description="For a session without an owner to end, before it is called unknown.")
    ] = 12 * 3600
    stall_s: Annotated[Seconds, Field(description="Charging without new energy.")] = 600
    max_charging_s: Seconds = 12 * 3600
    idle_grace_s: Annotated[
        Seconds, Field(description="Plugged after charging, before it counts as idle.")
    ] = 300
    settlement_s: Annotated[Seconds, Field(description="Waited for the partner's CDR.")] = 3600
    human_deadline_s: Annotated[Seconds, Field(description="For a person to act on a hand-over.")] = 900
    approval_s: Annotated[Seconds, Field(description="For an assisted plan to be approved.")] = 600
    target_tolerance_percent: Annotated[float, Field(ge=0, le=50)] = 5.0

    @property
    def version(self) -> str:
        """`<id>@<revision>+<first 12 of the content hash>`: the same text is the same rules."""
        rules = self.model_dump(mode="json")
        for name in _ADDED_SINCE_1_0:
            # A field that a stored policy could not name must not make another policy of it.
            if getattr(self, name) == type(self).model_fields[name].default:
                del rules[name]
        return f"{self.policy_id}@{self.revision}+{fingerprint(rules)[:12]}"
