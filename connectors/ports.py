"""What activities and wiring see of the outside worlds. Concrete connectors meet these only in
workers/bootstrap.py."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from models.base import Message
from models.charger import Charger
from models.commands import ChargerCommand, CommandReply
from models.evidence import Evidence
from models.place import Place
from models.station_commands import StationReply, StationTask


class CommandPort(Protocol):
    """Sends one command to the peer that owns a charger (a station on our socket, a roaming partner, a
    telematics vendor).

    Must not raise for anything the peer does: rejection, silence and transport errors are replies. It never
    sends twice by itself; whether a command was sent before is decided by the caller (command ledger)."""

    async def send(self, command: ChargerCommand) -> CommandReply: ...


class StationPort(Protocol):
    """Does one task at a station that this process holds. Never raises for what the station does."""

    async def do(self, task: StationTask) -> StationReply: ...


class RoutedEvidence(Message):
    """Evidence and what is known about whom it concerns. Where `stop_id` is unknown, the sink correlates by
    attempt id, or by vehicle, and keeps what it cannot match."""

    tenant_id: str
    evidence: Evidence
    stop_id: str | None = None
    vehicle_telematics_id: str | None = None


class EvidenceSink(Protocol):
    """Where connectors put what they hear. Returns once it is durable: only then may the peer be answered.
    A repeat of an `event_id` is dropped."""

    async def accept(self, items: list[RoutedEvidence]) -> None: ...


class VehicleSnapshot(Message):
    """The vehicle as its vendor saw it last. None means not known, never zero."""

    telematics_id: str
    observed_at: datetime | None = None
    soc_percent: float | None = None
    is_plugged_in: bool | None = None
    is_charging: bool | None = None
    power_kw: float | None = None
    position: Place | None = None
    reachable: bool | None = None


class VehicleStatePort(Protocol):
    """Reads a vehicle's state from its vendor. Returns None when the vendor does not know or answer."""

    async def read(self, tenant_id: str, telematics_id: str) -> VehicleSnapshot | None: ...


class ChargerCatalogue(Protocol):
    """Where connectors write the chargers they learn of (OCPI locations, say)."""

    async def upsert(self, tenant_id: str, chargers: list[Charger]) -> int: ...


class Quarantine(Protocol):
    """Keeps what cannot be read: raw bytes, source and reason. Nothing is dropped."""

    async def keep(self, tenant_id: str, source: str, reason: str, raw: bytes, detail: str = "") -> None: ...
