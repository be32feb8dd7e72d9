"""The desk: what people decide. Approvals, hand-overs with a deadline, and what they said meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.decision import Candidate
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import ProblemReport, StopMode, StopOutcome, StopPhase
    from stops.session import Session
    from stops.stop import Stop

from workflows.flow import PROBLEM_REASONS, AttemptFailed, Redirected, StopEnds
from workflows.waits import Waits


class Desk:
    def __init__(self, stop: Stop, waits: Waits) -> None:
        self._stop = stop
        self._waits = waits
        self.adopt: Callable[[], Awaitable[Session | None]] | None = None
        """The journey's: takes a given-up session back that came alive."""

    # --- what was said while the stop waited ------------------------------------------------------------

    def act_on_wishes(self, *, charging: bool = False) -> None:
        """Cancel first, then a problem, then another choice. Raises what follows from them."""
        self.end_if_cancelled()
        wishes = self._stop.wishes
        if wishes.problem is not None:
            report, wishes.problem = wishes.problem, None
            self._note_problem(report)
            if report.charger_id == self._stop.plan.charger_id:  # else it is about one that was left since
                wishes.choice = None
                reason = ReasonCode.SUSTAIN_DRIVER_REPORT if charging else PROBLEM_REASONS[report.kind]
                raise AttemptFailed(reason, vendor_code=f"driver:{report.kind}", detail=report.note)
        if wishes.choice is not None:
            candidate, wishes.choice = wishes.choice, None
            if candidate.charger.charger_id != self._stop.plan.charger_id:
                raise Redirected(candidate, wishes.choice_by, wishes.choice_decision_id)

    def _note_problem(self, report: ProblemReport) -> None:
        self._stop.note(
            "problem.reported",
            f"The driver says: {report.kind}",
            workflow.now(),
            charger_id=report.charger_id,
            note=report.note or None,
        )

    def end_if_cancelled(self) -> None:
        ending = self._cancelled()
        if ending is not None:
            raise ending

    def obeyed(self, ending: StopEnds) -> StopEnds:
        """How the stop ends: as called off where a cancel was acknowledged, whatever else ends it in the same
        moment."""
        return self._cancelled() or ending

    def _cancelled(self) -> StopEnds | None:
        cancel = self._stop.wishes.cancel
        if cancel is None:
            return None
        by_driver = cancel.by == "driver"
        return StopEnds(
            StopOutcome.CANCELLED,
            ReasonCode.STOP_CANCELLED_BY_DRIVER if by_driver else ReasonCode.STOP_CANCELLED_BY_FLEET,
        )

    # --- approvals --------------------------------------------------------------------------------------

    async def approved(self, candidate: Candidate) -> Candidate:
        """Assisted stops wait for a person's yes, for the first plan and for every fallback. Raises
        AttemptFailed where the driver reports the planned charger meanwhile."""
        stop = self._stop
        if stop.request.mode is not StopMode.ASSISTED:
            return candidate
        stop.wishes.approval = None
        deadline = workflow.now() + timedelta(seconds=stop.policy.approval_s)
        stop.waiting.approval_until = deadline
        text = f"{candidate.charger.charger_id} waits for approval"
        stop.note(
            "approval.requested",
            text,
            workflow.now(),
            next_step=NextStep.HUMAN,
            deadline=deadline.isoformat(),
        )
        try:
            while True:
                adopted = await self._adopted_before(
                    lambda: stop.wishes.approval, deadline, "Approval of the plan"
                )
                if adopted is not None:
                    return stop.candidate_of(adopted)
                if stop.wishes.choice is not None:
                    return self._take_choice()
                self.act_on_wishes()
                if stop.wishes.approval is not None or workflow.now() >= deadline:
                    break
        finally:
            stop.waiting.approval_until = None
        approval = stop.wishes.approval
        if approval is None or not approval.approved:
            return await self.ask_person(ReasonCode.PLAN_NOT_APPROVED, "The plan was not approved")
        named = stop.plan.offered(approval.charger_id) if approval.charger_id else None
        chosen = named or candidate
        if chosen is not candidate:
            stop.go_for(chosen, workflow.now())
        stop.note("plan.approved", f"Approved: {chosen.charger.charger_id}", workflow.now())
        return chosen

    async def _adopted_before(
        self, ready: Callable[[], object], deadline: datetime, why: str
    ) -> Session | None:
        """Wait for a person; meanwhile a given-up start that comes alive is taken back, if it may be."""
        stop = self._stop
        while await self._waits.until_time(lambda: ready() or stop.adopting, deadline, why):
            if ready() or stop.wishes.pending or not stop.adopting or self.adopt is None:
                break
            if adopted := await self.adopt():
                return adopted
        return None

    # --- hand-overs -------------------------------------------------------------------------------------

    async def ask_person(self, reason: ReasonCode, text: str) -> Candidate:
        """Hand over with a deadline. A person chooses a charger or cancels; or a given-up start comes alive
        after all; or the deadline passes, and that is the outcome."""
        stop = self._stop
        deadline = workflow.now() + timedelta(seconds=stop.policy.human_deadline_s)
        stop.waiting.human_until = deadline
        stop.note(
            "human.requested",
            f"A person must decide: {text}",
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=reason,
            next_step=NextStep.HUMAN,
            deadline=deadline.isoformat(),
        )
        while True:
            came = await self._waits.until_time(lambda: stop.adopting, deadline, "A person to decide")
            self.end_if_cancelled()
            if stop.wishes.problem is not None:
                report, stop.wishes.problem = stop.wishes.problem, None
                self._note_problem(report)
            if stop.wishes.choice is not None or not came:
                break
            # Where it cannot be had, the person still decides: no other start is tried there.
            if stop.adopting and self.adopt is not None and (adopted := await self.adopt()):
                stop.waiting.human_until = None
                return stop.candidate_of(adopted)
        stop.waiting.human_until = None
        if stop.wishes.choice is not None:
            return self._take_choice()
        stop.note("human.deadline_missed", "Nobody decided in time", workflow.now(), reason=reason)
        raise StopEnds(StopOutcome.HANDED_TO_HUMAN, reason)

    def _take_choice(self) -> Candidate:
        wishes = self._stop.wishes
        candidate, wishes.choice = wishes.choice, None
        assert candidate is not None
        self.take_person_choice(candidate, wishes.choice_by, wishes.choice_decision_id)
        return candidate

    def take_person_choice(self, candidate: Candidate, by: str, decision_id: str) -> None:
        """A person's word: it stands in the log with the decision that allows it."""
        stop = self._stop
        stop.go_for(candidate, workflow.now())
        text = f"{by.capitalize()} chose {candidate.charger.charger_id}"
        if not decision_id:
            text += ", by hand: no planner has judged it" if stop.plan.decision is None else ""
        known = decision_id or (stop.plan.decision.decision_id if stop.plan.decision else None)
        stop.recovered()
        stop.note("charger.chosen", text, workflow.now(), by=by, decision_id=known)
