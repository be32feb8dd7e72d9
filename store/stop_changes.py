"""Changes of a stop's row that its workflow does not record: amendments of a closed stop, and releases."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import select, text

from models.activity_messages import Amendment
from models.ids import TenantId
from models.money import Money
from models.stop import Attempt, AttemptState, StopEvent, StopResult, StopView
from models.tables.stops import StopEventRow, StopRow
from store.errors import StillOpen
from store.json_text import json_text
from store.scope import TenantScope, table_of
from store.stop_record import StopRecorder, attempts_text

_STOP = table_of(StopRow)
_EVENT = table_of(StopEventRow)

_CHANGE = text(
    """
    WITH tried AS (
        UPDATE attempt AS a SET body = n.body, state = n.state, reason = n.reason,
            session_ref = n.session_ref, holds_vehicle = a.holds_vehicle AND n.holds_vehicle,
            holds_charger = a.holds_charger AND n.holds_charger
        FROM jsonb_to_recordset(CAST(:attempts AS jsonb)) AS n (attempt_id text, state text, reason text,
            session_ref text, holds_vehicle bool, holds_charger bool, body jsonb)
        WHERE a.tenant_id = :tenant AND a.attempt_id = n.attempt_id
    )
    UPDATE stop SET phase = :phase, outcome = :outcome, reason = :reason, version = :version,
        updated_at = :updated_at, view = CAST(:view AS jsonb), last_seq = :last_seq, run_id = :run_id
    WHERE tenant_id = :tenant AND stop_id = :stop_id
    """
)


class StopState(NamedTuple):
    """A stop's row, locked. `began`: a workflow has opened it."""

    view: StopView
    run_id: str
    began: bool


class StopChange(NamedTuple):
    """What becomes of it: the view, and the one event that says so (the store gives it its number).
    `run_id`: whose records count from now on."""

    view: StopView
    event: StopEvent
    run_id: str


class StopChanges:
    def __init__(self, scope: TenantScope, recorder: StopRecorder) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id
        self._recorder = recorder

    async def change(self, stop_id: str, change: Callable[[StopState], StopChange | None]) -> StopView | None:
        """Change a stop under its lock, with one event. None where there is no such stop, or `change` finds
        nothing to do."""
        seq = await self._recorder.lock(stop_id)
        found = await self._connection.execute(
            select(_STOP.c.view, _STOP.c.run_id, _STOP.c.began_at, _STOP.c.version).where(
                _STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id
            )
        )
        row = found.one_or_none()
        if row is None:
            return None
        made = change(StopState(StopView.model_validate(row.view), row.run_id, row.began_at is not None))
        if made is None:
            return None
        event = made.event.model_copy(update={"seq": seq})
        view = made.view.model_copy(update={"version": int(row.version) + 1, "updated_at": event.at})
        await self._connection.execute(
            _CHANGE,
            {
                "tenant": self._tenant_id,
                "stop_id": stop_id,
                "phase": str(view.phase),
                "outcome": str(view.outcome) if view.outcome else None,
                "reason": str(view.reason) if view.reason else None,
                "version": view.version,
                "updated_at": view.updated_at,
                "view": json_text(view),
                "last_seq": seq,
                "run_id": made.run_id,
                "attempts": attempts_text(view),
            },
        )
        await self._recorder.tell(event)
        return view

    async def amend(self, amendment: Amendment) -> bool:
        """Add a late fact to a stop that has closed. False where it was added before, or there is no such
        stop. Raises StillOpen while the stop runs: until then its workflow numbers the events."""
        known = await self._recorder.lock(amendment.stop_id) and await self._is_told(amendment)
        if known:
            return False
        return await self.change(amendment.stop_id, lambda state: _amended(state, amendment)) is not None

    async def _is_told(self, amendment: Amendment) -> bool:
        found = await self._connection.execute(
            select(_EVENT.c.seq)
            .where(
                _EVENT.c.tenant_id == self._tenant_id,
                _EVENT.c.stop_id == amendment.stop_id,
                _EVENT.c.body["data"]["amendment_id"].astext == amendment.amendment_id,
            )
            .limit(1)
        )
        return found.first() is not None


def _amended(state: StopState, amendment: Amendment) -> StopChange:
    view, late = state.view, amendment.attempt
    if view.outcome is None or view.result is None:
        raise StillOpen(view.stop_id)
    attempts = tuple(
        _merged(one, late) if one.attempt_id == late.attempt_id else one for one in view.attempts
    )
    if all(one.attempt_id != late.attempt_id for one in attempts):
        attempts = (*attempts, late)
    result = summed(view.result, attempts)
    event = StopEvent(
        stop_id=view.stop_id,
        seq=0,
        at=amendment.at,
        type=amendment.type,
        phase=view.phase,
        text=amendment.text,
        attempt_number=late.number,
        charger_id=late.charger_id,
        reason=amendment.reason,
        vendor_code=amendment.vendor_code,
        next_step=amendment.next_step,
        data={**amendment.data, "amendment_id": amendment.amendment_id},
    )
    changed = view.model_copy(
        update={"attempts": attempts, "result": result, "energy_kwh": result.energy_kwh}
    )
    return StopChange(changed, event, state.run_id)


_JUDGED_BY_STOP = (
    "reason",
    "vendor_code",
    "detail",
    "fallback",
    "start_proven",
    "accepted_at",
    "eta_impact_s",
)


def _merged(stored: Attempt, late: Attempt) -> Attempt:
    """What a keeper has found out since; what it does not know stays as its stop has judged it. A keeper may
    have read the attempt before the stop's last record was written."""
    known = {name: getattr(stored, name) for name in _JUDGED_BY_STOP if getattr(late, name) in (None, "")}
    charged = AttemptState.CHARGED in (stored.state, late.state)
    state = (
        AttemptState.CHARGED if charged else stored.state if late.state is AttemptState.OPEN else late.state
    )
    queue_s, idle_s = max(stored.queue_s, late.queue_s), late.idle_s or stored.idle_s
    return late.model_copy(update={**known, "state": state, "queue_s": queue_s, "idle_s": idle_s})


def summed(result: StopResult, attempts: tuple[Attempt, ...]) -> StopResult:
    """The result over these attempts. A sum is a cost only where every attempt that took energy or was billed
    has one, in the same currency: a part of it would be a lie."""
    return result.model_copy(
        update={
            "attempts": attempts,
            "energy_kwh": round(sum(one.energy_kwh for one in attempts), 4),
            "idle_minutes": _minutes(sum(one.idle_s for one in attempts)),
            "cost_estimated": _sum(
                [a.cost_estimated for a in attempts if a.energy_kwh > 0 or a.cost_estimated]
            ),
            "cost_actual": _sum([a.cost_actual for a in attempts if a.energy_kwh > 0 or a.cost_actual]),
        }
    )


def _minutes(seconds: float) -> Decimal:
    return (Decimal(round(seconds)) / 60).quantize(Decimal("0.1"))


def _sum(costs: list[Money | None]) -> Money | None:
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs) or len({cost.currency for cost in known}) > 1:
        return None
    return Money(amount=sum((cost.amount for cost in known), Decimal(0)), currency=known[0].currency)
