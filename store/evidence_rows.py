"""Rows of evidence: written once per event and stop, whoever writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from models.evidence import Evidence
from store.json_text import json_text
from store.scope import TenantScope


@dataclass(frozen=True, slots=True)
class Heard:
    """Evidence, and whom it concerns: `stop_id` None where nobody is known, `telematics_id` of the vehicle
    whose vendor said it."""

    evidence: Evidence
    stop_id: str | None = None
    telematics_id: str | None = None


# What is known for a stop is known: only what nobody could be told before may find its stop with a repeat.
# The meters of followed sessions are folded (store.progress), and never delivered. Scalar subqueries: each
# row is looked up by itself, and no plan, however old its statistics, goes through a tenant's whole table.
_APPEND = text(
    """
    INSERT INTO evidence (tenant_id, event_id, stop_id, attempt_id, charger_id, telematics_id, kind,
        observed_at, delivered_at, body)
    SELECT CAST(:tenant AS text), n.event_id, n.stop_id, n.attempt_id, n.charger_id, n.telematics_id, n.kind,
        n.observed_at,
        CASE WHEN n.kind <> 'meter' THEN NULL
            WHEN n.attempt_id IS NOT NULL THEN (SELECT now() FROM session_progress AS p
                WHERE p.tenant_id = :tenant AND p.attempt_id = n.attempt_id)
            ELSE (SELECT now() FROM session_progress AS p
                WHERE p.tenant_id = :tenant AND p.stop_id = n.stop_id AND NOT p.ended LIMIT 1)
        END, n.body
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (place int, event_id text, stop_id text,
        attempt_id text, charger_id text, telematics_id text, kind text, observed_at timestamptz, body jsonb)
    WHERE NOT coalesce((
        SELECT bool_or(e.stop_id IS NOT NULL OR n.stop_id IS NULL) FROM evidence AS e
        WHERE e.tenant_id = :tenant AND e.event_id = n.event_id
    ), false)
    ORDER BY n.place
    ON CONFLICT ON CONSTRAINT uq_evidence_event DO NOTHING
    RETURNING event_id, stop_id
    """
)


async def append_evidence(scope: TenantScope, items: Sequence[Heard]) -> list[Heard]:
    """Keep evidence, each with its stop. Returns what is new, in order; of two copies the first."""
    if not items:
        return []
    rows = [
        {
            "place": place,
            "event_id": item.evidence.event_id,
            "stop_id": item.stop_id,
            "attempt_id": item.evidence.attempt_id,
            "charger_id": item.evidence.charger_id,
            "telematics_id": item.telematics_id,
            "kind": item.evidence.kind,
            "observed_at": item.evidence.observed_at,
            "body": item.evidence,
        }
        for place, item in enumerate(items)
    ]
    written = await scope.connection.execute(_APPEND, {"tenant": scope.tenant_id, "rows": json_text(rows)})
    new = {(str(row.event_id), row.stop_id) for row in written}
    fresh: list[Heard] = []
    for item in items:
        key = (item.evidence.event_id, item.stop_id)
        if key in new:
            new.discard(key)
            fresh.append(item)
    return fresh
