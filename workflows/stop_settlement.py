"""The end of a stop: nothing left running, the price, the one outcome."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.charger import Protocol
    from models.money import Money
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import Attempt, StopPhase, StopResult
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_actions import seconds_between
    from workflows.stop_fallback import StopFallback
    from workflows.stop_flow import StopEnds


class StopSettlement(StopFallback):
    """Settling and closing."""

    async def _settle_and_close(self, ending: StopEnds) -> StopResult:
        if self.book.attempt is not None:
            reason = ending.reason or ReasonCode.REACH_CANCELLED
            await self._leave_attempt(self.candidates[self.book.attempt.attempt_id], reason)
        await self._stop_late_sessions()
        estimated, actual = await self._settle()
        await self._stop_late_sessions()
        outcome = ending.outcome
        result = self.book.close(
            outcome,
            ending.reason,
            workflow.now(),
            soc_percent=round(self.vehicle.soc_percent, 1),
            cost_estimated=estimated,
            cost_actual=actual,
        )
        await self.flush()
        return result

    async def _settle(self) -> tuple[Money | None, Money | None]:
        """Estimated (by tariff) and actual cost (the partner's record, or our meter at our tariff)."""
        estimated: Money | None = None
        actual: Money | None = None
        for attempt in [a for a in self.book.attempts if a.energy_kwh > 0]:
            candidate, track = self.candidates[attempt.attempt_id], self.tracks[attempt.attempt_id]
            occupied_s = seconds_between(track.started_at, track.ended_at)
            by_tariff = (await self.price(candidate, attempt.energy_kwh, occupied_s)).cost
            record = track.record_cost
            if candidate.charger.protocol is Protocol.OCPI and record is None:
                record = await self._await_charge_record(attempt, track)
            elif record is None:
                record = by_tariff
            estimated = _sum(estimated, by_tariff)
            actual = _sum(actual, record)
        return estimated, actual

    async def _await_charge_record(self, attempt: Attempt, track: SessionTrack) -> Money | None:
        text = f"{attempt.energy_kwh:.1f} kWh taken; waiting for the partner's charge record"
        self.book.note("settling", text, workflow.now(), phase=StopPhase.SETTLING)
        await self.flush()
        try:
            await workflow.wait_condition(
                lambda: track.record_cost is not None,
                timeout=timedelta(seconds=self.policy.settlement_s),
                timeout_summary="The partner's charge record",
            )
        except TimeoutError:
            known = entry(ReasonCode.SETTLE_NO_CDR)
            self.book.note("settled", known.title, workflow.now(), reason=ReasonCode.SETTLE_NO_CDR)
            return None
        self.book.note("settled", f"Charge record: {track.record_cost}", workflow.now())
        return track.record_cost

    async def _stop_late_sessions(self) -> None:
        """No session outlives its stop unnoticed: what came alive after we gave up is stopped and booked.
        What comes alive after the stop has closed, the late-start guard stops."""
        while late := self.late_start():
            attempt = next(a for a in self.book.attempts if a.attempt_id == late)
            track = self.tracks[late]
            await self._stop_session(attempt, self.candidates[late])
            kept = attempt.model_copy(update={"energy_kwh": round(track.energy_kwh, 4)})
            self.book.amend(
                late, energy_kwh=kept.energy_kwh, session_ref=track.session_ref, started_at=track.started_at
            )
            self.book.note(
                "late_start.stopped",
                f"{attempt.charger_id} started after we gave it up; stopped at {track.energy_kwh:.1f} kWh",
                workflow.now(),
                reason=ReasonCode.CONFIRM_LATE_START,
                next_step=NextStep.NONE,
                charger_id=attempt.charger_id,
            )
            if track.ended_at is None:
                break  # it would not stop: named in the log above, and the guard goes on


def _sum(total: Money | None, more: Money | None) -> Money | None:
    if more is None or (total is not None and total.currency != more.currency):
        return total
    return more if total is None else total.plus(more)
