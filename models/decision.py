"""What a planner decided and why: ranked candidates, and the verdict on every rejected one."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, PlannedInstant, UtcDatetime
from models.charger import Charger
from models.money import Money
from models.place import Place
from models.policy import Policy
from models.vehicle import VehicleState


class RejectionRule(StrEnum):
    """Hard filters, in the order in which they are applied. The first that fails is the rejection."""

    NOT_PLANNABLE = "charger.not_plannable"
    EXCLUDED = "stop.excluded"
    INCOMPATIBLE_CONNECTOR = "vehicle.incompatible_connector"
    OUT_OF_ORDER = "charger.out_of_order"
    UNREACHABLE = "vehicle.unreachable_with_reserve"
    NETWORK_NOT_ALLOWED = "policy.network_not_allowed"
    POWER_TOO_LOW = "policy.power_too_low"
    DETOUR_TOO_LONG = "policy.detour_too_long"
    CONFIDENCE_TOO_LOW = "policy.confidence_too_low"
    COST_ABOVE_CEILING = "policy.cost_above_ceiling"


class Rejection(Message):
    """A charger that was not offered, the rule, and the numbers: `observed` against `limit`."""

    charger_id: str
    rule: RejectionRule
    observed: str
    limit: str


class Profile(StrEnum):
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    LOWEST_RISK = "lowest_risk"
    BALANCED = "balanced"


class Candidate(Message):
    """A charger that passed every hard filter, with the figures it was ranked by."""

    charger: Charger
    rank: int
    detour_s: float
    distance_km: float
    drive_s: float
    wait_s: float
    charge_s: float
    energy_kwh: float
    arrival_soc_percent: float
    start_probability: float
    cost: Money
    generalized_cost: Decimal
    failure_term: Decimal
    eta_impact_s: float
    network_rank: int = 99
    options: tuple[Profile, ...] = ()


class PlanRequest(Message):
    """Inputs of one planning call. `now` is the workflow's clock: the planner reads none."""

    stop_id: str
    tenant_id: str
    vehicle: VehicleState
    destination: Place | None = None
    target_soc_percent: Annotated[float, Field(ge=0, le=100)]
    latest_departure: PlannedInstant | None = None
    contract: Annotated[str, Field(max_length=64)] = ""
    now: UtcDatetime
    policy: Policy
    excluded_charger_ids: tuple[str, ...] = ()
    excluded_site_ids: tuple[str, ...] = ()
    failed_site_ids: tuple[str, ...] = ()
    preferred_charger_id: str | None = None
    tried: int = 0
    previous_eta_impact_s: float | None = None


class Decision(Message):
    """A decision and its receipt. `inputs_hash` covers the request and the charger snapshot; with the same
    inputs, policy version and planner version the same bytes come out again."""

    decision_id: str
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...] = ()
    rejected_count: int = 0
    rejected_by_rule: dict[str, int] = {}
    options: dict[Profile, str] = {}
    inputs_hash: str
    policy_version: str
    planner_version: str
    solver: str = ""
    energy_needed_kwh: float = 0.0
    no_candidate_because: str = ""
