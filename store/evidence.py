"""Evidence: kept as heard, delivered at least once."""

from __future__ import annotations

import orjson
from sqlalchemy import select, text

from models.base import Message
from models.evidence import Evidence
from models.ids import TenantId
from models.tables.stops import EvidenceRow
from store.scope import TenantScope, table_of

_EVIDENCE = table_of(EvidenceRow)


_APPEND = text(
    """
    INSERT INTO evidence (tenant_id, event_id, stop_id, attempt_id, kind, observed_at, body)
    SELECT :tenant, event_id, stop_id, attempt_id, kind, observed_at, body
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row (event_id text, stop_id text, attempt_id text,
        kind text, observed_at timestamptz, body jsonb)
    ON CONFLICT ON CONSTRAINT uq_evidence_event DO NOTHING
    RETURNING event_id
    """
)


class StoredEvidence(Message):
    """Evidence that waits for delivery, and where it goes."""

    tenant_id: str
    stop_id: str | None
    workflow_id: str
    evidence: Evidence


class EvidenceRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def append(self, items: list[tuple[str | None, Evidence]]) -> list[str]:
        """Keep evidence with the stop it concerns (None: unknown). Returns the event ids that are new."""
        if not items:
            return []
        rows = [
            {
                "event_id": evidence.event_id,
                "stop_id": stop_id,
                "attempt_id": evidence.attempt_id,
                "kind": str(evidence.kind),
                "observed_at": evidence.observed_at,
                "body": orjson.Fragment(evidence.model_dump_json()),
            }
            for stop_id, evidence in items
        ]
        written = await self._connection.execute(
            _APPEND, {"tenant": self._tenant_id, "rows": orjson.dumps(rows).decode()}
        )
        return [str(event_id) for event_id in written.scalars()]

    async def of_stop(self, stop_id: str) -> list[Evidence]:
        """All evidence of a stop in the order in which it was heard."""
        found = await self._connection.execute(
            select(_EVIDENCE.c.body)
            .where(_EVIDENCE.c.tenant_id == self._tenant_id, _EVIDENCE.c.stop_id == stop_id)
            .order_by(_EVIDENCE.c.position)
        )
        return [Evidence.model_validate(body) for body in found.scalars()]

    async def unmatched(self, limit: int) -> list[Evidence]:
        """Evidence that concerns no stop we know, newest first."""
        found = await self._connection.execute(
            select(_EVIDENCE.c.body)
            .where(_EVIDENCE.c.tenant_id == self._tenant_id, _EVIDENCE.c.stop_id.is_(None))
            .order_by(_EVIDENCE.c.position.desc())
            .limit(limit)
        )
        return [Evidence.model_validate(body) for body in found.scalars()]
