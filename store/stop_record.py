"""What a stop's workflow records: view, events, decisions and attempts, in one statement.

The feed's promise: positions are given out before the commit, so one writer of a tenant's events at a time,
until its commit (an advisory lock). Otherwise a reader of the feed could pass a position that becomes visible
later, and never see it. The statement takes the lock before it touches a row (everything in it is drawn from
`feed`), so that those who wait for it hold nothing that others need.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text

from models.ids import TenantId
from models.stop import StopEvent, StopRecord, StopView
from models.tables.stops import StopRow
from store.errors import OtherRequest, OtherRun
from store.json_text import json_text
from store.scope import TenantScope, table_of

_STOP = table_of(StopRow)

RESET = "stop.reset"
"""The event that says: an earlier point of the history was taken up again, and another run goes on."""

_RECORD = text(
    """
    WITH feed AS MATERIALIZED (
        SELECT CASE WHEN CAST(:tells AS bool)
            THEN pg_advisory_xact_lock(hashtextextended('feed:' || CAST(:tenant AS text), 0))::text
            END AS held
    ), kept AS (
        INSERT INTO stop AS s (stop_id, tenant_id, business_key, workflow_id, vehicle_id, telematics_id,
            fingerprint, created_at, request, phase, outcome, reason, charger_id, version, updated_at, view,
            run_id, began_at, seen_at, seq_offset, last_seq)
        SELECT n.stop_id, :tenant, n.business_key, n.workflow_id, n.vehicle_id, n.telematics_id,
            n.fingerprint, n.created_at, n.request, n.phase, n.outcome, n.reason, n.charger_id, n.version,
            n.updated_at, n.view, n.run_id, now(), now(), 0, n.last_seq
        FROM feed, jsonb_to_record(CAST(:stop AS jsonb)) AS n (stop_id text, business_key text,
            workflow_id text, vehicle_id text, telematics_id text, fingerprint text, created_at timestamptz,
            request jsonb, phase text, outcome text, reason text, charger_id text, version int,
            updated_at timestamptz, view jsonb, run_id text, last_seq int)
        ON CONFLICT (stop_id) DO UPDATE SET
            phase = excluded.phase, outcome = excluded.outcome, reason = excluded.reason,
            charger_id = excluded.charger_id, version = excluded.version, updated_at = excluded.updated_at,
            view = excluded.view, run_id = excluded.run_id, request = coalesce(s.request, excluded.request),
            began_at = coalesce(s.began_at, excluded.began_at), seen_at = excluded.seen_at,
            seq_offset = coalesce(s.seq_offset, s.last_seq + 1 - CAST(:first_seq AS int)),
            last_seq = greatest(s.last_seq, excluded.last_seq
                + coalesce(s.seq_offset, s.last_seq + 1 - CAST(:first_seq AS int)))
        WHERE s.tenant_id = :tenant
            AND (s.fingerprint = excluded.fingerprint OR '' IN (s.fingerprint, excluded.fingerprint))
            AND CASE WHEN s.run_id = excluded.run_id THEN s.version < excluded.version
                ELSE s.run_id = ANY (CAST(:follows AS text[])) END
        RETURNING s.stop_id, s.seq_offset
    ), told AS (
        INSERT INTO stop_event (tenant_id, stop_id, seq, type, at, body)
        SELECT :tenant, kept.stop_id, e.seq + kept.seq_offset, e.type, e.at,
            jsonb_set(e.body, '{seq}', to_jsonb(e.seq + kept.seq_offset))
        FROM kept, jsonb_to_recordset(CAST(:events AS jsonb)) AS e (seq int, type text, at timestamptz,
            body jsonb)
        ORDER BY e.seq
        ON CONFLICT DO NOTHING
        RETURNING seq, type, body
    ), sent AS (
        INSERT INTO outbox (tenant_id, topic, payload) SELECT :tenant, type, body FROM told ORDER BY seq
    ), decided AS (
        INSERT INTO decision (decision_id, tenant_id, stop_id, inputs_hash, policy_version, planner_version,
            body)
        SELECT d.decision_id, :tenant, kept.stop_id, d.inputs_hash, d.policy_version, d.planner_version,
            d.body
        FROM kept, jsonb_to_recordset(CAST(:decisions AS jsonb)) AS d (decision_id text, inputs_hash text,
            policy_version text, planner_version text, body jsonb)
        ON CONFLICT DO NOTHING
    ), tried AS (
        UPDATE attempt AS a SET body = n.body, state = n.state, reason = n.reason,
            session_ref = n.session_ref, holds_vehicle = a.holds_vehicle AND n.holds_vehicle,
            holds_charger = a.holds_charger AND n.holds_charger
        FROM kept, jsonb_to_recordset(CAST(:attempts AS jsonb)) AS n (attempt_id text, state text,
            reason text, session_ref text, holds_vehicle bool, holds_charger bool, body jsonb)
        WHERE a.tenant_id = :tenant AND a.attempt_id = n.attempt_id AND (a.body IS DISTINCT FROM n.body
            OR a.holds_vehicle AND NOT n.holds_vehicle OR a.holds_charger AND NOT n.holds_charger)
    )
    SELECT count(*) FROM kept
    """
)
_REPEAT = text(
    """
    WITH told AS (
        INSERT INTO stop_event (tenant_id, stop_id, seq, type, at, body)
        SELECT :tenant, :stop_id, e.seq + :seq_offset, e.type, e.at,
            jsonb_set(e.body, '{seq}', to_jsonb(e.seq + :seq_offset))
        FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (seq int, type text, at timestamptz, body jsonb)
        ORDER BY e.seq
        ON CONFLICT DO NOTHING
        RETURNING seq, type, body
    ), sent AS (
        INSERT INTO outbox (tenant_id, topic, payload) SELECT :tenant, type, body FROM told ORDER BY seq
    ), decided AS (
        INSERT INTO decision (decision_id, tenant_id, stop_id, inputs_hash, policy_version, planner_version,
            body)
        SELECT d.decision_id, :tenant, :stop_id, d.inputs_hash, d.policy_version, d.planner_version, d.body
        FROM jsonb_to_recordset(CAST(:decisions AS jsonb)) AS d (decision_id text, inputs_hash text,
            policy_version text, planner_version text, body jsonb)
        ON CONFLICT DO NOTHING
    )
    UPDATE stop SET last_seq = greatest(last_seq, (SELECT max(seq) FROM told))
    WHERE tenant_id = :tenant AND stop_id = :stop_id AND EXISTS (SELECT FROM told)
    """
)
_TELL = text(
    """
    WITH told AS (
        INSERT INTO stop_event (tenant_id, stop_id, seq, type, at, body)
        VALUES (:tenant, :stop_id, :seq, :type, :at, CAST(:body AS jsonb))
        RETURNING type, body
    )
    INSERT INTO outbox (tenant_id, topic, payload) SELECT :tenant, type, body FROM told
    """
)


_WITHOUT_HOLD = text(
    """
    WITH told AS (
        UPDATE attempt SET body = jsonb_set(body, '{holds_charger}', 'false')
        WHERE tenant_id = :tenant AND attempt_id = :attempt_id
    )
    UPDATE stop SET view = jsonb_set(view, ARRAY['attempts', :place, 'holds_charger'], 'false')
    WHERE tenant_id = :tenant AND stop_id = :stop_id
    """
)


class StopRecorder:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def record(self, record: StopRecord, *, takes_over: bool = False, anew: bool = False) -> bool:
        """Write it. True where the row now says what the record says; False where a newer record of the run
        stands (then only what is missing of its events and decisions is added).

        Versions order by run, then number. A run that neither is the row's nor follows it writes nothing:
        raises OtherRun, unless it `takes_over` (a reset, or a start after one). Then an event says so, and
        its own events follow after what the log holds. Raises OtherRequest where the key was used with
        another request. `anew`: an open row takes the view whatever its number (a repair)."""
        parameters = _parameters(self._tenant_id, record)
        # A row is locked even where nothing is written: whoever may yet tell must hold the feed by then.
        parameters["tells"] = bool(record.events) or takes_over
        if await self._write(parameters):
            return True
        view = record.view
        found = await self._connection.execute(
            select(_STOP.c.run_id, _STOP.c.version, _STOP.c.fingerprint, _STOP.c.seq_offset, _STOP.c.outcome)
            .where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == view.stop_id)
            .with_for_update()
        )
        row = found.one()
        if view.fingerprint and row.fingerprint and row.fingerprint != view.fingerprint:
            raise OtherRequest(view.stop_id)
        if row.run_id != view.run_id and not takes_over:
            raise OtherRun(row.run_id)
        if row.run_id != view.run_id:
            await self._take_over(view)
            return await self._write(parameters)
        if anew and row.outcome is None:
            await self._set(view.stop_id, version=-1)
            return await self._write(parameters)
        if record.events or record.decisions:
            await self._connection.execute(
                _REPEAT, {**parameters, "stop_id": view.stop_id, "seq_offset": row.seq_offset or 0}
            )
        return bool(row.version == view.version)

    async def without_hold(self, view: StopView, attempt_id: str) -> None:
        """The view that was recorded says that an attempt holds its connector, which another one has."""
        places = [str(place) for place, one in enumerate(view.attempts) if one.attempt_id == attempt_id]
        await self._connection.execute(
            _WITHOUT_HOLD,
            {
                "tenant": self._tenant_id,
                "stop_id": view.stop_id,
                "attempt_id": attempt_id,
                "place": places[0],
            },
        )

    async def _write(self, parameters: dict[str, Any]) -> bool:
        return bool((await self._connection.execute(_RECORD, parameters)).scalar_one())

    async def _take_over(self, view: StopView) -> None:
        seq = await self.lock(view.stop_id)
        await self._set(view.stop_id, run_id=view.run_id, version=-1, seq_offset=None, last_seq=seq)
        event = StopEvent(
            stop_id=view.stop_id,
            seq=seq,
            at=view.updated_at,
            type=RESET,
            phase=view.phase,
            text="The stop's workflow was set back to an earlier point, and goes on from there",
            data={"run_id": view.run_id},
        )
        await self.tell(event)

    async def _set(self, stop_id: str, **values: object) -> None:
        await self._connection.execute(
            _STOP.update()
            .where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id)
            .values(values)
        )

    async def lock(self, stop_id: str) -> int:
        """Enter the tenant's feed, then lock the stop's row. Returns the number of the next event; 0 where
        there is no such stop."""
        key = func.hashtextextended(f"feed:{self._tenant_id}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(key)))
        found = await self._connection.execute(
            select(_STOP.c.last_seq)
            .where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id)
            .with_for_update()
        )
        last_seq = found.scalar_one_or_none()
        return 0 if last_seq is None else int(last_seq) + 1

    async def tell(self, event: StopEvent) -> None:
        """One event beside a record, into log and outbox. The caller holds the feed."""
        await self._connection.execute(
            _TELL,
            {
                "tenant": self._tenant_id,
                "stop_id": event.stop_id,
                "seq": event.seq,
                "type": event.type,
                "at": event.at,
                "body": json_text(event),
            },
        )


def _parameters(tenant_id: TenantId, record: StopRecord) -> dict[str, Any]:
    view, events = record.view, record.events
    stop = {
        "stop_id": view.stop_id,
        "business_key": view.business_key,
        "workflow_id": view.workflow_id,
        "vehicle_id": view.vehicle_id,
        "telematics_id": view.telematics_id,
        "fingerprint": view.fingerprint,
        "created_at": view.created_at,
        "request": record.request,
        "phase": view.phase,
        "outcome": view.outcome,
        "reason": view.reason,
        "charger_id": view.charger_id,
        "version": view.version,
        "updated_at": view.updated_at,
        "view": view,
        "run_id": view.run_id,
        "last_seq": max((event.seq for event in events), default=0),
    }
    return {
        "tenant": tenant_id,
        "first_seq": min((event.seq for event in events), default=None),
        # Not only the run just before: that one may have had nothing to write.
        "follows": ["", *view.former_run_ids, view.continued_from_run_id],
        "stop": json_text(stop),
        "events": json_text(
            [{"seq": event.seq, "type": event.type, "at": event.at, "body": event} for event in events]
        ),
        "decisions": json_text(
            [
                {
                    "decision_id": decision.decision_id,
                    "inputs_hash": decision.inputs_hash,
                    "policy_version": decision.policy_version,
                    "planner_version": decision.planner_version,
                    "body": decision,
                }
                for decision in record.decisions
            ]
        ),
        "attempts": attempts_text(view),
    }


def attempts_text(view: StopView) -> str:
    return json_text(
        [
            {
                "attempt_id": attempt.attempt_id,
                "state": attempt.state,
                "reason": attempt.reason,
                "session_ref": attempt.session_ref,
                "holds_vehicle": attempt.holds_vehicle,
                "holds_charger": attempt.holds_charger,
                "body": attempt,
            }
            for attempt in view.attempts
        ]
    )
