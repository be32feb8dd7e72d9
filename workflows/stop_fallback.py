"""What happens after a failed attempt: the catalogue's advice, a fresh ranking, or a human."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.decision import Candidate
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import Attempt, AttemptState, StopOutcome, StopPhase
    from workflows.stop_actions import seconds_between
    from workflows.stop_flow import AttemptFailed, StopEnds
    from workflows.stop_sessions import StopSessions


class StopFallback(StopSessions):
    """The next charger, or the person who decides."""

    async def _fall_back(self, failed: Candidate, failure: AttemptFailed) -> Candidate:
        """The catalogue's advice, a fresh ranking from where the vehicle stands, or a human."""
        self._end_if_cancelled()
        charger, step = failed.charger, entry(failure.reason).next_step
        self.failed_sites.append(charger.site_id)
        if step is NextStep.HUMAN:
            return await self._ask_human(failure.reason, f"{entry(failure.reason).title}: a person decides")
        if step is NextStep.NONE:
            short = StopOutcome.CHARGED_SHORT if self.book.energy_kwh > 0 else StopOutcome.NOT_CHARGED
            raise StopEnds(short, failure.reason)
        if len(self.book.attempts) >= self.policy.max_attempts:
            text = f"{len(self.book.attempts)} attempts failed, the last: {entry(failure.reason).title}"
            return await self._ask_human(ReasonCode.STOP_ATTEMPTS_EXHAUSTED, text)
        tries = self.book.tries_at(charger.charger_id)
        if step is NextStep.SAME_CONNECTOR and tries < self.policy.attempts_per_connector:
            self._note_fallback(failed, failure, NextStep.SAME_CONNECTOR)
            return failed
        self.excluded_chargers.append(charger.charger_id)
        if step is NextStep.OTHER_SITE:
            self.excluded_sites.append(charger.site_id)
        candidate = await self._next_best()
        if candidate is None:
            return await self._ask_human(failure.reason, "No fallback left")
        self._go_for(candidate)
        same_site = candidate.charger.site_id == charger.site_id
        self._note_fallback(
            candidate, failure, NextStep.OTHER_CONNECTOR if same_site else NextStep.OTHER_SITE
        )
        return candidate

    async def _next_best(self) -> Candidate | None:
        """The planner's new ranking; without a planner, the rest of the last one."""
        decision = await self.ask_planner()
        if decision is not None:
            self.book.keep_decision(decision)
            return decision.candidates[0] if decision.candidates else None
        return next(
            (
                candidate
                for candidate in self.candidates_offered()
                if candidate.charger.charger_id not in self.excluded_chargers
                and candidate.charger.site_id not in self.excluded_sites
            ),
            None,
        )

    def _note_fallback(self, candidate: Candidate, failure: AttemptFailed, step: NextStep) -> None:
        charger = candidate.charger.charger_id
        text = f"Fallback: {charger} again" if step is NextStep.SAME_CONNECTOR else f"Fallback: {charger}"
        self.book.note(
            "fallback.chosen",
            f"{text}, ETA impact {candidate.eta_impact_s / 60:+.0f} min",
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=failure.reason,
            next_step=step,
            to_charger_id=charger,
        )

    async def _ask_human(self, reason: ReasonCode, text: str) -> Candidate:
        """Hand over with a deadline. A person chooses a charger or cancels; or a given-up start comes
        alive after all; or the deadline passes, and that is the outcome."""
        self.book.awaiting_human_until = workflow.now() + timedelta(seconds=self.policy.human_deadline_s)
        self.book.note(
            "human.requested",
            text,
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=reason,
            next_step=NextStep.HUMAN,
        )
        await self.flush()
        ends_at = self.book.awaiting_human_until
        while True:
            left_s = seconds_between(workflow.now(), ends_at)
            came = await self.until(self.late_start, left_s, "A person to decide")
            self._end_if_cancelled()
            self.problem = None  # known: that is why a person was asked
            if self.choice is not None or self.late_start() or not came:
                break
        self.book.awaiting_human_until = None
        if self.choice is not None:
            candidate, self.choice = self.choice, None
            self._go_for(candidate)
            text = f"{self.choice_by.capitalize()} chose {candidate.charger.charger_id}"
            self.book.note("charger.chosen", text, workflow.now(), by=self.choice_by)
            return candidate
        if late := self.late_start():
            return self.candidates[late]
        self.book.note("human.deadline_missed", "Nobody decided in time", workflow.now(), reason=reason)
        raise StopEnds(StopOutcome.HANDED_TO_HUMAN, reason)

    def _adopt(self, attempt_id: str) -> tuple[Attempt, Candidate]:
        """A charge that we had given up runs: better to take it than to drive on."""
        candidate = self.candidates[attempt_id]
        track = self.tracks[attempt_id]
        attempt = self.book.amend(
            attempt_id, state=AttemptState.OPEN, started_at=track.started_at, session_ref=track.session_ref
        )
        # An adopted attempt becomes the open one again, though a later one may stand behind it.
        self.book.attempts.sort(key=lambda a: (a.attempt_id == attempt_id, a.number))
        self._go_for(candidate)
        self.at_charger_id = candidate.charger.charger_id
        track.fault = track.refused = None
        self.book.note(
            "late_start.adopted",
            f"{attempt.charger_id} started after we gave it up; the charge is adopted",
            workflow.now(),
            phase=StopPhase.CHARGING,
            reason=ReasonCode.CONFIRM_LATE_START,
            next_step=NextStep.NONE,
        )
        return attempt, candidate
