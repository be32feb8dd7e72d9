"""Stops: read model, event log, decisions."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, select, tuple_

from models.decision import Decision
from models.ids import TenantId
from models.stop import StopEvent, StopOutcome, StopPhase, StopRecord, StopRequest, StopView
from models.tables.stops import DecisionRow, StopEventRow, StopRow
from store.known_words import read_known
from store.scope import TenantScope, table_of
from store.stop_changes import StopChanges
from store.stop_intake import StopIntake
from store.stop_record import StopRecorder

_STOP = table_of(StopRow)
_EVENT = table_of(StopEventRow)
_DECISION = table_of(DecisionRow)

# What a row says without its body: enough to show it where the body is of a newer version.
_PLAIN = ("stop_id", "tenant_id", "business_key", "workflow_id", "vehicle_id", "created_at", "updated_at")
_VIEW_COLUMNS = (*(_STOP.c[name] for name in _PLAIN), _STOP.c.outcome, _STOP.c.view)
_EVENT_COLUMNS = (_EVENT.c.stop_id, _EVENT.c.seq, _EVENT.c.at, _EVENT.c.type, _EVENT.c.body)


class StopRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id
        self._recorder = StopRecorder(scope)
        self.intake = StopIntake(scope)
        self.changes = StopChanges(scope, self._recorder)

    async def record(self, record: StopRecord, *, takes_over: bool = False, anew: bool = False) -> bool:
        """Write what the stop's workflow says. See StopRecorder.record; raises OtherRun and OtherRequest."""
        return await self._recorder.record(record, takes_over=takes_over, anew=anew)

    async def without_hold(self, view: StopView, attempt_id: str) -> None:
        """Correct the view that was just recorded. See StopRecorder.without_hold."""
        await self._recorder.without_hold(view, attempt_id)

    # --- reading ----------------------------------------------------------------------------------------

    async def get(self, stop_id: str) -> StopView | None:
        rows = await self._views(1, _STOP.c.stop_id == stop_id)
        return rows[0] if rows else None

    async def is_open(self, stop_id: str) -> bool:
        found = await self._connection.execute(
            select(_STOP.c.outcome).where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id)
        )
        row = found.one_or_none()
        return row is not None and row.outcome is None

    async def heading_to(self, *, besides_stop_id: str) -> dict[str, int]:
        """How many other open stops are at, or on their way to, each charger."""
        found = await self._connection.execute(
            select(_STOP.c.charger_id, func.count())
            .where(
                _STOP.c.tenant_id == self._tenant_id,
                _STOP.c.outcome.is_(None),
                _STOP.c.charger_id.is_not(None),
                _STOP.c.stop_id != besides_stop_id,
            )
            .group_by(_STOP.c.charger_id)
        )
        return {str(charger_id): int(number) for charger_id, number in found}

    async def request_of(self, stop_id: str) -> StopRequest | None:
        found = await self._connection.execute(
            select(_STOP.c.request).where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id)
        )
        body = found.scalar_one_or_none()
        return read_known(StopRequest, body) if body else None

    async def list(
        self,
        *,
        limit: int,
        after: tuple[datetime, str] | None = None,
        phase: StopPhase | None = None,
        outcome: StopOutcome | None = None,
    ) -> list[StopView]:
        """Newest first; `after` is the (created_at, stop_id) of the last row of the page before."""
        where: list[ColumnElement[bool]] = []
        if after is not None:
            where.append(tuple_(_STOP.c.created_at, _STOP.c.stop_id) < tuple_(*after))
        if phase is not None:
            where.append(_STOP.c.phase == str(phase))
        if outcome is not None:
            where.append(_STOP.c.outcome == str(outcome))
        return await self._views(limit, *where)

    async def timeline(self, stop_id: str) -> list[StopEvent]:
        found = await self._connection.execute(
            select(*_EVENT_COLUMNS)
            .where(_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.stop_id == stop_id)
            .order_by(_EVENT.c.seq)
        )
        return [_event(row) for row in found]

    async def events_after(self, position: int, limit: int) -> list[tuple[int, StopEvent]]:
        """The tenant's feed, in the order in which events were written."""
        found = await self._connection.execute(
            select(_EVENT.c.position, *_EVENT_COLUMNS)
            .where(_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.position > position)
            .order_by(_EVENT.c.position)
            .limit(limit)
        )
        return [(int(row.position), _event(row)) for row in found]

    async def decisions(self, stop_id: str) -> list[Decision]:
        found = await self._connection.execute(
            select(_DECISION.c.body)
            .where(_DECISION.c.tenant_id == self._tenant_id, _DECISION.c.stop_id == stop_id)
            .order_by(_DECISION.c.created_at, _DECISION.c.decision_id)
        )
        decisions: list[Decision] = []
        for body in found.scalars():
            with suppress(ValidationError):  # of another version, and not one that this one could show
                decisions.append(read_known(Decision, body))
        return decisions

    async def _views(self, limit: int, *where: ColumnElement[bool]) -> list[StopView]:
        found = await self._connection.execute(
            select(*_VIEW_COLUMNS)
            .where(_STOP.c.tenant_id == self._tenant_id, *where)
            .order_by(_STOP.c.created_at.desc(), _STOP.c.stop_id.desc())
            .limit(limit)
        )
        return [_view(row) for row in found]


def _view(row: Any) -> StopView:
    columns = {name: getattr(row, name) for name in _PLAIN}
    phase = StopPhase.UNKNOWN if row.outcome is None else StopPhase.CLOSED
    # Accepted is older than begun: pages are ordered by when the stop was asked for.
    body = {**row.view, "created_at": row.created_at}
    return read_known(StopView, body, {**columns, "phase": phase})


def _event(row: Any) -> StopEvent:
    columns = {name: getattr(row, name) for name in ("stop_id", "seq", "at", "type")}
    return read_known(StopEvent, row.body, {**columns, "phase": StopPhase.UNKNOWN, "text": ""})
