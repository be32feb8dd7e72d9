"""The gateway's house over the store. What many stations say in one moment shares one commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from connectors.ocpp.door.certificates import StationAuthority
from connectors.ocpp.limits.profiles import FAILSAFE
from connectors.ocpp.ports import (
    LOST,
    ConnectorFacts,
    EndOfTransaction,
    EvidenceOf,
    StartOfTransaction,
    StationInfo,
    Told,
    TransactionFacts,
)
from connectors.ocpp.truth.register import Register
from connectors.ocpp.vendor_fields import SeenField
from connectors.ports import RoutedEvidence
from models.charging_limit import ChargingLimit, LimitReply, LimitState
from models.ids import TenantId
from models.station import StationEvent, StationEventKind, StationIdentity
from store.chargers import ConnectorReport
from store.database import Store, TenantUnit
from store.journal import JournalEvent
from store.sessions import Transaction
from store.stations import VendorField
from workers.gateway.absence import clear_away, mark_away
from workers.gateway.admission import StationAdmission
from workers.gateway.group_commit import GroupCommit
from workers.gateway.settlement import UNKNOWN_WH, settled, start_wh

_TOKEN_LIVES = timedelta(hours=24)
_LANES = 2
_IN_FORCE = (LimitState.ACCEPTED, LimitState.APPLIED, LimitState.UNCERTAIN)


class EvidenceWriter(Protocol):
    """workers.evidence_relay: evidence goes into our transaction; delivery follows the commit."""

    async def write(self, unit: TenantUnit, items: list[RoutedEvidence]) -> None: ...

    def wake(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Write:
    """What one message adds to the house."""

    journal: list[JournalEvent] = field(default_factory=list[JournalEvent])
    evidence: list[RoutedEvidence] = field(default_factory=list[RoutedEvidence])
    connectors: list[ConnectorReport] = field(default_factory=list[ConnectorReport])
    notes: list[tuple[str, StationEvent]] = field(default_factory=list[tuple[str, StationEvent]])


class OcppHouse(StationAdmission):
    """The whole house of a gateway (connectors.ocpp.ports.House)."""

    def __init__(
        self,
        store: Store,
        queue: str,
        evidence: EvidenceWriter,
        *,
        operator: str = "Backstop",
        authority: StationAuthority | None = None,
        open_door: bool = False,
    ) -> None:
        super().__init__(store, queue, operator=operator, authority=authority, open_door=open_door)
        self._evidence = evidence
        self._writers: dict[str, GroupCommit[_Write, None]] = {}

    # --- contact ------------------------------------------------------------------------------------------

    async def went_away(
        self, station: StationInfo, generation: str, since: datetime, evidence: list[RoutedEvidence]
    ) -> bool:
        async with self._unit(station) as unit:
            told = await mark_away(unit, station.tenant_id, station.station_id, generation, since)
            if told:
                await self._evidence.write(unit, evidence)
        self._evidence.wake()
        return told

    async def came_back(self, station: StationInfo, since: datetime, evidence: list[RoutedEvidence]) -> None:
        async with self._unit(station) as unit:
            await clear_away(unit, station.tenant_id, station.station_id, since)
            await self._evidence.write(unit, evidence)
        self._evidence.wake()

    # --- transactions -----------------------------------------------------------------------------------

    async def knows_token(self, station: StationInfo, token: str) -> bool:
        if station.settings.foreign_tokens:
            return True
        async with self._unit(station) as unit:
            since = datetime.now(UTC) - _TOKEN_LIVES
            return await unit.attempts.knows_token(station.station_id, token, since)

    async def start(
        self, station: StationInfo, start: StartOfTransaction, told: list[Told], evidence_of: EvidenceOf
    ) -> TransactionFacts:
        async with self._unit(station) as unit:
            attempt_id = await _attempt_of(unit, station, start)
            row = await _same_open(unit, station, start, attempt_id)
            row = row or await unit.sessions.open_transaction(
                station.station_id,
                start.connector_number,
                start.id_tag,
                start.started_at,
                _meter_start_wh(start),
                attempt_id,
                start.transaction_ref,
            )
            row = await _completed(unit, row, start, attempt_id)
            facts = await _facts(unit, row)
            await unit.journal.append(_journal(station, told, row.transaction_id))
            await self._evidence.write(unit, evidence_of(facts))
        self._evidence.wake()
        return facts

    async def find(
        self,
        station: StationInfo,
        *,
        transaction_id: int | None = None,
        transaction_ref: str | None = None,
        ended_at: datetime | None = None,
    ) -> TransactionFacts | None:
        async with self._unit(station) as unit:
            row = await unit.sessions.find(
                station.station_id,
                transaction_id=transaction_id,
                transaction_ref=transaction_ref,
                ended_at=ended_at,
            )
            return await _facts(unit, row) if row else None

    async def open_transactions(self, station: StationInfo) -> list[tuple[TransactionFacts, Register]]:
        async with self._unit(station) as unit:
            rows = await unit.sessions.open_of_station(station.station_id)
            return [
                (
                    await _facts(unit, row),
                    settled(row, await unit.journal.of_transaction(row.transaction_id), None).register,
                )
                for row in rows
            ]

    async def end(
        self,
        station: StationInfo,
        facts: TransactionFacts,
        end: EndOfTransaction,
        told: list[Told],
        evidence_of: EvidenceOf,
    ) -> TransactionFacts:
        number = facts.transaction_id
        async with self._unit(station) as unit:
            stop = Told(
                "stop",
                facts.connector_number,
                end.ended_at,
                register_wh=end.meter_stop_wh,
                body={"reason": end.reason, "findings": list(end.findings)},
            )
            await unit.journal.append(_journal(station, [*told, stop], number))
            row = await unit.sessions.find(station.station_id, transaction_id=number)
            if row is None:
                raise RuntimeError("a transaction that is open is not to be found")
            worth = settled(row, await unit.journal.of_transaction(number), end.ended_at)
            findings = " ".join(sorted(worth.findings))
            await unit.sessions.close_transaction(
                number,
                end.ended_at,
                worth.register.wh,
                end.reason,
                worth.energy_wh,
                findings,
                instead_of=f"{end.reason.partition(':')[0]}:{LOST}",
            )
            news = {"ended_at": end.ended_at, "energy_wh": worth.energy_wh, "reason": end.reason}
            done = facts.model_copy(update=news)
            await self._evidence.write(unit, evidence_of(done))
        self._evidence.wake()
        return done

    async def late(
        self, station: StationInfo, facts: TransactionFacts, told: list[Told], evidence_of: EvidenceOf
    ) -> None:
        """Told after the end: kept, and the energy folded again, so that a meter value that came last but was
        measured before is not lost. If only now the end is known to belong to an attempt, it is told now."""
        async with self._unit(station) as unit:
            await unit.journal.append(_journal(station, told, facts.transaction_id))
            row = await unit.sessions.find(station.station_id, transaction_id=facts.transaction_id)
            if row is None or row.ended_at is None:
                return
            worth = settled(row, await unit.journal.of_transaction(row.transaction_id), row.ended_at)
            found = set(worth.findings)
            if worth.energy_wh != row.energy_wh or "told_after_the_end" in row.findings.split():
                found.add("told_after_the_end")
            findings = " ".join(sorted(found))
            if (worth.energy_wh, findings) != (row.energy_wh, row.findings):
                news = {"energy_wh": worth.energy_wh, "findings": findings}
                await unit.sessions.complete(row.transaction_id, **news)
            done = (await _facts(unit, row)).model_copy(update={"energy_wh": worth.energy_wh})
            await self._evidence.write(unit, evidence_of(done))
        self._evidence.wake()

    # --- grouped writes -----------------------------------------------------------------------------------

    async def record(self, station: StationInfo, told: list[Told], evidence: list[RoutedEvidence]) -> None:
        if told or evidence:
            await self._write(station, _Write(journal=_journal(station, told), evidence=evidence))

    async def connector(
        self, station: StationInfo, facts: ConnectorFacts | None, evidence: list[RoutedEvidence]
    ) -> None:
        reports = (
            [
                ConnectorReport(
                    charger_id=facts.charger_id,
                    status=facts.status,
                    status_at=facts.status_at,
                    state_since=facts.state_since,
                    changes_last_hour=facts.changes_last_hour,
                    fault_code=facts.fault_code[:200],
                )
            ]
            if facts is not None
            else []
        )
        await self._write(station, _Write(connectors=reports, evidence=evidence))

    async def note(self, station: StationInfo, event: StationEvent) -> None:
        await self._write(station, _Write(notes=[(station.station_id, event)]))

    async def _write(self, station: StationInfo, write: _Write) -> None:
        tenant = station.tenant_id
        writer = self._writers.get(tenant)
        if writer is None:

            async def run(writes: list[_Write]) -> list[None]:
                return await self._write_all(TenantId(tenant), writes)

            writer = self._writers[tenant] = GroupCommit[_Write, None](run, lanes=_LANES)
        await writer.submit(write)

    async def _write_all(self, tenant_id: TenantId, writes: list[_Write]) -> list[None]:
        evidence = [item for write in writes for item in write.evidence]
        async with self._store.tenant(tenant_id) as unit:
            await unit.journal.append([event for write in writes for event in write.journal])
            await unit.chargers.set_connectors([report for write in writes for report in write.connectors])
            await unit.stations.note([entry for write in writes for entry in write.notes])
            await self._evidence.write(unit, evidence)
        if evidence:
            self._evidence.wake()
        return [None] * len(writes)

    # --- the station ----------------------------------------------------------------------------------------

    async def booted(self, station: StationInfo, identity: StationIdentity, at: datetime) -> None:
        async with self._unit(station) as unit:
            await unit.stations.booted(station.station_id, identity, at)

    async def keep(self, station: StationInfo, reason: str, raw: bytes) -> None:
        async with self._unit(station) as unit:
            await unit.quarantine.keep(f"ocpp:{station.station_id}", reason, raw)

    async def limits_in_force(self, station: StationInfo) -> list[ChargingLimit]:
        async with self._unit(station) as unit:
            rows = await unit.stations.limits(station.station_id)
        return [
            # Told again, its periods go on from when it was told first.
            row.limit.model_copy(update={"starts_at": row.limit.starts_at or row.changed_at})
            for row in rows
            if row.reply.state in _IN_FORCE and not row.limit.limit_id.startswith(FAILSAFE)
        ]

    async def limit(self, limit: ChargingLimit, reply: LimitReply) -> None:
        event = StationEvent(
            kind=StationEventKind.LIMIT,
            observed_at=datetime.now(UTC),
            body={
                "connector": limit.connector_number,
                "purpose": str(limit.purpose),
                "limit_kw": [period.limit_kw for period in limit.periods],
                **reply.model_dump(mode="json", exclude={"detail"}),
            },
        )
        async with self._store.tenant(TenantId(limit.tenant_id)) as unit:
            await unit.stations.put_limit(limit, reply)
            await unit.stations.note([(limit.station_id, event)])

    async def count_fields(self, seen: list[SeenField]) -> None:
        for tenant in sorted({one.tenant_id for one in seen}):
            fields = [
                VendorField(
                    model=one.model[:100],
                    action=one.action,
                    field=one.field,
                    messages=one.messages,
                    example=one.example,
                )
                for one in seen
                if one.tenant_id == tenant
            ]
            async with self._store.tenant(TenantId(tenant)) as unit:
                await unit.stations.count_fields(fields)


async def _attempt_of(unit: TenantUnit, station: StationInfo, start: StartOfTransaction) -> str | None:
    """By our own reference, where the station repeats it; else by connector, token and time."""
    match = None
    if start.remote_start_id is not None:
        match = await unit.attempts.find_by_remote_start_id(station.station_id, start.remote_start_id)
    for at in start.may_have_begun_at or [start.started_at]:
        if match is None and start.id_tag:
            known = station.station_id, start.connector_number, start.id_tag
            match = await unit.attempts.find_for_start(*known, at)
    return match.attempt_id if match else None


async def _same_open(
    unit: TenantUnit, station: StationInfo, start: StartOfTransaction, attempt_id: str | None
) -> Transaction | None:
    """A start without a usable time is told again with another: the same register and tag at the same
    connector, while that transaction is open, are the same start."""
    if start.clock_known or start.transaction_ref is not None:
        return None
    row = await unit.sessions.find_told_again(
        station.station_id, start.connector_number, start.id_tag, _meter_start_wh(start)
    )
    return row if row is not None and attempt_id in (None, row.attempt_id) else None


def _meter_start_wh(start: StartOfTransaction) -> float:
    return UNKNOWN_WH if start.meter_start_wh is None else start.meter_start_wh


async def _completed(
    unit: TenantUnit, row: Transaction, start: StartOfTransaction, attempt_id: str | None
) -> Transaction:
    """An event that overtook the start opened the row; what it did not know is taken from this one."""
    news: dict[str, Any] = {}
    if start.in_start and row.meter_start_wh == UNKNOWN_WH and start.meter_start_wh is not None:
        news["meter_start_wh"] = start.meter_start_wh
    if start.in_start and start.transaction_ref is not None and start.started_at < row.started_at:
        news["started_at"] = start.started_at
    if row.connector_number < 1 <= start.connector_number:
        news["connector_number"] = start.connector_number
    if not row.id_tag and start.id_tag:
        news["id_tag"] = start.id_tag
    if row.attempt_id is None and attempt_id is not None:
        news["attempt_id"] = attempt_id
    if not news:
        return row
    await unit.sessions.complete(row.transaction_id, **news)
    return row.model_copy(update=news)


async def _facts(unit: TenantUnit, row: Transaction) -> TransactionFacts:
    match = await unit.attempts.find(row.attempt_id) if row.attempt_id else None
    return TransactionFacts(
        transaction_id=row.transaction_id,
        transaction_ref=row.transaction_ref,
        connector_number=row.connector_number,
        id_tag=row.id_tag,
        meter_start_wh=start_wh(row),
        started_at=row.started_at,
        ended_at=row.ended_at,
        energy_wh=row.energy_wh,
        reason=row.reason or "",
        attempt_id=row.attempt_id,
        stop_id=match.stop_id if match else None,
    )


def _journal(station: StationInfo, told: list[Told], transaction_id: int | None = None) -> list[JournalEvent]:
    return [
        JournalEvent(
            station_id=station.station_id,
            transaction_id=transaction_id if transaction_id is not None else one.transaction_id,
            connector_number=one.connector_number,
            kind=one.kind,
            observed_at=one.observed_at,
            sequence=one.sequence,
            offline=one.offline,
            register_wh=one.register_wh,
            power_kw=one.power_kw,
            soc_percent=one.soc_percent,
            body=one.body,
        )
        for one in told
    ]
