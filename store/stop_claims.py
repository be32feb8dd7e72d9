"""Stops of all tenants that somebody must look after: the reconciler's work list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.base import Message
from models.ids import TenantId
from models.tables.stops import StopRow
from store.scope import table_of

_STOP = table_of(StopRow)

# A claim is the note that one has looked: whoever dies after it leaves the stop to the next round in which it
# is due again. The oldest of every tenant come before the second oldest of any. Of the stops that have closed
# there are more every day: both ways to them lead through a partial index (ix_stop_closed, whose stops are
# looked at ever less often; ix_attempt_unproven, by its very words).
CLAIM = text(
    """
    WITH waiting AS (
        SELECT tenant_id, stop_id, seen_at FROM stop
        WHERE outcome IS NULL AND seen_at < now() - make_interval(secs => CASE
            WHEN cancel_wanted IS NOT NULL THEN CAST(:cancel_s AS float)
            WHEN began_at IS NULL THEN greatest(CAST(:start_s AS float), least(CAST(:start_most_s AS float),
                extract(epoch FROM now() - created_at) / 2))
            ELSE CAST(:check_s AS float) END)
        UNION
        SELECT tenant_id, stop_id, seen_at FROM stop
        WHERE outcome IS NOT NULL AND updated_at > now() - make_interval(secs => CAST(:reset_s AS float))
            AND seen_at < now() - greatest(make_interval(secs => CAST(:check_s AS float)),
                (now() - updated_at) / 2)
        UNION
        SELECT tenant_id, stop_id, seen_at FROM stop
        WHERE outcome IS NOT NULL AND seen_at < now() - make_interval(secs => CAST(:closed_s AS float))
            AND stop_id IN (SELECT a.stop_id FROM attempt AS a
                WHERE a.holds_charger OR a.body->>'session' NOT IN ('ended', 'never_began'))
    ), due AS (
        SELECT stop_id, seen_at, row_number() OVER (PARTITION BY tenant_id ORDER BY seen_at, stop_id) AS place
        FROM waiting ORDER BY place, seen_at LIMIT :most
    ), mine AS (
        SELECT s.stop_id FROM stop AS s JOIN due ON due.stop_id = s.stop_id AND due.seen_at = s.seen_at
        FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE stop AS s SET seen_at = now() FROM mine WHERE s.stop_id = mine.stop_id
    RETURNING s.tenant_id, s.stop_id, s.workflow_id, s.run_id, s.began_at IS NOT NULL AS began,
        s.outcome IS NOT NULL AS closed, s.request, s.cancel_wanted
    """
)


class ClaimedStop(Message):
    """A stop to look after. `request` and `cancel_wanted` as stored, to be read one by one."""

    tenant_id: TenantId
    stop_id: str
    workflow_id: str
    run_id: str
    began: bool
    closed: bool
    request: dict[str, Any] | None
    cancel_wanted: dict[str, Any] | None


class StopClaims:
    """Under the platform's role: see store.platform."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(
        self,
        *,
        most: int,
        start_s: float,
        check_s: float,
        cancel_s: float,
        closed_s: float,
        reset_s: float = 0.0,
        start_most_s: float = 0.0,
    ) -> list[ClaimedStop]:
        """Stops that nobody has seen or written for so long: not begun (`start_s`, or half their age, up to
        `start_most_s`), open (`check_s`), with a cancel that waits (`cancel_s`), closed with a session that
        may live (`closed_s`). And stops that were closed within `reset_s`: somebody may have set one back.
        Each is claimed by one caller; fair between tenants."""
        found = await self._connection.execute(
            CLAIM,
            {
                "most": most,
                "start_s": float(start_s),
                "start_most_s": float(start_most_s),
                "check_s": float(check_s),
                "cancel_s": float(cancel_s),
                "closed_s": float(closed_s),
                "reset_s": float(reset_s),
            },
        )
        return [ClaimedStop.model_validate(dict(row)) for row in found.mappings()]

    async def find(self, stop_id: str) -> ClaimedStop | None:
        """One stop, whoever's it is: for operators."""
        found = await self._connection.execute(
            select(
                _STOP.c.tenant_id,
                _STOP.c.stop_id,
                _STOP.c.workflow_id,
                _STOP.c.run_id,
                _STOP.c.began_at.is_not(None).label("began"),
                _STOP.c.outcome.is_not(None).label("closed"),
                _STOP.c.request,
                _STOP.c.cancel_wanted,
            ).where(_STOP.c.stop_id == stop_id)
        )
        row = found.mappings().first()
        return ClaimedStop.model_validate(dict(row)) if row else None
