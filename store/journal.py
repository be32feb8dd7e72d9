"""The journal of OCPP transactions: written in groups, read back whole.

One statement writes what many stations said in the same moment; the price of durability (one commit) is
shared by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select, text

from models.ids import TenantId
from models.tables.ocpp import OcppEventRow
from store.scope import TenantScope, table_of

_EVENT = table_of(OcppEventRow)

# One JSON parameter: an array for each column costs our process four times as much to write out.
_APPEND = text(
    """
    INSERT INTO ocpp_event (tenant_id, station_id, transaction_id, connector_number, kind, sequence,
        observed_at, offline, register_wh, power_kw, soc_percent, body)
    SELECT :tenant, station_id, transaction_id, connector_number, kind, sequence, observed_at, offline,
        register_wh, power_kw, soc_percent, NULLIF(body, 'null')
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row (station_id text, transaction_id bigint,
        connector_number int, kind text, sequence int, observed_at timestamptz, offline bool,
        register_wh float8, power_kw float8, soc_percent float8, body jsonb)
    """
)


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One message or sample of a transaction. `kind`: start, meter, update, stop. Register in Wh."""

    station_id: str
    transaction_id: int | None
    connector_number: int
    kind: str
    observed_at: datetime
    sequence: int | None = None
    offline: bool = False
    register_wh: float | None = None
    power_kw: float | None = None
    soc_percent: float | None = None
    body: dict[str, Any] | None = None
    position: int = 0
    """Where it stands in the journal, once it is there: the order of arrival."""


class JournalRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def append(self, events: list[JournalEvent]) -> None:
        """Keep events, in this order."""
        if events:
            rows = orjson.dumps(events).decode()
            await self._connection.execute(_APPEND, {"tenant": self._tenant_id, "rows": rows})

    async def of_transaction(self, transaction_id: int) -> list[JournalEvent]:
        """By event time; what has the same time, in the order in which it was told."""
        found = await self._connection.execute(
            select(_EVENT)
            .where(_EVENT.c.tenant_id == self._tenant_id, _EVENT.c.transaction_id == transaction_id)
            .order_by(_EVENT.c.observed_at, _EVENT.c.sequence.nulls_first(), _EVENT.c.position)
        )
        return [
            JournalEvent(
                station_id=row.station_id,
                transaction_id=row.transaction_id,
                connector_number=row.connector_number,
                kind=row.kind,
                observed_at=row.observed_at,
                sequence=row.sequence,
                offline=row.offline,
                register_wh=row.register_wh,
                power_kw=row.power_kw,
                soc_percent=row.soc_percent,
                body=row.body,
                position=row.position,
            )
            for row in found
        ]
