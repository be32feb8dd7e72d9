"""Asking the planner: the first plan, the next best charger, and its judgement of a person's choice."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import FindCharger
    from models.contract import ACTIVITY_PLAN
    from models.decision import Candidate, Decision, PlanRequest
    from models.reason_catalogue import entry
    from models.reason_codes import ReasonCode
    from models.stop import StopMode, StopOutcome
    from stops.need import by_hand, nothing_needed
    from stops.stop import Stop

from workflows import calls
from workflows.desk import Desk
from workflows.flow import StopEnds


class Planning:
    def __init__(self, stop: Stop, desk: Desk) -> None:
        self._stop = stop
        self._desk = desk

    async def first(self) -> Candidate:
        """The best charger for where the vehicle stands now; or a person's. Raises StopEnds."""
        stop = self._stop
        if nothing_needed(stop.request, stop.vehicle.state.soc_percent):
            text = f"Nothing to do: {stop.vehicle.state.soc_percent:.0f} % is what was asked for"
            reason = ReasonCode.PLAN_NOTHING_NEEDED
            stop.note("plan.nothing_needed", text, workflow.now(), reason=reason)
            raise StopEnds(StopOutcome.NOT_NEEDED, reason)
        decision = await self.ask()
        self._desk.end_if_cancelled()
        if decision is None:
            return await self._desk.ask_person(ReasonCode.PLAN_UNAVAILABLE, "The planner did not answer")
        stop.keep_decision(decision)
        shadow = stop.request.mode is StopMode.SHADOW
        if not decision.candidates:
            reason = _code(decision.no_candidate_because, ReasonCode.PLAN_NO_CANDIDATE)
            text = f"No charger fits: {entry(reason).title}"
            stop.note("plan.failed", text, workflow.now(), reason=reason, decision_id=decision.decision_id)
            if shadow:
                raise StopEnds(StopOutcome.NOT_CHARGED, reason)
            return await self._desk.ask_person(reason, text)
        candidate = decision.candidates[0]
        stop.go_for(candidate, workflow.now())
        text = (
            f"Planned {candidate.charger.charger_id} ({len(decision.candidates)} options, "
            f"{decision.rejected_count} rejected), detour {candidate.detour_s / 60:.0f} min"
        )
        stop.note("plan.decided", text, workflow.now(), decision_id=decision.decision_id)
        if shadow:
            raise StopEnds(StopOutcome.NOT_CHARGED)
        return await self._desk.approved(candidate)

    async def next_best(self) -> Candidate | None:
        """The planner's new ranking; without a planner, the rest of the last one."""
        stop = self._stop
        decision = await self.ask()
        if decision is not None:
            stop.keep_decision(decision)
            return decision.candidates[0] if decision.candidates else None
        plan = stop.plan
        return next(
            (
                candidate
                for candidate in plan.offers
                if candidate.charger.charger_id not in plan.excluded_chargers
                and candidate.charger.site_id not in plan.excluded_sites
            ),
            None,
        )

    async def judge(self, charger_id: str) -> tuple[Candidate | None, str]:
        """A person's choice: the candidate, and the id of the decision that allows it. While the planner does
        not answer, a person may choose by hand: then the charger only has to exist. None: it is ruled out."""
        stop = self._stop
        decision = await self.ask(preferred_charger_id=charger_id)
        if decision is None:
            found = await calls.FIND_CHARGER(
                FindCharger(tenant_id=stop.tenant_id, charger_id=charger_id),
                summary=f"{charger_id} as the register has it now",
            )
            if found.charger is None:
                return None, ""
            return by_hand(found.charger, stop.vehicle, stop.request, stop.policy), ""
        first = decision.candidates[0] if decision.candidates else None
        if first is None or first.charger.charger_id != charger_id:
            return None, ""
        stop.log.decisions.append(decision)
        return first, decision.decision_id

    async def ask(self, preferred_charger_id: str | None = None) -> Decision | None:
        """A decision for where the vehicle stands now; None when the planner does not answer in time, or the
        stop is called off meanwhile."""
        stop, plan = self._stop, self._stop.plan
        request = PlanRequest(
            stop_id=stop.stop_id,
            tenant_id=stop.tenant_id,
            vehicle=stop.vehicle.state,
            destination=stop.request.destination,
            target_soc_percent=stop.request.target_soc_percent,
            latest_departure=stop.request.latest_departure,
            contract=stop.request.contract,
            now=workflow.now(),
            policy=stop.policy,
            excluded_charger_ids=(*stop.request.excluded_charger_ids, *plan.excluded_chargers),
            excluded_site_ids=tuple(plan.excluded_sites),
            failed_site_ids=tuple(plan.failed_sites),
            preferred_charger_id=preferred_charger_id,
            tried=len(stop.sessions),
        )
        after = f" (after attempt {len(stop.sessions)})" if stop.sessions else ""
        summary = f"Rank chargers for {stop.vehicle.state.vehicle_id}{after}"
        asked = calls.plan(request, stop.policy.plan_timeout_s, summary)
        judging = preferred_charger_id is not None  # a choice, while the stop itself waits for something else
        if not judging:
            stop.waiting.what = "the planner"
            stop.waiting.until = workflow.now() + timedelta(seconds=stop.policy.plan_timeout_s)
        try:
            await workflow.wait_condition(lambda: asked.done() or stop.wishes.cancel is not None)
        finally:
            if not judging:
                stop.waiting.what, stop.waiting.until = "", None
        if not asked.done():
            asked.cancel()
        try:
            decision = calls.readable(await asked, ACTIVITY_PLAN)
            plan.asked_soc_percent = request.vehicle.soc_percent
            return decision
        except ActivityError:
            workflow.logger.warning("the planner did not answer")
            return None


def _code(text: str, otherwise: ReasonCode) -> ReasonCode:
    return ReasonCode(text) if text in ReasonCode._value2member_map_ else otherwise
