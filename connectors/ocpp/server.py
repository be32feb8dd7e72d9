"""The gateway's websocket side: who may connect, which connection counts, and the commands that go out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from connectors.ocpp import v16, v201
from connectors.ocpp.ports import House, StationInfo
from connectors.ocpp.rpc import CallError, NoReply, NotSent, Rpc
from connectors.ocpp.schemas import Json, Version, schemas_of
from connectors.ocpp.session import StationSession
from connectors.ports import EvidenceSink
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.reason_catalogue import from_ocpp201_reason_code
from models.reason_codes import Phase, ReasonCode

_log = structlog.get_logger(__name__)

_PATH = re.compile(r"^/ocpp/([^/?#:]{1,48})$")
_MAX_FRAME_BYTES = 256 * 1024
_FAILURES_ALLOWED, _FAILURE_WINDOW_S = 20, 60.0
_BOOT_WAIT_S = 3.0
_ACCEPTED = ("Accepted", "Unlocked")


class _Connection:
    """One live socket. `generation` names it: only the newest of a station counts."""

    def __init__(self, session: StationSession, rpc: Rpc, version: Version) -> None:
        self.session = session
        self.rpc = rpc
        self.version = version
        self.generation = secrets.token_hex(8)


class Gateway:
    """Serves `/ocpp/<station id>`; the connection table of one process."""

    def __init__(self, house: House, sink: EvidenceSink, meter_evidence_interval_s: float = 60.0) -> None:
        self._house = house
        self._sink = sink
        self._interval_s = meter_evidence_interval_s
        self._connections: dict[str, _Connection] = {}
        self._failures: dict[str, deque[float]] = {}
        self._server: Server | None = None
        for version in Version:
            schemas_of(version)  # compiled now, not within the first station's first message

    @property
    def connected(self) -> int:
        return len(self._connections)

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the gateway does not serve")
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        self._server = await serve(
            self._run,
            host,
            port,
            subprotocols=[Subprotocol(version) for version in Version],
            select_subprotocol=self._choose,
            process_request=self._admit,
            compression=None,  # 40 KiB per idle station would be its price
            max_size=_MAX_FRAME_BYTES,
            ping_interval=30,
            ping_timeout=30,
            close_timeout=3,
            server_header=None,
        )

    async def stop(self) -> None:
        """Going away (1001): stations reconnect elsewhere at once."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # --- the door ---------------------------------------------------------------------------------------

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        address = str((connection.remote_address or ("",))[0])
        if self._is_barred(address):
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "")
        found = _PATH.match(unquote(request.path))
        station_id = found.group(1) if found else ""
        user, password = _basic(request.headers.get("Authorization", ""))
        # One answer for an unknown station, a wrong name and a wrong password, after the same work.
        station = await self._house.authenticate(station_id, password)
        if station is None or user != station_id:
            self._failures.setdefault(address, deque(maxlen=_FAILURES_ALLOWED)).append(time.monotonic())
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "")
            response.headers["WWW-Authenticate"] = "Basic"
            return response
        cast(Any, connection).backstop_station = station
        return None

    def _is_barred(self, address: str) -> bool:
        tried = self._failures.get(address)
        full = tried is not None and len(tried) == _FAILURES_ALLOWED
        return full and time.monotonic() - tried[0] < _FAILURE_WINDOW_S if tried else False

    def _choose(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        """The client's order is its preference. None completes the handshake; the socket is then closed
        (OCPP-J 1.6 3.1.2)."""
        pin = _station_of(connection).protocol_pin
        known = {str(version) for version in Version} if pin is None else {pin}
        return next((name for name in offered if name in known), None)

    # --- a connection's life ----------------------------------------------------------------------------

    async def _run(self, socket: ServerConnection) -> None:
        if socket.subprotocol is None:
            await socket.close(1002, "no common OCPP version")
            return
        station, version = _station_of(socket), Version(socket.subprotocol)
        session = StationSession(station, self._house, self._sink, self._interval_s)
        actions = v16.ACTIONS if version is Version.V16 else v201.ACTIONS

        async def handle(action: str, payload: Json) -> Json:
            return await actions[action](session, payload)

        rpc = Rpc(version, socket.send, handle, frozenset(actions))
        mine = _Connection(session, rpc, version)
        older, self._connections[station.station_id] = self._connections.get(station.station_id), mine
        if older is not None:
            older.rpc.close()  # the authenticated newcomer replaces
        await self._house.claim(station, mine.generation, version)
        greeting = asyncio.create_task(self._ask_status(mine))
        try:
            async for raw in socket:
                await rpc.receive(raw)
        except ConnectionClosed:
            pass  # how most connections end: no closing handshake
        finally:
            greeting.cancel()
            rpc.close()
            if self._connections.get(station.station_id) is mine:
                del self._connections[station.station_id]
                await self._farewell(mine)

    async def _farewell(self, mine: _Connection) -> None:
        try:
            await self._house.release(mine.session.station, mine.generation)
            await mine.session.went_offline()
        except Exception as error:  # noqa: BLE001  an outage of the store must not keep a dead socket alive
            _log.warning("route not released", error=type(error).__name__)

    async def _ask_status(self, mine: _Connection) -> None:
        """A reconnect without Boot is what 2.0.1 wants: then we ask what each connector does."""
        try:
            async with asyncio.timeout(_BOOT_WAIT_S):
                await mine.session.booted.wait()
            return
        except TimeoutError:
            pass
        make = v16.trigger_status if mine.version is Version.V16 else v201.trigger_status
        for number in sorted(mine.session.station.connectors):
            try:
                await mine.rpc.call(*make(number), 10.0)
            except (CallError, NotSent, NoReply):
                return

    # --- commands ---------------------------------------------------------------------------------------

    async def send(self, command: ChargerCommand) -> CommandReply:
        """CommandPort: one command to the station that holds the charger."""
        connection = self._connections.get(command.charger.station_id)
        if connection is None:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE,
                reason=ReasonCode.START_OFFLINE,
                detail="the station is not connected here",
            )
        make: Callable[[ChargerCommand], tuple[str, Json]] = (
            v16.request_of if connection.version is Version.V16 else v201.request_of
        )
        starting = command.kind is CommandKind.START
        try:
            action, payload = make(command)
            reply = await connection.rpc.call(action, payload, command.timeout_s)
        except ValueError:
            return CommandReply(
                outcome=CommandOutcome.REJECTED,
                reason=ReasonCode.STOP_REJECTED,
                detail="no transaction is known",
            )
        except NotSent as error:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE, reason=ReasonCode.START_OFFLINE, detail=str(error)
            )
        except (NoReply, ConnectionClosed) as error:
            return CommandReply(
                outcome=CommandOutcome.UNCERTAIN,
                reason=ReasonCode.START_TIMEOUT if starting else ReasonCode.STOP_TIMEOUT,
                detail=str(error) or "disconnected",
            )
        except CallError as error:
            return CommandReply(
                outcome=CommandOutcome.REJECTED,
                reason=ReasonCode.START_REJECTED if starting else ReasonCode.STOP_REJECTED,
                vendor_code=f"{connection.version}:CALLERROR {error.code}",
                detail=error.description,
            )
        return _read(command, connection.version, reply)


def _read(command: ChargerCommand, version: Version, reply: Json) -> CommandReply:
    status = str(reply.get("status"))
    info: Json = reply.get("statusInfo") or {}
    code = str(info.get("reasonCode") or "")
    vendor = f"{version}:{status} {code}".strip()
    if status in _ACCEPTED:
        reference = str(reply["transactionId"]) if reply.get("transactionId") else None
        return CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code=vendor, session_ref=reference)
    starting = command.kind is CommandKind.START
    plain = ReasonCode.START_REJECTED if starting else ReasonCode.STOP_REJECTED
    reason = (from_ocpp201_reason_code(code, Phase.START) if code and starting else None) or plain
    return CommandReply(outcome=CommandOutcome.REJECTED, reason=reason, vendor_code=vendor)


def _station_of(connection: ServerConnection) -> StationInfo:
    return cast(StationInfo, cast(Any, connection).backstop_station)


def _basic(header: str) -> tuple[str, bytes]:
    """User and password of Basic auth; the password as bytes (1.6 passwords are raw bytes)."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""
