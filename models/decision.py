"""What a planner decided and why: ranked candidates, and the verdict on every rejected one."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, model_validator

from models.base import MOST_WORD_CHARACTERS, Message, PlannedInstant, UtcDatetime, clean_text
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
    OTHER = "other"
    """A rule of a newer planner: its name stands in `observed`."""


class Rejection(Message):
    """A charger that was not offered, the rule, and the numbers: `observed` against `limit`."""

    charger_id: str
    rule: RejectionRule
    observed: str
    limit: str

    @model_validator(mode="before")
    @classmethod
    def _keeps_a_rule_of_tomorrow(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        rule = given.get("rule")
        if not isinstance(rule, str) or rule in RejectionRule._value2member_map_:
            return given
        said = clean_text(f"{rule}: {given.get('observed', '')}", MOST_WORD_CHARACTERS)
        return {**given, "rule": RejectionRule.OTHER, "observed": said}


class Profile(StrEnum):
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    LOWEST_RISK = "lowest_risk"
    BALANCED = "balanced"


def _is_known_profile(value: Any) -> bool:
    """What is no word at all, the field judges."""
    return not isinstance(value, str) or value in Profile._value2member_map_


def _known_profiles(value: Any) -> Any:
    """Without those of a newer planner: nobody here could ask for them."""
    if isinstance(value, dict):
        named = cast("dict[Any, Any]", value)
        return {key: text for key, text in named.items() if _is_known_profile(key)}
    if isinstance(value, (list, tuple)):
        return [one for one in cast("list[Any]", value) if _is_known_profile(one)]
    return value


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
    options: Annotated[tuple[Profile, ...], BeforeValidator(_known_profiles)] = ()


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
    options: Annotated[dict[Profile, str], BeforeValidator(_known_profiles)] = {}
    inputs_hash: str
    policy_version: str
    planner_version: str
    solver: str = ""
    energy_needed_kwh: float = 0.0
    no_candidate_because: str = ""
