"""What all OCPP versions mean, said once: a station's session with the house."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from connectors.ocpp.connectors import Connectors, Report
from connectors.ocpp.evidence import of_contact, of_end, of_transaction
from connectors.ocpp.ports import (
    LOST,
    EndOfTransaction,
    House,
    StartOfTransaction,
    StationInfo,
    Told,
    TransactionFacts,
)
from connectors.ocpp.truth.clock import CLAMPED, Lag
from connectors.ocpp.truth.connector_state import ConnectorTrack
from connectors.ocpp.truth.flow import Flow, FlowState
from connectors.ocpp.truth.meter import Sample
from connectors.ocpp.truth.register import Reading, Register
from connectors.ocpp.wire.rpc import Rpc
from connectors.ocpp.wire.schemas import Json
from connectors.ports import RoutedEvidence
from models.evidence import EvidenceKind
from models.reason_catalogue import from_ocpp201_trigger
from models.reason_codes import Phase
from models.station import Admission, StationEvent, StationEventKind, StationIdentity

STALE_AFTER = timedelta(minutes=10)
"""How long a connector is free, or has another transaction, before an end that was not told is given up."""


class OpenTransaction:
    """A transaction under way, with what its register has shown and what the stop was told last."""

    __slots__ = ("facts", "flow", "register", "told_at")

    def __init__(self, facts: TransactionFacts, register: Register) -> None:
        self.facts = facts
        self.register = register
        self.flow = Flow(register.taken_wh)
        self.told_at: datetime | None = None


class StationSession:
    """Turns what a station says into transactions, connector states and evidence; durable when it returns.

    The station's open transactions are held here: while its socket is ours, nobody else changes them."""

    __slots__ = (
        "_interval_s", "_open", "admission", "booted", "connectors", "house", "identity", "lag", "on_meter",
        "rpc", "station",
    )  # fmt: skip

    def __init__(self, station: StationInfo, house: House, meter_evidence_interval_s: float) -> None:
        self.station = station
        self.house = house
        self.rpc: Rpc | None = None
        self.identity: StationIdentity = station.identity
        self.admission = station.settings.admission
        self.booted: asyncio.Event | None = None
        self.connectors = Connectors(house)
        self.lag = Lag()
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
            for one in loaded.values():
                self.connectors.ours(self.station, one.facts)
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
        self.connectors.ours(self.station, facts)
        self.connectors.stranger_told(self.station, facts, start)
        return mine

    def _start_evidence(self, facts: TransactionFacts, start: StartOfTransaction) -> list[RoutedEvidence]:
        if facts.attempt_id is None:
            return self.connectors.stranger(self.station, facts, start)
        kind, detail = EvidenceKind.SESSION_STARTED, "" if start.clock_known else CLAMPED
        return of_transaction(self.station, facts, kind, start.started_at, energy_kwh=0.0, detail=detail)

    async def metered(
        self, transaction: OpenTransaction, samples: list[Sample], told: list[Told], *, paused: bool = False
    ) -> None:
        """Progress of a transaction; told to the stop at each turn to flowing, then once per interval.
        `paused`: the station says so with these samples, whatever they show."""
        facts, register = transaction.facts, transaction.register
        evidence: list[RoutedEvidence] = []
        for sample in samples:
            if sample.register_wh is not None:
                register.read(Reading(sample.at, sample.register_wh, sample.unit_known))
            elif sample.power_kw is None:
                continue
            kind = self._progress_of(transaction, sample, paused)
            if kind is not None:
                transaction.told_at = sample.at
                evidence += of_transaction(
                    self.station,
                    facts,
                    kind,
                    sample.at,
                    energy_kwh=register.taken_kwh,
                    power_kw=sample.power_kw,
                    soc=sample.soc_percent,
                )
        await self.house.record(self.station, told, evidence)

    def _progress_of(self, transaction: OpenTransaction, sample: Sample, paused: bool) -> EvidenceKind | None:
        taken_wh = transaction.register.taken_wh
        if not paused and transaction.flow.shows(sample.at, taken_wh, sample.power_kw):
            return EvidenceKind.ENERGY_FLOWING
        told_at = transaction.told_at
        # Either way: a clock that was set back must not silence the session until it has caught up.
        if told_at is None or abs((sample.at - told_at).total_seconds()) >= self._interval_s:
            return EvidenceKind.METER
        return None

    async def ended(self, facts: TransactionFacts, end: EndOfTransaction, told: list[Told]) -> None:
        """The first end that the station tells stands."""
        detail = "" if end.clock_known else CLAMPED
        await self.house.end(self.station, facts, end, told, lambda done: of_end(self.station, done, detail))
        (await self.open_transactions()).pop(facts.transaction_id, None)

    async def late(self, facts: TransactionFacts, told: list[Told]) -> None:
        """Told after the end: it counts for the energy where it was measured before, and reopens nothing."""
        await self.house.late(self.station, facts, told, lambda done: of_end(self.station, done, ""))

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
        free_since = self.connectors.free_since(one.facts.connector_number)
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
        end = EndOfTransaction(at, None, f"{one.facts.generation}:{LOST}", ("end_not_told",))
        await self.ended(one.facts, end, [])

    async def given_up(self, transaction: OpenTransaction, at: datetime, trigger: str) -> None:
        """2.x: the transaction goes on, and will never charge. It ends when the vehicle leaves, for a stop
        far too late."""
        phase = Phase.SUSTAIN if transaction.flow.has_flowed else Phase.CONFIRM
        await self._tell(
            of_transaction(
                self.station,
                transaction.facts,
                EvidenceKind.SESSION_INVALID,
                at,
                reason=from_ocpp201_trigger(trigger, phase),
                vendor_code=f"ocpp2.0.1:{trigger}",
            )
        )

    async def flow_said(
        self, transaction: OpenTransaction, word: str, at: datetime, detail: str = ""
    ) -> None:
        """Charging, SuspendedEV or SuspendedEVSE: a chargingState (2.x), or the connector's status (1.6).
        Told to the stop where it is a turn."""
        flow, kind = transaction.flow, _FLOW_KIND.get(word)
        if kind is None:
            return
        turned = flow.charges(at) if word == "Charging" else flow.pauses(_PAUSES[word], at)
        if turned:
            energy_kwh = transaction.register.taken_kwh
            await self._tell(
                of_transaction(
                    self.station, transaction.facts, kind, at, energy_kwh=energy_kwh, detail=detail
                )
            )

    async def _tell(self, evidence: list[RoutedEvidence]) -> None:
        if evidence:
            await self.house.record(self.station, [], evidence)

    # --- connectors -------------------------------------------------------------------------------------

    def track(self, number: int) -> ConnectorTrack:
        """As this connection has heard it, from where the one before left off."""
        return self.connectors.track(self.station, number)

    async def connector(self, number: int, report: Report) -> None:
        """A connector's status. What is older than the last report is history and says nothing."""
        is_taken = self.track(number).report(report.word, report.at, report.fault_code)
        if is_taken and number in self.station.connectors:
            newest = await self.at_connector(number)
            await self.connectors.report(self.station, number, report, newest.facts if newest else None)

    # --- contact --------------------------------------------------------------------------------------------

    async def went_away(self, generation: str, since: datetime) -> bool:
        """Its socket is lost, and no other has taken its place: for our sessions, which go on without us, and
        for stops on their way. False where it is back by now."""
        under_way = [one.facts for one in (await self.open_transactions()).values()]
        kind, mark = EvidenceKind.STATION_OFFLINE, since.isoformat()
        evidence = of_contact(self.station, under_way, kind, since, mark)
        return await self.house.went_away(self.station, generation, since, evidence)

    async def came_back(self, since: datetime, at: datetime) -> None:
        """The end of an absence that was told. `since`: when it began."""
        under_way = [one.facts for one in (await self.open_transactions()).values()]
        kind, mark = EvidenceKind.STATION_ONLINE, since.isoformat()
        await self.house.came_back(self.station, since, of_contact(self.station, under_way, kind, at, mark))

    # --- the station itself -----------------------------------------------------------------------------

    async def note(self, kind: StationEventKind, body: dict[str, object], at: datetime | None = None) -> None:
        """A line of the station's log."""
        event = StationEvent(kind=kind, observed_at=at or datetime.now(UTC), body=body)
        await self.house.note(self.station, event)


_PAUSES = {"SuspendedEV": FlowState.PAUSED_BY_VEHICLE, "SuspendedEVSE": FlowState.PAUSED_BY_STATION}
_FLOW_KIND = {
    "Charging": EvidenceKind.ENERGY_FLOWING,
    "SuspendedEV": EvidenceKind.SUSPENDED_BY_VEHICLE,
    "SuspendedEVSE": EvidenceKind.SUSPENDED_BY_CHARGER,
}
