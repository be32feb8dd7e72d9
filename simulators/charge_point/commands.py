"""What a simulated charge point does with the central system's CALLs: start, stop, trigger, reset, settings.

All other commands are answered by its inner device (DeviceTwin), which this module keeps informed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from simulators.charge_point.connector import ConnectorTwin
from simulators.charge_point.device import DeviceTwin
from simulators.charge_point.device_state import StationHooks, Wiring
from simulators.charge_point.session import Connected, Json
from simulators.charge_point.socket import Answer
from simulators.twin import FaultKind

if TYPE_CHECKING:
    from simulators.charge_point.station import StationTwin

_TOLD_WITHIN_S = 2.0
_STOPPED_WITHIN_S = 5.0
_TICK_S = 0.25
_RESET_REASONS = {"Hard": "HardReset", "Soft": "SoftReset", "Immediate": "ImmediateReset"}


class Commands:
    """`password`: for the next connection. `device`: settings, profiles, reservations and the rest."""

    def __init__(self, station: StationTwin) -> None:
        self._station = station
        config = station.station
        self.password = config.password.encode()
        self._changed: dict[str, str] = station.memory.recall("settings") or {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.device = DeviceTwin(
            config.ocpp_version,
            list(station.connectors),
            clock=station.clock,
            tell=station.say,
            quirks=config.quirks,
            hooks=StationHooks(
                reset=self._reset,
                unlock=self._unlock,
                trigger=self._trigger,
                has_queued=station.outbox.has_queued,
                setting_changed=self._setting_changed,
                status=self._status,
            ),
            wiring={
                number: Wiring(c.phases, c.voltage_v, c.connector.power_kw)
                for number, c in station.connectors.items()
            },
            serial_number=config.station_id[:25],
        )
        preset = {
            "TransactionMessageAttempts": config.message_attempts,
            "TransactionMessageRetryInterval": round(config.message_interval_s),
            "ConnectionTimeOut": round(station.pace.connection_timeout_s),
            "MeterValueSampleInterval": round(station.pace.meter_interval_s),
        }
        for name, value in preset.items():
            self.device.settings.preset(name, str(value))
        for name, value in self._changed.items():
            self._apply(name, value)

    @property
    def heartbeat_s(self) -> float:
        return self.device.settings.number("HeartbeatInterval") or 30.0

    # --- answers ----------------------------------------------------------------------------------------

    async def answer(self, action: str, payload: Json) -> Answer:
        """One CALL. None: the station did not read it."""
        try:
            match action:
                case "RemoteStartTransaction" | "RequestStartTransaction":
                    return await self._start(payload)
                case "RemoteStopTransaction" | "RequestStopTransaction":
                    return await self._stop(str(payload["transactionId"]))
                case _:
                    reply = self.device.answer(action, payload)
                    self._station.memory.keep("device", self.device.snapshot())
                    return "NotImplemented" if reply is None else reply
        except (KeyError, TypeError, ValueError):
            return "FormationViolation" if self._station.is_16 else "FormatViolation"

    async def _start(self, payload: Json) -> Answer:
        number = int(payload.get("connectorId") or payload.get("evseId") or min(self._station.connectors))
        connector = self._station.connectors.get(number)
        if connector is None:
            return {"status": "Rejected"}
        if connector.vanishes():
            return None
        if self._station.is_16:
            token, remote = str(payload["idTag"]), None
        else:
            token, remote = str(payload["idToken"]["idToken"]), int(payload["remoteStartId"])
        held = self.device.profiles.hold_for_start(number, payload.get("chargingProfile"))
        accepted = connector.remote_start(str(remote or token), token, remote, may_start=held)
        if accepted and connector.strike(FaultKind.START_BEFORE_REPLY):
            with contextlib.suppress(TimeoutError):  # the transaction may never begin
                async with asyncio.timeout(_TOLD_WITHIN_S):
                    await connector.began.wait()
                    if connector.session is not None:
                        await connector.session.told.wait()
        return {"status": "Accepted" if accepted else "Rejected"}

    async def _stop(self, key: str) -> Answer:
        # Every connector is asked; the one that knows the transaction writes it down.
        connectors = list(self._station.connectors.values())
        chosen = next((c for c in connectors if _holds(c, key)), connectors[0])
        if chosen.strike(FaultKind.STOP_DROPPED):
            return None
        if late := chosen.strike(FaultKind.STOP_LATE):
            await asyncio.sleep(late.delay_s)
        return {"status": "Accepted" if chosen.remote_stop(key) else "Rejected"}

    # --- the device's hooks -----------------------------------------------------------------------------

    def _setting_changed(self, name: str, value: str) -> None:
        self._changed[name] = value
        self._station.memory.keep("settings", self._changed)
        self._apply(name, value)

    def _apply(self, name: str, value: str) -> None:
        match name:
            case "AuthorizationKey":  # 1.6 security white paper: the raw bytes, as hexadecimal digits
                self.password = bytes.fromhex(value)
            case "SecurityCtrlr.BasicAuthPassword":
                self.password = value.encode()
            case "TransactionMessageAttempts" | "OCPPCommCtrlr.MessageAttempts.TransactionEvent":
                self._station.outbox.attempts = max(1, int(value))
            case "TransactionMessageRetryInterval" | "OCPPCommCtrlr.MessageAttemptInterval.TransactionEvent":
                self._station.outbox.interval_s = float(value)
            case _:
                pass

    def _unlock(self, number: int) -> bool:
        """1.6 section 5.18: an ongoing transaction ends first. (In 2.x the device has refused by now.)"""
        self._station.connectors[number].stop("UnlockCommand")
        return True

    def _status(self, number: int, word: str) -> None:
        connector = self._station.connectors[number]
        is_freed = word == "Available" and connector.is_plugged
        connector.say("Preparing" if is_freed else word)

    def _trigger(self, message: str, number: int | None) -> bool:
        station = self._station
        chosen = [c for c in station.connectors.values() if number in (None, c.number)]
        match message:
            case "BootNotification":
                station.say(message, station.boot_body("Triggered"))
            case "StatusNotification":
                for connector in chosen:
                    connector.tell_status()
            case "MeterValues":
                for connector in chosen:
                    connector.tell_reading()
            case "TransactionEvent":
                for connector in chosen:
                    connector.tell_meter()
            case _:
                return False
        return True

    def _reset(self, kind: str) -> None:
        task = asyncio.create_task(self._reboot(_RESET_REASONS.get(kind)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reboot(self, reason: str | None) -> None:
        """Transactions end with this reason, or go on without one (2.1 ImmediateAndResume)."""
        connectors = self._station.connectors.values()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOPPED_WITHIN_S):
                await asyncio.sleep(_TICK_S)  # the answer to the Reset leaves first
                while reason is not None and any(c.session for c in connectors):
                    for connector in connectors:
                        connector.stop(reason)
                    await asyncio.sleep(_TICK_S)
        self.device.rebooted()
        self._station.reboot("RemoteReset")

    # --- what the device must know and decides ----------------------------------------------------------

    def restore(self) -> None:
        """As before the process ended."""
        kept: Json | None = self._station.memory.recall("device")
        if kept is not None:
            self.device.restore(kept)
            if self._station.station.boots_after_restart:
                self.device.rebooted()

    async def tick(self) -> None:
        """For ever: what falls due by the clock."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.device.tick()

    def limit_kw(self, connector: ConnectorTwin) -> float | None:
        clock = self._station.clock()
        return self.device.limit_kw(connector.number, clock, connector.phases, connector.voltage_v)

    def changed(self, connector: Connected) -> None:
        """Plug, status or transaction: what the device keeps of them."""
        device, number, session = self.device, connector.number, connector.session
        is_known = number in device.state.transactions
        device.occupied(number, connector.is_plugged)
        is_faulted = connector.status == "Faulted"
        if is_faulted != (number in device.state.faulted):
            device.faulted(number, is_faulted)
        if session is None or session.ended:
            if is_known:
                device.transaction_ended(number)
        else:
            key = session.reference if not self._station.is_16 else str(session.number or "")
            if not is_known:
                session.reservation_id = device.transaction_began(number, key, session.token_uid)
            elif key:
                device.transaction_numbered(number, key)
        self._station.memory.keep("device", device.snapshot())


def _holds(connector: ConnectorTwin, key: str) -> bool:
    session = connector.session
    return session is not None and key in (session.reference, str(session.number))
