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

_APPEND = text(
    """
    INSERT INTO ocpp_event (tenant_id, station_id, transaction_id, connector_number, kind, sequence,
        observed_at, offline, register_wh, power_kw, soc_percent, body)
    SELECT :tenant, * FROM unnest(CAST(:stations AS text[]), CAST(:transactions AS bigint[]),
        CAST(:connectors AS int[]), CAST(:kinds AS text[]), CAST(:sequences AS int[]),
        CAST(:at AS timestamptz[]), CAST(:offline AS bool[]), CAST(:registers AS float8[]),
        CAST(:powers AS float8[]), CAST(:socs AS float8[]), CAST(:bodies AS jsonb[]))
    """
)
_PROGRESS = text(
    """
    UPDATE ocpp_transaction AS t SET meter_wh = n.wh, meter_at = n.at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:registers AS float8[]), CAST(:at AS timestamptz[]))
        AS n (id, wh, at)
    WHERE t.tenant_id = :tenant AND t.transaction_id = n.id AND t.ended_at IS NULL
        AND (t.meter_at IS NULL OR t.meter_at <= n.at)
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


class JournalRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def append(self, events: list[JournalEvent]) -> None:
        """Keep events, and take each open transaction's newest register value for its live view."""
        if not events:
            return
        await self._connection.execute(
            _APPEND,
            {
                "tenant": self._tenant_id,
                "stations": [event.station_id for event in events],
                "transactions": [event.transaction_id for event in events],
                "connectors": [event.connector_number for event in events],
                "kinds": [event.kind for event in events],
                "sequences": [event.sequence for event in events],
                "at": [event.observed_at for event in events],
                "offline": [event.offline for event in events],
                "registers": [event.register_wh for event in events],
                "powers": [event.power_kw for event in events],
                "socs": [event.soc_percent for event in events],
                "bodies": [orjson.dumps(event.body).decode() if event.body else None for event in events],
            },
        )
        newest: dict[int, JournalEvent] = {}
        for event in events:
            number = event.transaction_id
            if number is None or event.register_wh is None:
                continue
            known = newest.get(number)
            if known is None or known.observed_at <= event.observed_at:
                newest[number] = event
        if newest:
            ids = sorted(newest)  # one order for all writers: no deadlocks
            await self._connection.execute(
                _PROGRESS,
                {
                    "tenant": self._tenant_id,
                    "ids": ids,
                    "registers": [newest[number].register_wh for number in ids],
                    "at": [newest[number].observed_at for number in ids],
                },
            )

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
            )
            for row in found
        ]
