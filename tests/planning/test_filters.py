"""Each hard filter alone, at its edge, and the order in which they speak."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from planning_world import NOW, TYPE_2, a_charger, a_request, a_van, at_km, ids, rejection_of

from models.charger import ConnectorStatus, TariffTerms
from models.decision import PlanRequest, RejectionRule
from models.policy import NetworkPreference, Policy
from planning.planner import plan

RULES = [rule for rule in RejectionRule if rule is not RejectionRule.OTHER]  # that one is no filter of ours
BAD: dict[RejectionRule, dict[str, Any]] = {
    RejectionRule.NOT_PLANNABLE: {"plannable": False},
    RejectionRule.EXCLUDED: {"site_id": "out"},
    RejectionRule.INCOMPATIBLE_CONNECTOR: {"standard": "CHADEMO"},
    RejectionRule.OUT_OF_ORDER: {"status": ConnectorStatus.OFFLINE},
    RejectionRule.UNREACHABLE: {"place": at_km(500)},
    RejectionRule.NETWORK_NOT_ALLOWED: {"network": "red"},
    RejectionRule.POWER_TOO_LOW: {"power_kw": 10.0},
    RejectionRule.DETOUR_TOO_LONG: {"place": at_km(30)},
    RejectionRule.CONFIDENCE_TOO_LOW: {"start_failures": 40},
    RejectionRule.COST_ABOVE_CEILING: {"tariff": TariffTerms(energy_per_kwh=Decimal(9))},
}


def strict_request() -> PlanRequest:
    policy = Policy(min_power_kw=20, preferred_networks=(NetworkPreference(networks=("green",), only=True),))
    return a_request(policy, excluded_site_ids=("out",))


@pytest.mark.parametrize("rule", RULES)
def test_each_filter_rejects_with_numbers(rule: RejectionRule) -> None:
    decision = plan(strict_request(), [a_charger("bad", **BAD[rule]), a_charger("good")], None)
    assert ids(decision) == ["good"]
    verdict = rejection_of(decision, "bad")
    assert verdict.rule is rule
    assert verdict.observed
    assert verdict.limit
    assert decision.rejected_by_rule == {rule.value: 1}


@pytest.mark.parametrize("index", range(len(RULES) - 1))
def test_the_first_rule_that_fails_is_the_rejection(index: int) -> None:
    """A charger that breaks every rule from `index` on is rejected by that one. A place cannot be in and out
    of reach at once, so the farther one stands for both."""
    fields: dict[str, Any] = {}
    for rule in RULES[index:]:
        fields = BAD[rule] | fields
    decision = plan(strict_request(), [a_charger("bad", **fields)], None)
    assert rejection_of(decision, "bad").rule is RULES[index]


def test_reachability_counts_the_p90_of_energy_and_the_reserve() -> None:
    # 30 % of 60 kWh is 18 kWh, less 4.8 reserve; 13.2 kWh at 25 x 1.15 kWh per 100 km are 45.9 km of road.
    policy = Policy(max_detour_s=7200, max_detour_km=100)
    near, far = a_charger("near", 45.5 / 1.35), a_charger("far", 46.3 / 1.35)
    decision = plan(a_request(policy), [near, far], None)
    assert ids(decision) == ["near"]
    verdict = rejection_of(decision, "far")
    assert verdict.rule is RejectionRule.UNREACHABLE
    assert verdict.limit == "8.0 %"
    assert "P90" in verdict.observed
    # What is shown is the average, above the reserve.
    assert decision.candidates[0].arrival_soc_percent == pytest.approx(30 - 11.375 / 0.6, abs=0.05)


@pytest.mark.parametrize("status", [ConnectorStatus.FAULTED, ConnectorStatus.OFFLINE])
def test_a_dead_status_counts_for_half_an_hour_only(status: ConnectorStatus) -> None:
    fresh = a_charger("x", status=status, status_at=NOW - timedelta(minutes=29, seconds=59))
    stale = a_charger("x", status=status, status_at=NOW - timedelta(minutes=30))
    undated = a_charger("x", status=status, status_at=None)
    ahead = a_charger("x", status=status, status_at=NOW + timedelta(minutes=5))
    assert rejection_of(plan(a_request(), [fresh], None), "x").rule is RejectionRule.OUT_OF_ORDER
    assert rejection_of(plan(a_request(), [ahead], None), "x").rule is RejectionRule.OUT_OF_ORDER
    assert ids(plan(a_request(), [stale], None)) == ["x"]
    assert ids(plan(a_request(), [undated], None)) == ["x"]


def test_limits_themselves_are_allowed() -> None:
    exact = a_charger("exact", power_kw=50.0)
    assert ids(plan(a_request(Policy(min_power_kw=50)), [exact], None)) == ["exact"]
    price = plan(a_request(), [exact], None).candidates[0].cost.amount
    assert ids(plan(a_request(Policy(cost_ceiling=price)), [exact], None)) == ["exact"]
    below = Policy(cost_ceiling=price - Decimal("0.01"))
    assert plan(a_request(below), [exact], None).candidates == ()
    assert ids(plan(a_request(Policy(cost_ceiling=None)), [exact], None)) == ["exact"]


def test_a_vehicle_that_takes_no_ac_is_not_sent_to_ac() -> None:
    van = a_van(ac_max_power_kw=0.0)
    decision = plan(a_request(vehicle=van), [a_charger("ac", standard=TYPE_2, power_kw=22)], None)
    assert rejection_of(decision, "ac").rule is RejectionRule.INCOMPATIBLE_CONNECTOR


def test_a_full_vehicle_still_gets_a_plan_and_needs_no_energy() -> None:
    decision = plan(a_request(target_soc_percent=20), [a_charger("x")], None)
    assert decision.energy_needed_kwh == 0
    assert decision.candidates[0].energy_kwh == 0
    assert decision.candidates[0].charge_s == 0
