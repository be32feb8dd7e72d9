"""A small central system for the tests of the simulated charge points: it checks every frame it hears."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from simulators.charge_point.connector import ConnectorTwin
from simulators.charge_point.station import StationTwin
from simulators.twin import (
    Fault,
    FaultKind,
    Ledger,
    LedgerEntry,
    PlugIn,
    TwinConnector,
    TwinPace,
    TwinStation,
)

Json = dict[str, Any]
VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
PASSWORD = "a-station-password-16+"
PACE = TwinPace(speed=600, meter_interval_s=0.25, connection_timeout_s=1, reconnect_s=0.05)
VAN = PlugIn(vehicle_id="van-1", soc_percent=20, battery_kwh=500, max_power_kw=100)
_FOLDERS = dict(zip(VERSIONS, ("v16", "v201", "v21"), strict=True))


@cache
def schema(version: str, name: str) -> jsonschema_rs.Validator:
    text = (files("ocpp") / _FOLDERS[version] / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig")
    return jsonschema_rs.validator_for(json.loads(text), validate_formats=True)


def faults_of(version: str, name: str, payload: Json) -> list[str]:
    return [f"{name}: {error.message}" for error in schema(version, name).iter_errors(payload)]


@dataclass
class CentralSystem:
    """`heard`: every CALL (action, payload) in order; `frames`: those of kinds 5 and 6, whole; `invalid`:
    what no schema allows; `replies`: an action's payload, "" for silence, another text as a CALLERROR."""

    version: str
    port: int = 0
    heard: list[tuple[str, Json]] = field(default_factory=list)
    frames: list[list[Any]] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    replies: dict[str, Callable[[Json], Json | str]] = field(default_factory=dict)
    passwords: list[bytes] = field(default_factory=list)
    peer_certificates: list[Json] = field(default_factory=list)
    socket: ServerConnection | None = None
    order: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    _awaited: dict[str, asyncio.Future[list[Any]]] = field(default_factory=dict)
    _transactions: int = 100

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        token = socket.request.headers["Authorization"].removeprefix("Basic ")
        self.passwords.append(base64.b64decode(token).split(b":", 1)[1])
        peer = socket.transport.get_extra_info("peercert")
        if peer:
            self.peer_certificates.append(peer)
        self.socket = socket
        try:
            async for raw in socket:
                await self._receive(socket, json.loads(raw))
        except ConnectionClosed:
            pass
        finally:
            if self.socket is socket:
                self.socket = None

    async def _receive(self, socket: ServerConnection, frame: list[Any]) -> None:
        kind, message_id = frame[0], frame[1]
        if kind in (5, 6):
            self.frames.append(frame)
            if kind == 6:
                self.invalid += faults_of(self.version, frame[2], frame[3])
        elif kind in (3, 4):
            self.order.append("reply")
            if message_id == "-1":
                self.refusals.append(frame[2])
                return
            self._awaited.pop(message_id).set_result(frame)
        else:
            action, payload = frame[2], frame[3]
            name = action if self.version == "ocpp1.6" else f"{action}Request"
            self.invalid += faults_of(self.version, name, payload)
            self.heard.append((action, payload))
            self.order.append(action)
            reply = self.replies.get(action, self._reply_of(action))(payload)
            if isinstance(reply, str):
                if reply:
                    await socket.send(json.dumps([4, message_id, reply, "", {}]))
            else:
                await socket.send(json.dumps([3, message_id, reply]))

    def _reply_of(self, action: str) -> Callable[[Json], Json | str]:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        match action:
            case "BootNotification":
                return lambda body: {"status": "Accepted", "currentTime": now, "interval": 300}
            case "Heartbeat":
                return lambda body: {"currentTime": now}
            case "StartTransaction":
                return lambda body: {"transactionId": self._number(), "idTagInfo": {"status": "Accepted"}}
            case "OpenPeriodicEventStream":
                return lambda body: {"status": "Accepted"}
            case _:
                return lambda body: {}

    def _number(self) -> int:
        self._transactions += 1
        return self._transactions

    # --- what a test does -------------------------------------------------------------------------------

    async def call(self, action: str, payload: Json, *, valid: bool = True) -> Any:
        """The CALLRESULT's payload, checked; a CALLERROR's code as text."""
        name = "" if self.version == "ocpp1.6" else "Request"
        assert faults_of(self.version, action + name, payload) == []
        assert self.socket is not None
        message_id = str(uuid.uuid4())
        awaited = self._awaited[message_id] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(10):
            frame = await awaited
        if frame[0] == 4:
            return frame[2]
        if valid:
            assert faults_of(self.version, f"{action}Response", frame[2]) == []
        return frame[2]

    def of(self, action: str) -> list[Json]:
        return [payload for name, payload in self.heard if name == action]

    def events(self, kind: str | None = None) -> list[Json]:
        return [e for e in self.of("TransactionEvent") if kind in (None, e["eventType"])]

    async def until(self, holds: Callable[[], Any], seconds: float = 15) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := holds()):
                await asyncio.sleep(0.01)
        return found

    async def until_heard(self, action: str, number: int = 1) -> list[Json]:
        return await self.until(lambda: self.of(action)[number - 1 :] and self.of(action))


@asynccontextmanager
async def central_system(version: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[CentralSystem]:
    central = CentralSystem(version)
    protocols = [Subprotocol(version)]
    async with serve(
        central.serve, "127.0.0.1", 0, subprotocols=protocols, ping_interval=None, ssl=tls, close_timeout=0.2
    ) as server:
        central.port = next(iter(server.sockets)).getsockname()[1]
        yield central


@dataclass
class Site:
    """One station with one connector at a central system."""

    central: CentralSystem
    station: StationTwin
    ledger: Ledger

    @property
    def version(self) -> str:
        return self.central.version

    @property
    def connector(self) -> ConnectorTwin:
        return self.station.connectors[1]

    def booked(self, what: str) -> list[LedgerEntry]:
        return [entry for entry in self.ledger.entries() if entry.what == what]

    async def start(self, **more: Any) -> str:
        """The answer's status."""
        if self.version == "ocpp1.6":
            body: Json = {"connectorId": 1, "idTag": "TAG1", **more}
            return (await self.central.call("RemoteStartTransaction", body))["status"]
        token = {"idToken": "TAG1", "type": "Central"}
        body = {"evseId": 1, "idToken": token, "remoteStartId": 77, **more}
        return (await self.central.call("RequestStartTransaction", body))["status"]

    async def charge(self) -> None:
        """Until energy has been told."""
        self.connector.plug(VAN)
        assert await self.start() == "Accepted"
        await self.until_metered()

    async def until_metered(self, number: int = 1) -> list[list[Json]]:
        """The sampled values of each periodic reading."""

        def readings() -> list[list[Json]]:
            if self.version == "ocpp1.6":
                bodies = self.central.of("MeterValues")
            else:
                events = self.central.events("Updated")
                bodies = [e for e in events if e["triggerReason"] == "MeterValuePeriodic"]
            return [body["meterValue"][0]["sampledValue"] for body in bodies]

        return await self.central.until(lambda: len(readings()) >= number and readings())

    async def stop(self) -> None:
        session = self.connector.session
        assert session is not None
        if self.version == "ocpp1.6":
            body: Json = {"transactionId": session.number}
            reply = await self.central.call("RemoteStopTransaction", body)
        else:
            reply = await self.central.call("RequestStopTransaction", {"transactionId": session.reference})
        assert reply == {"status": "Accepted"}

    async def until_ended(self) -> Json:
        """The message that ended the transaction."""
        if self.version == "ocpp1.6":
            return (await self.central.until_heard("StopTransaction"))[-1]
        return (await self.central.until(lambda: self.central.events("Ended")))[-1]


def station_config(version: str, *faults: Fault | FaultKind, **more: Any) -> TwinStation:
    plan = tuple(f if isinstance(f, Fault) else Fault(kind=f) for f in faults)
    connector = TwinConnector(charger_id="CP1:1", number=1, power_kw=50, faults=plan)
    fields: dict[str, Any] = {"message_interval_s": 0.02, **more}
    return TwinStation.model_validate(
        {"station_id": "CP1", "password": PASSWORD, "ocpp_version": version, "connectors": (connector,)}
        | fields
    )


@asynccontextmanager
async def at_central(
    central: CentralSystem, *faults: Fault | FaultKind, scheme: str = "ws", pace: TwinPace = PACE, **more: Any
) -> AsyncIterator[Site]:
    """A station that has booted and said its status."""
    ledger = Ledger()
    config = station_config(central.version, *faults, **more)
    host = "localhost" if scheme == "wss" else "127.0.0.1"
    station = StationTwin(config, pace, ledger, f"{scheme}://{host}:{central.port}/ocpp")
    running = asyncio.create_task(station.run())
    try:
        await central.until(lambda: central.socket is not None and not len(station.outbox) and central.heard)
        yield Site(central, station, ledger)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def site_of(version: str, *faults: Fault | FaultKind, **more: Any) -> AsyncIterator[Site]:
    async with central_system(version) as central, at_central(central, *faults, **more) as site:
        yield site
