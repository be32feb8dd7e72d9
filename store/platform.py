"""What crosses tenants: who is calling, which gateway holds a station, and evidence to deliver.

Runs under its own database role, whose policies open these few tables and no others.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import String, cast, func, not_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from models.base import Message, UtcDatetime
from models.ids import TenantId
from models.tables.access import ApiKeyRow, RouteRow, StationRow, TenantRow
from models.tables.chargers import PartnerConnectionRow
from store.evidence_delivery import EvidenceDelivery
from store.partners import PartnerConnection
from store.progress import ProgressWatch
from store.scope import table_of
from store.stop_claims import StopClaims

_TENANT = table_of(TenantRow)
_KEY = table_of(ApiKeyRow)
_STATION = table_of(StationRow)
_ROUTE = table_of(RouteRow)
_PARTNER = table_of(PartnerConnectionRow)

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
        self.evidence = EvidenceDelivery(connection)
        self.progress = ProgressWatch(connection)
        self.stops = StopClaims(connection)

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
