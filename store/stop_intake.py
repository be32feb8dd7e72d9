"""The stop's row before and beside its workflow: accepted first, started after; a cancel kept until taken."""

from __future__ import annotations

from sqlalchemy import cast, func, null, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import Message
from models.ids import TenantId
from models.stop import CancelRequest, StopPhase, StopRequest, StopView
from models.tables.stops import StopRow
from store.json_text import json_text
from store.known_words import read_known
from store.scope import TenantScope, table_of

_STOP = table_of(StopRow)

# The update changes nothing; it is there to return the row that was found. xmax is 0 on a row just made. One
# of a key at a time: of two unique constraints, only one can be what a conflict is forgiven for.
_ACCEPT = text(
    """
    WITH turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended('key:' || CAST(:workflow_id AS text), 0))::text AS held
    )
    INSERT INTO stop AS s (stop_id, tenant_id, business_key, workflow_id, vehicle_id, telematics_id,
        fingerprint, created_at, request, phase, version, updated_at, view)
    SELECT :stop_id, :tenant, :business_key, :workflow_id, :vehicle_id, :telematics_id, :fingerprint,
        CAST(:created_at AS timestamptz), CAST(:request AS jsonb), :phase, CAST(:version AS int),
        CAST(:updated_at AS timestamptz), CAST(:view AS jsonb)
    FROM turn
    ON CONFLICT (stop_id) DO UPDATE SET stop_id = s.stop_id
    RETURNING s.xmax = 0 AS fresh, s.fingerprint, s.view
    """
)


class Accepted(Message):
    """`fresh`: this call made the row. `view`: the stop as its row says now; `fingerprint`: of the request
    that made it."""

    fresh: bool
    fingerprint: str
    view: StopView


class StopIntake:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def accept(self, view: StopView, request: StopRequest) -> Accepted:
        """Write the row of a stop whose workflow has yet to begin; where it exists, tell what it is. Once
        committed, the row is the promise that the stop will run (workers.stop_reconciler keeps it)."""
        written = await self._connection.execute(
            _ACCEPT,
            {
                "stop_id": view.stop_id,
                "tenant": self._tenant_id,
                "business_key": view.business_key,
                "workflow_id": view.workflow_id,
                "vehicle_id": view.vehicle_id,
                "telematics_id": view.telematics_id,
                "fingerprint": view.fingerprint,
                "created_at": view.created_at,
                "request": json_text(request),
                "phase": str(view.phase),
                "version": view.version,
                "updated_at": view.updated_at,
                "view": json_text(view),
            },
        )
        row = written.one()
        # Where the row was there, its view may be a newer version's: what this one says of it, then.
        known = {**view.model_dump(mode="json"), "phase": StopPhase.UNKNOWN}
        found = read_known(StopView, row.view, known)
        return Accepted(fresh=row.fresh, fingerprint=row.fingerprint, view=found)

    async def withdraw(self, stop_id: str) -> None:
        """Take a row back whose workflow never began."""
        await self._connection.execute(
            _STOP.delete().where(
                _STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id, _STOP.c.began_at.is_(None)
            )
        )

    async def want_cancel(self, stop_id: str, request: CancelRequest) -> bool:
        """Keep a cancel that no worker has taken yet; the first one counts. False where the stop is over."""
        wish = request.model_dump(mode="json")
        done = await self._connection.execute(
            _STOP.update()
            .where(
                _STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id, _STOP.c.outcome.is_(None)
            )
            .values(cancel_wanted=func.coalesce(_STOP.c.cancel_wanted, cast(wish, JSONB)))
        )
        return done.rowcount > 0

    async def cancel_taken(self, stop_id: str) -> None:
        """A worker has taken it, or there is nothing left to call off."""
        await self._connection.execute(
            _STOP.update()
            .where(_STOP.c.tenant_id == self._tenant_id, _STOP.c.stop_id == stop_id)
            .values(cancel_wanted=null())
        )
