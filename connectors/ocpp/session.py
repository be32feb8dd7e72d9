"""What all OCPP versions mean, said once: a station's session with the house."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from connectors.ocpp.ports import (
    LOST,
    ConnectorFacts,
    EndOfTransaction,
    House,
    StartOfTransaction,
    StationInfo,
    Told,
    TransactionFacts,
    is_lost,
)
from connectors.ocpp.truth.connector_state import ConnectorState, ConnectorTrack
from connectors.ocpp.truth.meter import Sample
from connectors.ocpp.truth.register import Reading, Register
from connectors.ocpp.wire.rpc import Rpc
from connectors.ocpp.wire.schemas import Json
from connectors.ports import RoutedEvidence
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_catalogue import (
    from_ocpp16_stop_reason,
    from_ocpp201_stopped_reason,
    from_ocpp201_trigger,
)
from models.reason_codes import Phase, ReasonCode
from models.station import Admission, StationEvent, StationEventKind, StationIdentity

_FLOWS_KWH, _FLOWS_KW = 0.01, 0.1
STALE_AFTER = timedelta(minutes=10)
"""How long a connector is free, or has another transaction, before an end that was not told is given up."""


class OpenTransaction:
    """A transaction under way, with what its register has shown and what the stop was told last."""

    __slots__ = ("facts", "flowing", "register", "told_at")

    def __init__(self, facts: TransactionFacts, register: Register) -> None:
        self.facts = facts
        self.register = register
        self.flowing = register.taken_wh > _FLOWS_KWH * 1000
        self.told_at: datetime | None = None


class StationSession:
    """Turns what a station says into transactions, connector states and evidence; durable when it returns.

    The station's open transactions are held here: while its socket is ours, nobody else changes them."""

    __slots__ = (
        "_interval_s", "_open", "admission", "booted", "connectors", "house", "identity", "on_meter", "rpc",
        "station",
    )  # fmt: skip

    def __init__(self, station: StationInfo, house: House, meter_evidence_interval_s: float) -> None:
        self.station = station
        self.house = house
        self.rpc: Rpc | None = None
        self.identity: StationIdentity = station.identity
        self.admission = station.settings.admission
        self.booted: asyncio.Event | None = None
        self.connectors: dict[int, ConnectorTrack] = {}
        self.on_meter: Callable[[int, list[Json]], None] | None = None
        """Told of each connector's meter values where there are limits to be seen obeyed."""
        self._interval_s = meter_evidence_interval_s
        self._open: dict[int, OpenTransaction] | None = None

    @property
    def may_speak(self) -> bool:
        return self.admission is Admission.ACCEPTED

    def accepts(self, facts: TransactionFacts) -> bool:
        """Whether a transaction's token is one of ours, or strangers may charge here."""
        return facts.attempt_id is not None or self.station.settings.foreign_tokens

    # --- transactions -----------------------------------------------------------------------------------

    async def open_transactions(self) -> dict[int, OpenTransaction]:
        """By our transaction id; read from the house once per connection."""
        if self._open is None:
            found = await self.house.open_transactions(self.station)
            loaded = {facts.transaction_id: OpenTransaction(facts, register) for facts, register in found}
            self._open = {**loaded, **(self._open or {})}
        return self._open

    async def at_connector(self, number: int) -> OpenTransaction | None:
        """The newest open transaction of a connector."""
        mine = [t for t in (await self.open_transactions()).values() if t.facts.connector_number == number]
        return max(mine, key=lambda t: (t.facts.started_at, t.facts.transaction_id), default=None)

    async def by_reference(self, reference: str) -> OpenTransaction | TransactionFacts | None:
        """A 2.x transaction: open, or as it ended, or not known."""
        for transaction in (await self.open_transactions()).values():
            if transaction.facts.transaction_ref == reference:
                return transaction
        return await self._adopted(await self.house.find(self.station, transaction_ref=reference))

    async def by_number(self, number: int) -> OpenTransaction | TransactionFacts | None:
        """A 1.6 transaction, by the id that we gave it."""
        mine = (await self.open_transactions()).get(number)
        if mine is not None:
            return mine
        return await self._adopted(await self.house.find(self.station, transaction_id=number))

    async def _adopted(self, found: TransactionFacts | None) -> OpenTransaction | TransactionFacts | None:
        """Open, and not among ours: the socket before this one opened it while this one took over."""
        if found is None or found.ended_at is not None:
            return found
        known = await self.open_transactions()
        for facts, register in await self.house.open_transactions(self.station):
            known.setdefault(facts.transaction_id, OpenTransaction(facts, register))
        return known.get(found.transaction_id, found)

    async def started(
        self, start: StartOfTransaction, told: list[Told]
    ) -> OpenTransaction | TransactionFacts:
        """Open it, or find it again. The facts alone where it has ended already."""
        known = await self.open_transactions()
        facts = await self.house.start(
            self.station, start, told, lambda facts: self._start_evidence(facts, start)
        )
        if facts.ended_at is not None:
            return facts
        mine = known.get(facts.transaction_id)
        if mine is None:
            register = Register(facts.meter_start_wh, facts.started_at)
            mine = known[facts.transaction_id] = OpenTransaction(facts, register)
        elif mine.facts.meter_start_wh != facts.meter_start_wh:
            # The start was overtaken: what the register showed before it is folded again from its beginning.
            loaded = {f.transaction_id: r for f, r in await self.house.open_transactions(self.station)}
            mine.register = loaded.get(facts.transaction_id, mine.register)
        mine.facts = facts
        return mine

    def _start_evidence(self, facts: TransactionFacts, start: StartOfTransaction) -> list[RoutedEvidence]:
        return self._evidence(facts, EvidenceKind.SESSION_STARTED, start.started_at, energy_kwh=0.0)

    async def metered(self, transaction: OpenTransaction, samples: list[Sample], told: list[Told]) -> None:
        """Progress of a transaction; told to the stop at the turn to flowing, then once per interval."""
        facts, register = transaction.facts, transaction.register
        evidence: list[RoutedEvidence] = []
        for sample in samples:
            if sample.register_wh is not None:
                register.read(Reading(sample.at, sample.register_wh, sample.unit_known))
            elif sample.power_kw is None:
                continue
            kind = self._news(transaction, sample)
            if kind is not None:
                transaction.told_at = sample.at
                evidence += self._evidence(
                    facts,
                    kind,
                    sample.at,
                    energy_kwh=register.taken_kwh,
                    power_kw=sample.power_kw,
                    soc=sample.soc_percent,
                )
        await self.house.record(self.station, told, evidence)

    def _news(self, transaction: OpenTransaction, sample: Sample) -> EvidenceKind | None:
        taken_kwh = transaction.register.taken_kwh or 0.0
        flows = taken_kwh > _FLOWS_KWH or (sample.power_kw or 0.0) > _FLOWS_KW
        if flows and not transaction.flowing:
            transaction.flowing = True
            return EvidenceKind.ENERGY_FLOWING
        told_at = transaction.told_at
        # Either way: a clock that was set back must not silence the session until it has caught up.
        if told_at is None or abs((sample.at - told_at).total_seconds()) >= self._interval_s:
            return EvidenceKind.METER
        return None

    async def ended(self, facts: TransactionFacts, end: EndOfTransaction, told: list[Told]) -> None:
        """The first end that the station tells stands."""
        await self.house.end(self.station, facts, end, told, self._end_evidence)
        (await self.open_transactions()).pop(facts.transaction_id, None)

    async def late(self, facts: TransactionFacts, told: list[Told]) -> None:
        """Told after the end: it counts for the energy where it was measured before, and reopens nothing."""
        await self.house.late(self.station, facts, told, self._end_evidence)

    def _end_evidence(self, done: TransactionFacts) -> list[RoutedEvidence]:
        if done.ended_at is None:
            return []
        generation, _, word = done.reason.partition(":")
        reason_of = from_ocpp16_stop_reason if generation == "ocpp1.6" else from_ocpp201_stopped_reason
        lost = ReasonCode.SUSTAIN_CONTACT_LOST if is_lost(done.reason) else None
        return self._evidence(
            done,
            EvidenceKind.SESSION_ENDED,
            done.ended_at,
            energy_kwh=None if done.energy_wh is None else done.energy_wh / 1000,
            reason=lost or reason_of(word, Phase.SUSTAIN),
            vendor_code=done.reason,
        )

    async def end_stale(self, now: datetime) -> None:
        """Ends transactions whose end was never told: the connector has been free, or another transaction has
        run there, for a while. What the register showed last is what they took; a stop that is told after
        all still counts."""
        for one in list((await self.open_transactions()).values()):
            if self._is_stale(one, now):
                await self.end_lost(one)

    def _is_stale(self, one: OpenTransaction, now: datetime) -> bool:
        if one.facts.connector_number < 1:
            return False  # not told yet where it runs
        shown_at = max(one.facts.started_at, one.register.at or one.facts.started_at)
        track = self.connectors.get(one.facts.connector_number)
        free_since = track.since if track is not None and track.state is ConnectorState.FREE else None
        if free_since is not None and shown_at <= free_since <= now - STALE_AFTER:
            return True
        return any(
            shown_at <= other.facts.started_at <= now - STALE_AFTER
            for other in (self._open or {}).values()
            if other is not one and other.facts.connector_number == one.facts.connector_number
        )

    async def end_lost(self, one: OpenTransaction) -> None:
        """Its end was not told, and will hardly come."""
        at = max(one.facts.started_at, one.register.at or one.facts.started_at)
        generation = "ocpp2.0.1" if one.facts.transaction_ref else "ocpp1.6"
        end = EndOfTransaction(at, None, f"{generation}:{LOST}", ("end_not_told",))
        await self.ended(one.facts, end, [])

    async def given_up(self, transaction: OpenTransaction, at: datetime, trigger: str) -> None:
        """2.x: the transaction goes on, and will never charge. It ends when the vehicle leaves, for a stop
        far too late."""
        phase = Phase.SUSTAIN if transaction.flowing else Phase.CONFIRM
        evidence = self._evidence(
            transaction.facts,
            EvidenceKind.SESSION_INVALID,
            at,
            reason=from_ocpp201_trigger(trigger, phase),
            vendor_code=f"ocpp2.0.1:{trigger}",
        )
        if evidence:
            await self.house.record(self.station, [], evidence)

    async def suspended(self, facts: TransactionFacts, at: datetime, *, by_vehicle: bool) -> None:
        kind = EvidenceKind.SUSPENDED_BY_VEHICLE if by_vehicle else EvidenceKind.SUSPENDED_BY_CHARGER
        evidence = self._evidence(facts, kind, at)
        if evidence:
            await self.house.record(self.station, [], evidence)

    def _evidence(
        self,
        facts: TransactionFacts,
        kind: EvidenceKind,
        at: datetime,
        *,
        energy_kwh: float | None = None,
        power_kw: float | None = None,
        soc: float | None = None,
        reason: ReasonCode | None = None,
        vendor_code: str = "",
    ) -> list[RoutedEvidence]:
        """Evidence about a transaction that an attempt of ours asked for; others are none of ours."""
        if facts.attempt_id is None:
            return []
        once = kind in (EvidenceKind.SESSION_STARTED, EvidenceKind.SESSION_ENDED)
        mark = "" if once else f":{at.isoformat()}"
        evidence = Evidence(
            event_id=f"ocpp:{self.station.station_id}:{facts.transaction_id}:{kind}{mark}",
            source=EvidenceSource.OCPP,
            kind=kind,
            observed_at=at,
            attempt_id=facts.attempt_id,
            charger_id=self.station.connectors.get(facts.connector_number),
            session_ref=facts.session_ref,
            energy_kwh=energy_kwh,
            power_kw=power_kw,
            soc_percent=soc,
            reason=reason,
            vendor_code=vendor_code,
        )
        return [self._routed(evidence, facts.stop_id)]

    def _routed(self, evidence: Evidence, stop_id: str | None) -> RoutedEvidence:
        return RoutedEvidence(tenant_id=self.station.tenant_id, evidence=evidence, stop_id=stop_id)

    # --- connectors -------------------------------------------------------------------------------------

    def track(self, number: int) -> ConnectorTrack:
        """As this connection has heard it, from where the one before left off."""
        track = self.connectors.get(number)
        if track is None:
            track = self.connectors[number] = ConnectorTrack(self.station.seen.get(number))
        return track

    async def connector(
        self,
        number: int,
        word: str,
        at: datetime,
        *,
        fault: ReasonCode | None = None,
        vendor_code: str = "",
    ) -> None:
        """A connector's status: for planning, and as evidence where it says that a vehicle was plugged in or
        that the connector faulted. What is older than the last report is history and says nothing."""
        track = self.track(number)
        if not track.report(word, at, vendor_code):
            return
        charger_id = self.station.connectors.get(number)
        if charger_id is None:
            return
        evidence: list[RoutedEvidence] = []
        # 2.x has one word for all that is not free: plugged in is what it says first.
        plugged = word in ("Preparing", "Occupied")
        if fault is not None or plugged:
            open_one = await self.at_connector(number) if fault else None
            facts = open_one.facts if open_one else None
            found = Evidence(
                event_id=f"ocpp:{self.station.station_id}:{number}:{track.status}:{at.isoformat()}",
                source=EvidenceSource.OCPP,
                kind=EvidenceKind.CONNECTOR_FAULTED if fault else EvidenceKind.PLUGGED_IN,
                observed_at=at,
                attempt_id=facts.attempt_id if facts else None,
                charger_id=charger_id,
                reason=fault,
                vendor_code=vendor_code if fault else "",
            )
            evidence.append(self._routed(found, facts.stop_id if facts else None))
        await self.house.connector(self.station, self._facts_of(number, track), evidence)

    async def charging_state(self, number: int, word: str, at: datetime) -> None:
        """2.x tells within the transaction what 1.6 tells in the status."""
        track = self.track(number)
        before = track.state
        if track.charging_state(word, at) and track.state is not before:
            await self.house.connector(self.station, self._facts_of(number, track), [])

    def _facts_of(self, number: int, track: ConnectorTrack) -> ConnectorFacts | None:
        charger_id = self.station.connectors.get(number)
        if charger_id is None or track.at is None or track.since is None:
            return None
        if track.state is ConnectorState.UNKNOWN:
            return None
        return ConnectorFacts(
            charger_id=charger_id,
            status=track.status,
            status_at=track.at,
            state_since=track.since,
            changes_last_hour=track.changes_last_hour(track.at),
            fault_code=track.fault_code,
        )

    async def went_offline(self) -> None:
        """Its open sessions go on without us: said once, so that an operator sees why nothing moves."""
        now = datetime.now(UTC)
        evidence = [
            item
            for transaction in (await self.open_transactions()).values()
            for item in self._evidence(transaction.facts, EvidenceKind.STATION_OFFLINE, now)
        ]
        if evidence:
            await self.house.record(self.station, [], evidence)

    # --- the station itself -----------------------------------------------------------------------------

    async def note(self, kind: StationEventKind, body: dict[str, object], at: datetime | None = None) -> None:
        """A line of the station's log."""
        event = StationEvent(kind=kind, observed_at=at or datetime.now(UTC), body=body)
        await self.house.note(self.station, event)
