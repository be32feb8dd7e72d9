"""The book of one stop: its status, its attempts and the events not yet recorded.

Pure state, no Temporal calls: the workflow holds one and writes it out at its natural pauses.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from models.decision import Candidate, Decision
from models.ids import attempt_id_for, stop_id_for, workflow_id_for
from models.money import Money
from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import (
    Attempt,
    AttemptState,
    ChargingStopInput,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopRecord,
    StopResult,
    StopView,
)

_ENDED = (AttemptState.FAILED, AttemptState.GUARDED, AttemptState.CHARGED)


class StopBook:
    """Everything the stop knows about itself, and its log."""

    def __init__(self, stop: ChargingStopInput, run_id: str, now: datetime) -> None:
        request = stop.request
        self.request = request
        self.tenant_id = stop.tenant_id
        self.stop_id = stop_id_for(stop.tenant_id, request.business_key)
        self.phase = StopPhase.PLANNING
        self.headline = "Looking for a charger"
        self.reason: ReasonCode | None = None
        self.next_step: NextStep | None = None
        self.outcome: StopOutcome | None = None
        self.result: StopResult | None = None
        self.candidate: Candidate | None = None
        self.decision: Decision | None = None
        self.attempts: list[Attempt] = []
        self.policy_version = ""
        self.arrive_by: datetime | None = None
        self.awaiting_human_until: datetime | None = None
        self.awaiting_approval_until: datetime | None = None
        self.queue_s = 0.0
        self.idle_s = 0.0
        self._run_id = run_id
        self._created_at = now
        self._updated_at = now
        self._version = 0
        self._events: list[StopEvent] = []
        self._unrecorded: list[StopEvent] = []
        self._decisions: list[Decision] = []
        self._first_record = True

    # --- attempts -------------------------------------------------------------------------------------

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that is open now."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].state not in _ENDED else None

    @property
    def energy_kwh(self) -> float:
        return round(sum(attempt.energy_kwh for attempt in self.attempts), 4)

    def tries_at(self, charger_id: str) -> int:
        return sum(1 for attempt in self.attempts if attempt.charger_id == charger_id)

    def open_attempt(self, candidate: Candidate, now: datetime) -> Attempt:
        number = len(self.attempts) + 1
        charger = candidate.charger
        attempt = Attempt(
            attempt_id=attempt_id_for(self.stop_id, number),
            number=number,
            charger_id=charger.charger_id,
            site_id=charger.site_id,
            operator=charger.operator,
            protocol=charger.protocol,
            opened_at=now,
            eta_impact_s=candidate.eta_impact_s,
        )
        self.attempts.append(attempt)
        return attempt

    def amend(self, attempt_id: str, **changes: Any) -> Attempt:
        """Replace fields of one attempt. Raises StopIteration for an attempt that is not ours."""
        index = next(i for i, attempt in enumerate(self.attempts) if attempt.attempt_id == attempt_id)
        self.attempts[index] = self.attempts[index].model_copy(update=changes)
        return self.attempts[index]

    # --- the log --------------------------------------------------------------------------------------

    def note(
        self,
        type_: str,
        text: str,
        now: datetime,
        *,
        phase: StopPhase | None = None,
        reason: ReasonCode | None = None,
        next_step: NextStep | None = None,
        vendor_code: str = "",
        charger_id: str | None = None,
        **data: Any,
    ) -> None:
        """Log one transition; it becomes the headline."""
        if phase is not None:
            self.phase = phase
        if reason is not None:
            self.reason, self.next_step = reason, next_step
        self.headline = text
        self._updated_at = now
        event = StopEvent(
            stop_id=self.stop_id,
            seq=len(self._events) + 1,
            at=now,
            type=type_,
            phase=self.phase,
            text=text,
            attempt_number=self.attempts[-1].number if self.attempts else None,
            charger_id=charger_id or (self.candidate.charger.charger_id if self.candidate else None),
            reason=reason,
            vendor_code=vendor_code,
            next_step=next_step,
            eta_impact_s=self.candidate.eta_impact_s if self.candidate else None,
            data=data,
        )
        self._events.append(event)
        self._unrecorded.append(event)

    def keep_decision(self, decision: Decision) -> None:
        self.decision = decision
        self.policy_version = decision.policy_version
        self._decisions.append(decision)

    @property
    def timeline(self) -> list[StopEvent]:
        return list(self._events)

    @property
    def has_news(self) -> bool:
        return bool(self._unrecorded or self._decisions or self._first_record)

    def take_record(self) -> StopRecord:
        """What the store has not seen yet. Taken once: the caller writes it until it is written."""
        self._version += 1
        record = StopRecord(
            view=self.view(),
            request=self.request if self._first_record else None,
            events=tuple(self._unrecorded),
            decisions=tuple(self._decisions),
        )
        self._unrecorded, self._decisions, self._first_record = [], [], False
        return record

    # --- what others see ------------------------------------------------------------------------------

    def view(self) -> StopView:
        charger = self.candidate.charger if self.candidate else None
        advice = entry(self.reason) if self.reason else None
        return StopView(
            stop_id=self.stop_id,
            tenant_id=self.tenant_id,
            business_key=self.request.business_key,
            workflow_id=workflow_id_for(self.tenant_id, self.request.business_key),
            run_id=self._run_id,
            vehicle_id=self.request.vehicle.vehicle_id,
            phase=self.phase,
            outcome=self.outcome,
            reason=self.reason,
            responsible=advice.responsible if advice else None,
            next_step=self.next_step,
            headline=self.headline,
            driver_advice=advice.driver_advice if advice else "",
            awaiting_human_until=self.awaiting_human_until,
            awaiting_approval_until=self.awaiting_approval_until,
            charger_id=charger.charger_id if charger else None,
            site_id=charger.site_id if charger else None,
            charger_place=charger.place if charger else None,
            attempt_number=len(self.attempts),
            eta_impact_s=self.candidate.eta_impact_s if self.candidate else None,
            arrive_by=self.arrive_by,
            options={str(k): v for k, v in self.decision.options.items()} if self.decision else {},
            alternatives=tuple(c.charger.charger_id for c in self.decision.candidates)
            if self.decision
            else (),
            result=self.result,
            attempts=tuple(self.attempts),
            policy_version=self.policy_version,
            fingerprint=self.request.fingerprint,
            telematics_id=self.request.vehicle.telematics_id,
            created_at=self._created_at,
            updated_at=self._updated_at,
            version=self._version,
        )

    def card(self) -> str:
        """The stop on one Markdown card, for the Temporal UI (current details)."""
        view = self.view()
        lines = [
            f"### {view.headline}",
            f"**Phase** {view.phase} · **charger** {view.charger_id or 'none'} · "
            f"**attempt** {view.attempt_number} · **ETA impact** {_minutes(view.eta_impact_s)}",
        ]
        if self.reason:
            known = entry(self.reason)
            lines.append(
                f"**Reason** `{self.reason}`: {known.title} (responsible: {known.responsible}). "
                f"{known.operator_advice}"
            )
        if view.awaiting_human_until:
            lines.append(f"**A person must act until {view.awaiting_human_until:%H:%M:%S} UTC.**")
        if self.attempts:
            lines += ["", "| # | charger | state | energy | reason |", "|---|---|---|---|---|"]
            lines += [
                f"| {a.number} | {a.charger_id} | {a.state} | {a.energy_kwh:.1f} kWh | {a.reason or ''} |"
                for a in self.attempts
            ]
        lines += ["", "Latest:"]
        lines += [f"- {event.at:%H:%M:%S} {event.text}" for event in self._events[-8:]]
        return "\n".join(lines)

    def close(
        self,
        outcome: StopOutcome,
        reason: ReasonCode | None,
        now: datetime,
        *,
        soc_percent: float | None,
        cost_estimated: Money | None,
        cost_actual: Money | None,
    ) -> StopResult:
        """Write the one outcome. Raises ValueError if there is one already: a stop ends once."""
        if self.outcome is not None:
            raise ValueError("a stop ends once")
        self.outcome = outcome
        self.reason = reason
        self.next_step = None
        self.awaiting_human_until = None
        self.awaiting_approval_until = None
        self.result = StopResult(
            stop_id=self.stop_id,
            tenant_id=self.tenant_id,
            outcome=outcome,
            reason=reason,
            energy_kwh=self.energy_kwh,
            cost_estimated=cost_estimated,
            cost_actual=cost_actual,
            queue_minutes=_decimal_minutes(self.queue_s),
            idle_minutes=_decimal_minutes(self.idle_s),
            soc_percent=soc_percent,
            attempts=tuple(self.attempts),
            closed_at=now,
        )
        self.note("stop.closed", _last_word(self.result), now, phase=StopPhase.CLOSED, reason=reason)
        return self.result


def _minutes(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds / 60:+.0f} min"


def _decimal_minutes(seconds: float) -> Decimal:
    return (Decimal(round(seconds)) / 60).quantize(Decimal("0.1"))


def _last_word(result: StopResult) -> str:
    words = str(result.outcome).replace("_", " ").capitalize()
    energy = f", {result.energy_kwh:.1f} kWh" if result.energy_kwh else ""
    cost = f", {result.cost_actual}" if result.cost_actual else ""
    why = f": {entry(result.reason).title}" if result.reason else ""
    return f"{words}{energy}{cost}{why}"
