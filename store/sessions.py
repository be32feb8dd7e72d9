"""OCPP transactions: one row each, whatever the charge point repeats."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects.postgresql import insert

from models.base import Message, UtcDatetime
from models.ids import TenantId
from models.tables.ocpp import OcppTransactionRow
from store.scope import TenantScope, table_of

_TRANSACTION = table_of(OcppTransactionRow)


class Transaction(Message):
    """`fresh` on open: this call made it."""

    transaction_id: int
    station_id: str
    connector_number: int
    id_tag: str
    transaction_ref: str | None = None
    attempt_id: str | None = None
    started_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    meter_start_wh: float = 0.0
    meter_wh: float = 0.0
    reason: str | None = None
    energy_wh: float | None = None
    findings: str = ""
    fresh: bool = False


class SessionRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def open_transaction(
        self,
        station_id: str,
        connector_number: int,
        id_tag: str,
        started_at: datetime,
        meter_start_wh: float,
        attempt_id: str | None,
        transaction_ref: str | None = None,
    ) -> Transaction:
        """The transaction of a start. The same start told again (station, connector, tag, time and meter, or
        the 2.x transaction id) gives the same row: charge points repeat themselves after an outage."""
        if transaction_ref is not None:
            known = await self.find(station_id, transaction_ref=transaction_ref)
            if known is not None:
                return known
        written = await self._connection.execute(
            insert(_TRANSACTION)
            .values(
                tenant_id=self._tenant_id,
                station_id=station_id,
                connector_number=connector_number,
                id_tag=id_tag,
                transaction_ref=transaction_ref,
                attempt_id=attempt_id,
                started_at=started_at,
                meter_start_wh=meter_start_wh,
                meter_wh=meter_start_wh,
            )
            .on_conflict_do_nothing()
            .returning(_TRANSACTION)
        )
        row = written.mappings().first()
        if row is not None:
            return _transaction(dict(row), fresh=True)
        if transaction_ref is not None:  # another socket of the station was faster
            known = await self.find(station_id, transaction_ref=transaction_ref)
            if known is not None:
                return known
        same = await self._newest(
            _TRANSACTION.c.station_id == station_id,
            _TRANSACTION.c.connector_number == connector_number,
            _TRANSACTION.c.id_tag == id_tag,
            _TRANSACTION.c.started_at == started_at,
            _TRANSACTION.c.meter_start_wh == meter_start_wh,
            _TRANSACTION.c.transaction_ref.is_not_distinct_from(transaction_ref),
        )
        if same is None:
            raise RuntimeError("a transaction that conflicted is not to be found")
        return same

    async def find(
        self,
        station_id: str,
        *,
        transaction_id: int | None = None,
        transaction_ref: str | None = None,
        ended_at: datetime | None = None,
    ) -> Transaction | None:
        where = [_TRANSACTION.c.station_id == station_id]
        if transaction_id is not None:
            where.append(_TRANSACTION.c.transaction_id == transaction_id)
        if transaction_ref is not None:
            where.append(_TRANSACTION.c.transaction_ref == transaction_ref)
        if ended_at is not None:
            where.append(_TRANSACTION.c.ended_at == ended_at)
        return await self._newest(*where)

    async def find_told_again(
        self, station_id: str, connector_number: int, id_tag: str, meter_start_wh: float
    ) -> Transaction | None:
        """The open 1.6 transaction of a start that has no usable time and is told again."""
        return await self._newest(
            _TRANSACTION.c.station_id == station_id,
            _TRANSACTION.c.connector_number == connector_number,
            _TRANSACTION.c.id_tag == id_tag,
            _TRANSACTION.c.meter_start_wh == meter_start_wh,
            _TRANSACTION.c.transaction_ref.is_(None),
            _TRANSACTION.c.ended_at.is_(None),
        )

    async def open_of_station(self, station_id: str) -> list[Transaction]:
        found = await self._connection.execute(
            select(_TRANSACTION).where(
                _TRANSACTION.c.tenant_id == self._tenant_id,
                _TRANSACTION.c.station_id == station_id,
                _TRANSACTION.c.ended_at.is_(None),
            )
        )
        return [_transaction(dict(row)) for row in found.mappings()]

    async def complete(self, transaction_id: int, **values: Any) -> None:
        """What the event that opened the row did not know: start, register, connector, token, attempt."""
        await self._connection.execute(
            _TRANSACTION.update()
            .where(
                _TRANSACTION.c.tenant_id == self._tenant_id,
                _TRANSACTION.c.transaction_id == transaction_id,
            )
            .values(values)
        )

    async def close_transaction(
        self,
        transaction_id: int,
        ended_at: datetime,
        meter_stop_wh: float | None,
        reason: str,
        energy_wh: float | None = None,
        findings: str = "",
        *,
        instead_of: str | None = None,
    ) -> bool:
        """End it. False where it had ended before: the first end stands, unless `instead_of` is why."""
        values: dict[str, Any] = {
            "ended_at": ended_at,
            "reason": reason,
            "energy_wh": energy_wh,
            "findings": findings,
        }
        if meter_stop_wh is not None:
            values["meter_wh"] = meter_stop_wh
        done = await self._connection.execute(
            _TRANSACTION.update()
            .where(
                _TRANSACTION.c.tenant_id == self._tenant_id,
                _TRANSACTION.c.transaction_id == transaction_id,
                or_(_TRANSACTION.c.ended_at.is_(None), _TRANSACTION.c.reason == instead_of),
            )
            .values(values)
        )
        return done.rowcount > 0

    async def _newest(self, *where: ColumnElement[bool]) -> Transaction | None:
        found = await self._connection.execute(
            select(_TRANSACTION)
            .where(_TRANSACTION.c.tenant_id == self._tenant_id, *where)
            .order_by(_TRANSACTION.c.transaction_id.desc())
            .limit(1)
        )
        row = found.mappings().first()
        return _transaction(dict(row)) if row else None


def _transaction(row: dict[str, Any], *, fresh: bool = False) -> Transaction:
    return Transaction.model_validate({**row, "fresh": fresh})
