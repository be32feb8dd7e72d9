"""What both OCPP versions mean, said once: a station's session with the house."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.ocpp.meter import energy_wh, power_kw, soc_percent
from connectors.ocpp.ports import House, StartOfTransaction, StationInfo, TransactionFacts
from connectors.ocpp.schemas import Json
from connectors.ports import EvidenceSink, RoutedEvidence
from models.charger import ConnectorStatus
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode

_FUTURE = timedelta(minutes=5)


def instant(text: Any) -> datetime:
    """A station's timestamp in UTC; the present where it cannot be read or lies more than 5 minutes ahead
    (a station with a wrong clock must not hide the truth behind it)."""
    now = datetime.now(UTC)
    try:
        at = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return now
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return now if at > now + _FUTURE else at


class StationSession:
    """Turns what a station says into transactions, status and evidence. Every method returns once durable."""

    def __init__(
        self, station: StationInfo, house: House, sink: EvidenceSink, meter_evidence_interval_s: float
    ) -> None:
        self.station = station
        self.house = house
        self.sink = sink
        self.booted = asyncio.Event()
        self._interval_s = meter_evidence_interval_s
        self._told_at: dict[int, datetime] = {}
        self._flowing: set[int] = set()

    # --- transactions -----------------------------------------------------------------------------------

    async def started(self, start: StartOfTransaction) -> TransactionFacts:
        facts = await self.house.start(self.station, start)
        await self._tell(facts, EvidenceKind.SESSION_STARTED, start.started_at, energy_kwh=0.0)
        return facts

    async def metered(self, facts: TransactionFacts, meter_values: list[Json], at: datetime) -> None:
        """Progress of a transaction; told to the stop at the turn to flowing, then once per interval."""
        total_wh, power = energy_wh(meter_values), power_kw(meter_values)
        if total_wh is None and power is None:
            return
        if total_wh is not None:
            await self.house.meter(self.station, facts, total_wh, at)
        taken_kwh = facts.taken_kwh(total_wh)
        number = facts.transaction_id
        flows = (taken_kwh or 0.0) > 0.01 or (power or 0.0) > 0.1
        if flows and number not in self._flowing:
            self._flowing.add(number)
            kind = EvidenceKind.ENERGY_FLOWING
        elif self._is_due(number, at):
            kind = EvidenceKind.METER
        else:
            return
        self._told_at[number] = at
        await self._tell(facts, kind, at, energy_kwh=taken_kwh, power_kw=power, soc=soc_percent(meter_values))

    def _is_due(self, transaction_id: int, at: datetime) -> bool:
        told = self._told_at.get(transaction_id)
        return told is None or (at - told).total_seconds() >= self._interval_s

    async def ended(
        self,
        facts: TransactionFacts,
        at: datetime,
        meter_wh: float | None,
        reason: ReasonCode | None,
        vendor_code: str,
    ) -> None:
        await self.house.stop(self.station, facts, at, meter_wh, vendor_code)
        taken_kwh = facts.taken_kwh(meter_wh)
        await self._tell(
            facts,
            EvidenceKind.SESSION_ENDED,
            at,
            energy_kwh=taken_kwh,
            reason=reason,
            vendor_code=vendor_code,
        )
        self._told_at.pop(facts.transaction_id, None)
        self._flowing.discard(facts.transaction_id)

    async def suspended(self, facts: TransactionFacts, at: datetime, *, by_vehicle: bool) -> None:
        kind = EvidenceKind.SUSPENDED_BY_VEHICLE if by_vehicle else EvidenceKind.SUSPENDED_BY_CHARGER
        await self._tell(facts, kind, at)

    async def _tell(
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
    ) -> None:
        """Evidence about a transaction that an attempt of ours asked for; others are none of ours."""
        if facts.attempt_id is None:
            return
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
        await self._route(evidence, facts.stop_id)

    # --- connectors -------------------------------------------------------------------------------------

    async def connector(
        self,
        number: int,
        status: ConnectorStatus,
        at: datetime,
        *,
        plugged: bool = False,
        fault: ReasonCode | None = None,
        vendor_code: str = "",
    ) -> None:
        """A connector's status: for planning, and as evidence where it says that a vehicle was plugged in or
        that the connector faulted."""
        await self.house.status(self.station, number, status, at)
        charger_id = self.station.connectors.get(number)
        if charger_id is None or not (plugged or fault):
            return
        facts = await self.house.find(self.station, connector_number=number)
        evidence = Evidence(
            event_id=f"ocpp:{self.station.station_id}:{number}:{status}:{at.isoformat()}",
            source=EvidenceSource.OCPP,
            kind=EvidenceKind.CONNECTOR_FAULTED if fault else EvidenceKind.PLUGGED_IN,
            observed_at=at,
            attempt_id=facts.attempt_id if facts and fault else None,
            charger_id=charger_id,
            reason=fault,
            vendor_code=vendor_code,
        )
        await self._route(evidence, facts.stop_id if facts and fault else None)

    async def went_offline(self) -> None:
        """Its open sessions go on without us: said once, so that an operator sees why nothing moves."""
        now = datetime.now(UTC)
        for facts in await self.house.open_transactions(self.station):
            await self._tell(facts, EvidenceKind.STATION_OFFLINE, now)

    async def _route(self, evidence: Evidence, stop_id: str | None) -> None:
        await self.sink.accept(
            [RoutedEvidence(tenant_id=self.station.tenant_id, evidence=evidence, stop_id=stop_id)]
        )
