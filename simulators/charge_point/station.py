"""One simulated charge point: its connection, its boot, its queue, and what its connectors need of it.

Messages about transactions are queued, delivered in order, and survive an outage (with a `state_dir` also a
kill -9), as real firmware does; after an outage the station reconnects without Boot and replays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

from websockets.exceptions import WebSocketException

from simulators.charge_point.commands import Commands
from simulators.charge_point.connector import ConnectorTwin
from simulators.charge_point.memory import StationMemory
from simulators.charge_point.outbox import CallRefused, Outbox, Outgoing
from simulators.charge_point.session import Connected, Json, Session, Teller, now
from simulators.charge_point.socket import StationSocket, dial
from simulators.charge_point.speech_2x import Teller2x
from simulators.charge_point.speech_16 import Teller16
from simulators.twin import FaultKind, Ledger, TwinPace, TwinStation

_AHEAD = timedelta(hours=2)
_LONGEST_BOOT_WAIT_S = 60.0
_MODELS = {"ocpp1.6": "T16", "ocpp2.0.1": "T201", "ocpp2.1": "T21"}


class StationTwin:
    """Connects for ever, answers commands, delivers its queue. Raises sqlite3.Error and OSError when its
    `state_dir` cannot be used."""

    def __init__(self, station: TwinStation, pace: TwinPace, ledger: Ledger, gateway_url: str) -> None:
        self.station, self.pace = station, pace
        self.url = f"{gateway_url.rstrip('/')}/{station.station_id}"
        self.is_16 = station.ocpp_version == "ocpp1.6"
        self._ledger = ledger
        self.memory = StationMemory(station.state_dir, station.station_id)
        self.outbox = Outbox(
            self.memory,
            attempts=station.message_attempts,
            interval_s=station.message_interval_s,
            on_number=self._numbered,
            on_lost=self._lost,
        )
        self.connectors = {
            c.number: ConnectorTwin(c, pace, ledger, self._teller(), self) for c in station.connectors
        }
        self.commands = Commands(self)
        self._socket: StationSocket | None = None
        self._offline_until = 0.0
        self._booted = self.memory.recall("booted") is True and not station.boots_after_restart
        self._boot_reason = "PowerUp"
        self._greeted = False

    def _teller(self) -> Teller:
        if self.is_16:
            return Teller16(self)
        return Teller2x(
            self, is_21=self.station.ocpp_version == "ocpp2.1", streams_power=self.station.streams_power
        )

    # --- connection -------------------------------------------------------------------------------------

    @property
    def is_online(self) -> bool:
        return self._socket is not None

    def drop(self, seconds: float) -> None:
        """Lose the connection, and stay away for so long."""
        self._offline_until = asyncio.get_running_loop().time() + seconds
        if self._socket is not None:
            self._socket.abort()

    def black_out(self, seconds: float) -> None:
        """Keep the connection and let it hang."""
        if self._socket is not None:
            self._socket.black_out(seconds)

    def reboot(self, reason: str) -> None:
        """Drop the connection; Boot with this reason (2.x) at the next one."""
        self._booted, self._boot_reason = False, reason
        self.drop(self.pace.reconnect_s)

    async def run(self) -> None:
        """For ever; cancelled, the station loses its power."""
        self._restore()
        ticking = asyncio.create_task(self.commands.tick())
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(max(0.0, self._offline_until - loop.time()))
                try:
                    async with dial(self.station, self.url, self.commands.password) as connection:
                        await self._live(
                            StationSocket(connection, self.station.ocpp_version, self.commands.answer)
                        )
                except (OSError, WebSocketException, TimeoutError):
                    pass  # the gateway is away: try again, for ever
                finally:
                    self._socket = None
                    self.outbox.connection_lost()
                await asyncio.sleep(self.pace.reconnect_s)
        finally:
            ticking.cancel()
            await asyncio.gather(
                ticking, *(c.close() for c in self.connectors.values()), return_exceptions=True
            )
            self.memory.close()

    async def _live(self, socket: StationSocket) -> None:
        self._socket = socket
        work = (self._deliver(socket), self._heartbeat(), socket.keep_alive())
        tasks = [asyncio.create_task(task) for task in work]
        for task in tasks:
            task.add_done_callback(lambda _: socket.abort())
        try:
            await socket.serve()
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, OSError | WebSocketException):
                raise end  # a mistake of ours must not look like an outage

    async def _deliver(self, socket: StationSocket) -> None:
        if not self._booted:
            await self._boot(socket)
        if not self._greeted:
            for connector in self.connectors.values():
                connector.tell_status()
        else:
            for connector in self.connectors.values():
                connector.tell_old_statuses()
        self._greeted = True
        await self.outbox.deliver(socket.call)

    async def _boot(self, socket: StationSocket) -> None:
        """Until it is Accepted: before that, a station has nothing else to say (1.6 section 4.2, 2.x B01)."""
        wait_s = self.pace.reconnect_s
        while True:
            with contextlib.suppress(CallRefused):
                reply = await socket.call("BootNotification", self.boot_body())
                if reply.get("status", "Accepted") == "Accepted":
                    break
                wait_s = min(_LONGEST_BOOT_WAIT_S, max(wait_s, float(reply.get("interval") or 0)))
            await asyncio.sleep(wait_s)
        self._booted = True
        self._greeted = False
        self.memory.keep("booted", True)

    def boot_body(self, reason: str | None = None) -> Json:
        model = _MODELS[self.station.ocpp_version]
        if self.is_16:
            return {"chargePointVendor": "Twin", "chargePointModel": model}
        return {
            "reason": reason or self._boot_reason,
            "chargingStation": {"vendorName": "Twin", "model": model},
        }

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.commands.heartbeat_s)
            self.ask("Heartbeat", {}, lambda reply: None)

    def _restore(self) -> None:
        self.commands.restore()
        for connector in self.connectors.values():
            kept: Json | None = self.memory.recall(f"connector:{connector.number}")
            if kept is not None:
                session = kept["session"]
                number = self.memory.recall(f"number:{session['reference']}") if session else None
                connector.restore(kept, number, kept_power=not self.station.boots_after_restart)

    # --- what the tellers say (Speaker) -----------------------------------------------------------------

    def clock(self) -> datetime:
        is_wrong = any(c.armed(FaultKind.WRONG_CLOCK) for c in self.connectors.values())
        return now() + _AHEAD if is_wrong else now()

    def say(self, action: str, body: Json, *, front: bool = False) -> None:
        self.outbox.add(Outgoing(action, body), front=front)

    def ask(self, action: str, body: Json, on_reply: Callable[[Json], None]) -> None:
        if self.is_online:
            self.outbox.add(Outgoing(action, body, on_reply, keep=False))

    def say_kept(self, number: int, session: Session, action: str, body: Json) -> None:
        message = Outgoing(
            action,
            body,
            connector=number,
            session_ref=session.reference,
            is_replay=not self.is_online,
            told=session.told,
        )
        self.outbox.add_kept(message, self.connectors[number].snapshot())

    def send(self, action: str, body: Json) -> None:
        if self._socket is not None:
            self._socket.send(action, body)

    # --- what the connectors ask (House) ----------------------------------------------------------------

    def limit_kw(self, number: int) -> float | None:
        return self.commands.limit_kw(self.connectors[number])

    def ends_at_zero(self, number: int) -> bool:
        return self.commands.device.ends_transaction(self.limit_kw(number))

    def may_start(self, number: int, token_uid: str) -> bool:
        return self.commands.device.may_start(number, token_uid)

    def changed(self, connector: Connected) -> None:
        self.commands.changed(connector)
        self.memory.keep(f"connector:{connector.number}", connector.snapshot())

    # --- the queue's news -------------------------------------------------------------------------------

    def _numbered(self, number: int, session_ref: str, transaction_id: int) -> None:
        connector = self.connectors.get(number)
        if connector is not None and connector.session is not None:
            session = connector.session
            if session.reference == session_ref:
                session.number = transaction_id
                self.changed(connector)

    def _lost(self, message: Outgoing) -> None:
        connector = self.connectors.get(message.connector)
        charger_id = connector.connector.charger_id if connector else self.station.station_id
        number = self.memory.recall(f"number:{message.session_ref}")
        ref = message.session_ref
        self._ledger.add(
            "message_lost", charger_id, key=str(number or ref), result=message.action, session_ref=ref
        )


async def run_stations(stations: list[StationTwin]) -> None:
    """All of them, each on its own socket."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*(station.run() for station in stations))
