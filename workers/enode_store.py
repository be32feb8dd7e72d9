"""The telematics connector's ports over the store: raw log, folds and evidence in one transaction.

Rows live in partner_object under partner_id = connection: kind `enode_event` (raw log, by idempotency key),
`vehicle` (the fold), `approach` (to the charger of its stop), `enode_action` (for whom an action was asked).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson
from sqlalchemy import text

from connectors.enode.fold import VehicleFold
from connectors.enode.ports import ActionNote, Approach, EnodeConnection, StopWatch
from connectors.ports import RoutedEvidence
from models.ids import TenantId
from models.policy import Policy
from models.stop import StopView
from store.database import Store, TenantUnit
from workers.evidence_relay import heard

EVENT_KIND = "enode_event"
VEHICLE_KIND = "vehicle"
ACTION_KIND = "enode_action"
APPROACH_KIND = "approach"


def _watch_of(stop: StopView, policy: Policy) -> StopWatch:
    return StopWatch(
        stop_id=stop.stop_id,
        phase=stop.phase,
        since=stop.created_at,
        charger_id=stop.charger_id,
        charger_place=stop.charger_place,
        geofence_m=policy.geofence_m,
    )


class _StoreUnit:
    """TelematicsUnit over one tenant transaction."""

    def __init__(self, connection: EnodeConnection, unit: TenantUnit) -> None:
        self._connection = connection
        self._unit = unit
        self.fresh_evidence = 0

    async def lock(self, name: str) -> None:
        # Transaction-scoped: released by commit, rollback or the death of this process.
        key = f"enode:{self._connection.tenant_id}:{self._connection.connection_id}:{name}"
        await self._unit.connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key}
        )

    async def keep_raw(self, key: str, event: str, raw: bytes, received_at: datetime) -> bool:
        partner_id = self._connection.connection_id
        if await self._unit.partners.get_object(partner_id, EVENT_KIND, key) is not None:
            return False
        # As text inside the JSON: jsonb would reorder keys and refuse an escaped NUL.
        body = {"event": event, "received_at": received_at.isoformat(), "raw": raw.decode()}
        await self._unit.partners.put_object(partner_id, EVENT_KIND, key, body, received_at)
        return True

    async def load_fold(self, telematics_id: str) -> VehicleFold:
        kept = await self._unit.partners.get_object(
            self._connection.connection_id, VEHICLE_KIND, telematics_id
        )
        return VehicleFold() if kept is None else VehicleFold.model_validate(kept.body)

    async def save_fold(self, telematics_id: str, fold: VehicleFold) -> None:
        await self._unit.partners.put_object(
            self._connection.connection_id,
            VEHICLE_KIND,
            telematics_id,
            orjson.loads(fold.to_bytes()),
            datetime.now(UTC),
        )

    async def watch(self, telematics_id: str) -> StopWatch | None:
        stop_id = await self._unit.evidence.stop_of_vehicle(telematics_id)
        stop = await self._unit.stops.get(stop_id) if stop_id is not None else None
        if stop is None:
            return None
        policy = await self._unit.policies.active(stop.policy_version.partition("@")[0] or None)
        return _watch_of(stop, policy)

    async def load_approach(self, telematics_id: str) -> Approach | None:
        partner_id = self._connection.connection_id
        kept = await self._unit.partners.get_object(partner_id, APPROACH_KIND, telematics_id)
        return None if kept is None else Approach.model_validate(kept.body)

    async def save_approach(self, telematics_id: str, approach: Approach) -> None:
        await self._unit.partners.put_object(
            self._connection.connection_id,
            APPROACH_KIND,
            telematics_id,
            approach.model_dump(mode="json"),
            datetime.now(UTC),
        )

    async def action(self, action_id: str) -> ActionNote | None:
        kept = await self._unit.partners.get_object(self._connection.connection_id, ACTION_KIND, action_id)
        return None if kept is None else ActionNote.model_validate(kept.body)

    async def add_evidence(self, items: list[RoutedEvidence]) -> None:
        fresh = await self._unit.evidence.take(heard(items))
        self.fresh_evidence += len(fresh)

    async def quarantine(self, reason: str, raw: bytes, detail: str) -> None:
        await self._unit.quarantine.keep(f"enode:{self._connection.connection_id}", reason, raw, detail)


class StoreTelematics:
    """TelematicsStore over the store. `on_evidence` is called after a commit that brought new evidence, so
    that its delivery need not wait for the next poll."""

    def __init__(self, store: Store, on_evidence: Callable[[], None] | None = None) -> None:
        self._store = store
        self._on_evidence = on_evidence

    @asynccontextmanager
    async def unit(self, connection: EnodeConnection) -> AsyncGenerator[_StoreUnit]:
        async with self._store.tenant(TenantId(connection.tenant_id)) as tenant_unit:
            opened = _StoreUnit(connection, tenant_unit)
            yield opened
        if opened.fresh_evidence and self._on_evidence is not None:
            self._on_evidence()

    async def remember_action(self, connection: EnodeConnection, action_id: str, note: ActionNote) -> None:
        async with self._store.tenant(TenantId(connection.tenant_id)) as unit:
            await unit.partners.put_object(
                connection.connection_id,
                ACTION_KIND,
                action_id,
                note.model_dump(mode="json"),
                datetime.now(UTC),
            )

    async def raw_log(self, connection: EnodeConnection) -> list[tuple[str, bytes, datetime]]:
        """The kept events as (event name, raw JSON, received at): what a replay folds again."""
        async with self._store.tenant(TenantId(connection.tenant_id)) as unit:
            rows = await unit.partners.list_objects(EVENT_KIND, connection.connection_id)
        kept = [row.body for row in rows]
        return [(b["event"], b["raw"].encode(), datetime.fromisoformat(b["received_at"])) for b in kept]

    async def fold_of(self, connection: EnodeConnection, telematics_id: str) -> VehicleFold:
        """The vehicle's state as folded so far; empty for one never heard of."""
        async with self.unit(connection) as unit:
            return await unit.load_fold(telematics_id)
