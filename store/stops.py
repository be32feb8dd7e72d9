"""Stops: read model, event log, decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from models.decision import Decision
from models.ids import TenantId
from models.stop import AttemptState, StopEvent, StopOutcome, StopPhase, StopRecord, StopRequest, StopView
from models.tables.stops import DecisionRow, StopEventRow, StopRow
from store.scope import TenantScope, table_of

_STOP = table_of(StopRow)
_EVENT = table_of(StopEventRow)
_DECISION = table_of(DecisionRow)

_WRITE_EVENTS = text(
    """
    WITH told AS (
        INSERT INTO stop_event (tenant_id, stop_id, seq, type, at, body)
        SELECT :tenant, stop_id, seq, type, at, body
        FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS row (stop_id text, seq int, type text, at timestamptz, body jsonb)
        ON CONFLICT DO NOTHING
        RETURNING seq, type, body
    )
    INSERT INTO outbox (tenant_id, topic, payload) SELECT :tenant, type, body FROM told ORDER BY seq
    """
)
_WRITE_ATTEMPTS = text(
    """
    UPDATE attempt AS a SET body = n.body, state = n.state, reason = n.reason, session_ref = n.session_ref,
        live = a.live AND n.is_open
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (attempt_id text, state text, reason text,
        session_ref text, is_open bool, body jsonb)
    WHERE a.tenant_id = :tenant AND a.attempt_id = n.attempt_id AND a.body IS DISTINCT FROM n.body
    """
)


class StopRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def record(self, record: StopRecord) -> None:
        """Write view, new events and decisions. A repeat changes nothing; an older view never wins."""
        if record.events:
            await self._enter_feed()
        newest = await self._write_view(record)
        await self._write_events(record)
        if record.decisions:
            rows = [self._decision_row(decision, record.view.stop_id) for decision in record.decisions]
            await self._connection.execute(insert(_DECISION).values(rows).on_conflict_do_nothing())
        if newest and record.view.attempts:
            # A late repeat of an older record must not reopen what a newer one has closed.
            await self._write_attempts(record)

    async def _enter_feed(self) -> None:
        """One writer of a tenant's events at a time, until its commit. Positions are given out before the
        commit: without this, a reader of the feed could pass a position that becomes visible later, and
        never see it. Taken first, so that those who wait here hold no row that others need."""
        key = func.hashtextextended(f"feed:{self._tenant_id}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(key)))

    async def _write_view(self, record: StopRecord) -> bool:
        """False where a newer view stands."""
        view = record.view
        changing: dict[str, Any] = {
            "phase": str(view.phase),
            "outcome": str(view.outcome) if view.outcome else None,
            "reason": str(view.reason) if view.reason else None,
            "charger_id": view.charger_id,
            "version": view.version,
            "updated_at": view.updated_at,
            "view": view.model_dump(mode="json"),
        }
        fixed: dict[str, Any] = {
            "stop_id": view.stop_id,
            "tenant_id": self._tenant_id,
            "business_key": view.business_key,
            "workflow_id": view.workflow_id,
            "vehicle_id": view.vehicle_id,
            "telematics_id": view.telematics_id,
            "fingerprint": view.fingerprint,
            "created_at": view.created_at,
            "request": record.request.model_dump(mode="json") if record.request else None,
        }
        written = await self._connection.execute(
            insert(_STOP)
            .values({**fixed, **changing})
            .on_conflict_do_update(
                index_elements=["stop_id"],
                set_=changing,
                where=(_STOP.c.tenant_id == self._tenant_id) & (_STOP.c.version <= view.version),
            )
            .returning(_STOP.c.stop_id)
        )
        return written.scalar_one_or_none() is not None

    async def _write_events(self, record: StopRecord) -> None:
        """Events, and each new one into the outbox too."""
        if record.events:
            rows = [
                {
                    "stop_id": event.stop_id,
                    "seq": event.seq,
                    "type": event.type,
                    "at": event.at,
                    "body": orjson.Fragment(event.model_dump_json()),
                }
                for event in record.events
            ]
            await self._connection.execute(
                _WRITE_EVENTS, {"tenant": self._tenant_id, "rows": orjson.dumps(rows).decode()}
            )

    async def _write_attempts(self, record: StopRecord) -> None:
        """Those that have changed; one that is over gives vehicle and connector free."""
        rows = [
            {
                "attempt_id": attempt.attempt_id,
                "state": str(attempt.state),
                "reason": str(attempt.reason) if attempt.reason else None,
                "session_ref": attempt.session_ref,
                "is_open": attempt.state is AttemptState.OPEN,
                "body": orjson.Fragment(attempt.model_dump_json()),
            }
            for attempt in record.view.attempts
        ]
        await self._connection.execute(
            _WRITE_ATTEMPTS, {"tenant": self._tenant_id, "rows": orjson.dumps(rows).decode()}
        )

    def _decision_row(self, decision: Decision, stop_id: str) -> dict[str, Any]:
        return {
            "decision_id": decision.decision_id,
            "tenant_id": self._tenant_id,
            "stop_id": stop_id,
            "inputs_hash": decision.inputs_hash,
            "policy_version": decision.policy_version,
            "planner_version": decision.planner_version,
            "body": decision.model_dump(mode="json"),
        }

    # --- reading ----------------------------------------------------------------------------------------

    async def get(self, stop_id: str) -> StopView | None:
        return await self._one(_STOP.c.stop_id == stop_id)

    async def by_key(self, business_key: str) -> StopView | None:
        return await self._one(_STOP.c.business_key == business_key)

    async def live_for_telematics(self, telematics_id: str) -> StopView | None:
        """The newest open stop of the vehicle that a telematics vendor knows by this id."""
        return await self._one(_STOP.c.telematics_id == telematics_id, _STOP.c.outcome.is_(None))

    async def live_for_vehicle(self, vehicle_id: str) -> StopView | None:
        return await self._one(_STOP.c.vehicle_id == vehicle_id, _STOP.c.outcome.is_(None))

    async def live_for_charger(self, charger_id: str) -> StopView | None:
        """The one open stop that is at, or on its way to, a charger. None if there are several: a plug event
        alone does not say whose it is."""
        rows = await self._views(
            2,
            _STOP.c.charger_id == charger_id,
            _STOP.c.outcome.is_(None),
            _STOP.c.phase.in_([str(StopPhase.EN_ROUTE), str(StopPhase.ARRIVED)]),
        )
        return rows[0] if len(rows) == 1 else None

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
        return StopRequest.model_validate(body) if body else None

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
            select(_EVENT.c.body)
            .where(_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.stop_id == stop_id)
            .order_by(_EVENT.c.seq)
        )
        return [StopEvent.model_validate(body) for body in found.scalars()]

    async def events_after(self, position: int, limit: int) -> list[tuple[int, StopEvent]]:
        """The tenant's feed, in the order in which events were written."""
        found = await self._connection.execute(
            select(_EVENT.c.position, _EVENT.c.body)
            .where(_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.position > position)
            .order_by(_EVENT.c.position)
            .limit(limit)
        )
        return [(int(row.position), StopEvent.model_validate(row.body)) for row in found]

    async def decisions(self, stop_id: str) -> list[Decision]:
        found = await self._connection.execute(
            select(_DECISION.c.body)
            .where(_DECISION.c.tenant_id == self._tenant_id, _DECISION.c.stop_id == stop_id)
            .order_by(_DECISION.c.created_at, _DECISION.c.decision_id)
        )
        return [Decision.model_validate(body) for body in found.scalars()]

    async def _one(self, *where: ColumnElement[bool]) -> StopView | None:
        rows = await self._views(1, *where)
        return rows[0] if rows else None

    async def _views(self, limit: int, *where: ColumnElement[bool]) -> list[StopView]:
        found = await self._connection.execute(
            select(_STOP.c.view)
            .where(_STOP.c.tenant_id == self._tenant_id, *where)
            .order_by(_STOP.c.created_at.desc(), _STOP.c.stop_id.desc())
            .limit(limit)
        )
        return [StopView.model_validate(body) for body in found.scalars()]
