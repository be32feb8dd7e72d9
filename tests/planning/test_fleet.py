"""The flow assigns as exhaustive search does, and a batch of plans spreads a fleet."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import a_charger, a_request, a_van, at_km, ids, steady

from models.decision import PlanRequest
from models.policy import Policy
from planning.batch import plan_many
from planning.fleet import SOLVER, Choice, Seeker, assign
from planning.planner import plan, same_bytes

STEP = 15_000_000


def cheapest_by_search(seekers: list[Seeker], places: dict[str, int]) -> int:
    """Every assignment there is, priced by its meaning: own cost, one more session per colleague ahead."""
    best: int | None = None
    for picks in product(*[(*seeker.choices, None) for seeker in seekers]):
        taken = Counter(choice.charger_id for choice in picks if choice)
        if any(count > places.get(charger_id, 8) for charger_id, count in taken.items()):
            continue
        cost = sum(
            choice.cost_micros if choice else seeker.unassigned_micros
            for seeker, choice in zip(seekers, picks, strict=True)
        )
        cost += sum(STEP * count * (count - 1) // 2 for count in taken.values())
        best = cost if best is None else min(best, cost)
    assert best is not None
    return best


chargers_and_costs = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 900), max_size=4)


@settings(steady, max_examples=150)
@given(
    st.lists(chargers_and_costs, min_size=1, max_size=5),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), max_size=4),
    st.integers(10, 300),
    st.randoms(use_true_random=False),
)
def test_the_flow_finds_what_exhaustive_search_finds(
    table: list[dict[str, int]], places: dict[str, int], unassigned: int, dice: Random
) -> None:
    seekers = [
        Seeker(
            stop_id=f"stop-{i}",
            choices=tuple(Choice(c, cost * 100_000, STEP) for c, cost in row.items()),
            unassigned_micros=unassigned * 1_000_000,
        )
        for i, row in enumerate(table)
    ]
    found = assign(seekers, places)
    assert found.cost_micros == cheapest_by_search(seekers, places)
    assert set(found.charger_by_stop) == {seeker.stop_id for seeker in seekers}
    shuffled = list(seekers)
    dice.shuffle(shuffled)
    assert assign(shuffled, places) == found


def test_a_stop_named_twice_is_refused_and_nobody_is_nothing() -> None:
    seeker = Seeker("s", (), 1)
    with pytest.raises(ValueError, match="twice"):
        assign([seeker, seeker])
    assert assign([]).charger_by_stop == {}
    assert assign([seeker]).charger_by_stop == {"s": None}


def vans(count: int, **fields: Any) -> list[PlanRequest]:
    return [
        a_request(
            stop_id=f"stop_{i}", vehicle=a_van(vehicle_id=f"van-{i}", position=at_km(0, i / 10)), **fields
        )
        for i in range(count)
    ]


def test_vans_that_fall_back_together_are_spread_instead_of_queueing() -> None:
    chargers = [a_charger(f"c{i}", 1 + i) for i in range(5)]
    requests = vans(5)
    alone = {ids(plan(request, chargers, None))[0] for request in requests}
    assert alone == {"c0"}
    together = plan_many(requests, chargers)
    assert sorted(ids(decision)[0] for decision in together) == [f"c{i}" for i in range(5)]
    for decision, request in zip(together, requests, strict=True):
        assert decision.solver == SOLVER == "ortools-9.15.6755/SimpleMinCostFlow"
        assert [c.rank for c in decision.candidates] == [1, 2, 3, 4, 5]
        assert decision.decision_id != plan(request, chargers, None).decision_id


def test_the_batch_keeps_the_order_of_requests_and_does_not_depend_on_it() -> None:
    chargers = [a_charger(f"c{i}", 1 + i % 3) for i in range(6)]
    requests = vans(5)
    forward = plan_many(requests, chargers)
    backward = plan_many(requests[::-1], chargers[::-1])[::-1]
    assert all(same_bytes(a, b) for a, b in zip(forward, backward, strict=True))


def test_a_lone_request_is_planned_alone() -> None:
    chargers = [a_charger("a"), a_charger("b", 4)]
    (decision,) = plan_many(vans(1), chargers)
    assert same_bytes(decision, plan(vans(1)[0], chargers, None))


def test_a_wish_is_kept_and_the_others_plan_around_it() -> None:
    chargers = [a_charger("near", 1), a_charger("far", 3)]
    wishing, other = vans(2)
    wishing = wishing.model_copy(update={"preferred_charger_id": "far"})
    decisions = plan_many([wishing, other], chargers)
    assert [ids(d)[0] for d in decisions] == ["far", "near"]


def test_a_stop_without_any_candidate_does_not_spoil_the_batch() -> None:
    chargers = [a_charger("near", 1), a_charger("far", 3)]
    stuck, fine = vans(2)
    stuck = stuck.model_copy(update={"vehicle": a_van(soc_percent=1.0)})
    decisions = plan_many([stuck, fine], chargers)
    assert decisions[0].no_candidate_because == "plan.unreachable"
    assert ids(decisions[1]) == ["near", "far"]


def test_slow_charging_is_still_better_than_none() -> None:
    """Hours at AC cost more than the stranding alone; the flow must not leave such vans without a charger."""
    chargers = [a_charger(f"ac{i}", 1, standard="IEC_62196_T2", power_kw=3.7) for i in range(2)]
    policy = Policy(stranding_cost=Decimal(10))
    decisions = plan_many([r.model_copy(update={"policy": policy}) for r in vans(2)], chargers)
    assert sorted(ids(d)[0] for d in decisions) == ["ac0", "ac1"]
