"""A planner that ranks a simulated world's chargers in one fixed order, and honours what is ruled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.decision import Candidate, Decision, PlanRequest

if TYPE_CHECKING:
    from tests.stops.simulated_world import World


def decide(world: World, asked: PlanRequest) -> Decision:
    ranked = [
        c
        for c in world.ranking
        if c.charger_id not in asked.excluded_charger_ids and c.site_id not in asked.excluded_site_ids
    ]
    if asked.preferred_charger_id is not None:
        ranked.sort(key=lambda c: c.charger_id != asked.preferred_charger_id)
    if world.hits(world.weather.planner_empty):
        ranked = []
    made: list[Candidate] = [
        world.drive[c.charger_id].model_copy(update={"rank": rank}) for rank, c in enumerate(ranked, 1)
    ]
    return Decision(
        decision_id=f"decision-{world.decisions}",
        candidates=tuple(made),
        inputs_hash="hash",
        policy_version=asked.policy.version,
        planner_version="simulated",
        no_candidate_because="" if made else "plan.no_candidate",
    )
