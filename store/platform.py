"""What crosses tenants: who is calling, which gateway holds a station, and evidence to deliver.

Runs under its own database role, whose policies open these few tables and no others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from models.base import Message, UtcDatetime
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from models.stop import StopPhase
from models.tables.access import ApiKeyRow, RouteRow, StationRow, TenantRow
from models.tables.chargers import PartnerConnectionRow
from models.tables.stops import EvidenceRow, StopRow
from store.evidence import StoredEvidence
from store.partners import PartnerConnection
from store.scope import table_of

_TENANT = table_of(TenantRow)
_KEY = table_of(ApiKeyRow)
_STATION = table_of(StationRow)
_ROUTE = table_of(RouteRow)
_EVIDENCE = table_of(EvidenceRow)
_STOP = table_of(StopRow)
_PARTNER = table_of(PartnerConnectionRow)

_QUIET_KINDS = (EvidenceKind.METER, EvidenceKind.COMMAND_ACCEPTED, EvidenceKind.SESSION_PENDING)


class ApiKeyInfo(Message):
    """An API key that was recognised. The tenant is checked by that."""

    tenant_id: TenantId
    name: str
    scopes: frozenset[str]


class Station(Message):
    tenant_id: TenantId
    station_id: str
    password_hash: str
    protocol_pin: str | None = None


class StationRoute(Message):
    station_id: str
    queue: str
    generation: str
    protocol_version: str = ""
    seen_at: UtcDatetime


class PlatformUnit:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure_tenant(self, tenant_id: TenantId) -> None:
        await self._connection.execute(insert(_TENANT).values(tenant_id=tenant_id).on_conflict_do_nothing())

    # --- keys and partners --------------------------------------------------------------------------------

    async def api_key(self, key_hash: str) -> ApiKeyInfo | None:
        found = await self._connection.execute(select(_KEY).where(_KEY.c.key_hash == key_hash))
        row = found.mappings().first()
        if row is None:
            return None
        scopes = frozenset(str(row["scopes"]).split())
        return ApiKeyInfo(tenant_id=TenantId(row["tenant_id"]), name=row["name"], scopes=scopes)

    async def add_api_key(
        self, tenant_id: TenantId, name: str, key_hash: str, scopes: frozenset[str]
    ) -> None:
        await self._connection.execute(
            insert(_KEY)
            .values(key_hash=key_hash, tenant_id=tenant_id, name=name, scopes=" ".join(sorted(scopes)))
            .on_conflict_do_nothing()
        )

    async def partner_by_token(self, token_hash: str) -> PartnerConnection | None:
        found = await self._connection.execute(
            select(_PARTNER).where(_PARTNER.c.token_ours_hash == token_hash)
        )
        row = found.mappings().first()
        return PartnerConnection.model_validate(dict(row)) if row else None

    # --- stations and routes ------------------------------------------------------------------------------

    async def add_station(
        self, tenant_id: TenantId, station_id: str, password_hash: str, protocol_pin: str | None = None
    ) -> None:
        statement = insert(_STATION).values(
            tenant_id=tenant_id,
            station_id=station_id,
            password_hash=password_hash,
            protocol_pin=protocol_pin,
        )
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["station_id"],
                set_={
                    "password_hash": statement.excluded.password_hash,
                    "protocol_pin": statement.excluded.protocol_pin,
                },
                where=_STATION.c.tenant_id == tenant_id,
            )
        )

    async def station(self, station_id: str) -> Station | None:
        found = await self._connection.execute(select(_STATION).where(_STATION.c.station_id == station_id))
        row = found.mappings().first()
        return Station.model_validate(dict(row)) if row else None

    async def claim_route(
        self, station_id: str, queue: str, generation: str, protocol_version: str = ""
    ) -> None:
        """The newest authenticated connection holds the station."""
        tenant = select(_STATION.c.tenant_id).where(_STATION.c.station_id == station_id).scalar_subquery()
        statement = insert(_ROUTE).values(
            station_id=station_id,
            tenant_id=tenant,
            queue=queue,
            generation=generation,
            protocol_version=protocol_version,
        )
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["station_id"],
                set_={
                    "queue": statement.excluded.queue,
                    "generation": statement.excluded.generation,
                    "protocol_version": statement.excluded.protocol_version,
                    "seen_at": func.now(),
                },
            )
        )

    async def release_route(self, station_id: str, generation: str) -> None:
        """Only the connection that holds the route can give it back."""
        await self._connection.execute(
            _ROUTE.delete().where(_ROUTE.c.station_id == station_id, _ROUTE.c.generation == generation)
        )

    async def find_route(self, station_id: str) -> StationRoute | None:
        found = await self._connection.execute(select(_ROUTE).where(_ROUTE.c.station_id == station_id))
        row = found.mappings().first()
        return StationRoute.model_validate(dict(row)) if row else None

    async def touch_routes(self, queue: str) -> None:
        await self._connection.execute(
            _ROUTE.update().where(_ROUTE.c.queue == queue).values(seen_at=func.now())
        )

    # --- evidence -----------------------------------------------------------------------------------------

    async def undelivered(self, limit: int, quiet_s: float = 0.0) -> list[StoredEvidence]:
        """Claim evidence for delivery within this transaction; what another process holds is passed over.

        Quiet evidence (progress, and what only repeats what the stop knows) waits up to `quiet_s` seconds for
        something to travel with: each signal of its own would cost the stop four history events."""
        other = _EVIDENCE.alias("other")
        quiet = _is_quiet(_EVIDENCE.c)
        company = exists().where(
            other.c.stop_id == _EVIDENCE.c.stop_id, other.c.delivered_at.is_(None), not_(_is_quiet(other.c))
        )
        patient_until = func.now() - timedelta(seconds=quiet_s)
        found = await self._connection.execute(
            select(_EVIDENCE.c.tenant_id, _EVIDENCE.c.stop_id, _EVIDENCE.c.body, _STOP.c.workflow_id)
            .join(_STOP, _STOP.c.stop_id == _EVIDENCE.c.stop_id)
            .where(
                _EVIDENCE.c.delivered_at.is_(None),
                _EVIDENCE.c.stop_id.is_not(None),
                or_(not_(quiet), _EVIDENCE.c.received_at <= patient_until, company),
            )
            .order_by(_EVIDENCE.c.position)
            .limit(limit)
            .with_for_update(of=_EVIDENCE, skip_locked=True)
        )
        return [
            StoredEvidence(
                tenant_id=row.tenant_id,
                stop_id=row.stop_id,
                workflow_id=row.workflow_id,
                evidence=Evidence.model_validate(row.body),
            )
            for row in found
        ]

    async def mark_delivered(self, items: list[StoredEvidence]) -> None:
        for tenant_id in sorted({item.tenant_id for item in items}):
            ids = [item.evidence.event_id for item in items if item.tenant_id == tenant_id]
            await self._connection.execute(
                _EVIDENCE.update()
                .where(_EVIDENCE.c.tenant_id == tenant_id, _EVIDENCE.c.event_id.in_(ids))
                .values(delivered_at=datetime.now(UTC))
            )


def _is_quiet(evidence: Any) -> ColumnElement[bool]:
    """Progress and promises; a plug seen after arrival; the vehicle's view of a charge that is running."""
    under_way = [str(StopPhase.PLANNING), str(StopPhase.EN_ROUTE)]
    return or_(
        evidence.kind.in_([str(kind) for kind in _QUIET_KINDS]),
        and_(evidence.kind == str(EvidenceKind.PLUGGED_IN), _STOP.c.phase.not_in(under_way)),
        and_(
            evidence.kind == str(EvidenceKind.ENERGY_FLOWING),
            evidence.attempt_id.is_(None),
            _STOP.c.phase == str(StopPhase.CHARGING),
        ),
    )
