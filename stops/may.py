"""What may be said to a stop, and when. Validators of the workflow ask these rules; the API can, too."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.stop import (
    Approval,
    ArrivalReport,
    CancelRequest,
    ChooseCharger,
    ProblemReport,
    SessionState,
    StopPhase,
)
from stops.inbox import MOST_JUDGED, Said, Word
from stops.stop import Stop

_TOO_LATE_TO_CHOOSE = (StopPhase.CHARGING, StopPhase.SETTLING, StopPhase.CLOSED)
_CLOCK_SLACK = timedelta(minutes=2)


class Refused(Exception):
    """`code` is stable and part of the contract; the text is for a person."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def may_speak(stop: Stop, kind: Said) -> None:
    """For all kinds. A repeat uses up an Update, too, so the limit holds for it as well."""
    if stop.outcome is not None or stop.unreadable:
        raise Refused("stop.closed", "The stop has ended.")
    if stop.inbox.is_full(kind):
        raise Refused("stop.too_many_messages", f"This stop takes no more messages of the kind {kind}.")


def is_repeat(stop: Stop, kind: Said, word: Word) -> bool:
    """A repeat of what took effect is let through at any time: it is answered as a duplicate."""
    may_speak(stop, kind)
    if stop.inbox.differs(kind, word):
        raise Refused("message.conflicting_id", "This event id was used with other content: take a new one.")
    return stop.inbox.is_known(kind, word.event_id)


def _must_go_on(stop: Stop, code: str) -> None:
    """What is acknowledged must still be able to change something."""
    if stop.wishes.cancel is not None:
        raise Refused(code, "The stop has been called off.")
    if stop.is_ending or stop.phase is StopPhase.SETTLING:
        raise Refused(code, "The stop is ending.")


def may_arrive(stop: Stop, report: ArrivalReport) -> None:
    if is_repeat(stop, Said.ARRIVAL, report):
        return
    _must_go_on(stop, "arrival.too_late")
    planned = stop.plan.charger_id
    if report.charger_id is None:
        _may_arrive_without_a_place(stop, report)
        return
    if report.charger_id == planned:
        _may_be_about_the_plan_of_now(stop, report)
        return
    if any(s.charger_id == report.charger_id and not s.wanted for s in stop.sessions):
        raise Refused("charger.already_failed", "This charger failed for this stop; a fallback was given.")
    if planned is not None and stop.plan.sent_to(report.charger_id) is None:
        raise Refused("charger.not_offered", "This charger is not among the stop's options.")


def _may_arrive_without_a_place(stop: Stop, report: ArrivalReport) -> None:
    """Once the stop has turned to another charger, "arrived" alone may speak of the one before."""
    if stop.plan.moves > 1 or stop.sessions:
        raise Refused("arrival.place_needed", "The stop has moved to another charger: say which one it is.")
    _may_be_about_the_plan_of_now(stop, report)


def _may_be_about_the_plan_of_now(stop: Stop, report: ArrivalReport) -> None:
    planned_at = stop.plan.planned_at
    moved = stop.plan.moves > 1 or bool(stop.sessions)
    if moved and report.at is not None and planned_at is not None and report.at < planned_at - _CLOCK_SLACK:
        raise Refused("arrival.outdated", "This arrival is older than the plan it would be about.")


def may_report(stop: Stop, report: ProblemReport) -> None:
    if is_repeat(stop, Said.PROBLEM, report):
        return
    _must_go_on(stop, "problem.too_late")
    if report.charger_id is None:
        _may_report_without_a_place(stop)
    elif report.charger_id != stop.plan.charger_id:
        raise Refused("charger.not_current", "The stop is at another charger by now.")


def _may_report_without_a_place(stop: Stop) -> None:
    """As for an arrival: it may speak of the charger before, and would be blamed on the one after."""
    if stop.plan.charger_id is None:
        raise Refused("charger.not_current", "The stop has no charger yet: say which one it is.")
    if stop.plan.moves > 1 or any(not session.wanted for session in stop.sessions):
        raise Refused("problem.place_needed", "The stop has moved to another charger: say which one it is.")


def may_cancel(stop: Stop, request: CancelRequest) -> None:
    if is_repeat(stop, Said.CANCEL, request) or stop.wishes.cancel is not None:
        return  # it is being called off
    if stop.is_ending or stop.phase is StopPhase.SETTLING:
        raise Refused("cancel.too_late", "The stop is ending by itself; there is nothing to call off.")


def may_choose(stop: Stop, request: ChooseCharger) -> None:
    if is_repeat(stop, Said.CHOICE, request):
        return
    must_be_open_to_a_choice(stop)
    if stop.plan.offered(request.charger_id) is None and stop.inbox.judging >= MOST_JUDGED:
        raise Refused("choice.busy", "Another choice is being judged; try again.")


def must_be_open_to_a_choice(stop: Stop) -> None:
    """Asked again after the planner has judged the choice: the world may have moved meanwhile."""
    current = stop.current
    lives = current is not None and current.state not in (
        SessionState.INTENDED,
        SessionState.SENT,
        SessionState.ACCEPTED,
    )
    if stop.outcome is not None:
        raise Refused("stop.closed", "The stop has ended.")
    if stop.phase in _TOO_LATE_TO_CHOOSE or lives:
        raise Refused("choice.too_late", "The charge has begun.")
    _must_go_on(stop, "choice.too_late")


def may_approve(stop: Stop, approval: Approval) -> None:
    if is_repeat(stop, Said.APPROVAL, approval):
        return
    _must_go_on(stop, "approval.not_awaited")
    if stop.waiting.approval_until is None:
        raise Refused("approval.not_awaited", "Nothing waits for an approval.")
    if approval.charger_id is not None and stop.plan.offered(approval.charger_id) is None:
        raise Refused("charger.not_offered", "This charger is not among the stop's options.")


def arrived_at(report: ArrivalReport, now: datetime) -> datetime:
    """When the driver arrived: as he says, unless his clock is ahead of ours."""
    return min(report.at, now) if report.at is not None else now
