"""A prepared morning: views and timelines as the API would give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from models.ids import attempt_id_for, stop_id_for, workflow_id_for
from models.money import Money
from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import Attempt, AttemptState, StopEvent, StopOutcome, StopPhase, StopResult, StopView

T0 = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
CHARGERS = ("AW1-CP03:1", "DE*TWN*LOC105E2*1", "DE*TWN*LOC108E4*1")


class Sample:
    """Builds one stop step by step, with view and timeline in agreement."""

    def __init__(self, number: int) -> None:
        self.vehicle_id = f"van-{number:03}"
        self.key = f"morning.{self.vehicle_id}"
        self.stop_id = stop_id_for("demo", self.key)
        self.events: list[StopEvent] = []
        self.attempts: list[Attempt] = []
        self.phase = StopPhase.PLANNING
        self.headline = "Looking for a charger"
        self.reason: ReasonCode | None = None
        self.outcome: StopOutcome | None = None
        self.human_until: datetime | None = None
        self.second = float(number % 15)
        self.note("stop.requested", f"Stop {self.key} requested")

    def note(
        self,
        type_: str,
        text: str,
        phase: StopPhase | None = None,
        reason: ReasonCode | None = None,
        next_step: NextStep | None = None,
    ) -> Sample:
        self.phase = phase or self.phase
        self.reason = reason or self.reason
        self.headline = text
        self.second += 1.4
        self.events.append(
            StopEvent(
                stop_id=self.stop_id,
                seq=len(self.events) + 1,
                at=T0 + timedelta(seconds=self.second),
                type=type_,
                phase=self.phase,
                text=text,
                attempt_number=len(self.attempts) or None,
                charger_id=CHARGERS[min(len(self.attempts), 2)],
                reason=reason,
                next_step=next_step,
                eta_impact_s=60 * (14 + 8 * len(self.attempts)),
            )
        )
        return self

    def attempt(self, reason: ReasonCode | None = None, energy_kwh: float = 0.0) -> Sample:
        number = len(self.attempts) + 1
        charger_id = CHARGERS[min(number - 1, 2)]
        self.attempts.append(
            Attempt(
                attempt_id=attempt_id_for(self.stop_id, number),
                number=number,
                charger_id=charger_id,
                site_id="hub-1",
                operator="Stromhof",
                protocol="ocpp",
                state=AttemptState.FAILED if reason else AttemptState.CHARGED,
                opened_at=T0,
                energy_kwh=energy_kwh,
                reason=reason,
            )
        )
        self.note("attempt.opened", f"Attempt {number} at {charger_id}", StopPhase.STARTING)
        if reason is not None:
            title = entry(reason).title
            self.note("attempt.failed", f"Attempt {number} at {charger_id} failed: {title}", reason=reason)
        return self

    def fallback(self, step: NextStep) -> Sample:
        reason = self.attempts[-1].reason
        text = f"Fallback: {CHARGERS[len(self.attempts)]}, ETA impact +22 min"
        return self.note("fallback.chosen", text, StopPhase.PLANNING, reason, step)

    def close(self, outcome: StopOutcome, reason: ReasonCode | None = None) -> Sample:
        self.outcome, self.reason = outcome, reason
        energy = sum(a.energy_kwh for a in self.attempts)
        words = str(outcome).replace("_", " ").capitalize()
        why = f": {entry(reason).title}" if reason else f", {energy:.1f} kWh, {energy * 0.46:.2f} EUR"
        return self.note("stop.closed", words + why, StopPhase.CLOSED, reason)

    def view(self) -> StopView:
        energy = sum(a.energy_kwh for a in self.attempts)
        result = StopResult(
            stop_id=self.stop_id,
            tenant_id="demo",
            outcome=self.outcome or StopOutcome.CHARGED,
            energy_kwh=energy,
            cost_actual=Money(amount=Decimal(f"{energy * 0.46:.2f}")) if energy else None,
            queue_minutes=Decimal("0.1"),
        )
        return StopView(
            stop_id=self.stop_id,
            tenant_id="demo",
            business_key=self.key,
            workflow_id=workflow_id_for("demo", self.key),
            vehicle_id=self.vehicle_id,
            phase=self.phase,
            outcome=self.outcome,
            reason=self.reason,
            headline=self.headline,
            charger_id=CHARGERS[min(max(len(self.attempts) - 1, 0), 2)],
            attempt_number=len(self.attempts),
            eta_impact_s=60.0 * (14 + 8 * len(self.attempts)),
            awaiting_human_until=self.human_until,
            attempts=tuple(self.attempts),
            result=result if self.outcome else None,
            created_at=T0,
            updated_at=self.events[-1].at,
        )


def samples() -> list[Sample]:
    """40 stops: 24 calm, 9 saved, and one each of what else happens (two of them still move)."""
    calm = [
        Sample(n)
        .attempt(energy_kwh=24.0 + n)
        .note("charge.confirmed", f"Charging at {CHARGERS[0]} (evidence: ocpp)", StopPhase.CHARGING)
        .close(StopOutcome.CHARGED)
        for n in range(1, 25)
    ]
    reasons = (
        ReasonCode.START_REJECTED,
        ReasonCode.START_REJECTED,
        ReasonCode.CONFIRM_NEVER_STARTED,
        ReasonCode.CONFIRM_NEVER_STARTED,
        ReasonCode.SUSTAIN_EVSE_FAULT,
        ReasonCode.REACH_OCCUPIED,
        ReasonCode.START_OFFLINE,
        ReasonCode.START_PARTNER_ERROR,
        ReasonCode.START_PARTNER_TIMEOUT,
    )
    saved = [
        Sample(25 + n)
        .attempt(reason, energy_kwh=4.0 if reason is ReasonCode.SUSTAIN_EVSE_FAULT else 0.0)
        .fallback(NextStep.OTHER_SITE if n % 3 else NextStep.OTHER_CONNECTOR)
        .attempt(energy_kwh=27.5)
        .close(StopOutcome.CHARGED)
        for n, reason in enumerate(reasons)
    ]
    late = Sample(34).attempt(ReasonCode.CONFIRM_NEVER_STARTED, energy_kwh=25.0)
    late.fallback(NextStep.OTHER_SITE)
    late.note("late_start.adopted", f"{CHARGERS[0]} started after we gave it up; the charge is adopted")
    late.close(StopOutcome.CHARGED)
    stranded = Sample(35).note(
        "human.requested",
        "No charger fits: No charger is within reach",
        reason=ReasonCode.PLAN_UNREACHABLE,
        next_step=NextStep.HUMAN,
    )
    stranded.close(StopOutcome.HANDED_TO_HUMAN, ReasonCode.PLAN_UNREACHABLE)
    missed = Sample(36).close(StopOutcome.NO_SHOW, ReasonCode.REACH_NO_SHOW)
    off = Sample(37).attempt(energy_kwh=6.0)
    off.close(StopOutcome.CANCELLED, ReasonCode.STOP_CANCELLED_BY_DRIVER)
    short = Sample(38).attempt(energy_kwh=9.0)
    short.close(StopOutcome.CHARGED_SHORT, ReasonCode.SUSTAIN_UNPLUGGED_EARLY)
    waiting = Sample(39).attempt(ReasonCode.AUTHORISE_CONCURRENT)
    waiting.note(
        "human.requested",
        "The token is already charging elsewhere: a person decides",
        StopPhase.PLANNING,
        ReasonCode.AUTHORISE_CONCURRENT,
        NextStep.HUMAN,
    )
    waiting.human_until = T0 + timedelta(minutes=15)
    moving = Sample(40).note("vehicle.en_route", f"On the way to {CHARGERS[0]}, 6 min", StopPhase.EN_ROUTE)
    return [*calm, *saved, late, stranded, missed, off, short, waiting, moving]
