"""Equal inputs, equal bytes; and what must not change or improve whatever the numbers are."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import TYPE_2, a_charger, a_request, a_van, at_km, ids, steady

from models.charger import Charger, ConnectorStatus, TariffTerms
from models.decision import Decision
from models.policy import NetworkPreference, Policy
from planning.planner import decision_bytes, plan, replay, same_bytes

ROOT = Path(__file__).resolve().parents[2]

charger_fields = st.fixed_dictionaries(
    {
        "east_km": st.integers(-60, 60).map(lambda n: n / 2),
        "north_km": st.integers(-20, 20).map(float),
        "power_kw": st.sampled_from([11.0, 50.0, 150.0, 300.0]),
        "standard": st.sampled_from(["IEC_62196_T2_COMBO", "IEC_62196_T2", "CHADEMO"]),
        "operator": st.sampled_from(["acme", "bolt", "core"]),
        "network": st.sampled_from(["green", "blue"]),
        "status": st.sampled_from(list(ConnectorStatus)),
        "start_successes": st.integers(0, 20),
        "start_failures": st.integers(0, 20),
        "tariff": st.one_of(
            st.none(), st.integers(20, 120).map(lambda c: TariffTerms(energy_per_kwh=Decimal(c) / 100))
        ),
    }
)


def some_chargers(size: int, fields: list[dict[str, Any]]) -> list[Charger]:
    return [a_charger(f"c{i}", **f) for i, f in enumerate(fields[:size])]


worlds = st.lists(charger_fields, min_size=1, max_size=6).map(lambda fields: some_chargers(6, fields))


def a_seeded_world(shuffle: int | None = None) -> list[Charger]:
    """60 chargers, ties among them; the same for every caller, in an order of the caller's."""
    dice = random.Random(7)
    chargers = [
        a_charger(
            f"c{i:02}",
            dice.choice([1, 2, 5, 9, 20]),
            dice.choice([0, 3]),
            site_id=f"s{i // 3}",
            operator=dice.choice(["acme", "bolt", "core"]),
            standard=dice.choice(["IEC_62196_T2_COMBO", "CHADEMO"]),
            status=dice.choice(list(ConnectorStatus)),
            start_failures=dice.randrange(4),
        )
        for i in range(60)
    ]
    if shuffle is not None:
        random.Random(shuffle).shuffle(chargers)
    return chargers


def a_seeded_plan(shuffle: int | None = None) -> Decision:
    policy = Policy(preferred_networks=(NetworkPreference(networks=("green", "blue")),))
    request = a_request(policy, failed_site_ids=("s1",), destination=at_km(12))
    return plan(request, a_seeded_world(shuffle), None, {"c01": 2})


def test_new_processes_with_other_hash_seeds_and_shuffled_input_give_the_same_bytes() -> None:
    script = (
        "import sys; from test_determinism import a_seeded_plan; from planning.planner import decision_bytes;"
        "sys.stdout.buffer.write(decision_bytes(a_seeded_plan(int(sys.argv[1]))))"
    )
    mine = decision_bytes(a_seeded_plan())
    assert len(a_seeded_plan().candidates) == Policy().max_candidates
    for seed in ("1", "4242"):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent))),
        }
        done = subprocess.run(
            [sys.executable, "-c", script, seed], capture_output=True, check=True, env=environment, timeout=60
        )
        assert done.stdout == mine


def test_a_decision_replays_from_its_receipt_and_notices_any_other_input() -> None:
    chargers = a_seeded_world()
    request = a_request()
    decision = plan(request, chargers, None)
    stored = Decision.model_validate_json(decision.model_dump_json())
    assert replay(stored, request, list(reversed(chargers)), None)
    assert not replay(stored, request, chargers, None, {"c01": 1})
    changed = [c.model_copy(update={"start_failures": 9}) if c.charger_id == "c33" else c for c in chargers]
    assert not replay(stored, request, changed, None)
    assert not replay(stored, a_request(Policy(revision=2)), chargers, None)
    assert plan(a_request(stop_id="stop_2"), chargers, None).decision_id != decision.decision_id


def test_two_chargers_that_claim_one_id_are_one_whatever_the_order() -> None:
    twins = [a_charger("x", 1), a_charger("x", 3), a_charger("y", 2)]
    one, other = plan(a_request(), twins, None), plan(a_request(), twins[::-1], None)
    assert same_bytes(one, other)
    assert sorted(ids(one)) == ["x", "y"]


@steady
@given(worlds, st.randoms(use_true_random=False))
def test_permuting_the_chargers_changes_nothing(chargers: list[Charger], dice: random.Random) -> None:
    shuffled = list(chargers)
    dice.shuffle(shuffled)
    assert same_bytes(plan(a_request(), chargers, None), plan(a_request(), shuffled, None))


@steady
@given(worlds, st.integers(0, 5))
def test_withdrawing_a_charger_never_improves_the_best(chargers: list[Charger], which: int) -> None:
    """Withdrawn, not removed: what is known of its operator's reliability stays known."""
    which %= len(chargers)
    fewer = [c.model_copy(update={"plannable": i != which}) for i, c in enumerate(chargers)]
    with_it, without = plan(a_request(), chargers, None), plan(a_request(), fewer, None)
    if without.candidates:
        assert with_it.candidates[0].generalized_cost <= without.candidates[0].generalized_cost


@steady
@given(worlds, st.integers(1, 60), st.integers(0, 60))
def test_a_higher_ceiling_never_leaves_fewer_candidates(
    chargers: list[Charger], ceiling: int, more: int
) -> None:
    low = plan(a_request(Policy(cost_ceiling=Decimal(ceiling))), chargers, None)
    high = plan(a_request(Policy(cost_ceiling=Decimal(ceiling + more))), chargers, None)
    assert set(ids(low)) <= set(ids(high))


@steady
@given(worlds, st.floats(5, 100), st.floats(5, 100))
def test_every_charger_gets_exactly_one_verdict_and_figures_are_sane(
    chargers: list[Charger], soc: float, target: float
) -> None:
    request = a_request(vehicle=a_van(soc_percent=soc), target_soc_percent=target, destination=at_km(5, 5))
    decision = plan(request, chargers, None)
    verdicts = ids(decision) + [r.charger_id for r in decision.rejections]
    assert sorted(verdicts) == sorted(c.charger_id for c in chargers)
    assert decision.rejected_count == sum(decision.rejected_by_rule.values())
    assert bool(decision.no_candidate_because) is not bool(decision.candidates)
    for rank, candidate in enumerate(decision.candidates, start=1):
        assert candidate.rank == rank
        assert candidate.eta_impact_s >= candidate.charge_s >= 0
        assert 0 <= candidate.start_probability <= 1
        assert candidate.failure_term >= 0
        assert candidate.charger.standard in (*request.vehicle.connectors, TYPE_2)
    costs = [candidate.generalized_cost for candidate in decision.candidates]
    assert costs == sorted(costs)


@settings(steady, max_examples=30)
@given(st.lists(charger_fields, min_size=20, max_size=40), st.integers(1, 12))
def test_any_limit_of_candidates_is_kept_and_the_best_is_among_them(
    fields: list[dict[str, Any]], limit: int
) -> None:
    chargers = some_chargers(40, fields)
    some = plan(a_request(Policy(max_candidates=limit)), chargers, None)
    many = plan(a_request(Policy(max_candidates=50)), chargers, None)
    assert len(some.candidates) == min(limit, len(many.candidates))
    assert ids(some)[:1] == ids(many)[:1]
