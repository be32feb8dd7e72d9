"""Chargers, vehicle models, policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import cos, radians
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from models.charger import Charger, ConnectorHealth, ConnectorStatus, Protocol
from models.ids import TenantId
from models.place import Place
from models.policy import Policy
from models.tables.access import RouteRow, StationRow
from models.tables.chargers import ChargerRow, PolicyRow, VehicleModelRow
from models.vehicle import VehicleModel
from store.errors import PolicyConflict
from store.scope import TenantScope, table_of

_CHARGER = table_of(ChargerRow)
_STATION = table_of(StationRow)
_ROUTE = table_of(RouteRow)
_MODEL = table_of(VehicleModelRow)
_POLICY = table_of(PolicyRow)
_KM_PER_DEGREE = 111.2
_ROWS_PER_INSERT = 500


_SET_CONNECTORS = text(
    """
    UPDATE charger AS c SET status = n.status, status_at = n.at, state_since = n.since,
        changes_last_hour = n.changes, fault_code = n.fault
    FROM unnest(CAST(:ids AS text[]), CAST(:statuses AS text[]), CAST(:at AS timestamptz[]),
        CAST(:since AS timestamptz[]), CAST(:changes AS int[]), CAST(:faults AS text[]))
        AS n (charger_id, status, at, since, changes, fault)
    WHERE c.tenant_id = :tenant AND c.charger_id = n.charger_id
        AND (c.status_at IS NULL OR c.status_at <= n.at)
    """
)


@dataclass(frozen=True, slots=True)
class ConnectorReport:
    """What a connector's own line said last."""

    charger_id: str
    status: ConnectorStatus
    status_at: datetime
    state_since: datetime
    changes_last_hour: int
    fault_code: str


@dataclass(frozen=True, slots=True)
class KnownConnector:
    """A connector of a station as it stood when it was heard last."""

    charger_id: str
    status: ConnectorStatus
    status_at: datetime | None
    state_since: datetime | None
    changes_last_hour: int
    fault_code: str


class ChargerRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def upsert(self, chargers: list[Charger]) -> int:
        """Write chargers as they are listed. A status that is older than the one known is not taken."""
        rows = [self._row(charger) for charger in {c.charger_id: c for c in chargers}.values()]
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            statement = insert(_CHARGER).values(rows[start : start + _ROWS_PER_INSERT])
            new = statement.excluded
            listed = ("site_id", "station_id", "evse_uid", "connector_number", "protocol")
            await self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["tenant_id", "charger_id"],
                    set_={
                        **{name: new[name] for name in (*listed, "latitude", "longitude", "body")},
                    },
                )
            )
        for charger in chargers:
            if charger.status_at is not None:
                await self.set_status(charger.charger_id, charger.status, charger.status_at)
        return len(rows)

    def _row(self, charger: Charger) -> dict[str, Any]:
        return {
            "tenant_id": self._tenant_id,
            "charger_id": charger.charger_id,
            "site_id": charger.site_id,
            "station_id": charger.station_id,
            "evse_uid": charger.evse_uid,
            "connector_number": charger.connector_number,
            "protocol": str(charger.protocol),
            "latitude": charger.place.latitude,
            "longitude": charger.place.longitude,
            "status": str(charger.status),
            "status_at": charger.status_at,
            "start_successes": charger.start_successes,
            "start_failures": charger.start_failures,
            "body": charger.model_dump(mode="json"),
        }

    async def get(self, charger_id: str) -> Charger | None:
        rows = await self._read(_CHARGER.c.charger_id == charger_id)
        return rows[0] if rows else None

    async def by_station(self, station_id: str) -> list[Charger]:
        return await self._read(_CHARGER.c.station_id == station_id)

    async def list(self, limit: int, after: str | None = None) -> list[Charger]:
        where = [_CHARGER.c.charger_id > after] if after is not None else []
        return await self._read(*where, limit=limit)

    async def nearby(self, place: Place, radius_km: float, limit: int) -> list[Charger]:
        """Chargers within a radius, nearest first, ties by id; at most `limit`."""
        d_lat = radius_km / _KM_PER_DEGREE
        d_lon = radius_km / (_KM_PER_DEGREE * max(0.05, cos(radians(place.latitude))))
        # The box may reach over the date line: it is looked at from both sides.
        longitudes = [
            _CHARGER.c.longitude.between(place.longitude + turn - d_lon, place.longitude + turn + d_lon)
            for turn in (0, 360, -360)
            if turn == 0 or abs(place.longitude + turn) - d_lon <= 180
        ]
        found = await self._read(
            _CHARGER.c.latitude.between(place.latitude - d_lat, place.latitude + d_lat),
            or_(*longitudes),
        )
        ranked = sorted((place.distance_m(charger.place), charger.charger_id, charger) for charger in found)
        return [charger for distance_m, _, charger in ranked if distance_m <= radius_km * 1000][:limit]

    async def set_status(self, charger_id: str, status: ConnectorStatus, at: datetime) -> None:
        """Take a newer status; an older one changes nothing."""
        await self._connection.execute(
            _CHARGER.update()
            .where(
                _CHARGER.c.tenant_id == self._tenant_id,
                _CHARGER.c.charger_id == charger_id,
                (_CHARGER.c.status_at.is_(None)) | (_CHARGER.c.status_at <= at),
            )
            .values(status=str(status), status_at=at)
        )

    async def set_connectors(self, reports: list[ConnectorReport]) -> None:
        """Take the newer statuses of many connectors at once; older ones change nothing."""
        newest = {report.charger_id: report for report in sorted(reports, key=lambda r: r.status_at)}
        if not newest:
            return
        rows = [newest[key] for key in sorted(newest)]  # one order for all writers: no deadlocks
        await self._connection.execute(
            _SET_CONNECTORS,
            {
                "tenant": self._tenant_id,
                "ids": [row.charger_id for row in rows],
                "statuses": [str(row.status) for row in rows],
                "at": [row.status_at for row in rows],
                "since": [row.state_since for row in rows],
                "changes": [row.changes_last_hour for row in rows],
                "faults": [row.fault_code for row in rows],
            },
        )

    async def of_stations(self, station_ids: list[str]) -> dict[str, dict[int, KnownConnector]]:
        """Connectors by number, by station."""
        found = await self._connection.execute(
            select(
                _CHARGER.c.station_id,
                _CHARGER.c.connector_number,
                _CHARGER.c.charger_id,
                _CHARGER.c.status,
                _CHARGER.c.status_at,
                _CHARGER.c.state_since,
                _CHARGER.c.changes_last_hour,
                _CHARGER.c.fault_code,
            ).where(_CHARGER.c.tenant_id == self._tenant_id, _CHARGER.c.station_id.in_(station_ids))
        )
        connectors: dict[str, dict[int, KnownConnector]] = {station_id: {} for station_id in station_ids}
        for row in found:
            connectors[row.station_id][row.connector_number] = KnownConnector(
                charger_id=row.charger_id,
                status=ConnectorStatus(row.status),
                status_at=row.status_at,
                state_since=row.state_since,
                changes_last_hour=row.changes_last_hour,
                fault_code=row.fault_code,
            )
        return connectors

    async def count_start(self, charger_id: str, success: bool) -> None:
        column = _CHARGER.c.start_successes if success else _CHARGER.c.start_failures
        await self._connection.execute(
            _CHARGER.update()
            .where(_CHARGER.c.tenant_id == self._tenant_id, _CHARGER.c.charger_id == charger_id)
            .values({column: column + 1})
        )

    async def _read(self, *where: ColumnElement[bool], limit: int | None = None) -> list[Charger]:
        found = await self._connection.execute(
            select(
                _CHARGER.c.body,
                _CHARGER.c.protocol,
                _CHARGER.c.status,
                _CHARGER.c.status_at,
                _CHARGER.c.start_successes,
                _CHARGER.c.start_failures,
                _CHARGER.c.state_since,
                _CHARGER.c.changes_last_hour,
                _CHARGER.c.fault_code,
                _STATION.c.booted_at.is_not(None).label("was_seen"),
                _ROUTE.c.queue,
                _ROUTE.c.seen_at,
            )
            .outerjoin(_STATION, _of_charger(_STATION))
            .outerjoin(_ROUTE, _of_charger(_ROUTE))
            .where(_CHARGER.c.tenant_id == self._tenant_id, *where)
            .order_by(_CHARGER.c.charger_id)
            .limit(limit)
        )
        return [
            Charger.model_validate(
                {
                    **row.body,
                    "status": row.status,
                    "status_at": row.status_at,
                    "start_successes": row.start_successes,
                    "start_failures": row.start_failures,
                    "health": _health(row),
                }
            )
            for row in found
        ]


def _of_charger(table: Table) -> ColumnElement[bool]:
    """A charger may name any station id; only its own tenant's station is its station."""
    return and_(table.c.tenant_id == _CHARGER.c.tenant_id, table.c.station_id == _CHARGER.c.station_id)


def _health(row: Any) -> ConnectorHealth | None:
    """Only of a station that has a line to us, and has once spoken on it."""
    if row.protocol != Protocol.OCPP or not (row.was_seen or row.seen_at):
        return None
    return ConnectorHealth(
        connected=bool(row.queue),
        seen_at=row.seen_at,
        state_since=row.state_since,
        changes_last_hour=row.changes_last_hour,
        fault_code=row.fault_code,
    )


class VehicleRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def upsert_models(self, models: list[VehicleModel]) -> int:
        rows = [
            {"tenant_id": self._tenant_id, "model_id": m.model_id, "body": m.model_dump(mode="json")}
            for m in {m.model_id: m for m in models}.values()
        ]
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            statement = insert(_MODEL).values(rows[start : start + _ROWS_PER_INSERT])
            await self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["tenant_id", "model_id"], set_={"body": statement.excluded.body}
                )
            )
        return len(rows)

    async def model(self, model_id: str) -> VehicleModel | None:
        found = await self._connection.execute(
            select(_MODEL.c.body).where(_MODEL.c.tenant_id == self._tenant_id, _MODEL.c.model_id == model_id)
        )
        body = found.scalar_one_or_none()
        return VehicleModel.model_validate(body) if body else None


class PolicyRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def put(self, policy: Policy) -> None:
        """Add a revision. Raises PolicyConflict where it exists with other content."""
        await self._connection.execute(
            insert(_POLICY)
            .values(
                tenant_id=self._tenant_id,
                policy_id=policy.policy_id,
                revision=policy.revision,
                version=policy.version,
                body=policy.model_dump(mode="json"),
            )
            .on_conflict_do_nothing()
        )
        found = await self._connection.execute(
            select(_POLICY.c.version).where(
                _POLICY.c.tenant_id == self._tenant_id,
                _POLICY.c.policy_id == policy.policy_id,
                _POLICY.c.revision == policy.revision,
            )
        )
        if found.scalar_one() != policy.version:
            raise PolicyConflict(f"{policy.policy_id}@{policy.revision} exists with other content")

    async def active(self, policy_id: str | None) -> Policy:
        """The newest revision of a policy; the built-in default where the tenant has none of that name."""
        wanted = policy_id or "default"
        found = await self._connection.execute(
            select(_POLICY.c.body)
            .where(_POLICY.c.tenant_id == self._tenant_id, _POLICY.c.policy_id == wanted)
            .order_by(_POLICY.c.revision.desc())
            .limit(1)
        )
        body = found.scalar_one_or_none()
        return Policy.model_validate(body) if body else Policy(policy_id=wanted)
