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
        StopMode,
        StopPhase,
    )
    from stops.inbox import Said, Word, content_of
    from stops.judge import soc_is_explained
    from stops.may import Refused, arrived_at, is_repeat, may_arrive, must_be_open_to_a_choice
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
        if self._again(Said.ARRIVAL, report):
            return self._receipt(duplicate=True)
        stop, now = self._stop, workflow.now()
        charger_id = report.charger_id or stop.plan.charger_id
        self._remember(Said.ARRIVAL, report.model_copy(update={"charger_id": charger_id}))
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
            if stop.request.mode is StopMode.ASSISTED and stop.phase is StopPhase.PLANNING:
                # Where the van stands is a fact; whether it may charge there is for the fleet to say.
                text = f"The driver says that the van stands at {charger_id}; nobody has approved that"
                stop.note("vehicle.elsewhere", text, now, charger_id=charger_id)
            else:
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
        if self._again(Said.PROBLEM, report):
            return self._receipt(duplicate=True)
        # Named now: by the time it is acted upon, the stop may have moved.
        about = report.charger_id or self._stop.plan.charger_id
        report = report.model_copy(update={"charger_id": about})
        self._remember(Said.PROBLEM, report)
        self._stop.wishes.problem = report
        return self._receipt()

    def cancel(self, request: CancelRequest) -> Receipt:
        if self._again(Said.CANCEL, request):
            return self._receipt(duplicate=True)
        self._remember(Said.CANCEL, request)
        self._stop.wishes.cancel = self._stop.wishes.cancel or request
        return self._receipt()

    def approval(self, approval: Approval) -> Receipt:
        if self._again(Said.APPROVAL, approval):
            return self._receipt(duplicate=True)
        self._remember(Said.APPROVAL, approval)
        self._stop.wishes.approval = approval
        return self._receipt()

    async def choice(self, request: ChooseCharger) -> Receipt:
        """Policy and vehicle still decide whether it may be: the planner judges what it has not offered."""
        if self._again(Said.CHOICE, request):
            return self._receipt(duplicate=True)
        stop = self._stop
        if self._is_about(request.charger_id):
            self._remember(Said.CHOICE, request)
            stop.wishes.choice = None  # the last word counts
            return self._receipt(unchanged=True)
        candidate = stop.plan.offered(request.charger_id)
        decision_id = stop.plan.decision.decision_id if stop.plan.decision else ""
        if candidate is None:
            stop.inbox.judging += 1
            try:
                candidate, decision_id = await self._planning.judge(request.charger_id)
            finally:
                stop.inbox.judging -= 1
        if candidate is None:
            raise refuse(Refused("charger.not_allowed", "Policy or vehicle rules this charger out."))
        try:
            if is_repeat(stop, Said.CHOICE, request):  # sent again while it was judged
                return self._receipt(duplicate=True)
            must_be_open_to_a_choice(stop)
        except Refused as refused:
            raise refuse(refused) from refused
        self._remember(Said.CHOICE, request)
        stop.wishes.choose(candidate, request.by, decision_id)
        return self._receipt()

    def _is_about(self, charger_id: str) -> bool:
        """Whether the stop is about this charger already, and nobody is asked for another."""
        stop, plan = self._stop, self._stop.plan
        asked = stop.waiting.human_until or stop.waiting.approval_until
        return charger_id == plan.charger_id and charger_id not in plan.excluded_chargers and not asked

    def _again(self, kind: Said, word: Word) -> bool:
        self._stop.inbox.count(kind)
        return self._stop.inbox.is_known(kind, word.event_id)

    def _remember(self, kind: Said, word: Word) -> None:
        self._stop.inbox.remember(kind, word.event_id, content_of(word))

    def _receipt(self, *, duplicate: bool = False, unchanged: bool = False) -> Receipt:
        stop = self._stop
        return Receipt(
            stop_id=stop.stop_id,
            phase=stop.phase,
            charger_id=stop.plan.charger_id,
            duplicate=duplicate,
            unchanged=unchanged,
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
