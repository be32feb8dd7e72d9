"""One connector of a simulated charge point: plug, start, charge, stop, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from models.vehicle import DC_STANDARDS
from simulators.charge_point.power import ramp
from simulators.charge_point.session import ROLLOVER_WH, Flow, House, Json, Session, Teller
from simulators.twin import (
    SESSION_FAULTS,
    ConnectorState,
    Fault,
    FaultKind,
    Ledger,
    LedgerWord,
    PlugIn,
    TwinConnector,
    TwinPace,
)

_TICK_S = 0.25
_DC_V = 400.0
_LEAST_A = 6.0  # IEC 61851: less than this per phase means pause
_ROLLS_AFTER_WH = 500.0
_REGISTER_WH = 100_000.0


class ConnectorTwin:
    """`tell`: towards the central system. `house`: the station."""

    def __init__(
        self, connector: TwinConnector, pace: TwinPace, ledger: Ledger, tell: Teller, house: House
    ) -> None:
        self.connector = connector
        self.faults: list[Fault] = list(connector.faults)
        self.status, self.mrec = "Available", ""
        self.session: Session | None = None
        self._pace, self._ledger, self._tell, self._house = pace, ledger, tell, house
        self._plug: PlugIn | None = None
        self._plugged = asyncio.Event()
        self._unplugged = asyncio.Event()
        self.began = asyncio.Event()
        self.paused = False
        self._stop_reason: str | None = None
        self._soc_percent = 0.0
        self._power_kw = 0.0
        self._register_wh = _REGISTER_WH
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: deque[tuple[str, str, datetime]] = deque(maxlen=3)

    @property
    def number(self) -> int:
        return self.connector.number

    @property
    def is_plugged(self) -> bool:
        return self._plug is not None

    @property
    def phases(self) -> int | None:
        """None: direct current."""
        return None if self.connector.standard in DC_STANDARDS else self.connector.phases

    @property
    def voltage_v(self) -> float:
        return _DC_V if self.phases is None else self.connector.voltage_v

    # --- faults -----------------------------------------------------------------------------------------

    def armed(self, kind: FaultKind) -> bool:
        return any(fault.kind is kind and fault.times > 0 for fault in self.faults)

    def strike(self, kind: FaultKind) -> Fault | None:
        """Spend one stroke of a fault, if the plan has it."""
        for index, fault in enumerate(self.faults):
            if fault.kind is kind and fault.times > 0:
                self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None

    def vanishes(self) -> bool:
        """At a start command the station loses its connection (or lets it hang), the command unread."""
        offline = self.strike(FaultKind.GOES_OFFLINE)
        if offline is not None:
            self._house.drop(offline.delay_s)
            return True
        hole = self.strike(FaultKind.BLACK_HOLE)
        if hole is not None:
            self._house.black_out(hole.delay_s)
        return hole is not None

    # --- the plug ---------------------------------------------------------------------------------------

    def state(self) -> ConnectorState:
        foreign = self.armed(FaultKind.OCCUPIED_ON_ARRIVAL) and self._plug is None
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
        if self.status == "Available" and not self.armed(FaultKind.STALE_TRANSACTION):
            self.say("Preparing")
        self._house.changed(self)
        return True

    def unplug(self) -> None:
        self._plug = None
        self._plugged.clear()
        self._unplugged.set()
        if self.session is None and self.status not in ("Available", "Faulted", "Unavailable", "Reserved"):
            self.say("Available")
        self._house.changed(self)

    def say(self, word: str, mrec: str = "") -> None:
        """The connector's status, now so and told so."""
        self.status, self.mrec = word, mrec
        self._house.changed(self)
        self._said.append((word, mrec, self._house.clock()))
        self.tell_status()

    def tell_status(self) -> None:
        """As it is now."""
        if not self.armed(FaultKind.NO_STATUS):
            self._tell.status(self.number, self.status, self.mrec, self._house.clock())

    def tell_old_statuses(self) -> None:
        """KEEP_OLD_TIMESTAMPS: after a reconnect, what was said before, with the times of then, and before
        any transaction message that waits."""
        if self.strike(FaultKind.KEEP_OLD_TIMESTAMPS) is not None:
            for word, mrec, at in self._said:  # the newest comes first: arrival order misleads
                self._tell.status(self.number, word, mrec, at, front=True)

    def tell_meter(self) -> None:
        """Asked for: a reading of the running transaction."""
        if self.session is not None:
            self._tell.metered(self.number, self.session, self._flow(), triggered=True)

    def tell_reading(self) -> None:
        """Asked for: MeterValues, charging or not."""
        session = self.session or Session("", "", self._register_wh)
        self._tell.read(self.number, session, self._flow(), is_idle=self.session is None)

    # --- commands ---------------------------------------------------------------------------------------

    def remote_start(
        self, key: str, token_uid: str, remote_start_id: int | None, *, may_start: bool = True
    ) -> bool:
        """Accepted or not. Accepted only means that the station will try."""
        busy = self.session is not None or self._starting or self.status in ("Faulted", "Unavailable")
        faults = (FaultKind.OCCUPIED_ON_ARRIVAL, FaultKind.REJECT, FaultKind.STALE_TRANSACTION)
        refused = busy or not may_start or not self._house.may_start(self.number, token_uid)
        refused = refused or any(self.strike(kind) for kind in faults)
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
        if known and self.strike(FaultKind.STOP_IGNORED) is None:
            self._stop_reason = "Remote"
        return known

    def badge(self, token_uid: str) -> bool:
        """Somebody starts at the station itself. False without a vehicle, and while it is in use."""
        is_free = self._plug is not None and self.session is None and not self._starting
        if is_free:
            self._run(self._start(token_uid, None, 0.05))
        return is_free

    def end(self) -> None:
        """The session ends, and the station does not say why."""
        self.stop("Unsaid")

    def stop(self, reason: str) -> None:
        """The station's own wish, where a transaction runs."""
        if self.session is not None:
            self._stop_reason = reason

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Power off, in the middle of whatever it does."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        await self._charge(self._begin(token_uid, remote_start_id, vehicle), vehicle)

    def _begin(self, token_uid: str, remote_start_id: int | None, vehicle: PlugIn) -> Session:
        struck = {kind: fault for kind in sorted(SESSION_FAULTS) if (fault := self.strike(kind))}
        if FaultKind.REGISTER_ROLLOVER in struck:
            self._register_wh = ROLLOVER_WH - _ROLLS_AFTER_WH
        session = Session(token_uid, vehicle.vehicle_id, self._register_wh, remote_start_id)
        session.faults = frozenset(struck)
        if FaultKind.REGISTER_RESET in struck:
            session.resets_after_s = struck[FaultKind.REGISTER_RESET].delay_s
        if FaultKind.SUSPENDED_EV in struck:
            session.state = "SuspendedEV"
        self.session, self._stop_reason = session, None
        self._house.changed(self)
        self.began.set()
        twice = 2 if self.strike(FaultKind.DUPLICATE_EVENTS) else 1
        reordered = self.strike(FaultKind.REORDERED_EVENTS) is not None
        self._book("session_started", session)
        self._tell.started(self.number, session, self._flow(), copies=twice, reordered=reordered)
        self.say(session.state)
        return session

    async def _charge(self, session: Session, vehicle: PlugIn) -> None:
        fault = self.strike(FaultKind.FAULT_MID_CHARGE)
        elapsed_s, told_s, reason = 0.0, 0.0, ""
        while not reason:
            await asyncio.sleep(_TICK_S)
            elapsed_s += _TICK_S
            self._grow(session, vehicle, _TICK_S)
            if session.resets_after_s is not None and elapsed_s >= session.resets_after_s:
                session.lost_wh, session.resets_after_s = session.register_wh, None
            if elapsed_s - told_s >= self._pace.meter_interval_s:
                told_s = elapsed_s
                self._tell.metered(self.number, session, self._flow())
            if self._plug is None:
                reason = "EVDisconnected"
            elif self._stop_reason is not None:
                reason = self._stop_reason
            elif fault is not None and elapsed_s >= fault.delay_s:
                reason = "Fault"
            elif session.state == "SuspendedEVSE" and self._house.ends_at_zero(self.number):
                reason = "Other"
            elif self._soc_percent >= vehicle.target_soc_percent - 0.01:
                reason = "Full"
        await self._end(session, reason, fault.mrec if fault is not None and reason == "Fault" else "")

    async def _end(self, session: Session, reason: str, mrec: str = "") -> None:
        self._power_kw = 0.0
        session.ended = True
        if reason == "Fault":
            self.say("Faulted", mrec)
        self._tell.ended(self.number, session, reason, mrec)
        self._book("session_ended", session, reason)
        self.session = None
        self.began.clear()
        self._house.changed(self)
        await self._afterwards(reason)

    def _book(self, what: LedgerWord, session: Session, result: str = "") -> None:
        self._ledger.add(
            what,
            self.connector.charger_id,
            key=str(session.remote_start_id or session.token_uid),
            result=result,
            vehicle_id=session.vehicle_id,
            session_ref=session.reference,
            energy_kwh=session.energy_wh / 1000 if what == "session_ended" else None,
        )

    def _offered_kw(self) -> float:
        limit_kw = 0.0 if self.paused else self._house.limit_kw(self.number)
        return (
            self.connector.power_kw if limit_kw is None else max(0.0, min(self.connector.power_kw, limit_kw))
        )

    def _flow(self) -> Flow:
        offered_kw = self._offered_kw()
        offered_a = offered_kw * 1000 / (self.voltage_v * (self.phases or 1))
        return Flow(self._power_kw, self._soc_percent, offered_kw, offered_a)

    def _grow(self, session: Session, vehicle: PlugIn, seconds: float) -> None:
        offered_kw = self._offered_kw()
        least_kw = 0.0 if self.phases is None else _LEAST_A * self.voltage_v * self.phases / 1000
        if FaultKind.SUSPENDED_EV in session.faults:
            wanted_kw, state = 0.0, "SuspendedEV"
        elif offered_kw <= 0 or offered_kw < least_kw - 1e-6:
            wanted_kw, state = 0.0, "SuspendedEVSE"
        else:
            wanted_kw, state = min(offered_kw, vehicle.max_power_kw), "Charging"
        simulated_s = seconds * self._pace.speed
        # Below the least current the contactor opens: nothing ramps down to zero.
        self._power_kw = ramp(self._power_kw, wanted_kw, simulated_s) if wanted_kw else 0.0
        left_kwh = max(0.0, vehicle.target_soc_percent - self._soc_percent) / 100 * vehicle.battery_kwh
        kwh = min(left_kwh, self._power_kw * simulated_s / 3600)
        session.energy_wh += kwh * 1000
        self._register_wh = session.register_wh
        self._soc_percent += kwh / vehicle.battery_kwh * 100
        if state != session.state:
            session.state = state
            self.say(state)
            self._tell.changed(self.number, session)

    async def _afterwards(self, reason: str) -> None:
        if reason == "Fault":
            await self._unplugged.wait()
            await asyncio.sleep(20)
        elif self._plug is not None and self.status != "Unavailable":
            self.say("Finishing")
            await self._unplugged.wait()
        if self.session is None and self.status != "Unavailable":
            self.say("Available")

    # --- over a restart ---------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        session = self.session
        return {
            "status": self.status,
            "mrec": self.mrec,
            "plug": self._plug.model_dump(mode="json") if self._plug else None,
            "soc_percent": self._soc_percent,
            "register_wh": self._register_wh,
            "faults": [fault.model_dump(mode="json") for fault in self.faults],
            "session": session.snapshot() if session is not None and not session.ended else None,
        }

    def restore(self, kept: Json, number: int | None, *, kept_power: bool) -> None:
        """As a snapshot left it: an open charge (`number`: its 1.6 transaction) goes on where the station
        kept power, and ends with PowerLoss where it did not."""
        if kept["plug"] is not None:
            self._plug = PlugIn.model_validate(kept["plug"])
            self._plugged.set()
        else:
            self._unplugged.set()
        self.status, self.mrec = kept["status"], kept["mrec"]
        self.faults = [Fault.model_validate(fault) for fault in kept["faults"]]
        self._soc_percent, self._register_wh = kept["soc_percent"], kept["register_wh"]
        if kept["session"] is not None:
            session = self.session = Session.restored(kept["session"])
            session.number = number
            going_on = self._charge(session, self._plug) if kept_power and self._plug else None
            self._run(going_on or self._end(session, "PowerLoss" if self._plug else "EVDisconnected"))
        elif self.status == "Faulted":
            self._run(self._afterwards("Fault"))
        elif not kept_power and self.status != "Unavailable":
            self.status = "Preparing" if self._plug else "Available"
        self._house.changed(self)
