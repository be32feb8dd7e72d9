"""What crosses tenants: who is calling, which gateway holds a station, and evidence to deliver.

Runs under its own database role, whose policies open these few tables and no others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, exists, func, not_, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
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


_SETTLE_S = 30
NO_QUEUE = ""
"""A route that is given up keeps its row: when it was last held is what planning asks."""
CHANNEL_ROUTES = "backstop_routes"
CHANNEL_WATCH = "backstop_watch"
CHANNEL_FRAMES = "backstop_frames"

_CLAIM = text(
    """
    INSERT INTO route (tenant_id, station_id, queue, generation, protocol_version)
    SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:stations AS text[]), CAST(:queues AS text[]),
        CAST(:generations AS text[]), CAST(:versions AS text[]))
    ON CONFLICT (station_id) DO UPDATE SET queue = excluded.queue, generation = excluded.generation,
        protocol_version = excluded.protocol_version, seen_at = now()
    """
)
_RELEASE = text(
    """
    UPDATE route AS r SET queue = '', seen_at = now()
    FROM unnest(CAST(:stations AS text[]), CAST(:generations AS text[])) AS gone (station_id, generation)
    WHERE r.station_id = gone.station_id AND r.generation = gone.generation
    """
)

_TELL_ALL = text("SELECT pg_notify(:channel, one) FROM unnest(CAST(:news AS text[])) AS one")


class ApiKeyInfo(Message):
    """An API key that was recognised. The tenant is checked by that."""

    tenant_id: TenantId
    name: str
    scopes: frozenset[str]


class Station(Message):
    """Who may connect, and how. `body`: see store.stations."""

    tenant_id: TenantId
    station_id: str
    password_hash: str
    next_password_hash: str | None = None
    protocol_pin: str | None = None
    security_profile: int = 1
    admission: str = "accepted"
    body: dict[str, Any] | None = None


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

    async def stations_of(self, station_ids: list[str]) -> dict[str, Station]:
        """Those that exist, by id."""
        found = await self._connection.execute(
            select(_STATION).where(_STATION.c.station_id.in_(sorted(set(station_ids))))
        )
        return {row["station_id"]: Station.model_validate(dict(row)) for row in found.mappings()}

    async def claim_routes(self, claims: list[tuple[str, str, str, str, str]]) -> None:
        """Many at once: (tenant id, station id, queue, generation, protocol version). The newest
        authenticated connection holds the station; other gateways are told."""
        newest = {claim[1]: claim for claim in claims}
        rows = [newest[station_id] for station_id in sorted(newest)]  # one order for all: no deadlocks
        await self._connection.execute(
            _CLAIM,
            dict(
                zip(
                    ("tenants", "stations", "queues", "generations", "versions"),
                    (list(column) for column in zip(*rows, strict=True)),
                    strict=True,
                )
            ),
        )
        news = [f"{station_id} {generation}" for _, station_id, _, generation, _ in rows]
        await self._connection.execute(_TELL_ALL, {"channel": CHANNEL_ROUTES, "news": news})

    async def release_routes(self, releases: list[tuple[str, str]]) -> None:
        """(station id, generation): only the connection that holds a route can give it back."""
        await self._connection.execute(
            _RELEASE,
            {"stations": [each[0] for each in releases], "generations": [each[1] for each in releases]},
        )

    async def tell(self, channel: str, text_: str) -> None:
        """To all gateways that listen, once this transaction commits."""
        await self._connection.execute(select(func.pg_notify(channel, text_)))

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
        await self.release_routes([(station_id, generation)])

    async def find_route(self, station_id: str) -> StationRoute | None:
        found = await self._connection.execute(
            select(_ROUTE).where(_ROUTE.c.station_id == station_id, _ROUTE.c.queue != NO_QUEUE)
        )
        row = found.mappings().first()
        return StationRoute.model_validate(dict(row)) if row else None

    async def hold_routes(self, queue: str, generations: list[str]) -> None:
        """What a gateway holds, said again; routes of its queue that it does not hold are given up (it died,
        or could not say goodbye)."""
        mine = _ROUTE.c.queue == queue
        held = _ROUTE.c.generation == func.any(cast(generations, ARRAY(String)))
        await self._connection.execute(_ROUTE.update().where(mine, held).values(seen_at=func.now()))
        # A route claimed a moment ago may not be in the list yet.
        settled = _ROUTE.c.seen_at < func.now() - timedelta(seconds=_SETTLE_S)
        await self._connection.execute(
            _ROUTE.update().where(mine, not_(held), settled).values(queue=NO_QUEUE)
        )

    async def drop_routes(self, queue: str) -> None:
        """A gateway starts: what its forerunner held is not held any more."""
        await self._connection.execute(_ROUTE.update().where(_ROUTE.c.queue == queue).values(queue=NO_QUEUE))

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
