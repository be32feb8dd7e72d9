"""The gateway's house over the store."""

from __future__ import annotations

from datetime import datetime

from connectors.ocpp.passwords import NOBODY, matches
from connectors.ocpp.ports import StartOfTransaction, StationInfo, TransactionFacts
from models.charger import ConnectorStatus
from models.ids import TenantId
from store.database import Store, TenantUnit
from store.sessions import Transaction

_UNKNOWN_WH = -1.0


class OcppHouse:
    """`queue`: where commands for the stations of this gateway are taken from."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self._queue = queue

    async def authenticate(self, station_id: str, password: bytes) -> StationInfo | None:
        async with self._store.platform() as unit:
            known = await unit.station(station_id)
        right = matches(known.password_hash if known else NOBODY, password)
        if known is None or not right:
            return None
        async with self._store.tenant(known.tenant_id) as unit:
            chargers = await unit.chargers.by_station(station_id)
        return StationInfo(
            tenant_id=known.tenant_id,
            station_id=station_id,
            protocol_pin=known.protocol_pin,
            connectors={charger.connector_number: charger.charger_id for charger in chargers},
        )

    async def claim(self, station: StationInfo, generation: str, version: str) -> None:
        async with self._store.platform() as unit:
            await unit.claim_route(station.station_id, self._queue, generation, version)

    async def release(self, station: StationInfo, generation: str) -> None:
        async with self._store.platform() as unit:
            await unit.release_route(station.station_id, generation)

    async def start(self, station: StationInfo, start: StartOfTransaction) -> TransactionFacts:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            attempts = unit.attempts
            if start.remote_start_id is not None:
                match = await attempts.find_by_remote_start_id(station.station_id, start.remote_start_id)
            else:
                match = await attempts.find_for_start(
                    station.station_id, start.connector_number, start.id_tag, start.started_at
                )
            row = await unit.sessions.open_transaction(
                station.station_id,
                start.connector_number,
                start.id_tag,
                start.started_at,
                _UNKNOWN_WH if start.meter_start_wh is None else start.meter_start_wh,
                match.attempt_id if match else None,
                start.transaction_ref,
            )
            if row.meter_start_wh == _UNKNOWN_WH and start.meter_start_wh is not None:
                # An event that overtook the start opened the row; the start itself knows the register.
                await unit.sessions.set_meter_start(row.transaction_id, start.meter_start_wh)
                row = row.model_copy(update={"meter_start_wh": start.meter_start_wh})
            return await _facts(unit, row)

    async def find(
        self,
        station: StationInfo,
        *,
        transaction_id: int | None = None,
        transaction_ref: str | None = None,
        connector_number: int | None = None,
    ) -> TransactionFacts | None:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            if transaction_id is not None or transaction_ref is not None:
                row = await unit.sessions.find(
                    station.station_id, transaction_id=transaction_id, transaction_ref=transaction_ref
                )
            else:
                row = await unit.sessions.find_open(station.station_id, connector_number or 0)
            return await _facts(unit, row) if row else None

    async def meter(
        self, station: StationInfo, facts: TransactionFacts, meter_wh: float, at: datetime
    ) -> None:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            await unit.sessions.progress(facts.transaction_id, meter_wh, at)

    async def stop(
        self, station: StationInfo, facts: TransactionFacts, at: datetime, meter_wh: float | None, reason: str
    ) -> bool:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            return await unit.sessions.close_transaction(facts.transaction_id, at, meter_wh, reason)

    async def status(
        self, station: StationInfo, connector_number: int, status: ConnectorStatus, at: datetime
    ) -> None:
        charger_id = station.connectors.get(connector_number)
        if charger_id is None:
            return
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            await unit.chargers.set_status(charger_id, status, at)

    async def open_transactions(self, station: StationInfo) -> list[TransactionFacts]:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            rows = await unit.sessions.open_of_station(station.station_id)
            return [await _facts(unit, row) for row in rows]

    async def keep(self, station: StationInfo, reason: str, raw: bytes) -> None:
        async with self._store.tenant(TenantId(station.tenant_id)) as unit:
            await unit.quarantine.keep(f"ocpp:{station.station_id}", reason, raw)


async def _facts(unit: TenantUnit, row: Transaction) -> TransactionFacts:
    match = await unit.attempts.find(row.attempt_id) if row.attempt_id else None
    return TransactionFacts(
        transaction_id=row.transaction_id,
        transaction_ref=row.transaction_ref,
        connector_number=row.connector_number,
        meter_start_wh=None if row.meter_start_wh == _UNKNOWN_WH else row.meter_start_wh,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempt_id=row.attempt_id,
        stop_id=match.stop_id if match else None,
    )
