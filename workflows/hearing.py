"""What the world says to a stop, once it was let in: people's words and evidence, put where they belong.

Nothing here waits, except for the planner's judgement of a choice; the stop's course acts on what was put.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.evidence import Evidence, EvidenceKind, EvidenceSource
    from models.stop import (
        Approval,
        ArrivalReport,
        CancelRequest,
        ChooseCharger,
        ProblemReport,
        Receipt,
        StopPhase,
    )
    from stops.inbox import Said
    from stops.judge import soc_is_explained
    from stops.may import Refused, arrived_at, may_arrive, must_be_open_to_a_choice
    from stops.session import Session
    from stops.stop import Stop

from workflows.journey import Journey
from workflows.planning import Planning

_CLOCK_SLACK = timedelta(seconds=2)


def refuse(refused: Refused) -> ApplicationError:
    return ApplicationError(refused.text, type=refused.code, non_retryable=True)


class Hearing:
    def __init__(self, stop: Stop, planning: Planning, journey: Journey) -> None:
        self._stop = stop
        self._planning = planning
        self._journey = journey

    # --- people -----------------------------------------------------------------------------------------

    def arrived(self, report: ArrivalReport, source: str) -> Receipt:
        """The vehicle stands at a charger, says its driver."""
        if self._again(Said.ARRIVAL, report.event_id):
            return self._receipt(duplicate=True)
        stop, now = self._stop, workflow.now()
        charger_id = report.charger_id or stop.plan.charger_id
        self._stop.inbox.remember(Said.ARRIVAL, report.event_id)
        if charger_id is None:
            stop.presence.arrived_early = True  # before any plan: it is about the first one
            return self._receipt()
        # What is said now is about the charger that is named, so about the plan of now: a report that names
        # an instant before it (a slow app, a wrong clock) must not be taken for one about the plan before.
        stop.presence.told_by_driver(
            charger_id, max(arrived_at(report, now), stop.plan.planned_at or now), source
        )
        elsewhere = stop.plan.sent_to(charger_id) if charger_id != stop.plan.charger_id else None
        if elsewhere is not None and stop.phase in (StopPhase.PLANNING, StopPhase.EN_ROUTE):
            stop.presence.stand_at(charger_id, now)
            stop.wishes.choose(elsewhere, source)
        return self._receipt()

    def signalled_arrival(self, report: ArrivalReport) -> None:
        """As `arrived`, for those who only signal: what may not be is passed over."""
        try:
            may_arrive(self._stop, report)
        except Refused:
            return
        self.arrived(report, "signal")

    def problem(self, report: ProblemReport) -> Receipt:
        if self._again(Said.PROBLEM, report.event_id):
            return self._receipt(duplicate=True)
        self._stop.inbox.remember(Said.PROBLEM, report.event_id)
        self._stop.wishes.problem = report
        return self._receipt()

    def cancel(self, request: CancelRequest) -> Receipt:
        if self._again(Said.CANCEL, request.event_id):
            return self._receipt(duplicate=True)
        self._stop.inbox.remember(Said.CANCEL, request.event_id)
        self._stop.wishes.cancel = self._stop.wishes.cancel or request
        return self._receipt()

    def approval(self, approval: Approval) -> Receipt:
        if self._again(Said.APPROVAL, approval.event_id):
            return self._receipt(duplicate=True)
        self._stop.inbox.remember(Said.APPROVAL, approval.event_id)
        self._stop.wishes.approval = approval
        return self._receipt()

    async def choice(self, request: ChooseCharger) -> Receipt:
        """Policy and vehicle still decide whether it may be: the planner judges what it has not offered."""
        if self._again(Said.CHOICE, request.event_id):
            return self._receipt(duplicate=True)
        stop = self._stop
        candidate = stop.plan.offered(request.charger_id)
        decision_id = stop.plan.decision.decision_id if stop.plan.decision else ""
        if candidate is None:
            candidate, decision_id = await self._planning.judge(request.charger_id)
        if candidate is None:
            raise refuse(Refused("charger.not_allowed", "Policy or vehicle rules this charger out."))
        try:
            must_be_open_to_a_choice(stop)
        except Refused as refused:
            raise refuse(refused) from refused
        stop.inbox.remember(Said.CHOICE, request.event_id)
        stop.wishes.choose(candidate, request.by, decision_id)
        return self._receipt()

    def _again(self, kind: Said, event_id: str) -> bool:
        self._stop.inbox.count(kind)
        return self._stop.inbox.is_known(kind, event_id)

    def _receipt(self, *, duplicate: bool = False) -> Receipt:
        stop = self._stop
        return Receipt(
            stop_id=stop.stop_id, phase=stop.phase, charger_id=stop.plan.charger_id, duplicate=duplicate
        )

    # --- evidence ---------------------------------------------------------------------------------------

    def evidence(self, items: list[Evidence]) -> None:
        """Never raises: a signal that raises would fail the whole workflow."""
        for item in items:
            if self._stop.inbox.hears(item.event_id):
                self._take(item)

    def _take(self, item: Evidence) -> None:
        stop = self._stop
        if stop.is_closing:
            left = stop.spoken_for_by_vehicle
            if item.attempt_id is None and item.kind is EvidenceKind.UNPLUGGED and left is not None:
                item = item.model_copy(update={"attempt_id": left.attempt_id})
            stop.late.append(item)
            return
        session = self._session_of(item)
        lived = session is not None and session.is_alive
        if session is not None:
            session.take(item, workflow.now())
        if item.soc_percent is not None and self._is_our_charge(item, session):
            measured_at = min(item.observed_at, workflow.now())
            stop.vehicle.measure(item.soc_percent, measured_at, stop.sessions)
        stop.vehicle.weigh(stop.sessions)
        if item.attempt_id is None:
            stop.presence.see(item, workflow.now())
            self._journey.hear(item)
        if session is None:
            stop.keep_early(item)
            return
        if session.is_alive and not lived and not session.wanted:
            self._journey.came_alive(session)

    def _is_our_charge(self, item: Evidence, session: Session | None) -> bool:
        """A measured charge is our vehicle's if its own feed tells it, or a session that it is at (a start
        that comes alive when we have left charges whoever has plugged in since), as far as energy explains
        it."""
        if item.source is EvidenceSource.TELEMATICS:
            return True
        if session is None or not session.has_our_vehicle or item.source is EvidenceSource.DRIVER:
            return False
        return soc_is_explained(session, self._stop.vehicle.state.battery_usable_kwh)

    def _session_of(self, item: Evidence) -> Session | None:
        """By attempt; what names none (a vehicle's feed, a connector's status) speaks about the open one, if
        it is about its charger and not older than it. A session that was left goes on hearing its vehicle,
        where nobody else speaks for it."""
        stop = self._stop
        if item.attempt_id is not None:
            return stop.session(item.attempt_id)
        current = stop.current
        if current is None and item.source is EvidenceSource.TELEMATICS:
            current = stop.spoken_for_by_vehicle
        if current is None or item.observed_at < current.opened_at - _CLOCK_SLACK:
            return None
        if item.charger_id is not None and item.charger_id != current.charger_id:
            return None
        if item.kind in (EvidenceKind.CONNECTOR_OCCUPIED, EvidenceKind.CHARGER_REMOVED):
            return None  # occupied by ourselves; and what is taken off a list goes on charging
        return current
