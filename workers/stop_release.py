"""How a stop ends that lost its workflow: what is said of it, and what of it may still be alive. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import (
    SESSION_OVER,
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


def over(state: StopState, known: Attempt, at: datetime) -> StopChange | None:
    """What became of a session that outlived its stop, where its keeper ended and did not write it: `known`,
    as the keeper left it. One without a sign of life never began: that frees its connector. None where there
    is nothing to say: the stop runs, the row says it already, or the session lives."""
    view = state.view
    booked = next((one for one in view.attempts if one.attempt_id == known.attempt_id), None)
    if view.result is None or (booked is not None and booked.session in SESSION_OVER):
        return None
    if known.session in SESSION_OVER:
        session, text = known.session, f"The session at {known.charger_id} has ended, as its keeper knew"
    elif known.started_at is None and (booked is None or booked.started_at is None):
        session, text = SessionState.NEVER_BEGAN, f"{known.charger_id}: no session ever came of this start"
    else:
        return None
    charged = known.state is AttemptState.CHARGED
    late = known.model_copy(
        update={
            "state": known.state if charged else AttemptState.FAILED,
            "session": session,
            "holds_vehicle": False,
            "holds_charger": False,
        }
    )
    attempts = tuple(late if one is booked else one for one in view.attempts)
    result = summed(view.result, attempts if booked is not None else (*attempts, late))
    event = StopEvent(
        stop_id=view.stop_id,
        seq=0,
        at=max(at, view.updated_at),
        type=f"session.{session}",
        phase=view.phase,
        text=text,
        attempt_number=late.number,
        charger_id=late.charger_id,
        reason=late.reason,
        data={
            "attempt_id": late.attempt_id,
            "energy_kwh": late.energy_kwh,
            "amendment_id": f"over:{late.attempt_id}:{session}",
        },
    )
    changed = view.model_copy(
        update={"attempts": result.attempts, "result": result, "energy_kwh": result.energy_kwh}
    )
    return StopChange(changed, event, state.run_id)


def _left(attempt: Attempt, sent: bool, reason: ReasonCode) -> Attempt:
    may_live = attempt.session not in SESSION_OVER and (sent or attempt.session is not SessionState.INTENDED)
    changes: dict[str, object] = {"holds_vehicle": False, "holds_charger": may_live}
    if not may_live and attempt.session not in SESSION_OVER:
        changes["session"] = SessionState.NEVER_BEGAN
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
