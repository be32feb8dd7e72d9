"""One stop's plan: filter, rank, explain. `replay` proves a decision from its inputs to the same bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pydantic import TypeAdapter

from models.charger import Charger
from models.decision import Candidate, Decision, PlanRequest, Profile, Rejection, RejectionRule
from models.ids import canonical_json, fingerprint
from models.reason_codes import ReasonCode
from models.vehicle import VehicleModel
from planning.figures import VehicleFigures, figures_of
from planning.filters import Filters, Passed
from planning.probability import StartChances
from planning.ranking import Ranking, Scored, options_of, select
from planning.travel import Travel

PLANNER_VERSION = "1.1.0"
"""Raised with every change that may change a decision's bytes."""
SOLVER = "lookahead-2"
REJECTIONS_KEPT = 200
"""Rejections written out, nearest first; the counts by rule cover all."""

_SNAPSHOT = TypeAdapter(list[Charger])
_POLICY_RULES = frozenset(rule for rule in RejectionRule if rule.value.startswith("policy."))
_BEFORE_REACH = frozenset(
    {
        RejectionRule.NOT_PLANNABLE,
        RejectionRule.EXCLUDED,
        RejectionRule.INCOMPATIBLE_CONNECTOR,
        RejectionRule.OUT_OF_ORDER,
    }
)


def plan(
    request: PlanRequest,
    chargers: Sequence[Charger],
    model: VehicleModel | None,
    occupancy: Mapping[str, int] | None = None,
) -> Decision:
    """Rank chargers for one stop. `occupancy`: charger id -> vehicles of ours already sent there.

    Never raises for want of a charger or of vehicle figures: `no_candidate_because` then holds the reason
    code. The order of `chargers` does not matter.
    """
    survey = Survey(request, chargers, model, occupancy)
    return survey.decision(survey.inputs_hash, SOLVER, request.preferred_charger_id)


def replay(
    decision: Decision,
    request: PlanRequest,
    chargers: Sequence[Charger],
    model: VehicleModel | None,
    occupancy: Mapping[str, int] | None = None,
) -> bool:
    """Whether the same inputs give the same bytes again. False too when the inputs are not the ones that
    the receipt names, or another planner version decided."""
    return same_bytes(decision, plan(request, chargers, model, occupancy))


def same_bytes(one: Decision, other: Decision) -> bool:
    return decision_bytes(one) == decision_bytes(other)


def decision_bytes(decision: Decision) -> bytes:
    """The byte form that is compared and hashed."""
    return canonical_json(decision.model_dump(mode="json"))


class Survey:
    """Everything one request's chargers have to say, before somebody is chosen."""

    def __init__(
        self,
        request: PlanRequest,
        chargers: Sequence[Charger],
        model: VehicleModel | None,
        occupancy: Mapping[str, int] | None = None,
    ) -> None:
        self.request = request
        self.scored: list[Scored] = []
        self._rejections: list[Rejection] = []
        snapshot = canonical_chargers(chargers)
        taken = occupancy or {}
        self.inputs_hash = inputs_hash(request, snapshot, model, taken)
        self._figures = figures_of(request.vehicle, model, request.target_soc_percent)
        if self._figures is not None:
            self._examine(self._figures, snapshot, taken)

    def _examine(
        self, figures: VehicleFigures, snapshot: Sequence[Charger], occupancy: Mapping[str, int]
    ) -> None:
        request = self.request
        travel = Travel(request.policy)
        chances = StartChances(snapshot, request.failed_site_ids, request.now)
        filters = Filters(request, figures, travel, chances, occupancy)
        passed: list[Passed] = []
        rejected: list[tuple[int, str, Rejection]] = []
        for charger in snapshot:
            verdict = filters.examine(charger)
            if isinstance(verdict, Passed):
                passed.append(verdict)
            else:
                metres = travel.leg(request.vehicle.position, charger.place).metres
                rejected.append((metres, charger.charger_id, verdict))
        self._rejections = [rejection for _, _, rejection in sorted(rejected, key=lambda r: r[:2])]
        self.scored = Ranking(request, figures, travel).score(passed, keep=request.preferred_charger_id)

    def decision(self, receipt_hash: str, solver: str, first: str | None) -> Decision:
        """The decision with `first` (if it passed every filter) at rank 1."""
        request = self.request
        chosen = select(self.scored, request.policy.max_candidates, first)
        options = options_of(chosen)
        by_rule = Counter(rejection.rule.value for rejection in self._rejections)
        needed_wh = max(0, self._figures.target_wh - self._figures.charge_wh) if self._figures else 0
        identity = canonical_json([request.stop_id, receipt_hash, PLANNER_VERSION, solver])
        return Decision(
            decision_id="dec_" + hashlib.sha256(identity).hexdigest()[:32],
            candidates=tuple(
                self._candidate(scored, rank, options) for rank, scored in enumerate(chosen, start=1)
            ),
            rejections=tuple(self._rejections[:REJECTIONS_KEPT]),
            rejected_count=len(self._rejections),
            rejected_by_rule={
                rule.value: by_rule[rule.value] for rule in RejectionRule if by_rule[rule.value]
            },
            options=options,
            inputs_hash=receipt_hash,
            policy_version=request.policy.version,
            planner_version=PLANNER_VERSION,
            solver=solver,
            energy_needed_kwh=needed_wh / 1000,
            no_candidate_because="" if chosen else self._why_none().value,
        )

    def _why_none(self) -> ReasonCode:
        if self._figures is None:
            return ReasonCode.PLAN_BAD_REQUEST
        rules = {rejection.rule for rejection in self._rejections}
        if rules & _POLICY_RULES:
            return ReasonCode.PLAN_POLICY_FORBIDS_ALL
        # Of the chargers that this vehicle could use at all, every one is too far.
        if rules - _BEFORE_REACH == {RejectionRule.UNREACHABLE}:
            return ReasonCode.PLAN_UNREACHABLE
        return ReasonCode.PLAN_NO_CANDIDATE

    def _candidate(self, scored: Scored, rank: int, options: Mapping[Profile, str]) -> Candidate:
        assert self._figures is not None  # candidates exist only with figures
        passed = scored.passed
        # A detour is what the stop adds to the direct drive; standing is added in full.
        impact_s = passed.detour_s + passed.wait_s + passed.handling_s + passed.charge_s
        return Candidate(
            charger=passed.charger,
            rank=rank,
            detour_s=float(passed.detour_s),
            distance_km=passed.there.metres / 1000,
            drive_s=float(passed.there.seconds),
            wait_s=float(passed.wait_s),
            charge_s=float(passed.charge_s),
            energy_kwh=passed.energy_wh / 1000,
            arrival_soc_percent=self._figures.soc_percent(passed.arrival_wh),
            start_probability=passed.chance_ppm / 1_000_000,
            cost=passed.cost,
            generalized_cost=_amount(scored.total_micros),
            failure_term=_amount(scored.failure_micros),
            eta_impact_s=float(impact_s),
            network_rank=passed.network_rank,
            options=tuple(profile for profile in Profile if options[profile] == scored.charger_id),
        )


def canonical_chargers(chargers: Sequence[Charger]) -> list[Charger]:
    """Sorted by id, one per id: of two that claim the same id, the smaller bytes win, whatever the order."""
    by_id: dict[str, Charger] = {}
    for charger in chargers:
        known = by_id.get(charger.charger_id)
        if known is None or charger.model_dump_json() < known.model_dump_json():
            by_id[charger.charger_id] = charger
    return [by_id[charger_id] for charger_id in sorted(by_id)]


def inputs_hash(
    request: PlanRequest,
    snapshot: Sequence[Charger],
    model: VehicleModel | None,
    occupancy: Mapping[str, int],
) -> str:
    """Fingerprint of everything the decision depends on; the snapshot goes in as its JSON's hash."""
    return fingerprint(
        {
            "request": request.model_dump(mode="json"),
            "model": model.model_dump(mode="json") if model else None,
            "chargers": hashlib.sha256(_SNAPSHOT.dump_json(list(snapshot))).hexdigest(),
            "occupancy": {key: count for key, count in sorted(occupancy.items()) if count},
        }
    )


def _amount(micros: int) -> Decimal:
    return (Decimal(micros) / 1_000_000).quantize(Decimal("0.0001"))
