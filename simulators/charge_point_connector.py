"""One connector of a simulated charge point: plug, start, charge, stop, and what goes wrong."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from simulators.twin import ConnectorState, Fault, FaultKind, Ledger, PlugIn, TwinConnector, TwinPace

_TICK_S = 0.25


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Session:
    """A transaction of the charge point. `number` comes from the central system in 1.6, late maybe."""

    token_uid: str
    vehicle_id: str
    meter_start_wh: float
    remote_start_id: int | None = None
    reference: str = field(default_factory=lambda: uuid.uuid4().hex)
    number: int | None = None
    sequence: int = 0
    energy_wh: float = 0.0
    ended: bool = False

    @property
    def shown_reference(self) -> str:
        return str(self.number) if self.number is not None else self.reference


class Teller(Protocol):
    """How the connector tells the central system; one per OCPP version."""

    def status(self, number: int, word: str, error: str = "NoError") -> None: ...

    def started(self, number: int, session: Session, copies: int, reordered: bool) -> None: ...

    def metered(self, number: int, session: Session, power_kw: float, soc_percent: float) -> None: ...

    def ended(self, number: int, session: Session, reason: str) -> None: ...


class ConnectorTwin:
    """`tell`: towards the central system. `drop(seconds)`: the station loses its connection."""

    def __init__(
        self,
        connector: TwinConnector,
        pace: TwinPace,
        ledger: Ledger,
        tell: Teller,
        drop: Callable[[float], None],
    ) -> None:
        self.connector = connector
        self.faults: list[Fault] = list(connector.faults)
        self.status = "Available"
        self.session: Session | None = None
        self._pace, self._ledger, self._tell, self._drop = pace, ledger, tell, drop
        self._plug: PlugIn | None = None
        self._plugged = asyncio.Event()
        self._unplugged = asyncio.Event()
        self._stop_reason: str | None = None
        self._soc_percent = 0.0
        self._power_kw = 0.0
        self._register_wh = 100_000.0
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def number(self) -> int:
        return self.connector.number

    # --- faults -----------------------------------------------------------------------------------------

    def _armed(self, kind: FaultKind) -> bool:
        return any(fault.kind is kind and fault.times > 0 for fault in self.faults)

    def strike(self, kind: FaultKind) -> Fault | None:
        """Spend one stroke of a fault, if the plan has it."""
        for index, fault in enumerate(self.faults):
            if fault.kind is kind and fault.times > 0:
                self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None

    # --- the plug ---------------------------------------------------------------------------------------

    def state(self) -> ConnectorState:
        foreign = self._armed(FaultKind.OCCUPIED_ON_ARRIVAL) and self._plug is None
        session = self.session
        return ConnectorState(
            status="charging" if foreign else self.status.lower(),
            vehicle_id=self._plug.vehicle_id if self._plug else None,
            charging=session is not None and self._power_kw > 0,
            power_kw=self._power_kw,
            energy_kwh=session.energy_wh / 1000 if session else 0.0,
            soc_percent=self._soc_percent if self._plug else None,
            session_ref=session.shown_reference if session else None,
        )

    def plug(self, vehicle: PlugIn) -> bool:
        """False where another vehicle holds the connector."""
        if self._plug is not None or self.strike(FaultKind.OCCUPIED_ON_ARRIVAL):
            return self._plug is not None and self._plug.vehicle_id == vehicle.vehicle_id
        self._plug, self._soc_percent = vehicle, vehicle.soc_percent
        self._unplugged.clear()
        self._plugged.set()
        if self.status == "Available":
            self._say("Preparing")
        return True

    def unplug(self) -> None:
        self._plug = None
        self._plugged.clear()
        self._unplugged.set()
        if self.session is None and self.status not in ("Available", "Faulted"):
            self._say("Available")

    def _say(self, word: str, error: str = "NoError") -> None:
        self.status = word
        self._tell.status(self.number, word, error)

    # --- commands ---------------------------------------------------------------------------------------

    def remote_start(self, key: str, token_uid: str, remote_start_id: int | None) -> bool:
        """Accepted or not. Accepted only means that the station will try."""
        busy = self.session is not None or self._starting or self.status in ("Faulted", "Unavailable")
        refused = bool(busy or self.strike(FaultKind.OCCUPIED_ON_ARRIVAL) or self.strike(FaultKind.REJECT))
        self._ledger.add(
            "command_start",
            self.connector.charger_id,
            key=key,
            result="rejected" if refused else "accepted",
            vehicle_id=self._plug.vehicle_id if self._plug else None,
        )
        if not refused and self.strike(FaultKind.ACCEPT_NEVER_START) is None:
            late = self.strike(FaultKind.START_LATE)
            self._run(self._start(token_uid, remote_start_id, late.delay_s if late else 0.05))
        return not refused

    def remote_stop(self, key: str) -> bool:
        session = self.session
        known = session is not None and key in (session.reference, str(session.number))
        self._ledger.add(
            "command_stop", self.connector.charger_id, key=key, result="accepted" if known else "rejected"
        )
        if known:
            self._stop_reason = "Remote"
        return known

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- a session --------------------------------------------------------------------------------------

    async def _start(self, token_uid: str, remote_start_id: int | None, delay_s: float) -> None:
        self._starting = True
        try:
            await asyncio.sleep(delay_s)
            if self._plug is None:
                try:
                    async with asyncio.timeout(self._pace.connection_timeout_s):
                        await self._plugged.wait()
                except TimeoutError:
                    return  # ConnectionTimeOut: back to Available without a word, as real stations do
        finally:
            self._starting = False
        vehicle = self._plug
        if vehicle is None or self.session is not None:
            return
        session = Session(token_uid, vehicle.vehicle_id, self._register_wh, remote_start_id)
        self.session, self._stop_reason = session, None
        twice = 2 if self.strike(FaultKind.DUPLICATE_EVENTS) else 1
        reordered = self.strike(FaultKind.REORDERED_EVENTS) is not None
        self._ledger.add(
            "session_started",
            self.connector.charger_id,
            key=str(remote_start_id or token_uid),
            vehicle_id=vehicle.vehicle_id,
            session_ref=session.reference,
        )
        self._tell.started(self.number, session, twice, reordered)
        self._say("Charging")
        await self._charge(session, vehicle)

    async def _charge(self, session: Session, vehicle: PlugIn) -> None:
        fault = self.strike(FaultKind.FAULT_MID_CHARGE)
        elapsed_s, told_s, reason = 0.0, 0.0, ""
        while not reason:
            await asyncio.sleep(_TICK_S)
            elapsed_s += _TICK_S
            self._grow(session, vehicle, _TICK_S)
            if elapsed_s - told_s >= self._pace.meter_interval_s:
                told_s = elapsed_s
                self._tell.metered(self.number, session, self._power_kw, self._soc_percent)
            if self._plug is None:
                reason = "EVDisconnected"
            elif self._stop_reason is not None:
                reason = self._stop_reason
            elif fault is not None and elapsed_s >= fault.delay_s:
                reason = "Fault"
            elif self._soc_percent >= vehicle.target_soc_percent - 0.01:
                reason = "Full"
        self._power_kw = 0.0
        session.ended = True
        if reason == "Fault":
            self._say("Faulted", "GroundFailure")
        self._tell.ended(self.number, session, reason)
        self._ledger.add(
            "session_ended",
            self.connector.charger_id,
            key=str(session.remote_start_id or session.token_uid),
            result=reason,
            vehicle_id=session.vehicle_id,
            session_ref=session.reference,
            energy_kwh=session.energy_wh / 1000,
        )
        self.session = None
        await self._afterwards(reason)

    def _grow(self, session: Session, vehicle: PlugIn, seconds: float) -> None:
        self._power_kw = min(self.connector.power_kw, vehicle.max_power_kw)
        left_kwh = max(0.0, vehicle.target_soc_percent - self._soc_percent) / 100 * vehicle.battery_kwh
        kwh = min(left_kwh, self._power_kw * seconds * self._pace.speed / 3600)
        session.energy_wh += kwh * 1000
        self._register_wh += kwh * 1000
        self._soc_percent += kwh / vehicle.battery_kwh * 100

    async def _afterwards(self, reason: str) -> None:
        if reason == "Fault":
            await self._unplugged.wait()
            await asyncio.sleep(20)
        elif self._plug is not None:
            self._say("Finishing")
            await self._unplugged.wait()
        if self.session is None:
            self._say("Available")

    def goes_offline(self) -> bool:
        """At a start command the station loses its connection, before it has read the command."""
        fault = self.strike(FaultKind.GOES_OFFLINE)
        if fault is not None:
            self._drop(fault.delay_s)
        return fault is not None
