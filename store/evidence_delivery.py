"""Evidence on its way to the workflows, across tenants: claimed under a lease, settled row by row.

No transaction is open while a stop is told: a claim ends with its lease, or when it is settled. What could
not be delivered waits longer each time; and no tenant's flood is a reason for another's to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.evidence import EvidenceKind
from models.stop import StopPhase
from store.json_text import json_text

LEASE_S = 60.0
_QUIET_KINDS = (
    EvidenceKind.METER,
    EvidenceKind.COMMAND_ACCEPTED,
    EvidenceKind.SESSION_PENDING,
    EvidenceKind.SESSION_PROGRESS,
)
_UNDER_WAY = (StopPhase.PLANNING, StopPhase.EN_ROUTE)


def _words(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


# Progress and promises; a plug seen after arrival; the vehicle's view of a charge that is running.
_QUIET = f"""(
    e.kind IN ({_words(_QUIET_KINDS)})
    OR e.kind = '{EvidenceKind.PLUGGED_IN}' AND coalesce(s.phase, '') NOT IN ({_words(_UNDER_WAY)})
    OR e.kind = '{EvidenceKind.ENERGY_FLOWING}' AND e.attempt_id IS NULL
        AND coalesce(s.phase, '') = '{StopPhase.CHARGING}'
)"""

_WAITS = "e.delivered_at IS NULL AND e.stop_id IS NOT NULL AND e.quarantined_at IS NULL"
_DUE = f"{_WAITS} AND coalesce(greatest(e.next_try_at, e.claimed_until), '-infinity') <= now()"

# By row number each tenant has its turn: the oldest of each, then the second of each. The lock is taken on
# the chosen rows alone, one by one, and looks at each again: what another process claimed meanwhile is not
# due any more. What waits is gone through once, however much it is.
_CLAIM = text(
    f"""
    WITH due AS (
        SELECT e.position, e.tenant_id, e.stop_id, {_QUIET}
                AND e.received_at > now() - CAST(:quiet_s AS float8) * interval '1 second' AS is_patient,
            NOT {_QUIET} AS is_loud
        FROM evidence AS e LEFT JOIN stop AS s ON s.stop_id = e.stop_id AND s.tenant_id = e.tenant_id
        WHERE {_DUE}
            AND e.stop_id <> ALL(CAST(:busy_stops AS text[]))
            AND e.tenant_id <> ALL(CAST(:busy_tenants AS text[]))
    ), company AS (
        SELECT due.*, bool_or(is_loud) OVER (PARTITION BY tenant_id, stop_id) AS has_company FROM due
    ), queue AS (
        SELECT position, row_number() OVER (PARTITION BY tenant_id ORDER BY position) AS place
        FROM company WHERE has_company OR NOT is_patient
    ), chosen AS MATERIALIZED (
        SELECT position FROM queue ORDER BY place, position LIMIT :limit
    ), picked AS MATERIALIZED (
        SELECT locked.position FROM (SELECT position FROM chosen ORDER BY position) AS c
        CROSS JOIN LATERAL (
            SELECT e.position FROM evidence AS e WHERE e.position = c.position AND {_DUE}
            FOR UPDATE SKIP LOCKED
        ) AS locked
    ), claimed AS (
        UPDATE evidence AS e SET tries = e.tries + 1,
            claimed_until = now() + CAST(:lease_s AS float8) * interval '1 second'
        FROM picked WHERE e.position = picked.position
        RETURNING e.position, e.tenant_id, e.stop_id, e.kind, e.tries, CAST(e.body AS text) AS body
    )
    SELECT c.*, coalesce(s.workflow_id, '') AS workflow_id,
        s.began_at IS NOT NULL OR s.outcome IS NOT NULL AS has_begun
    FROM claimed AS c LEFT JOIN stop AS s ON s.stop_id = c.stop_id AND s.tenant_id = c.tenant_id
    ORDER BY c.position
    """  # noqa: S608  our own words
)
_SETTLE = text(
    """
    UPDATE evidence AS e SET claimed_until = NULL,
        delivered_at = CASE WHEN n.is_delivered THEN now() END,
        next_try_at = CASE WHEN n.is_delivered THEN e.next_try_at
            ELSE now() + n.delay_s * interval '1 second' END,
        tries = e.tries - CASE WHEN n.was_tried THEN 0 ELSE 1 END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (position bigint, is_delivered bool, was_tried bool,
        delay_s float8)
    WHERE e.position = n.position AND e.delivered_at IS NULL
    """
)
_BACKLOG = text(
    f"""
    SELECT count(*) AS rows, coalesce(extract(epoch FROM now() - min(e.received_at)), 0) AS oldest_s
    FROM evidence AS e WHERE {_WAITS}
    """  # noqa: S608  our own words
)


@dataclass(frozen=True, slots=True)
class ClaimedEvidence:
    """Evidence that is to be told now, and where. `body`: JSON as it was kept; whoever tells it, reads it.
    `has_begun`: its workflow was seen to run once. `workflow_id`: empty where there is no such stop."""

    position: int
    tenant_id: str
    stop_id: str
    workflow_id: str
    has_begun: bool
    kind: str
    tries: int
    body: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a claimed row. Not delivered: tried again after `delay_s`; `was_tried` False gives the
    claim back as if it had never been."""

    position: int
    is_delivered: bool
    delay_s: float = 0.0
    was_tried: bool = True


@dataclass(frozen=True, slots=True)
class Backlog:
    rows: int
    oldest: timedelta


class EvidenceDelivery:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(
        self,
        limit: int,
        *,
        quiet_s: float = 0.0,
        lease_s: float = LEASE_S,
        busy_stops: Sequence[str] = (),
        busy_tenants: Sequence[str] = (),
    ) -> list[ClaimedEvidence]:
        """Evidence to deliver now, each tenant's oldest first; nobody else gets it before the lease has run
        out. What another process claims in this moment is passed over. `busy_*`: not theirs this time.

        Quiet evidence (progress, and what only repeats what the stop knows) waits up to `quiet_s` seconds for
        something to travel with: each signal of its own would cost the stop four history events."""
        found = await self._connection.execute(
            _CLAIM,
            {
                "limit": limit,
                "quiet_s": quiet_s,
                "lease_s": lease_s,
                "busy_stops": list(busy_stops),
                "busy_tenants": list(busy_tenants),
            },
        )
        return [ClaimedEvidence(**row) for row in found.mappings()]

    async def settle(self, done: Sequence[Settled]) -> None:
        """Write what came of claimed rows. What has been delivered stays so, whoever comes later."""
        rows = [
            {
                "position": one.position,
                "is_delivered": one.is_delivered,
                "was_tried": one.was_tried,
                "delay_s": one.delay_s,
            }
            for one in done
        ]
        await self._connection.execute(_SETTLE, {"rows": json_text(rows)})

    async def backlog(self) -> Backlog:
        """What waits for delivery, and for how long the oldest of it has."""
        row = (await self._connection.execute(_BACKLOG)).one()
        return Backlog(rows=int(row.rows), oldest=timedelta(seconds=float(row.oldest_s)))
