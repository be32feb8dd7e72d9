"""The ledger: energy, cost, queue and idle minutes of a stop, from its sessions and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from models.decision import Candidate
from models.money import Money
from models.reason_catalogue import entry
from models.reason_codes import ReasonCode
from models.stop import Attempt, AttemptState, SessionState, StopOutcome, StopResult
from stops.base import State
from stops.judge import start_proven
from stops.session import Session
from stops.turns import Turns


class Booking(State):
    """What the stop books about one session, beside what evidence says of it."""

    candidate: Candidate | None = None
    needed_kwh: float = 0.0
    most_kwh: float = 0.0
    charged: bool = False
    """Its end was judged to be the end of a charge, not of an attempt."""
    reason: ReasonCode | None = None
    vendor_code: str = ""
    detail: str = ""
    closed: bool = False
    """The stop has left it, or it has ended."""
    turns: Turns = Turns()
    queue_s: float = 0.0
    cost_estimated: Money | None = None
    cost_actual: Money | None = None
    holds_nothing: bool = False
    """It was never opened: vehicle or connector was held by another."""

    def state(self, session: Session) -> AttemptState:
        if self.charged:
            return AttemptState.CHARGED
        if not self.closed:
            return AttemptState.OPEN
        return AttemptState.GUARDED if session.may_come_alive or session.is_alive else AttemptState.FAILED

    def attempt(self, session: Session) -> Attempt:
        """The attempt as the store and callers see it."""
        charger = session.charger
        state = session.state
        lives = state not in (SessionState.ENDED, SessionState.NEVER_BEGAN) and not self.holds_nothing
        return Attempt(
            attempt_id=session.attempt_id,
            number=session.number,
            charger_id=charger.charger_id,
            site_id=charger.site_id,
            operator=charger.operator,
            protocol=charger.protocol,
            state=self.state(session),
            session=state,
            holds_vehicle=lives and session.wanted,
            # A start that was given up without a sign of life gave its hold back: it would block others. From
            # its first sign of life it holds its connector again, where the store finds it free.
            holds_charger=lives and (session.wanted or session.started_at is not None),
            opened_at=session.opened_at,
            accepted_at=session.accepted_at,
            started_at=session.started_at,
            ended_at=session.ended_at,
            session_ref=session.session_ref,
            energy_kwh=session.energy_kwh,
            energy_estimated=session.is_estimated,
            metered_kwh=round(session.metered_kwh, 4),
            record_kwh=session.record_kwh,
            cost_estimated=self.cost_estimated,
            cost_actual=self.cost_actual,
            queue_s=round(self.queue_s, 1),
            idle_s=round(session.idle_s, 1),
            start_proven=start_proven(session, self.reason) if self.closed else None,
            reason=self.reason,
            vendor_code=self.vendor_code or session.vendor_code,
            detail=self.detail or session.detail,
            fallback=entry(self.reason).next_step if self.reason else None,
            eta_impact_s=self.candidate.eta_impact_s if self.candidate else None,
        )


def total(costs: Sequence[Money | None]) -> Money | None:
    """The sum where all are known and of one currency: a part of a cost is not the cost."""
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs) or len({cost.currency for cost in known}) > 1:
        return None
    summed = known[0]
    for cost in known[1:]:
        summed = summed.plus(cost)
    return summed


def result_of(
    stop_id: str,
    tenant_id: str,
    outcome: StopOutcome,
    reason: ReasonCode | None,
    attempts: Sequence[Attempt],
    soc_percent: float | None,
    closed_at: datetime | None,
) -> StopResult:
    """The stop's last word, summed over its attempts. Each that took energy must have its cost, and one that
    took none may have one, too (a fee)."""
    return StopResult(
        stop_id=stop_id,
        tenant_id=tenant_id,
        outcome=outcome,
        reason=reason,
        energy_kwh=round(sum(attempt.energy_kwh for attempt in attempts), 4),
        cost_estimated=total([a.cost_estimated for a in attempts if a.energy_kwh > 0 or a.cost_estimated]),
        cost_actual=total([a.cost_actual for a in attempts if a.energy_kwh > 0 or a.cost_actual]),
        queue_minutes=decimal_minutes(sum(attempt.queue_s for attempt in attempts)),
        idle_minutes=decimal_minutes(sum(attempt.idle_s for attempt in attempts)),
        soc_percent=soc_percent,
        attempts=tuple(attempts),
        closed_at=closed_at,
    )


def decimal_minutes(seconds: float) -> Decimal:
    return (Decimal(round(seconds)) / 60).quantize(Decimal("0.1"))


def attempt_after(
    known: Attempt, session: Session, cost_estimated: Money | None, cost_actual: Money | None
) -> Attempt:
    """An attempt that its stop has closed, with what its session has become since."""
    state = session.state
    lives = state not in (SessionState.ENDED, SessionState.NEVER_BEGAN)
    charged = known.state is AttemptState.CHARGED
    return known.model_copy(
        update={
            "state": known.state if charged or lives else AttemptState.FAILED,
            "session": state,
            "holds_vehicle": False,
            "holds_charger": lives and known.holds_charger,
            "started_at": session.started_at or known.started_at,
            "ended_at": session.ended_at,
            "session_ref": session.session_ref or known.session_ref,
            "energy_kwh": session.energy_kwh,
            "energy_estimated": session.is_estimated
            or (known.energy_estimated and session.record_kwh is None),
            "metered_kwh": round(session.metered_kwh, 4),
            "record_kwh": session.record_kwh,
            "idle_s": known.idle_s
            if session.record_idle_s is None and known.idle_s > session.idle_s
            else round(session.idle_s, 1),
            "cost_estimated": cost_estimated,
            "cost_actual": cost_actual,
        }
    )
