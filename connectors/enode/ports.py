"""What this connector needs from the outside: its connections, and a durable log. Wired in workers/."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import Field, SecretStr

from connectors.enode.fold import VehicleFold
from connectors.ports import RoutedEvidence
from models.base import Message, UtcDatetime
from models.ids import ExternalId, TenantKey
from models.place import Place
from models.stop import StopPhase


class EnodeConnection(Message):
    """One client (environment) at the vendor, and the tenant it belongs to: this row, never a payload, says
    whose a delivery is. `webhook_secret` is ours, at least 128 bit (notes: Enode webhooks)."""

    connection_id: ExternalId
    tenant_id: TenantKey
    base_url: str
    token_url: str
    client_id: str
    client_secret: SecretStr
    webhook_secret: Annotated[SecretStr, Field(min_length=16)]
    api_version: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2024-10-01"


class Connections(Protocol):
    """The configured connections."""

    async def find(self, connection_id: str) -> EnodeConnection | None: ...

    async def of_tenant(self, tenant_id: str) -> EnodeConnection | None:
        """The connection that a tenant's vehicles are commanded through."""
        ...

    async def all(self) -> list[EnodeConnection]: ...


class StopWatch(Message):
    """The live stop of a vehicle, as far as arrival and routing need it. Observations made before `since`
    belong to an earlier life of the vehicle and prove nothing about this stop."""

    stop_id: str
    phase: StopPhase
    since: UtcDatetime
    charger_id: str | None = None
    charger_place: Place | None = None
    geofence_m: float = 120.0


class Approach(Message):
    """How a vehicle comes nearer to the charger of its stop, as far as the next step must know it. Begun anew
    for each stop and each charger. Distances as the crow flies; never a position."""

    stop_id: str
    charger_id: str | None = None
    nearest_km: float | None = None
    told_km: float | None = None
    """The distance that was told last, as one that had grown."""
    told_at: UtcDatetime | None = None
    inside_since: UtcDatetime | None = None
    """Of the first of the fixes inside the geofence that the last one continues."""
    has_arrived: bool = False
    """Told so, of this stay inside."""


class ActionNote(Message):
    """For whom an action was asked: vendor actions carry no reference of ours."""

    stop_id: str
    attempt_id: str
    charger_id: str


class TelematicsUnit(Protocol):
    """One transaction over one connection's log: raw events, folds and evidence commit together or not at
    all. Only after the commit may the vendor be answered."""

    async def lock(self, name: str) -> None:
        """Held until the transaction ends; serialises writers of one vehicle or one delivery."""
        ...

    async def keep_raw(self, key: str, event: str, raw: bytes, received_at: datetime) -> bool:
        """Keeps one raw event. False when the key is there already."""
        ...

    async def load_fold(self, telematics_id: str) -> VehicleFold: ...

    async def save_fold(self, telematics_id: str, fold: VehicleFold) -> None: ...

    async def watch(self, telematics_id: str) -> StopWatch | None:
        """The live stop of this vehicle, if any."""
        ...

    async def load_approach(self, telematics_id: str) -> Approach | None: ...

    async def save_approach(self, telematics_id: str, approach: Approach) -> None: ...

    async def action(self, action_id: str) -> ActionNote | None: ...

    async def add_evidence(self, items: list[RoutedEvidence]) -> None: ...

    async def quarantine(self, reason: str, raw: bytes, detail: str) -> None: ...


class TelematicsStore(Protocol):
    """Opens units, and remembers actions for their later updates."""

    def unit(self, connection: EnodeConnection) -> AbstractAsyncContextManager[TelematicsUnit]: ...

    async def remember_action(
        self, connection: EnodeConnection, action_id: str, note: ActionNote
    ) -> None: ...
