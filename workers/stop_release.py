"""How a stop ends that lost its workflow: what is said of it, and what of it may still be alive. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import (
    Attempt,
    AttemptState,
    SessionState,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopResult,
    StopView,
)
from store.stop_changes import StopChange, StopState, summed

CLOSED = "stop.closed"
_OVER = (SessionState.ENDED, SessionState.NEVER_BEGAN)


def released(state: StopState, at: datetime, sent: frozenset[str], status: str) -> StopChange:
    """Close it with STOP_WORKFLOW_LOST. The vehicle is free; a connector is, where no session can be.

    `sent`: attempts for which a command was begun. `status`: what became of the workflow, for the log."""
    view = state.view
    reason = ReasonCode.STOP_WORKFLOW_LOST
    attempts = tuple(_left(one, one.attempt_id in sent, reason) for one in view.attempts)
    energy_kwh = sum(one.energy_kwh for one in attempts)
    outcome = StopOutcome.CHARGED_SHORT if energy_kwh > 0 else StopOutcome.NOT_CHARGED
    result = summed(
        StopResult(
            stop_id=view.stop_id,
            tenant_id=view.tenant_id,
            outcome=outcome,
            reason=reason,
            queue_minutes=_minutes(sum(one.queue_s for one in attempts)),
            idle_minutes=_minutes(sum(one.idle_s for one in attempts)),
            closed_at=at,
        ),
        attempts,
    )
    event = StopEvent(
        stop_id=view.stop_id,
        seq=0,
        at=at,
        type=CLOSED,
        phase=StopPhase.CLOSED,
        text=entry(reason).title,
        attempt_number=attempts[-1].number if attempts else None,
        charger_id=view.charger_id,
        reason=reason,
        next_step=NextStep.HUMAN,
        data={"outcome": str(outcome), "workflow_status": status},
    )
    return StopChange(_closed(view, result, event), event, f"released:{state.run_id}")


def closed_with(state: StopState, result: StopResult, at: datetime) -> StopChange:
    """Close it with the result that its workflow returned, where its last records never came."""
    view = state.view
    event = StopEvent(
        stop_id=view.stop_id,
        seq=0,
        at=result.closed_at or at,
        type=CLOSED,
        phase=StopPhase.CLOSED,
        text=f"Closed with the workflow's result: {result.outcome}",
        attempt_number=result.attempts[-1].number if result.attempts else None,
        charger_id=view.charger_id,
        reason=result.reason,
        data={"outcome": str(result.outcome), "repaired": True},
    )
    return StopChange(_closed(view, result, event), event, state.run_id)


def _left(attempt: Attempt, sent: bool, reason: ReasonCode) -> Attempt:
    may_live = attempt.session not in _OVER and (sent or attempt.session is not SessionState.INTENDED)
    changes: dict[str, object] = {"holds_vehicle": False, "holds_charger": may_live}
    if attempt.state is AttemptState.OPEN:
        changes["state"] = AttemptState.GUARDED if may_live else AttemptState.FAILED
        changes["reason"] = attempt.reason or reason
    return attempt.model_copy(update=changes)


def _closed(view: StopView, result: StopResult, event: StopEvent) -> StopView:
    known = entry(result.reason) if result.reason else None
    return view.model_copy(
        update={
            "phase": StopPhase.CLOSED,
            "outcome": result.outcome,
            "reason": result.reason,
            "responsible": known.responsible if known else None,
            "next_step": event.next_step,
            "headline": event.text,
            "driver_advice": known.driver_advice if known else "",
            "waits_for": "",
            "waits_until": None,
            "awaiting_human_until": None,
            "awaiting_approval_until": None,
            "energy_kwh": result.energy_kwh,
            "result": result,
            "attempts": result.attempts,
        }
    )


def _minutes(seconds: float) -> Decimal:
    return (Decimal(round(seconds)) / 60).quantize(Decimal("0.1"))
