"""What the gateway needs of the house; workers/ocpp_store.py gives it over the store."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from models.base import Message, UtcDatetime
from models.charger import ConnectorStatus


class StationInfo(Message):
    """A charge point that has shown who it is. `connectors`: charger id by connector (1.6) or EVSE number."""

    tenant_id: str
    station_id: str
    protocol_pin: str | None = None
    connectors: dict[int, str] = {}


class TransactionFacts(Message):
    """A transaction as the house keeps it, and the attempt it belongs to, if any."""

    transaction_id: int
    transaction_ref: str | None = None
    connector_number: int
    meter_start_wh: float | None
    started_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    attempt_id: str | None = None
    stop_id: str | None = None

    def taken_kwh(self, total_wh: float | None) -> float | None:
        """Energy of the session at a register total; None where the register's start is not known."""
        if total_wh is None or self.meter_start_wh is None:
            return None
        return max(0.0, total_wh - self.meter_start_wh) / 1000

    @property
    def session_ref(self) -> str:
        """What a stop command needs: the 2.x transaction id, or ours in 1.6."""
        return self.transaction_ref or str(self.transaction_id)


class StartOfTransaction(Message):
    connector_number: int
    id_tag: str
    started_at: UtcDatetime
    meter_start_wh: float | None
    """None where the event that came first did not say: it is taken from the start when that comes."""
    transaction_ref: str | None = None
    remote_start_id: int | None = None


class House(Protocol):
    """Everything returns once it is durable."""

    async def authenticate(self, station_id: str, password: bytes) -> StationInfo | None:
        """None for an unknown station and for a wrong password alike, after the same work."""
        ...

    async def claim(self, station: StationInfo, generation: str, version: str) -> None: ...

    async def release(self, station: StationInfo, generation: str) -> None: ...

    async def start(self, station: StationInfo, start: StartOfTransaction) -> TransactionFacts:
        """The same start told again gives the same transaction."""
        ...

    async def find(
        self,
        station: StationInfo,
        *,
        transaction_id: int | None = None,
        transaction_ref: str | None = None,
        connector_number: int | None = None,
    ) -> TransactionFacts | None:
        """By id or reference; else the open transaction of the connector."""
        ...

    async def meter(
        self, station: StationInfo, facts: TransactionFacts, meter_wh: float, at: datetime
    ) -> None: ...

    async def stop(
        self, station: StationInfo, facts: TransactionFacts, at: datetime, meter_wh: float | None, reason: str
    ) -> bool:
        """False where it had ended before."""
        ...

    async def status(
        self, station: StationInfo, connector_number: int, status: ConnectorStatus, at: datetime
    ) -> None: ...

    async def open_transactions(self, station: StationInfo) -> list[TransactionFacts]: ...

    async def keep(self, station: StationInfo, reason: str, raw: bytes) -> None:
        """Quarantine."""
        ...
