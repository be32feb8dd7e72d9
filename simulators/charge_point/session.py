"""A charge point's transaction, its meter, and what the connector and its teller must know of each other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from simulators.twin import FaultKind

Json = dict[str, Any]

ROLLOVER_WH = 2**31
"""Where an int32 energy register starts again at 0."""
CHARGEX_VENDOR = "https://chargex.inl.gov"
_SAVED = (
    "token_uid",
    "vehicle_id",
    "meter_start_wh",
    "remote_start_id",
    "reference",
    "number",
    "sequence",
    "energy_wh",
    "lost_wh",
    "readings",
    "state",
    "resets_after_s",
    "reservation_id",
)


def now() -> datetime:
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Session:
    """A transaction of the charge point. `number` comes from the central system in 1.6, late maybe.
    `energy_wh` is the truth; `register_wh` is what the meter shows, which faults may falsify."""

    token_uid: str
    vehicle_id: str
    meter_start_wh: float
    remote_start_id: int | None = None
    reference: str = field(default_factory=lambda: uuid.uuid4().hex)
    number: int | None = None
    sequence: int = 0
    energy_wh: float = 0.0
    lost_wh: float = 0.0
    readings: int = 0
    state: str = "Charging"
    resets_after_s: float | None = None
    reservation_id: int | None = None
    faults: frozenset[FaultKind] = frozenset()
    ended: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def shown_reference(self) -> str:
        return str(self.number) if self.number is not None else self.reference

    @property
    def register_wh(self) -> float:
        shown = self.meter_start_wh + self.energy_wh - self.lost_wh
        return shown % ROLLOVER_WH if FaultKind.REGISTER_ROLLOVER in self.faults else shown

    def snapshot(self) -> Json:
        saved: Json = {name: getattr(self, name) for name in _SAVED}
        return saved | {"faults": sorted(self.faults)}

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> Session:
        faults = frozenset(FaultKind(kind) for kind in kept["faults"])
        return cls(**{name: kept[name] for name in _SAVED}, faults=faults)


@dataclass(frozen=True)
class Flow:
    """What flows now, and what the station offers the vehicle. `offered_a` is per phase."""

    power_kw: float
    soc_percent: float | None
    offered_kw: float
    offered_a: float


class Teller(Protocol):
    """How the connector tells the central system; one per OCPP version. `mrec`: ChargeX code of a fault."""

    def status(self, number: int, word: str, mrec: str, at: datetime, *, front: bool = False) -> None: ...

    def started(
        self, number: int, session: Session, flow: Flow, *, copies: int = 1, reordered: bool = False
    ) -> None: ...

    def changed(self, number: int, session: Session) -> None: ...

    def metered(self, number: int, session: Session, flow: Flow, *, triggered: bool = False) -> None: ...

    def read(self, number: int, session: Session, flow: Flow, *, is_idle: bool) -> None:
        """MeterValues on request; `is_idle`: `session` is only a stand-in, no transaction runs."""
        ...

    def ended(self, number: int, session: Session, reason: str, mrec: str) -> None: ...


class House(Protocol):
    """The station, as its connectors see it: what it decides, and what must be known there."""

    def clock(self) -> datetime: ...

    def drop(self, seconds: float) -> None: ...

    def black_out(self, seconds: float) -> None: ...

    def limit_kw(self, number: int) -> float | None: ...

    def ends_at_zero(self, number: int) -> bool: ...

    def may_start(self, number: int, token_uid: str) -> bool: ...

    def changed(self, connector: Connected) -> None:
        """Plug, status or transaction of a connector."""
        ...


class Connected(Protocol):
    """A connector, as the station's device sees it."""

    status: str
    session: Session | None

    @property
    def number(self) -> int: ...

    @property
    def is_plugged(self) -> bool: ...

    def snapshot(self) -> Json: ...


class Speaker(Protocol):
    """The station, as its teller sees it."""

    def clock(self) -> datetime:
        """The station's own, which may be wrong."""
        ...

    def say(self, action: str, body: Json, *, front: bool = False) -> None: ...

    def ask(self, action: str, body: Json, on_reply: Any) -> None:
        """`on_reply(reply)`; unsaid when the station is offline or refused."""
        ...

    def say_kept(self, number: int, session: Session, action: str, body: Json) -> None:
        """A transaction message: queued on disk, in order."""
        ...

    def send(self, action: str, body: Json) -> None:
        """OCPP 2.1's SEND: no answer, no queue."""
        ...
