"""Policy v1 as data. Every duration and threshold of a stop stands here; nothing is hard-coded elsewhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from models.base import StrictMessage
from models.ids import fingerprint
from models.money import Currency

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]


class NetworkPreference(StrictMessage):
    """Networks preferred (in order) where `region` or `contract` matches; empty matches everywhere.
    With `only`, others are rejected instead of being ranked lower."""

    region: str = ""
    contract: str = ""
    networks: tuple[str, ...]
    only: bool = False


class Policy(StrictMessage):
    """The business limits and the clockwork of a stop. Frozen: a changed policy is another version."""

    policy_id: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")] = "default"
    revision: Annotated[int, Field(ge=1)] = 1

    preferred_networks: tuple[NetworkPreference, ...] = ()
    max_detour_s: Seconds = 1800
    max_detour_km: Annotated[float, Field(gt=0)] = 40.0
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.30
    cost_ceiling: Annotated[Decimal | None, Field(description="Per stop, excl. VAT.")] = Decimal("80")
    currency: Currency = "EUR"
    reserve_soc_percent: Annotated[float, Field(ge=0, le=100)] = 8.0
    min_power_kw: Annotated[float, Field(ge=0)] = 0.0
    value_of_time_per_hour: Decimal = Decimal("36")
    road_factor: Annotated[float, Field(ge=1, le=4, description="Road over beeline.")] = 1.35
    average_speed_kmh: Annotated[float, Field(gt=0, le=130)] = 45.0
    failed_attempt_s: Seconds = 480
    stranding_cost: Decimal = Decimal("250")
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
        return f"{self.policy_id}@{self.revision}+{fingerprint(self.model_dump(mode='json'))[:12]}"
