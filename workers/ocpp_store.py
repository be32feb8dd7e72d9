"""The gateway's house over the store. What many stations say in one moment shares one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from connectors.ocpp.certificates import CsrRefused, StationAuthority
from connectors.ocpp.passwords import NOBODY, hash_password, matches
from connectors.ocpp.ports import (
    ConnectorFacts,
    Credentials,
    EndOfTransaction,
    EvidenceOf,
    StartOfTransaction,
    StationInfo,
    Told,
    TransactionFacts,
)
from connectors.ocpp.register import Reading, Register, folded
from connectors.ports import RoutedEvidence
from models.charging_limit import ChargingLimit, LimitReply
from models.ids import TenantId
from models.station import StationEvent, StationEventKind, StationIdentity, StationSettings
from store.chargers import ConnectorReport
from store.database import Store, TenantUnit
from store.journal import JournalEvent
from store.platform import Station
from store.sessions import Transaction
from store.stations import VendorField
from workers.group_commit import GroupCommit

_UNKNOWN_WH = -1.0
_TOKEN_LIVES = timedelta(hours=24)
_LANES = 2


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


class OcppHouse:
    """`queue`: where commands for the stations of this gateway are taken from. `operator`: the O of station
    certificates. `open_door`: security profile 0 counts (development only)."""

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
        self._store, self._queue, self._evidence = store, queue, evidence
        self._operator, self._authority, self._open_door = operator, authority, open_door
        self._writers: dict[str, GroupCommit[_Write, None]] = {}
        self._lookups = GroupCommit[str, tuple[Station, dict[int, str]] | None](self._look_up, lanes=_LANES)
        self._claims = GroupCommit[tuple[str, str, str, str, str], None](self._claim_all)
        self._releases = GroupCommit[tuple[str, str], None](self._release_all)

    # --- the door ---------------------------------------------------------------------------------------

    async def authenticate(self, shown: Credentials) -> StationInfo | None:
        found = await self._lookups.submit(shown.station_id)
        station, connectors = found if found else (None, {})
        fits = matches(station.password_hash if station else NOBODY, shown.password)
        renewed = matches((station and station.next_password_hash) or NOBODY, shown.password)
        if station is None or not self._opens(station, shown, fits or renewed):
            return None
        if renewed and not fits:
            async with self._store.tenant(station.tenant_id) as unit:
                await unit.stations.take_password(station.station_id)
        body: dict[str, Any] = station.body or {}
        settings = body.get("settings") or {
            "station_id": station.station_id,
            "security_profile": station.security_profile,
            "admission": station.admission,
            "protocol_pin": station.protocol_pin,
        }
        return StationInfo(
            tenant_id=station.tenant_id,
            station_id=station.station_id,
            settings=StationSettings.model_validate(settings),
            identity=StationIdentity.model_validate(body.get("identity") or {}),
            connectors=connectors,
        )

    def _opens(self, station: Station, shown: Credentials, password_fits: bool) -> bool:
        """The agreed profile or a better one, never a lesser one (OCPP 2.0.1 part 2, A05)."""
        by_name = shown.user == station.station_id and password_fits
        match station.security_profile:
            case 0:
                return self._open_door or by_name
            case 1:
                return by_name
            case 2:
                return by_name and shown.encrypted
            case _:
                return shown.encrypted and shown.subject == (station.station_id, self._operator)

    async def _look_up(self, station_ids: list[str]) -> list[tuple[Station, dict[int, str]] | None]:
        async with self._store.platform() as unit:
            stations = await unit.stations_of(station_ids)
        connectors: dict[str, dict[int, str]] = {}
        for tenant_id in {station.tenant_id for station in stations.values()}:
            mine = [name for name, station in stations.items() if station.tenant_id == tenant_id]
            async with self._store.tenant(tenant_id) as unit:
                connectors |= await unit.stations.connectors_of(mine)
        return [
            (stations[name], connectors.get(name, {})) if name in stations else None for name in station_ids
        ]

    async def claim(self, station: StationInfo, generation: str, version: str) -> None:
        await self._claims.submit((station.tenant_id, station.station_id, self._queue, generation, version))

    async def _claim_all(self, claims: list[tuple[str, str, str, str, str]]) -> list[None]:
        async with self._store.platform() as unit:
            await unit.claim_routes(claims)
        return [None] * len(claims)

    async def release(self, station: StationInfo, generation: str) -> None:
        await self._releases.submit((station.station_id, generation))

    async def _release_all(self, releases: list[tuple[str, str]]) -> list[None]:
        async with self._store.platform() as unit:
            await unit.release_routes(releases)
        return [None] * len(releases)

    async def begin(self) -> None:
        """What a forerunner of this gateway held is not held any more."""
        async with self._store.platform() as unit:
            await unit.drop_routes(self._queue)

    async def hold(self, generations: list[str]) -> None:
        """Say again what is held; called once in a while, planning believes a line only so long."""
        async with self._store.platform() as unit:
            await unit.hold_routes(self._queue, generations)

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
            row = await unit.sessions.open_transaction(
                station.station_id,
                start.connector_number,
                start.id_tag,
                start.started_at,
                _UNKNOWN_WH if start.meter_start_wh is None else start.meter_start_wh,
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
        self, station: StationInfo, *, transaction_id: int | None = None, transaction_ref: str | None = None
    ) -> TransactionFacts | None:
        async with self._unit(station) as unit:
            row = await unit.sessions.find(
                station.station_id, transaction_id=transaction_id, transaction_ref=transaction_ref
            )
            return await _facts(unit, row) if row else None

    async def open_transactions(self, station: StationInfo) -> list[tuple[TransactionFacts, Register]]:
        async with self._unit(station) as unit:
            rows = await unit.sessions.open_of_station(station.station_id)
            return [(await _facts(unit, row), await _register(unit, row)) for row in rows]

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
            register, missing = await _settled(unit, row, end)
            findings = sorted({*end.findings, *register.findings, *missing})
            energy_wh = None if register.wh is None else round(register.taken_wh, 3)
            await unit.sessions.close_transaction(
                number, end.ended_at, register.wh, end.reason, energy_wh, " ".join(findings)
            )
            done = facts.model_copy(update={"ended_at": end.ended_at, "energy_wh": energy_wh})
            await self._evidence.write(unit, evidence_of(done))
        self._evidence.wake()
        return done

    async def late(self, station: StationInfo, facts: TransactionFacts, told: list[Told]) -> None:
        """Told after the end: kept, and the energy folded again, so that a meter value that came last but was
        measured before is not lost."""
        async with self._unit(station) as unit:
            await unit.journal.append(_journal(station, told, facts.transaction_id))
            row = await unit.sessions.find(station.station_id, transaction_id=facts.transaction_id)
            if row is None or row.ended_at is None or all(one.register_wh is None for one in told):
                return
            register, _ = await _settled(unit, row, None)
            if register.wh is not None and round(register.taken_wh, 3) != row.energy_wh:
                await unit.sessions.complete(
                    row.transaction_id,
                    energy_wh=round(register.taken_wh, 3),
                    findings=f"{row.findings} told_after_the_end".strip(),
                )

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

    async def sign(self, station: StationInfo, csr_pem: str) -> str | None:
        if self._authority is None:
            return None
        now = datetime.now(UTC)
        try:
            signed = self._authority.sign(csr_pem, station.station_id, self._operator, now)
        except (CsrRefused, ValueError):
            return None
        async with self._unit(station) as unit:
            await unit.stations.add_certificate(
                station.station_id, signed.serial_hex, signed.fingerprint_sha256, signed.not_after
            )
        return signed.chain_pem

    async def offer_password(self, station: StationInfo, password: bytes) -> None:
        async with self._unit(station) as unit:
            await unit.stations.offer_password(station.station_id, hash_password(password))

    async def password_answered(self, station: StationInfo, accepted: bool) -> None:
        async with self._unit(station) as unit:
            if accepted:
                await unit.stations.take_password(station.station_id)
            else:
                await unit.stations.withdraw_password(station.station_id)

    async def count_fields(self, counts: Sequence[tuple[tuple[str, str, str, str], int]]) -> None:
        """((tenant, model, action, field), messages)."""
        for tenant in sorted({key[0] for key, _ in counts}):
            fields = [
                VendorField(model=model[:100], action=action, field=name, messages=number)
                for (owner, model, action, name), number in counts
                if owner == tenant
            ]
            async with self._store.tenant(TenantId(tenant)) as unit:
                await unit.stations.count_fields(fields)

    def _unit(self, station: StationInfo) -> Any:
        return self._store.tenant(TenantId(station.tenant_id))


async def _attempt_of(unit: TenantUnit, station: StationInfo, start: StartOfTransaction) -> str | None:
    """By our own reference, where the station repeats it; else by connector, token and time."""
    match = None
    if start.remote_start_id is not None:
        match = await unit.attempts.find_by_remote_start_id(station.station_id, start.remote_start_id)
    if match is None and start.id_tag:
        match = await unit.attempts.find_for_start(
            station.station_id, start.connector_number, start.id_tag, start.started_at
        )
    return match.attempt_id if match else None


async def _completed(
    unit: TenantUnit, row: Transaction, start: StartOfTransaction, attempt_id: str | None
) -> Transaction:
    """An event that overtook the start opened the row; what it did not know is taken from this one."""
    news: dict[str, Any] = {}
    if start.in_start and row.meter_start_wh == _UNKNOWN_WH and start.meter_start_wh is not None:
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
        meter_start_wh=_start_wh(row),
        started_at=row.started_at,
        ended_at=row.ended_at,
        energy_wh=row.energy_wh,
        attempt_id=row.attempt_id,
        stop_id=match.stop_id if match else None,
    )


def _start_wh(row: Transaction) -> float | None:
    return None if row.meter_start_wh == _UNKNOWN_WH else row.meter_start_wh


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


def _reading(event: JournalEvent) -> Reading:
    known = not event.body or event.body.get("unit_known", True)
    return Reading(event.observed_at, event.register_wh or 0.0, bool(known))


async def _register(unit: TenantUnit, row: Transaction) -> Register:
    events = await unit.journal.of_transaction(row.transaction_id)
    readings = [_reading(event) for event in events if event.register_wh is not None]
    return folded(_start_wh(row), row.started_at, readings)


async def _settled(
    unit: TenantUnit, row: Transaction, end: EndOfTransaction | None
) -> tuple[Register, set[str]]:
    """The register over the whole journal, the stop's own value last; and what sequence numbers miss."""
    events = await unit.journal.of_transaction(row.transaction_id)
    readings = [_reading(e) for e in events if e.register_wh is not None and e.kind != "stop"]
    stops = [_reading(e) for e in events if e.register_wh is not None and e.kind == "stop"]
    if end is not None and end.meter_stop_wh is not None:
        stops = [Reading(end.ended_at, end.meter_stop_wh)]
    register = folded(_start_wh(row), row.started_at, readings, stops[0] if stops else None)
    numbers = {event.sequence for event in events if event.sequence is not None}
    is_whole = not numbers or len(numbers) == max(numbers) - min(numbers) + 1
    return register, set() if is_whole else {"events_missing"}
