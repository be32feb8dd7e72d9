"""What happens after a failed attempt: the catalogue's advice, a fresh ranking, or a person."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.decision import Candidate
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import StopOutcome, StopPhase
    from stops.base import seconds_between
    from stops.stop import Stop

from workflows.charging import Charging
from workflows.desk import Desk
from workflows.flow import AttemptFailed, Redirected, StopEnds
from workflows.planning import Planning


class Fallback:
    def __init__(self, stop: Stop, planning: Planning, desk: Desk, charging: Charging) -> None:
        self._stop = stop
        self._planning = planning
        self._desk = desk
        self._charging = charging

    async def after(self, failed: Candidate, failure: AttemptFailed) -> Candidate:
        """The next charger. Raises StopEnds; AttemptFailed and Redirected while the next one is approved."""
        self._book(failed, failure)
        self._desk.end_if_cancelled()
        stop = self._stop
        charger, step = failed.charger, entry(failure.reason).next_step
        stop.plan.failed_sites.append(charger.site_id)
        if step is NextStep.HUMAN:
            text = f"{entry(failure.reason).title}: a person decides"
            return await self._desk.ask_person(failure.reason, text)
        if step is NextStep.NONE:
            short = StopOutcome.CHARGED_SHORT if stop.energy_kwh() > 0 else StopOutcome.NOT_CHARGED
            raise StopEnds(short, failure.reason)
        if len(stop.sessions) >= stop.policy.max_attempts:
            text = f"{len(stop.sessions)} attempts failed, the last: {entry(failure.reason).title}"
            return await self._desk.ask_person(ReasonCode.STOP_ATTEMPTS_EXHAUSTED, text)
        if step is NextStep.SAME_CONNECTOR and self._may_try_again(charger.charger_id):
            stop.go_for(failed, workflow.now())
            self._note(failed, failure, NextStep.SAME_CONNECTOR)
            return await self._desk.approved(failed)
        return await self._elsewhere(failed, failure, step)

    def _may_try_again(self, charger_id: str) -> bool:
        stop = self._stop
        here = [s for s in stop.sessions if s.charger_id == charger_id]
        # What may still come alive there would be doubled by another start.
        return len(here) < stop.policy.attempts_per_connector and not any(
            s.is_alive or s.may_come_alive for s in here
        )

    async def _elsewhere(self, failed: Candidate, failure: AttemptFailed, step: NextStep) -> Candidate:
        stop, charger = self._stop, failed.charger
        stop.plan.excluded_chargers.append(charger.charger_id)
        if step is NextStep.OTHER_SITE:
            stop.plan.excluded_sites.append(charger.site_id)
        candidate = await self._planning.next_best()
        self._desk.end_if_cancelled()
        if candidate is None:
            return await self._desk.ask_person(failure.reason, "No fallback left")
        stop.go_for(candidate, workflow.now())
        same_site = candidate.charger.site_id == charger.site_id
        self._note(candidate, failure, NextStep.OTHER_CONNECTOR if same_site else NextStep.OTHER_SITE)
        return await self._desk.approved(candidate)

    def leave_for(self, left: Candidate, chosen: Redirected) -> Candidate:
        """Somebody chose another charger. What runs or may come alive at this one is stopped, not adopted."""
        stop = self._stop
        if stop.under_way is not None:
            self._close(AttemptFailed(ReasonCode.REACH_REDIRECTED), left)
        for other in stop.sessions:
            other.adoptable = other.adopting = False
        self._desk.take_person_choice(chosen.candidate, chosen.by, chosen.decision_id)
        return chosen.candidate

    def _book(self, failed: Candidate, failure: AttemptFailed) -> None:
        """The attempt is over for good: booked, stopped by its keeper, or guarded by him."""
        stop = self._stop
        if failure.before_arrival:
            stop.note(
                "plan.changed",
                f"{failed.charger.charger_id} will not do: {entry(failure.reason).title}",
                workflow.now(),
                phase=StopPhase.PLANNING,
                reason=failure.reason,
                vendor_code=failure.vendor_code,
                charger_id=failed.charger.charger_id,
            )
            return
        if stop.under_way is None:  # it failed before a start was tried (occupied on arrival, say)
            unsent = stop.intend(failed, workflow.now())
            unsent.rejected = failure.reason
            stop.bookings[unsent.attempt_id].holds_nothing = True
        self._close(failure, failed)

    def _close(self, failure: AttemptFailed, failed: Candidate) -> None:
        stop, session = self._stop, self._stop.under_way
        if session is None:
            return
        booking = stop.bookings[session.attempt_id]
        booking.queue_s = booking.queue_s or seconds_between(
            stop.presence.came_at, session.began_at or workflow.now()
        )
        booking.reason, booking.closed = failure.reason, True
        booking.vendor_code = booking.vendor_code or failure.vendor_code
        booking.detail = booking.detail or failure.detail
        session.leave(failure.reason, workflow.now(), adoptable=failure.may_stay)
        self._charging.move_vehicle(session)
        known = entry(failure.reason)
        guarded = session.may_come_alive or session.is_alive
        stop.note(
            "attempt.failed",
            f"Attempt {session.number} at {session.charger_id} failed: {known.title}",
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=failure.reason,
            next_step=known.next_step,
            vendor_code=failure.vendor_code,
            charger_id=failed.charger.charger_id,
            detail=failure.detail or None,
            guarded=guarded,
        )

    def _note(self, candidate: Candidate, failure: AttemptFailed, step: NextStep) -> None:
        charger_id = candidate.charger.charger_id
        again = " again" if step is NextStep.SAME_CONNECTOR else ""
        self._stop.note(
            "fallback.chosen",
            f"Fallback: {charger_id}{again}, ETA impact {candidate.eta_impact_s / 60:+.0f} min",
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=failure.reason,
            next_step=step,
            to_charger_id=charger_id,
            decision_id=self._stop.plan.decision.decision_id if self._stop.plan.decision else None,
        )
