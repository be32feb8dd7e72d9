"""The scenarios that the planner was ordered for (CH-013..CH-016, CH-017..CH-031), by name."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from planning_world import CCS, NOW, TYPE_2, a_charger, a_request, a_van, at_km, ids, rejection_of

from models.charger import ConnectorStatus, Protocol, TariffTerms
from models.decision import Profile, RejectionRule
from models.policy import NetworkPreference, Policy
from models.reason_catalogue import entry
from models.reason_codes import ReasonCode
from models.vehicle import ConnectorStandard
from planning.planner import plan


def test_ch013_the_nearest_charger_is_incompatible_and_is_not_chosen() -> None:
    near = a_charger("near", 0.3, standard=ConnectorStandard.CHADEMO)
    decision = plan(a_request(), [near, a_charger("far", 5)], None)
    assert ids(decision) == ["far"]
    verdict = rejection_of(decision, "near")
    assert verdict.rule is RejectionRule.INCOMPATIBLE_CONNECTOR
    assert verdict.observed == "CHADEMO"
    assert CCS.value in verdict.limit


def test_ch014_a_long_queue_is_outranked_by_a_slightly_farther_free_charger() -> None:
    chargers = [a_charger("queued", 1), a_charger("free", 2)]
    assert ids(plan(a_request(), chargers, None)) == ["queued", "free"]
    decision = plan(a_request(), chargers, None, occupancy={"queued": 3})
    assert ids(decision) == ["free", "queued"]
    assert decision.candidates[1].wait_s > 3600


def test_ch014_a_charger_seen_occupied_is_outranked_too() -> None:
    taken = a_charger("taken", 1, status=ConnectorStatus.OCCUPIED)
    assert ids(plan(a_request(), [taken, a_charger("free", 2)], None))[0] == "free"


def test_ch015_a_low_start_probability_is_outranked() -> None:
    flaky = a_charger("flaky", 1, start_successes=2, start_failures=8)
    decision = plan(a_request(), [flaky, a_charger("solid", 2, start_successes=10)], None)
    assert ids(decision) == ["solid", "flaky"]
    solid, weak = decision.candidates
    assert weak.start_probability < 0.75 < solid.start_probability
    assert weak.failure_term > solid.failure_term > 0


def test_ch016_after_a_failed_start_the_next_plan_leads_elsewhere_with_an_eta_impact() -> None:
    """The plan's part of it: the failed charger is out, its site and operator are trusted less."""
    site = {"site_id": "hub", "operator": "acme"}
    chargers = [
        a_charger("hub-1", 1, **site),
        a_charger("hub-2", 1, **site),
        a_charger("acme-2", 1.5, operator="acme"),
        a_charger("other", 1.6),
    ]
    first = plan(a_request(), chargers, None)
    assert ids(first)[0] in ("hub-1", "hub-2")
    again = a_request(excluded_charger_ids=("hub-1",), failed_site_ids=("hub",), tried=1)
    second = plan(again, chargers, None)
    assert ids(second)[0] == "other"
    assert second.candidates[0].eta_impact_s > 0
    assert rejection_of(second, "hub-1").rule is RejectionRule.EXCLUDED
    chances = {c.charger.charger_id: c.start_probability for c in second.candidates}
    assert chances["hub-2"] < chances["acme-2"] < chances["other"]
    assert entry(ReasonCode.CONFIRM_NEVER_STARTED).next_step.value == "other_connector"


def test_ch017_networks_preferred_by_region_win_a_near_tie() -> None:
    policy = Policy(preferred_networks=(NetworkPreference(region="DE-NW", networks=("blue", "green")),))
    chargers = [
        a_charger("a", 2.0, network="green", region="DE-NW"),
        a_charger("b", 2.0, network="blue", region="DE-NW"),
    ]
    assert ids(plan(a_request(), chargers, None)) == ["a", "b"]
    decision = plan(a_request(policy), chargers, None)
    assert ids(decision) == ["b", "a"]
    assert [c.network_rank for c in decision.candidates] == [0, 1]


def test_ch018_networks_demanded_by_contract_reject_the_others_for_that_contract_only() -> None:
    policy = Policy(preferred_networks=(NetworkPreference(contract="gold", networks=("blue",), only=True),))
    chargers = [a_charger("g", 1), a_charger("b", 3, network="blue")]
    gold = plan(a_request(policy, contract="gold"), chargers, None)
    assert ids(gold) == ["b"]
    verdict = rejection_of(gold, "g")
    assert (verdict.rule, verdict.observed, verdict.limit) == (
        RejectionRule.NETWORK_NOT_ALLOWED,
        "green",
        "blue",
    )
    assert ids(plan(a_request(policy), chargers, None)) == ["g", "b"]


def test_ch028_a_demand_made_everywhere_is_not_lifted_by_a_regional_preference() -> None:
    policy = Policy(
        preferred_networks=(
            NetworkPreference(networks=("blue", "green"), only=True),
            NetworkPreference(region="DE-NW", networks=("green",)),
        )
    )
    chargers = [
        a_charger("r", 1, network="red", region="DE-NW"),
        a_charger("b", 2, network="blue", region="DE-NW"),
        a_charger("g", 2, network="green", region="DE-NW"),
    ]
    decision = plan(a_request(policy), chargers, None)
    assert ids(decision) == ["g", "b"]
    assert rejection_of(decision, "r").rule is RejectionRule.NETWORK_NOT_ALLOWED


def test_ch019_ch031_the_detour_is_measured_against_the_active_route() -> None:
    policy = Policy(max_detour_s=600)
    chargers = [a_charger("ahead", 10), a_charger("behind", -10)]
    decision = plan(a_request(policy, destination=at_km(20)), chargers, None)
    assert ids(decision) == ["ahead"]
    assert decision.candidates[0].detour_s < 5
    verdict = rejection_of(decision, "behind")
    assert verdict.rule is RejectionRule.DETOUR_TOO_LONG
    assert verdict.limit == "10.0 min, 40.0 km"


def test_ch020_ch021_confidence_and_cost_ceiling_reject_with_numbers() -> None:
    policy = Policy(min_confidence=0.8, cost_ceiling=Decimal("30"))
    dear = a_charger("dear", tariff=TariffTerms(energy_per_kwh=Decimal("1.50")))
    flaky = a_charger("flaky", start_failures=9)
    decision = plan(a_request(policy), [dear, flaky, a_charger("fine")], None)
    assert ids(decision) == ["fine"]
    assert rejection_of(decision, "dear").rule is RejectionRule.COST_ABOVE_CEILING
    assert rejection_of(decision, "dear").limit == "30 EUR"
    assert rejection_of(decision, "flaky").rule is RejectionRule.CONFIDENCE_TOO_LOW
    assert rejection_of(decision, "flaky").limit == "0.800"


def test_ch024_another_currency_is_never_taken_for_the_ceilings_own() -> None:
    swiss = a_charger("swiss", tariff=TariffTerms(currency="CHF", energy_per_kwh=Decimal("0.01")))
    decision = plan(a_request(), [swiss], None)
    assert rejection_of(decision, "swiss").rule is RejectionRule.COST_ABOVE_CEILING
    assert rejection_of(decision, "swiss").observed.endswith("CHF")


def test_ch026_ch027_every_rejection_has_its_rule_and_the_decision_its_policy_version() -> None:
    policy = Policy(policy_id="night", revision=7)
    chargers = [a_charger(f"c{i:03}", 300 + i) for i in range(250)]
    decision = plan(a_request(policy), chargers, None)
    assert decision.policy_version.startswith("night@7+")
    assert decision.rejected_count == 250
    assert decision.rejected_by_rule == {"vehicle.unreachable_with_reserve": 250}
    assert len(decision.rejections) == 200
    assert decision.rejections[0].charger_id == "c000"


@pytest.mark.parametrize(
    ("chargers", "because"),
    [
        ([], ReasonCode.PLAN_NO_CANDIDATE),
        ([a_charger("x", 1, standard=ConnectorStandard.CHADEMO)], ReasonCode.PLAN_NO_CANDIDATE),
        ([a_charger("x", 500)], ReasonCode.PLAN_UNREACHABLE),
        (
            [a_charger("x", 500), a_charger("y", 1, status=ConnectorStatus.FAULTED)],
            ReasonCode.PLAN_UNREACHABLE,
        ),
        ([a_charger("x", 500), a_charger("y", 1, network="red")], ReasonCode.PLAN_POLICY_FORBIDS_ALL),
    ],
)
def test_ch029_no_candidate_is_an_outcome_with_a_reason_code(chargers: list, because: ReasonCode) -> None:
    policy = Policy(preferred_networks=(NetworkPreference(networks=("green",), only=True),))
    decision = plan(a_request(policy), chargers, None)
    assert decision.candidates == ()
    assert decision.options == {}
    assert decision.no_candidate_because == because.value


def test_a_vehicle_without_figures_is_a_bad_request_and_no_crash() -> None:
    vehicle = a_van(battery_usable_kwh=None)
    decision = plan(a_request(vehicle=vehicle), [a_charger("x")], None)
    assert decision.no_candidate_because == ReasonCode.PLAN_BAD_REQUEST.value


def test_the_four_options_are_what_they_say() -> None:
    chargers = [
        a_charger("cheap", 9, tariff=TariffTerms(energy_per_kwh=Decimal("0.20")), power_kw=50),
        a_charger("fast", 1, tariff=TariffTerms(energy_per_kwh=Decimal("0.95")), power_kw=300),
        a_charger("safe", 6, start_successes=500, tariff=TariffTerms(energy_per_kwh=Decimal("0.70"))),
        a_charger("middle", 2, tariff=TariffTerms(energy_per_kwh=Decimal("0.45")), power_kw=150),
    ]
    decision = plan(a_request(), chargers, None)
    assert decision.options[Profile.CHEAPEST] == "cheap"
    assert decision.options[Profile.FASTEST] in ("fast", "middle")
    assert decision.options[Profile.LOWEST_RISK] == "safe"
    assert decision.options[Profile.BALANCED] == decision.candidates[0].charger.charger_id
    for candidate in decision.candidates:
        for profile in candidate.options:
            assert decision.options[profile] == candidate.charger.charger_id


def test_a_preferred_charger_is_first_if_it_passes_and_rejected_like_any_other_if_not() -> None:
    chargers = [*(a_charger(f"c{i:02}", 1 + i / 10) for i in range(80)), a_charger("wish", 14)]
    decision = plan(a_request(preferred_charger_id="wish"), chargers, None)
    assert ids(decision)[0] == "wish"
    assert len(decision.candidates) == Policy().max_candidates
    assert ids(decision)[1] == "c00"
    broken = [a_charger("wish", 2, status=ConnectorStatus.FAULTED), a_charger("c", 3)]
    assert ids(plan(a_request(preferred_charger_id="wish"), broken, None)) == ["c"]


def test_one_site_does_not_crowd_out_the_fallbacks() -> None:
    hub = [a_charger(f"hub-{i:02}", 1, site_id="hub") for i in range(20)]
    decision = plan(a_request(), [*hub, a_charger("elsewhere", 4)], None)
    assert ids(decision) == ["hub-00", "hub-01", "elsewhere"]


def test_the_look_ahead_avoids_a_dead_end() -> None:
    """With little charge left, a charger with a fallback beside it beats a lonely one."""
    van = a_van(soc_percent=13.0)
    lonely = a_charger("lonely", -5.0)
    pair = [a_charger("pair-a", 5.2), a_charger("pair-b", 5.4)]
    decision = plan(a_request(vehicle=van), [lonely, *pair], None)
    assert ids(decision)[-1] == "lonely"
    myopic = {c.charger.charger_id: c.generalized_cost - c.failure_term for c in decision.candidates}
    assert myopic["lonely"] == min(myopic.values())


def test_chargers_that_nobody_can_start_remotely_are_offered_below_equal_ones() -> None:
    listed = a_charger("a-listed", 2, protocol=Protocol.NONE)
    decision = plan(a_request(), [listed, a_charger("b-remote", 2)], None)
    assert ids(decision) == ["b-remote", "a-listed"]


def test_a_tight_departure_prefers_power_and_names_no_late_charger_as_low_risk() -> None:
    slow = a_charger("slow", 0.5, power_kw=11, standard=TYPE_2, start_successes=200)
    fast = a_charger("fast", 3, power_kw=150)
    decision = plan(a_request(latest_departure=NOW + timedelta(hours=1)), [slow, fast], None)
    assert ids(decision)[0] == "fast"
    assert decision.options[Profile.LOWEST_RISK] == "fast"
