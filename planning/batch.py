"""Plans for several stops that fall back at the same time: ranked one by one, assigned together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.charger import Charger
from models.decision import Decision, PlanRequest
from models.ids import fingerprint
from models.vehicle import VehicleModel
from planning.fleet import SOLVER, Assignment, Choice, FlowError, Seeker, assign, queue_step_micros
from planning.planner import Survey, plan
from planning.ranking import Scored
from planning.waiting import mean_session_s


def plan_many(
    requests: Sequence[PlanRequest],
    chargers: Sequence[Charger],
    models: Mapping[str, VehicleModel] | None = None,
    occupancies: Sequence[Mapping[str, int]] | None = None,
) -> list[Decision]:
    """One decision per request, in the order of the requests. `models` by model id; `occupancies`: for each
    request, as in `plan` (each counts the others, and not itself).

    The flow decides rank 1 of each; the other candidates keep their own order. A request that names a
    preferred charger keeps it, and the others plan around it. The receipt's `inputs_hash` covers all
    requests of the batch. Without a proven optimum the individual plans stand, with their own solver name.
    Raises ValueError when a stop is named twice.
    """
    known = models or {}
    nobody: Mapping[str, int] = {}
    each = list(zip(requests, occupancies or [nobody] * len(requests), strict=True))
    if len(requests) == 1:
        return [plan(one, chargers, _model(one, known), seen) for one, seen in each]
    surveys = [Survey(one, chargers, _model(one, known), seen) for one, seen in each]
    try:
        assignment, solver = assign([_seeker(survey) for survey in surveys]), SOLVER
    except FlowError:
        return [plan(one, chargers, _model(one, known), seen) for one, seen in each]
    batch_hash = fingerprint(sorted(survey.inputs_hash for survey in surveys))
    return [
        survey.decision(fingerprint([batch_hash, survey.inputs_hash]), solver, _first(survey, assignment))
        for survey in surveys
    ]


def _first(survey: Survey, assignment: Assignment) -> str | None:
    """The charger assigned; a stop that the flow leaves out keeps its own best, queue and all."""
    return assignment.charger_by_stop[survey.request.stop_id] or survey.request.preferred_charger_id


def _seeker(survey: Survey) -> Seeker:
    request = survey.request
    preferred = request.preferred_charger_id
    wished = [scored for scored in survey.scored if scored.charger_id == preferred]
    choices = tuple(_choice(scored, request) for scored in (wished or survey.scored))
    return Seeker(
        stop_id=request.stop_id,
        choices=choices,
        # Left out, a vehicle still has to charge somehow: worse than its worst choice by the stranding cost.
        unassigned_micros=int(request.policy.stranding_cost * 1_000_000)
        + max((choice.cost_micros for choice in choices), default=0),
    )


def _choice(scored: Scored, request: PlanRequest) -> Choice:
    return Choice(
        charger_id=scored.charger_id,
        cost_micros=scored.total_micros,
        queue_step_micros=queue_step_micros(
            request.policy.value_of_time_per_hour, mean_session_s(scored.passed.charger)
        ),
    )


def _model(request: PlanRequest, models: Mapping[str, VehicleModel]) -> VehicleModel | None:
    return models.get(request.vehicle.model_id) if request.vehicle.model_id else None
