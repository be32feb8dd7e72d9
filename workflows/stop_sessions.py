"""Sessions of a stop: watched while they run, ended, and booked."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.commands import CommandKind, CommandOutcome
    from models.decision import Candidate
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, Party, ReasonCode
    from models.stop import Attempt, AttemptState, StopOutcome, StopPhase
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_actions import seconds_between
    from workflows.stop_flow import PROBLEM_REASONS, AttemptFailed, Redirected, StopEnds
    from workflows.stop_messages import StopMessages


_STOP_TRIES = 3
_ENDS_BY_ITSELF = (ReasonCode.SUSTAIN_VEHICLE_STOPPED, ReasonCode.SUSTAIN_TIME_LIMIT)
_OUR_SIDE = (Party.DRIVER, Party.VEHICLE, Party.FLEET)


class StopSessions(StopMessages):
    """From energy flowing to a booked attempt."""

    async def _watch_charge(self, attempt: Attempt, candidate: Candidate) -> None:
        """Until the session ends. Stalls, faults and the target are noticed here."""
        track = self.tracks[attempt.attempt_id]
        before_kwh = self.book.energy_kwh
        ended_by_us: ReasonCode | None = None
        while track.ended_at is None:
            await self.flush()
            came = await self.until(
                lambda: track.ended_at or track.fault or before_kwh + track.energy_kwh >= self.needed_kwh,
                self._patience_s(attempt, track),
                f"Progress of the charge at {attempt.charger_id}",
            )
            if track.ended_at is not None:
                break
            self.choice = None  # a choice that crossed the start is too late
            if self.interrupted or track.fault:
                await self._leave_charge(track)
            elif before_kwh + track.energy_kwh >= self.needed_kwh:
                await self._stop_session(attempt, candidate)  # do not block the connector
                break
            elif not came and (stalled := self._stall(attempt, track)) is not None:
                if stalled not in _ENDS_BY_ITSELF:
                    raise AttemptFailed(stalled, detail=f"{track.energy_kwh:.1f} kWh so far")
                ended_by_us = stalled
                await self._stop_session(attempt, candidate)
                break
        self._judge(attempt, track, before_kwh, ended_by_us)

    async def _leave_charge(self, track: SessionTrack) -> None:
        self._end_if_cancelled()
        if self.problem is not None:
            self._pass_interruptions()
        # A faulted connector usually ends its transaction in the next breath: let its own reason count.
        await self.until(lambda: track.ended_at, 5.0, "The end of the faulted session")
        if track.ended_at is None:
            raise AttemptFailed(_sustained(track.fault), vendor_code=track.vendor_code, detail=track.detail)

    def _patience_s(self, attempt: Attempt, track: SessionTrack) -> float:
        """Seconds until a stall (or the longest charge allowed) is due."""
        now = workflow.now()
        if track.suspended_at is not None:
            due = track.suspended_at + timedelta(seconds=self.policy.idle_grace_s)
        elif track.energy_since is None:
            due = (track.started_at or attempt.opened_at) + timedelta(seconds=self.policy.confirmation_s)
        else:
            due = (track.progress_at or track.energy_since) + timedelta(seconds=self.policy.stall_s)
        limit = (track.started_at or attempt.opened_at) + timedelta(seconds=self.policy.max_charging_s)
        return max(0.5, min((due - now).total_seconds(), (limit - now).total_seconds()))

    def _stall(self, attempt: Attempt, track: SessionTrack) -> ReasonCode | None:
        """What the silence means; None when evidence came while the timer ran."""
        if self._patience_s(attempt, track) > 0.5:
            return None
        if seconds_between(track.started_at, workflow.now()) >= self.policy.max_charging_s:
            return ReasonCode.SUSTAIN_TIME_LIMIT
        if track.suspended_at is not None:
            return ReasonCode.SUSTAIN_VEHICLE_STOPPED
        return ReasonCode.CONFIRM_NO_ENERGY if track.energy_since is None else ReasonCode.SUSTAIN_STALLED

    def _judge(
        self, attempt: Attempt, track: SessionTrack, before_kwh: float, ended_by_us: ReasonCode | None
    ) -> None:
        """Is what we got enough? If not: the charger's side failing means a fallback; driver, vehicle or a
        limit ending it is an outcome."""
        got_kwh = before_kwh + track.energy_kwh
        enough_kwh = self.needed_kwh * (1 - self.policy.target_tolerance_percent / 100)
        told = _sustained(track.fault) if track.fault else track.end_reason
        ended_by = ended_by_us or told or ReasonCode.SUSTAIN_VEHICLE_STOPPED
        reason = None if got_kwh >= enough_kwh else ended_by
        if reason is not None and _calls_for_fallback(reason):
            raise AttemptFailed(reason, vendor_code=track.vendor_code, detail=track.detail)
        self._book_session(attempt, track, AttemptState.CHARGED, reason)
        text = f"Session at {attempt.charger_id} ended with {track.energy_kwh:.1f} kWh"
        self.book.note("charge.ended", text, workflow.now(), reason=reason)
        if reason is not None:
            outcome = StopOutcome.CHARGED_SHORT if got_kwh > 0 else StopOutcome.NOT_CHARGED
            raise StopEnds(outcome, reason)

    async def _stop_session(self, attempt: Attempt, candidate: Candidate) -> None:
        """End a session at the charger and wait for it to say so. Afterwards it may still be guarded."""
        track = self.tracks[attempt.attempt_id]
        refused = False
        for _ in range(_STOP_TRIES):
            reply = await self.command(CommandKind.STOP, attempt, candidate)
            refused = reply.outcome is CommandOutcome.REJECTED
            if await self._ended_within(track, self.policy.uncertain_guard_s / _STOP_TRIES, attempt):
                return
        reason = ReasonCode.STOP_REJECTED if refused else ReasonCode.STOP_TIMEOUT
        self.disowned.append(attempt.attempt_id)
        self.book.note("stop.unconfirmed", entry(reason).title, workflow.now(), reason=reason)

    async def _ended_within(self, track: SessionTrack, seconds: float, attempt: Attempt) -> bool:
        """Not interruptible: whatever else was said, this session must end first."""
        try:
            await workflow.wait_condition(
                lambda: track.ended_at is not None,
                timeout=timedelta(seconds=seconds),
                timeout_summary=f"The end of the session at {attempt.charger_id}",
            )
        except TimeoutError:
            return False
        return True

    async def _close_attempt(self, candidate: Candidate, failure: AttemptFailed) -> None:
        """For good: stopped, released, or guarded."""
        attempt = self.book.attempt
        if attempt is None:  # it failed before a start was tried (occupied on arrival, say)
            attempt = self.book.open_attempt(candidate, workflow.now())
            self.tracks[attempt.attempt_id] = SessionTrack()
            self.candidates[attempt.attempt_id] = candidate
        track = self.tracks[attempt.attempt_id]
        if track.alive:
            await self._stop_session(attempt, candidate)
        may_live = failure.may_come_alive or (attempt.accepted_at is not None and track.ended_at is None)
        state = AttemptState.GUARDED if may_live else AttemptState.FAILED
        self._book_session(attempt, track, state, failure.reason, failure)
        self.queue_from_arrival(track.started_at or workflow.now())
        known = entry(failure.reason)
        self.book.note(
            "attempt.failed",
            f"Attempt {attempt.number} at {attempt.charger_id} failed: {known.title}",
            workflow.now(),
            phase=StopPhase.PLANNING,
            reason=failure.reason,
            next_step=known.next_step,
            vendor_code=failure.vendor_code,
            detail=failure.detail,
            guarded=may_live,
        )

    def _book_session(
        self,
        attempt: Attempt,
        track: SessionTrack,
        state: AttemptState,
        reason: ReasonCode | None,
        failure: AttemptFailed | None = None,
    ) -> None:
        self.book.amend(
            attempt.attempt_id,
            state=state,
            reason=reason,
            started_at=track.started_at,
            ended_at=track.ended_at or workflow.now(),
            session_ref=track.session_ref,
            energy_kwh=round(track.energy_kwh, 4),
            vendor_code=failure.vendor_code if failure else track.vendor_code,
            detail=failure.detail if failure else track.detail,
            fallback=entry(reason).next_step if reason else None,
        )
        self.book.idle_s += seconds_between(track.suspended_at, track.ended_at)
        soc = self.book.request.vehicle.soc_percent
        if self.vehicle.battery_usable_kwh:
            soc += self.book.energy_kwh / self.vehicle.battery_usable_kwh * 100
        self.vehicle = self.vehicle.model_copy(
            update={
                "soc_percent": min(100.0, soc),
                "position": self.candidates[attempt.attempt_id].charger.place,
            }
        )

    async def _leave_attempt(self, candidate: Candidate, reason: ReasonCode) -> None:
        if self.book.attempt is not None:
            await self._close_attempt(candidate, AttemptFailed(reason))

    def _go_for(self, candidate: Candidate) -> None:
        self.book.candidate = candidate
        self.book.phase = StopPhase.PLANNING

    def candidates_offered(self) -> tuple[Candidate, ...]:
        return self.book.decision.candidates if self.book.decision else ()

    def queue_from_arrival(self, until: datetime | None) -> None:
        """Queue time: from arrival to energy, or to the failure that sent the driver away."""
        self.book.queue_s += seconds_between(self._arrived_at, until)
        self._arrived_at = None

    def _end_if_cancelled(self) -> None:
        if self.cancel is not None:
            driver = self.cancel.by == "driver"
            raise StopEnds(
                StopOutcome.CANCELLED,
                ReasonCode.STOP_CANCELLED_BY_DRIVER if driver else ReasonCode.STOP_CANCELLED_BY_FLEET,
            )

    def _pass_interruptions(self) -> None:
        """Act on what was said while we waited: cancel first, then a problem, then another choice."""
        self._end_if_cancelled()
        if self.problem is not None:
            report, self.problem = self.problem, None
            self.choice = None
            charging = self.book.phase is StopPhase.CHARGING
            reason = ReasonCode.SUSTAIN_DRIVER_REPORT if charging else PROBLEM_REASONS[report.kind]
            self.book.note("problem.reported", f"Driver: {report.kind}", workflow.now(), note=report.note)
            raise AttemptFailed(reason, vendor_code=f"driver:{report.kind}", detail=report.note)
        if self.choice is not None:
            candidate, self.choice = self.choice, None
            if candidate.charger.charger_id != self.planned_charger_id:
                raise Redirected(candidate, self.choice_by)


def _calls_for_fallback(reason: ReasonCode) -> bool:
    """Another charger helps where the charger's side failed; not where the vehicle or driver ended it."""
    known = entry(reason)
    return known.next_step is not NextStep.NONE and known.responsible not in _OUR_SIDE


def _sustained(fault: ReasonCode | None) -> ReasonCode:
    """A fault reported for the connector, said of a charge that was running."""
    known = fault if fault is not None and fault.value.startswith("sustain.") else None
    return known or ReasonCode.SUSTAIN_EVSE_FAULT
