"""One EVSE of the simulated partner: plug, start, charge, stop, and what goes wrong."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from simulators.roaming.config import PartyConfig
from simulators.roaming.push import Courier, Delivery
from simulators.roaming.wire import charge_record, cost_of, evse, evse_uid_of, stamp
from simulators.twin import (
    ConnectorState,
    Fault,
    FaultKind,
    Ledger,
    PlugIn,
    TwinConnector,
    TwinLocation,
    TwinPace,
)

_BUSY: Final = ("CHARGING", "RESERVED", "BLOCKED")
_RESULT_AFTER_S: Final = 0.05
_TIMEOUT_RESULT_AFTER_S: Final = 0.5


@dataclass
class StartOrder:
    """A START_SESSION as received."""

    reference: str
    token: dict[str, Any]
    response_url: str


@dataclass
class LiveSession:
    """A session and how its states are delivered."""

    body: dict[str, Any]
    vehicle_id: str | None
    key: str
    times: int = 1
    reordered: bool = False
    held: list[Delivery] = field(default_factory=lambda: list[Delivery]())
    simulated_s: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class EvseTwin:
    """State of one EVSE with its one connector."""

    def __init__(
        self,
        party: PartyConfig,
        location: TwinLocation,
        connector: TwinConnector,
        pace: TwinPace,
        ledger: Ledger,
        courier: Courier,
        publish: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`publish(kind, object)`: keeps sessions and charge records for the sender interfaces."""
        self.location, self.connector = location, connector
        self.uid = evse_uid_of(location, connector)
        self.charger_id = connector.charger_id
        self.faults: list[Fault] = list(connector.faults)
        self.status, self.changed = "AVAILABLE", stamp()
        self.session: LiveSession | None = None
        self.gone = self.paused = False
        self._party, self._pace, self._ledger, self._courier = party, pace, ledger, courier
        self._publish = publish
        self._plug: PlugIn | None = None
        self._plugged = asyncio.Event()
        self._soc_percent = 0.0
        self._power_kw = 0.0
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what the outside sees and does ----------------------------------------------------------------

    def wire(self) -> dict[str, Any]:
        return evse(self.location, self.connector, self.status, self.changed)

    def state(self) -> ConnectorState:
        occupied = self._armed(FaultKind.OCCUPIED_ON_ARRIVAL) and self._plug is None
        session = self.session
        return ConnectorState(
            status="CHARGING" if occupied else self.status,
            vehicle_id=self._plug.vehicle_id if self._plug else None,
            charging=session is not None and self._power_kw > 0,
            power_kw=self._power_kw,
            energy_kwh=float(session.body["kwh"]) if session else 0.0,
            soc_percent=self._soc_percent if self._plug else None,
            session_ref=str(session.body["id"]) if session else None,
        )

    def plug(self, vehicle: PlugIn) -> bool:
        """False when another vehicle stands there."""
        if self._plug is not None and self._plug.vehicle_id != vehicle.vehicle_id:
            return False
        if self._plug is None and self.session is None and self.status in _BUSY:
            return False
        if self._plug is None:
            self._soc_percent = vehicle.soc_percent
        self._plug = vehicle
        self._plugged.set()
        return True

    def unplug(self) -> None:
        self._plug = None
        self._plugged.clear()
        if self.session is not None:
            self.session.stop.set()
        elif self.status == "OUTOFORDER":
            self._set_status("AVAILABLE")

    def strike(self, kind: FaultKind) -> Fault | None:
        """Spends one strike of the fault, if it is on."""
        for index, fault in enumerate(self.faults):
            if fault.kind is kind and fault.times > 0:
                self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None

    def _armed(self, kind: FaultKind) -> bool:
        return any(fault.kind is kind and fault.times > 0 for fault in self.faults)

    def begin(self, order: StartOrder) -> None:
        """Carries out an accepted START_SESSION in the background."""
        self._spawn(self._start(order))

    def stop_session(self, response_url: str) -> None:
        if self.strike(FaultKind.STOP_DROPPED):
            return  # the charge point never hears of it
        if late := self.strike(FaultKind.STOP_LATE):
            self._spawn(self._stop_after(late.delay_s, response_url))
            return
        if self.session is not None and not self.strike(FaultKind.STOP_IGNORED):
            self.session.stop.set()
        self.answer(response_url, "ACCEPTED")

    async def _stop_after(self, delay_s: float, response_url: str) -> None:
        await asyncio.sleep(delay_s)
        self.end()
        self.answer(response_url, "ACCEPTED")

    def end(self) -> None:
        """The session ends; OCPI has no word for why."""
        if self.session is not None:
            self.session.stop.set()

    def shift(self, status: str) -> None:
        """The EVSE's status from now on, whatever stands there."""
        self._set_status(status)

    def answer(self, response_url: str, result: str) -> None:
        """The asynchronous CommandResult."""
        self._courier.send(
            f"command:{response_url}", Delivery("POST", "commands", "", {"result": result}, url=response_url)
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- a start -------------------------------------------------------------------------------------

    async def _start(self, order: StartOrder) -> None:
        late_s: float | None = None
        if fault := self.strike(FaultKind.REJECT):
            await asyncio.sleep(fault.delay_s)
            return self.answer(order.response_url, "REJECTED")
        if self.strike(FaultKind.OCCUPIED_ON_ARRIVAL) or self.session is not None or self._starting:
            return self.answer(order.response_url, "EVSE_OCCUPIED")
        if self.status in _BUSY:
            return self.answer(order.response_url, "EVSE_OCCUPIED")
        if self.status != "AVAILABLE":
            return self.answer(order.response_url, "EVSE_INOPERATIVE")
        if self.strike(FaultKind.GOES_OFFLINE):
            return None  # the partner says yes and hears no more from its charge point
        if self.strike(FaultKind.ACCEPT_NEVER_START):
            return self.answer(order.response_url, "ACCEPTED")
        if fault := self.strike(FaultKind.START_LATE):
            late_s = fault.delay_s
        self._starting = True
        try:
            if late_s is not None:
                # ocpi #475: the result is TIMEOUT, and the session starts all the same.
                await asyncio.sleep(min(_TIMEOUT_RESULT_AFTER_S, late_s))
                self.answer(order.response_url, "TIMEOUT")
                await asyncio.sleep(max(0.0, late_s - _TIMEOUT_RESULT_AFTER_S))
            else:
                await asyncio.sleep(_RESULT_AFTER_S)
                self.answer(order.response_url, "ACCEPTED")
            try:
                async with asyncio.timeout(self._pace.connection_timeout_s):
                    await self._plugged.wait()
            except TimeoutError:
                self._note("other", order.reference, "connection_timeout")
                return None
            session = self._open(order)
        finally:
            self._starting = False
        await self._charge(session)
        return None

    def _open(self, order: StartOrder) -> LiveSession:
        now = stamp()
        token = {k: order.token[k] for k in ("country_code", "party_id", "uid", "type", "contract_id")}
        body: dict[str, Any] = {
            "country_code": self._party.country_code,
            "party_id": self._party.party_id,
            "id": f"S-{uuid.uuid4().hex[:24]}",
            "start_date_time": now,
            "kwh": 0.0,
            "cdr_token": token,
            "auth_method": "COMMAND",
            "authorization_reference": order.reference,
            "location_id": self.location.location_id,
            "evse_uid": self.uid,
            "connector_id": str(self.connector.number),
            "currency": self.location.tariff.currency,
            "status": "PENDING",
            "last_updated": now,
        }
        session = LiveSession(body, self._plug.vehicle_id if self._plug else None, order.reference)
        session.times = 2 if self.strike(FaultKind.DUPLICATE_EVENTS) else 1
        if fault := self.strike(FaultKind.REORDERED_EVENTS):
            session.reordered = True
            self._spawn(self._release_after(session, fault.delay_s))
        self.session = session
        self._push(session)
        return session

    # --- a charge ------------------------------------------------------------------------------------

    async def _charge(self, session: LiveSession) -> None:
        fault = self.strike(FaultKind.FAULT_MID_CHARGE)
        loop = asyncio.get_running_loop()
        self._change(session, status="ACTIVE", start_date_time=stamp())
        self._set_status("CHARGING")
        self._note("session_started", session.key, "", session)
        began = loop.time()
        while not session.stop.is_set():
            if self.paused:
                await self._rest(session)
                continue
            step_s = self._step_s()
            if fault is not None:
                step_s = min(step_s, began + fault.delay_s - loop.time())
            if step_s <= 0:
                break
            since = loop.time()
            try:
                async with asyncio.timeout(step_s):
                    await session.stop.wait()
                self._advance(session, min(step_s, loop.time() - since))
            except TimeoutError:
                self._advance(session, step_s)
                if self._step_s() > 0:
                    self._change(session, kwh=session.body["kwh"])
        broken = fault is not None and not session.stop.is_set() and self._step_s() > 0
        self._power_kw = 0.0
        self._close(session, "OUTOFORDER" if broken else "AVAILABLE")

    async def _rest(self, session: LiveSession) -> None:
        """Load management: no energy, and the session is told again as it stands."""
        self._power_kw = 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.meter_interval_s):
                await session.stop.wait()
        self._change(session, kwh=session.body["kwh"])

    def _step_s(self) -> float:
        """Real seconds to the next meter value, or to the end of the charge if that comes first; 0 at its
        end."""
        vehicle = self._plug
        if vehicle is None:
            return 0.0
        self._power_kw = min(vehicle.max_power_kw, self.connector.power_kw)
        missing_kwh = (min(vehicle.target_soc_percent, 100.0) - self._soc_percent) / 100 * vehicle.battery_kwh
        if missing_kwh < 0.001 or self._power_kw <= 0:
            return 0.0
        left_s = missing_kwh / self._power_kw * 3600 / self._pace.speed
        return max(0.001, min(self._pace.meter_interval_s, left_s))

    def _advance(self, session: LiveSession, real_s: float) -> None:
        vehicle = self._plug
        if vehicle is None:
            return
        energy_kwh = self._power_kw * real_s * self._pace.speed / 3600
        session.simulated_s += real_s * self._pace.speed
        self._soc_percent = min(100.0, self._soc_percent + energy_kwh / vehicle.battery_kwh * 100)
        session.body["kwh"] = round(float(session.body["kwh"]) + energy_kwh, 4)

    def _close(self, session: LiveSession, status: str) -> None:
        cost, energy_kwh = cost_of(self.location, float(session.body["kwh"])), float(session.body["kwh"])
        self.session = None
        record = charge_record(self.location, self.connector, session.body, session.simulated_s, cost)
        self._publish("cdrs", record)
        post = Delivery("POST", "cdrs", "", record, times=session.times)
        if session.reordered:
            self._courier.send(self.uid, post)
        self._change(session, status="COMPLETED", end_date_time=stamp(), kwh=energy_kwh, total_cost=cost)
        self._release(session)
        if not session.reordered:
            self._courier.send(self.uid, post)
        self._note("session_ended", session.key, status, session, energy_kwh)
        self._set_status(status)

    # --- telling the peer ----------------------------------------------------------------------------

    def _change(self, session: LiveSession, **changes: Any) -> None:
        patch = {**changes, "last_updated": self._later_than(session)}
        session.body.update(patch)
        self._push(session, patch)

    @staticmethod
    def _later_than(session: LiveSession) -> str:
        return max(stamp(), session.body["last_updated"])

    def _push(self, session: LiveSession, patch: dict[str, Any] | None = None) -> None:
        """A new session as PUT, a change as PATCH (as PUT where the order is to be shuffled)."""
        body = dict(session.body)
        self._publish("sessions", body)
        path = f"{body['country_code']}/{body['party_id']}/{body['id']}"
        whole = Delivery("PUT", "sessions", path, body, times=session.times)
        if session.reordered:
            session.held.append(whole)
            return
        change = Delivery("PATCH", "sessions", path, patch or {}, times=session.times, otherwise=whole)
        self._courier.send(self.uid, change if patch else whole)

    async def _release_after(self, session: LiveSession, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._release(session)
        # From here on states go out as they come; only the record still overtakes the end.
        while self.session is session:
            await asyncio.sleep(self._pace.meter_interval_s)
            self._release(session)

    def _release(self, session: LiveSession) -> None:
        """What was held goes out newest first."""
        while session.held:
            self._courier.send(self.uid, session.held.pop())

    def _set_status(self, status: str) -> None:
        self.status, self.changed = status, stamp()
        path = f"{self._party.country_code}/{self._party.party_id}/{self.location.location_id}/{self.uid}"
        patch = {"status": status, "last_updated": self.changed}
        whole = Delivery("PUT", "locations", path, self.wire())
        self._courier.send(self.uid, Delivery("PATCH", "locations", path, patch, otherwise=whole))

    def _note(
        self,
        what: Any,
        key: str,
        result: str,
        session: LiveSession | None = None,
        energy_kwh: float | None = None,
    ) -> None:
        self._ledger.add(
            what,
            self.charger_id,
            key=key,
            result=result,
            vehicle_id=session.vehicle_id if session else None,
            session_ref=str(session.body["id"]) if session else None,
            energy_kwh=energy_kwh,
        )
