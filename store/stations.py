"""OCPP stations of a tenant: settings, log, certificates, limits, vendor fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import ProgrammingError

from models.base import Message, UtcDatetime
from models.charging_limit import ChargingLimit, LimitReply, LimitState
from models.ids import TenantId
from models.station import StationEvent, StationEventKind, StationIdentity, StationRecord, StationSettings
from models.tables.access import RouteRow, StationRow
from models.tables.chargers import ChargerRow
from models.tables.ocpp import (
    ChargingLimitRow,
    OcppEventRow,
    OcppTransactionRow,
    StationCertificateRow,
    StationEventRow,
    VendorFieldRow,
)
from store.errors import StationTaken
from store.platform import NO_QUEUE
from store.scope import TenantScope, table_of

_STATION = table_of(StationRow)
_ROUTE = table_of(RouteRow)
_CHARGER = table_of(ChargerRow)
_EVENT = table_of(StationEventRow)
_CERTIFICATE = table_of(StationCertificateRow)
_LIMIT = table_of(ChargingLimitRow)
_FIELD = table_of(VendorFieldRow)
_TRANSACTION = table_of(OcppTransactionRow)
_JOURNAL = table_of(OcppEventRow)
_SHOWN_WH = (
    select(_JOURNAL.c.register_wh)
    .where(
        _JOURNAL.c.transaction_id == _TRANSACTION.c.transaction_id,
        _JOURNAL.c.tenant_id == _TRANSACTION.c.tenant_id,
        _JOURNAL.c.register_wh.is_not(None),
    )
    .order_by(_JOURNAL.c.observed_at.desc(), _JOURNAL.c.position.desc())
    .limit(1)
    .correlate(_TRANSACTION)
    .scalar_subquery()
    .label("shown_wh")
)
_MERGED = func.coalesce(_STATION.c.body, text("'{}'::jsonb"))

_CHANGED_NOTHING = (LimitState.REFUSED, LimitState.UNREACHABLE)

_COUNT_FIELDS = text(
    """
    INSERT INTO vendor_field AS v (tenant_id, model, action, field, messages, example)
    SELECT :tenant, * FROM unnest(CAST(:models AS text[]), CAST(:actions AS text[]), CAST(:fields AS text[]),
        CAST(:counts AS bigint[]), CAST(:examples AS text[]))
    ON CONFLICT (tenant_id, model, action, field)
    DO UPDATE SET messages = v.messages + excluded.messages, example = excluded.example, seen_at = now()
    """
)


class VendorField(Message):
    model: str
    action: str
    field: str
    messages: int
    example: str = ""
    """One value as JSON, without secrets, cut after 200 characters."""
    seen_at: UtcDatetime | None = None


class StoredLimit(Message):
    limit: ChargingLimit
    reply: LimitReply
    changed_at: UtcDatetime


class StationTransaction(Message):
    """A transaction as operators see it: no token. `energy_kwh` of an open one is what its register has shown
    so far; None: not known. `findings`: the checks it did not pass, by name (docs/ocpp.md)."""

    transaction_id: int
    transaction_ref: str | None = None
    connector_number: int
    started_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    energy_kwh: float | None = None
    reason: str | None = None
    findings: tuple[str, ...] = ()
    attempt_id: str | None = None


class StationRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    # --- records ------------------------------------------------------------------------------------------

    async def put(self, settings: StationSettings, password_hash: str | None) -> None:
        """Add a station or change its settings. `password_hash` None keeps the password. Raises StationTaken
        where the id belongs to another tenant: ids are one namespace, they stand in the URL."""
        body: dict[str, Any] = {"settings": settings.model_dump(mode="json")}
        values: dict[str, Any] = {
            "security_profile": settings.security_profile,
            "admission": str(settings.admission),
            "protocol_pin": settings.protocol_pin,
        }
        if password_hash is not None:
            values |= {"password_hash": password_hash, "next_password_hash": None}
        statement = insert(_STATION).values(
            {
                "tenant_id": self._tenant_id,
                "station_id": settings.station_id,
                "password_hash": "",
                "body": body,
                **values,
            }
        )
        merged = _MERGED.op("||")(statement.excluded.body)
        await self._connection.execute(text("SAVEPOINT put_station"))
        try:
            written = await self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["station_id"],
                    set_={**values, "body": merged},
                    where=_STATION.c.tenant_id == self._tenant_id,
                ).returning(_STATION.c.station_id)
            )
            taken = written.first() is None
        except ProgrammingError as error:
            # Row-level security refuses the update of a row that we may not see.
            await self._connection.execute(text("ROLLBACK TO SAVEPOINT put_station"))
            raise StationTaken(settings.station_id) from error
        if taken:
            raise StationTaken(settings.station_id)

    async def change_alone(self, station_id: str) -> None:
        """Until the end of the transaction nobody else changes the station, be it there or not."""
        await self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(station_id))))

    async def get(self, station_id: str) -> StationRecord | None:
        found = await self._read(_STATION.c.station_id == station_id)
        return found[0] if found else None

    async def list(self, limit: int, after: str | None = None) -> list[StationRecord]:
        return await self._read(*([_STATION.c.station_id > after] if after else []), limit=limit)

    async def _read(self, *where: ColumnElement[bool], limit: int | None = None) -> list[StationRecord]:
        found = await self._connection.execute(
            select(_STATION, _ROUTE.c.queue, _ROUTE.c.protocol_version, _ROUTE.c.seen_at)
            .outerjoin(_ROUTE, _ROUTE.c.station_id == _STATION.c.station_id)
            .where(_STATION.c.tenant_id == self._tenant_id, *where)
            .order_by(_STATION.c.station_id)
            .limit(limit)
        )
        return [_record(row) for row in found]

    async def queue_of(self, station_id: str) -> str | None:
        """The queue of the gateway that holds the station; None where none does, or it is not ours."""
        found = await self._connection.execute(
            select(_ROUTE.c.queue).where(
                _ROUTE.c.tenant_id == self._tenant_id,
                _ROUTE.c.station_id == station_id,
                _ROUTE.c.queue != NO_QUEUE,
            )
        )
        return found.scalar_one_or_none()

    async def connectors_of(self, station_ids: list[str]) -> dict[str, dict[int, str]]:
        """Charger id by connector number, by station."""
        found = await self._connection.execute(
            select(_CHARGER.c.station_id, _CHARGER.c.connector_number, _CHARGER.c.charger_id).where(
                _CHARGER.c.tenant_id == self._tenant_id, _CHARGER.c.station_id.in_(station_ids)
            )
        )
        connectors: dict[str, dict[int, str]] = {station_id: {} for station_id in station_ids}
        for row in found:
            connectors[row.station_id][row.connector_number] = row.charger_id
        return connectors

    async def booted(self, station_id: str, identity: StationIdentity, at: datetime) -> None:
        news = literal({"identity": identity.model_dump(mode="json")}, JSONB)
        await self._update(station_id, booted_at=at, body=_MERGED.op("||")(news))

    async def offer_password(self, station_id: str, password_hash: str) -> None:
        """Both passwords open until the station has said yes to the new one."""
        await self._update(station_id, next_password_hash=password_hash)

    async def take_password(self, station_id: str) -> None:
        """The offered password counts from now on, and the old one no more."""
        await self._connection.execute(
            _STATION.update()
            .where(
                _STATION.c.tenant_id == self._tenant_id,
                _STATION.c.station_id == station_id,
                _STATION.c.next_password_hash.is_not(None),
            )
            .values(password_hash=_STATION.c.next_password_hash, next_password_hash=None)
        )

    async def withdraw_password(self, station_id: str) -> None:
        """The station refused the offered password."""
        await self._update(station_id, next_password_hash=None)

    async def _update(self, station_id: str, **values: Any) -> None:
        await self._connection.execute(
            _STATION.update()
            .where(_STATION.c.tenant_id == self._tenant_id, _STATION.c.station_id == station_id)
            .values(values)
        )

    # --- log ----------------------------------------------------------------------------------------------

    async def note(self, entries: list[tuple[str, StationEvent]]) -> None:
        """Append to the logs of stations."""
        if entries:
            await self._connection.execute(
                _EVENT.insert(),
                [
                    {
                        "tenant_id": self._tenant_id,
                        "station_id": station_id,
                        "kind": str(event.kind),
                        "observed_at": event.observed_at,
                        "body": event.body,
                    }
                    for station_id, event in entries
                ],
            )

    async def events(
        self, station_id: str, limit: int, kind: StationEventKind | None = None
    ) -> list[StationEvent]:
        """Newest first."""
        return [event for _, event in await self.log(station_id, limit, kind)]

    async def log(
        self, station_id: str, limit: int, kind: StationEventKind | None = None, before: int | None = None
    ) -> list[tuple[int, StationEvent]]:
        """Lines of the log with their positions, newest first; `before` a position for the next page."""
        where = [_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.station_id == station_id]
        if kind is not None:
            where.append(_EVENT.c.kind == str(kind))
        if before is not None:
            where.append(_EVENT.c.position < before)
        found = await self._connection.execute(
            select(_EVENT).where(*where).order_by(_EVENT.c.position.desc()).limit(limit)
        )
        return [
            (
                row.position,
                StationEvent(kind=StationEventKind(row.kind), observed_at=row.observed_at, body=row.body),
            )
            for row in found
        ]

    async def transactions(
        self, station_id: str, limit: int, before: int | None = None, *, is_open: bool | None = None
    ) -> list[StationTransaction]:
        """Newest first; `before` a transaction id for the next page."""
        where = [_TRANSACTION.c.tenant_id == self._tenant_id, _TRANSACTION.c.station_id == station_id]
        if before is not None:
            where.append(_TRANSACTION.c.transaction_id < before)
        if is_open is not None:
            ended = _TRANSACTION.c.ended_at
            where.append(ended.is_(None) if is_open else ended.is_not(None))
        found = await self._connection.execute(
            select(_TRANSACTION, _SHOWN_WH)
            .where(*where)
            .order_by(_TRANSACTION.c.transaction_id.desc())
            .limit(limit)
        )
        return [_transaction(row) for row in found]

    # --- certificates, limits, vendor fields ----------------------------------------------------------------

    async def add_certificate(
        self, station_id: str, serial_hex: str, fingerprint_sha256: str, not_after: datetime
    ) -> None:
        await self._connection.execute(
            insert(_CERTIFICATE)
            .values(
                serial_hex=serial_hex,
                tenant_id=self._tenant_id,
                station_id=station_id,
                fingerprint_sha256=fingerprint_sha256,
                not_after=not_after,
            )
            .on_conflict_do_nothing()
        )

    async def put_limit(self, limit: ChargingLimit, reply: LimitReply) -> None:
        """The limit of its place. One that was refused, or never got there, hides none that is in force."""
        values = {
            "limit_id": limit.limit_id,
            "state": str(reply.state),
            "changed_at": func.now(),
            "body": {"limit": limit.model_dump(mode="json"), "reply": reply.model_dump(mode="json")},
        }
        row = insert(_LIMIT).values(
            tenant_id=self._tenant_id,
            station_id=limit.station_id,
            connector_number=limit.connector_number,
            purpose=str(limit.purpose),
            **values,
        )
        place = ["tenant_id", "station_id", "connector_number", "purpose"]
        replaces = _LIMIT.c.state.in_(_CHANGED_NOTHING) if reply.state in _CHANGED_NOTHING else None
        await self._connection.execute(
            row.on_conflict_do_update(index_elements=place, set_=values, where=replaces)
        )

    async def limits(self, station_id: str) -> list[StoredLimit]:
        found = await self._connection.execute(
            select(_LIMIT)
            .where(_LIMIT.c.tenant_id == self._tenant_id, _LIMIT.c.station_id == station_id)
            .order_by(_LIMIT.c.connector_number, _LIMIT.c.purpose)
        )
        return [StoredLimit.model_validate({**row.body, "changed_at": row.changed_at}) for row in found]

    async def count_fields(self, counts: list[VendorField]) -> None:
        if counts:
            rows = sorted(counts, key=lambda row: (row.model, row.action, row.field))
            await self._connection.execute(
                _COUNT_FIELDS,
                {
                    "tenant": self._tenant_id,
                    "models": [row.model for row in rows],
                    "actions": [row.action for row in rows],
                    "fields": [row.field for row in rows],
                    "counts": [row.messages for row in rows],
                    "examples": [row.example for row in rows],
                },
            )

    async def vendor_fields(self, limit: int) -> list[VendorField]:
        found = await self._connection.execute(
            select(_FIELD)
            .where(_FIELD.c.tenant_id == self._tenant_id)
            .order_by(_FIELD.c.messages.desc())
            .limit(limit)
        )
        return [VendorField.model_validate(dict(row)) for row in found.mappings()]


def _record(row: Any) -> StationRecord:
    body: dict[str, Any] = row.body or {}
    settings = body.get("settings") or {
        "station_id": row.station_id,
        "security_profile": row.security_profile,
        "admission": row.admission,
        "protocol_pin": row.protocol_pin,
    }
    return StationRecord(
        settings=StationSettings.model_validate(settings),
        identity=StationIdentity.model_validate(body.get("identity") or {}),
        booted_at=row.booted_at,
        connected=bool(row.queue),
        protocol_version=row.protocol_version or "",
        seen_at=row.seen_at,
        gateway=(row.queue or "").removeprefix("backstop-ocpp-"),
    )


def _transaction(row: Any) -> StationTransaction:
    energy_wh = row.energy_wh
    shown_wh = row.meter_start_wh if row.shown_wh is None else row.shown_wh
    if energy_wh is None and row.ended_at is None and 0 <= row.meter_start_wh <= shown_wh:
        energy_wh = shown_wh - row.meter_start_wh
    return StationTransaction(
        transaction_id=row.transaction_id,
        transaction_ref=row.transaction_ref,
        connector_number=row.connector_number,
        started_at=row.started_at,
        ended_at=row.ended_at,
        energy_kwh=None if energy_wh is None else round(energy_wh / 1000, 6),
        reason=row.reason,
        findings=tuple(row.findings.split()),
        attempt_id=row.attempt_id,
    )
