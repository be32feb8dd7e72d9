"""What the world may say to a stop: Updates with validators, signals, queries.

Handlers only note what was said; the run acts on it.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.contract import (
        QUERY_STATUS,
        QUERY_TIMELINE,
        SIGNAL_ARRIVED,
        SIGNAL_EVIDENCE,
        UPDATE_APPROVE,
        UPDATE_ARRIVED,
        UPDATE_CANCEL,
        UPDATE_CHOOSE,
        UPDATE_PROBLEM,
    )
    from models.decision import Candidate
    from models.evidence import Evidence, EvidenceKind
    from models.stop import (
        Approval,
        ArrivalReport,
        CancelRequest,
        ChooseCharger,
        ProblemReport,
        Receipt,
        StopEvent,
        StopPhase,
        StopView,
    )
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_actions import StopActions

_KEPT_EVENT_IDS = 4000
_TOO_LATE_TO_CHOOSE = (StopPhase.CHARGING, StopPhase.SETTLING, StopPhase.CLOSED)


def _refuse(code: str, text: str) -> ApplicationError:
    return ApplicationError(text, type=code, non_retryable=True)


class StopMessages(StopActions):
    """The handlers of a stop."""

    # --- queries --------------------------------------------------------------------------------------

    @workflow.query(name=QUERY_STATUS, description="Where the stop stands, as the API shows it")
    def status(self) -> StopView:
        return self.book.view()

    @workflow.query(name=QUERY_TIMELINE, description="Every transition so far, oldest first")
    def timeline(self) -> list[StopEvent]:
        return self.book.timeline

    # --- updates --------------------------------------------------------------------------------------

    @workflow.update(name=UPDATE_ARRIVED, description="The vehicle stands at the charger")
    async def driver_arrived(self, report: ArrivalReport) -> Receipt:
        return self._receipt(self._arrive(report, "driver"))

    @driver_arrived.validator
    def _may_arrive(self, report: ArrivalReport) -> None:
        self._must_be_open()
        if report.charger_id is None:
            return
        if any(a.charger_id == report.charger_id for a in self.book.attempts if a.reason is not None):
            raise _refuse(
                "charger.already_failed", "This charger failed for this stop; a fallback was given."
            )
        if self.book.candidate is not None and not self._offered(report.charger_id):
            raise _refuse("charger.not_offered", "This charger is not among the stop's options.")

    @workflow.update(name=UPDATE_PROBLEM, description="The driver reports a problem at the charger")
    async def driver_reports_problem(self, report: ProblemReport) -> Receipt:
        fresh = self._is_fresh(report.event_id)
        if fresh:
            self.problem = report
        return self._receipt(fresh)

    @driver_reports_problem.validator
    def _may_report(self, report: ProblemReport) -> None:
        self._must_be_open()
        if report.charger_id is not None and report.charger_id != self.planned_charger_id:
            raise _refuse("charger.not_current", "The stop is at another charger by now.")

    @workflow.update(name=UPDATE_CANCEL, description="Driver or fleet calls the stop off")
    async def cancel_stop(self, request: CancelRequest) -> Receipt:
        fresh = self._is_fresh(request.event_id)
        self.cancel = self.cancel or request
        return self._receipt(fresh)

    @cancel_stop.validator
    def _may_cancel(self, request: CancelRequest) -> None:
        self._must_be_open()

    @workflow.update(name=UPDATE_CHOOSE, description="Driver or fleet chooses another charger")
    async def choose_charger(self, request: ChooseCharger) -> Receipt:
        fresh = self._is_fresh(request.event_id)
        if fresh:
            candidate = self._candidate(request.charger_id) or await self.judge_choice(request.charger_id)
            if candidate is None:
                raise _refuse("charger.not_allowed", "Policy or vehicle rules this charger out.")
            if self.book.phase in _TOO_LATE_TO_CHOOSE:
                raise _refuse("choice.too_late", "The charge has begun meanwhile.")
            self.choice, self.choice_by = candidate, request.by
        return self._receipt(fresh)

    @choose_charger.validator
    def _may_choose(self, request: ChooseCharger) -> None:
        self._must_be_open()
        if self.book.phase in _TOO_LATE_TO_CHOOSE:
            raise _refuse("choice.too_late", "The charge has begun.")

    @workflow.update(name=UPDATE_APPROVE, description="Answer to an assisted plan")
    async def approve_plan(self, approval: Approval) -> Receipt:
        fresh = self._is_fresh(approval.event_id)
        if fresh:
            self.approval = approval
        return self._receipt(fresh)

    @approve_plan.validator
    def _may_approve(self, approval: Approval) -> None:
        self._must_be_open()
        if self.book.awaiting_approval_until is None:
            raise _refuse("approval.not_awaited", "Nothing waits for an approval.")
        if approval.charger_id is not None and self._candidate(approval.charger_id) is None:
            raise _refuse("charger.not_offered", "This charger is not among the stop's options.")

    # --- signals (never refuse: a signal that raises would fail the whole workflow) --------------------

    @workflow.signal(name=SIGNAL_ARRIVED, description="Arrival, for those who hold a Temporal client")
    def arrived(self, report: ArrivalReport) -> None:
        if report.charger_id is None or self._offered(report.charger_id):
            self._arrive(report, "signal")

    @workflow.signal(name=SIGNAL_EVIDENCE, description="What charger, partner or vehicle say happened")
    def evidence(self, items: list[Evidence]) -> None:
        for item in items:
            if self._is_fresh(item.event_id):
                self._take(item)

    def _take(self, item: Evidence) -> None:
        if item.attempt_id is not None:
            track = self.tracks.get(item.attempt_id)
        else:
            if self._shows_arrival(item):
                self._note_arrival(self.planned_charger_id, str(item.source))
            track = self._current_track(item)
        if track is None:
            self.stray_evidence += 1
            return
        if item.kind is EvidenceKind.UNPLUGGED and track.alive and track.session_ref is None:
            # Only the vehicle speaks for this session (no transaction of ours): unplugged is its end.
            item = item.model_copy(update={"kind": EvidenceKind.SESSION_ENDED})
        track.take(item)

    def _shows_arrival(self, item: Evidence) -> bool:
        """A geofence, or a plug at the very charger that is planned. A plug without a place is no arrival:
        after a quick failure it is still the plug at the charger before."""
        if item.kind is EvidenceKind.ARRIVED:
            return item.charger_id in (None, self.planned_charger_id)
        return item.kind is EvidenceKind.PLUGGED_IN and item.charger_id == self.planned_charger_id

    def _current_track(self, item: Evidence) -> SessionTrack | None:
        """Evidence without an attempt (telematics) speaks about the open one, unless it is older."""
        attempt = self.book.attempt
        if attempt is None or item.observed_at < attempt.opened_at - timedelta(seconds=2):
            return None
        return self.tracks.get(attempt.attempt_id)

    # --- what handlers share ----------------------------------------------------------------------------

    def _arrive(self, report: ArrivalReport, source: str) -> bool:
        fresh = self._is_fresh(report.event_id)
        if fresh:
            self._note_arrival(report.charger_id or self.planned_charger_id, source)
        return fresh

    def _note_arrival(self, charger_id: str | None, source: str) -> None:
        if source not in self.arrival_sources:
            self.arrival_sources.append(source)
        if charger_id is None:
            self.arrived_early = True
            return
        elsewhere = self._candidate(charger_id) if charger_id != self.planned_charger_id else None
        if elsewhere is not None and self.book.phase is StopPhase.EN_ROUTE:
            self.choice, self.choice_by = elsewhere, "driver"
        self.at_charger_id = charger_id

    def _offered(self, charger_id: str) -> bool:
        return charger_id == self.planned_charger_id or self._candidate(charger_id) is not None

    def _candidate(self, charger_id: str) -> Candidate | None:
        if self.book.decision is None:
            return None
        return next((c for c in self.book.decision.candidates if c.charger.charger_id == charger_id), None)

    def _must_be_open(self) -> None:
        if self.book.outcome is not None:
            raise _refuse("stop.closed", "The stop has ended.")

    def _is_fresh(self, event_id: str) -> bool:
        if event_id in self.seen:
            return False
        if len(self.seen) >= _KEPT_EVENT_IDS:
            del self.seen[next(iter(self.seen))]
        self.seen[event_id] = None
        return True

    def _receipt(self, fresh: bool) -> Receipt:
        return Receipt(
            stop_id=self.book.stop_id,
            phase=self.book.phase,
            charger_id=self.planned_charger_id,
            duplicate=not fresh,
        )
