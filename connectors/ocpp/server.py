"""The gateway's websocket side: who may connect, which connection counts, and where commands go."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus
from typing import Any, cast

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from connectors.ocpp import commands
from connectors.ocpp.connection import BEFORE_ACCEPTED, TABLES, Connection
from connectors.ocpp.door import Knocks, credentials_of, station_of
from connectors.ocpp.frames import MAX_FRAME_BYTES
from connectors.ocpp.ports import House, StationInfo
from connectors.ocpp.rpc import Answer, CallError, NoReply, NotSent, Priority, Rpc, Rules
from connectors.ocpp.schemas import Json, Version, schemas_of
from connectors.ocpp.session import StationSession
from connectors.ocpp.transport_security import client_identity
from connectors.ocpp.v2x import requests as requests_2x
from connectors.ocpp.v16 import requests as requests_16
from models.charging_limit import ChargingLimit, LimitReply, LimitState
from models.commands import ChargerCommand, CommandOutcome, CommandReply
from models.station import StationEventKind
from models.station_commands import StationReply, StationTask, StationTaskKind

_log = structlog.get_logger(__name__)

_HANDSHAKES_AT_ONCE = 256
_BOOT_WAIT_S = 3.0
_GREETING_CALL_S = 10.0
_TRY_AGAIN_LATER = 1013

Watch = Callable[[str, str], None]
"""`watch(direction, text)`: sees a station's frames, "in" and "out"."""


class Gateway:
    """Serves `/ocpp/<station id>`; the connection table of one process.

    `transfer_hosts`: where firmware may come from and logs may go to. `behind_tls_proxy`: a proxy in front
    ends TLS and says so in X-Forwarded-Proto; without one that header is anybody's word and is not read."""

    def __init__(
        self,
        house: House,
        meter_evidence_interval_s: float = 60.0,
        *,
        transfer_hosts: Collection[str] = (),
        behind_tls_proxy: bool = False,
        ping_interval_s: float = 30.0,
    ) -> None:
        self._house = house
        self._interval_s = meter_evidence_interval_s
        self._transfer_hosts = frozenset(transfer_hosts)
        self._behind_tls_proxy = behind_tls_proxy
        self._ping_s = ping_interval_s
        self._connections: dict[str, Connection] = {}
        self._knocks = Knocks()
        self._handshakes = asyncio.Semaphore(_HANDSHAKES_AT_ONCE)
        self._watches: dict[str, Watch] = {}
        self._servers: list[Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.counts: Counter[str] = Counter()
        self.vendor_fields: Counter[tuple[str, str, str, str]] = Counter()
        """(tenant, model, action, field): whoever flushes it clears it."""
        self._rules: dict[Version, tuple[frozenset[str], dict[str, Callable[[Json], Json]]]] = {}
        for version, table in TABLES.items():
            schemas_of(version)  # compiled now, not within the first station's first message
            repairs = {name: row.repair for name, row in table.items() if row.repair is not None}
            self._rules[version] = (frozenset(table), repairs)

    @property
    def connected(self) -> int:
        return len(self._connections)

    @property
    def port(self) -> int:
        if not self._servers:
            raise RuntimeError("the gateway does not serve")
        return int(next(iter(self._servers[0].sockets)).getsockname()[1])

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Serve one more port; `tls` for security profiles 2 and 3. Returns the port."""
        server = await serve(
            self._run,
            host,
            port,
            ssl=tls,
            subprotocols=[Subprotocol(version) for version in Version],
            select_subprotocol=self._choose,
            process_request=self._admit,
            compression=None,  # 40 KiB per idle station would be its price
            max_size=MAX_FRAME_BYTES,
            max_queue=16,
            open_timeout=20,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            close_timeout=3,
            server_header=None,
            backlog=4096,  # a herd comes at once
        )
        self._servers.append(server)
        return int(next(iter(server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Going away (1001): stations reconnect elsewhere at once."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- the door ---------------------------------------------------------------------------------------

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        address = str((connection.remote_address or ("",))[0])
        station_id = station_of(request)
        if self._knocks.is_barred(address, station_id):
            self.counts["handshake barred"] += 1
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "")
        tls = connection.transport.get_extra_info("ssl_object")
        peer = cast("dict[str, Any] | None", tls.getpeercert()) if tls is not None else None
        forwarded = self._behind_tls_proxy and request.headers.get("X-Forwarded-Proto") in ("https", "wss")
        shown = credentials_of(
            request, encrypted=tls is not None or forwarded, subject=client_identity(peer or None)
        )
        # One answer for an unknown station, a wrong name and a wrong password, after the same work.
        async with self._handshakes:
            station = await self._house.authenticate(shown)
        if station is None:
            self._knocks.failed(address, station_id)
            self.counts["handshake refused"] += 1
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "")
            response.headers["WWW-Authenticate"] = "Basic"
            return response
        self._knocks.succeeded(address, station_id)
        cast(Any, connection).backstop_station = station
        return None

    def _choose(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        """The client's order is its preference. None completes the handshake; the socket is then closed
        (OCPP-J 1.6 3.1.2)."""
        pin = _station_of(connection).settings.protocol_pin
        known = {str(version) for version in Version} if pin is None else {pin}
        return next((name for name in offered if name in known), None)

    # --- a connection's life ----------------------------------------------------------------------------

    async def _run(self, socket: ServerConnection) -> None:
        if socket.subprotocol is None:
            await socket.close(1002, "no common OCPP version")
            return
        mine = self._connect(socket, _station_of(socket), Version(socket.subprotocol))
        station_id = mine.session.station.station_id
        older, self._connections[station_id] = self._connections.get(station_id), mine
        if older is not None:
            self._replace(older)
        mine.rpc.watch = self._watches.get(station_id)
        try:
            await self._house.claim(mine.session.station, mine.generation, mine.version)
            greeting = asyncio.create_task(self._greet(mine))
            try:
                await self._listen(socket, mine)
            finally:
                greeting.cancel()
        finally:
            mine.rpc.close()
            if self._connections.get(station_id) is mine:
                del self._connections[station_id]
                await self._farewell(mine)

    def _connect(self, socket: ServerConnection, station: StationInfo, version: Version) -> Connection:
        session = StationSession(station, self._house, self._interval_s)
        table = TABLES[version]

        async def handle(action: str, payload: Json) -> Answer:
            answer = await table[action].handle(session, payload)
            if action == "BootNotification" and session.may_speak:
                return Answer(answer.payload, lambda: self._after_boot(mine))
            return answer

        def drop() -> None:
            self._spawn(socket.close(_TRY_AGAIN_LATER, "try again"))

        def count_field(action: str, field: str) -> None:
            if len(self.vendor_fields) < 10_000:
                self.vendor_fields[station.tenant_id, session.identity.model_name, action, field] += 1

        def keep_raw(action: str, payload: Json) -> None:
            kept = self._house.keep(station, f"repaired {action}", orjson.dumps(payload))
            self._spawn(kept)

        handled, repairs = self._rules[version]

        def allowed(action: str) -> bool:
            return session.may_speak or action in BEFORE_ACCEPTED

        rules = Rules(handled, repairs, allowed)
        rpc = Rpc(version, socket.send, handle, rules, drop, self.counts)
        rpc.dropped_field, rpc.repaired = count_field, keep_raw
        session.rpc = rpc
        mine = Connection(socket, session, rpc)
        return mine

    async def _listen(self, socket: ServerConnection, mine: Connection) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async for raw in socket:
                wait_s = mine.bucket.wait_s(clock())
                if wait_s > 0:
                    self.counts["slowed down"] += 1
                    await asyncio.sleep(wait_s)
                await mine.rpc.receive(raw)
        except ConnectionClosed:
            pass  # how most connections end: no closing handshake

    def _replace(self, older: Connection) -> None:
        """The authenticated newcomer counts; the older socket is told so, and its end takes nothing away."""
        self.counts["replaced"] += 1
        older.rpc.close()
        self._spawn(older.socket.close(1000, "replaced"))

    def replaced_elsewhere(self, station_id: str, generation: str) -> None:
        """Another gateway has claimed the station: what we hold of it is a dead socket."""
        mine = self._connections.get(station_id)
        if mine is not None and mine.generation != generation:
            del self._connections[station_id]
            self._replace(mine)

    async def _farewell(self, mine: Connection) -> None:
        try:
            await self._house.release(mine.session.station, mine.generation)
            await mine.session.went_offline()
        except Exception as error:  # noqa: BLE001  an outage of the store must not keep a dead socket alive
            _log.warning("route not released", error=type(error).__name__)

    async def _greet(self, mine: Connection) -> None:
        """A reconnect without Boot is what the specification wants: then we ask how things stand."""
        if not mine.session.may_speak:
            return
        mine.session.booted = asyncio.Event()
        try:
            async with asyncio.timeout(_BOOT_WAIT_S):
                await mine.session.booted.wait()
            return
        except TimeoutError:
            mine.session.booted = None
        make = requests_16.trigger_status if mine.is_16 else requests_2x.trigger_status
        calls = [make(number) for number in sorted(mine.session.station.connectors)]
        if not mine.is_16:
            known = (await mine.session.open_transactions()).values()
            references = [one.facts.transaction_ref for one in known]
            calls += [requests_2x.transaction_status(ref) for ref in references if ref]
        for action, payload in calls:
            try:
                await mine.rpc.call(action, payload, _GREETING_CALL_S, Priority.HOUSEKEEPING)
            except CallError:
                continue
            except (NotSent, NoReply):
                return

    async def _after_boot(self, mine: Connection) -> None:
        await mine.session.note(
            StationEventKind.BOOT,
            {"version": str(mine.version), **mine.session.identity.model_dump()},
        )
        await mine.limits.install_failsafe()

    def _spawn(self, work: Any) -> None:
        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  nobody waits for this
                _log.warning("gateway task failed", error=type(error).__name__)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the house's word to stations -----------------------------------------------------------------------

    def watch(self, station_id: str, watch: Watch | None) -> None:
        """Show a station's frames, from now on and over its reconnects; None ends it."""
        if watch is None:
            self._watches.pop(station_id, None)
        else:
            self._watches[station_id] = watch
        connection = self._connections.get(station_id)
        if connection is not None:
            connection.rpc.watch = watch

    def held(self) -> list[str]:
        """Generations of the connections that count."""
        return [connection.generation for connection in self._connections.values()]

    def connection(self, station_id: str) -> Connection | None:
        return self._connections.get(station_id)

    async def send(self, command: ChargerCommand) -> CommandReply:
        """CommandPort: one command to the station that holds the charger."""
        connection = self._connections.get(command.charger.station_id)
        return commands.OFFLINE if connection is None else await commands.send(connection, command)

    async def request(self, station_id: str, action: str, payload: Json, timeout_s: float) -> StationReply:
        """An operator's CALL, within the guards."""
        connection = self._connections.get(station_id)
        if connection is None:
            return _NOT_HERE
        return await commands.request(connection, action, payload, timeout_s, self._transfer_hosts)

    async def rotate_password(self, station_id: str, timeout_s: float = 30.0) -> StationReply:
        connection = self._connections.get(station_id)
        return _NOT_HERE if connection is None else await commands.rotate_password(connection, timeout_s)

    async def renew_certificate(self, station_id: str, timeout_s: float = 30.0) -> StationReply:
        connection = self._connections.get(station_id)
        return _NOT_HERE if connection is None else await commands.renew_certificate(connection, timeout_s)

    async def do(self, task: StationTask) -> StationReply:
        """StationPort: one task of an operator or scheduler."""
        station_id = task.station_id
        held = self._connections.get(station_id)
        if held is not None and held.session.station.tenant_id != task.tenant_id:
            return _NOT_HERE
        match task.kind:
            case StationTaskKind.CALL:
                return await self.request(station_id, task.action, task.payload, task.timeout_s)
            case StationTaskKind.ROTATE_PASSWORD:
                return await self.rotate_password(station_id, task.timeout_s)
            case StationTaskKind.RENEW_CERTIFICATE:
                return await self.renew_certificate(station_id, task.timeout_s)
            case StationTaskKind.SET_LIMIT | StationTaskKind.CLEAR_LIMIT:
                if task.limit is None:
                    return _NOT_HERE
                change = self.set_limit if task.kind is StationTaskKind.SET_LIMIT else self.clear_limit
                return _limited(await change(task.limit))

    async def set_limit(self, limit: ChargingLimit) -> LimitReply:
        connection = self._connections.get(limit.station_id)
        return _limit_away(limit) if connection is None else await connection.limits.apply(limit)

    async def clear_limit(self, limit: ChargingLimit) -> LimitReply:
        connection = self._connections.get(limit.station_id)
        return _limit_away(limit) if connection is None else await connection.limits.clear(limit)


_NOT_HERE = StationReply(
    outcome=CommandOutcome.UNREACHABLE, error_code="NotSent", detail="the station is not connected here"
)


_LIMIT_OUTCOMES = {
    LimitState.ACCEPTED: CommandOutcome.ACCEPTED,
    LimitState.APPLIED: CommandOutcome.ACCEPTED,
    LimitState.CLEARED: CommandOutcome.ACCEPTED,
    LimitState.UNREACHABLE: CommandOutcome.UNREACHABLE,
    LimitState.UNCERTAIN: CommandOutcome.UNCERTAIN,
}


def _limited(reply: LimitReply) -> StationReply:
    outcome = _LIMIT_OUTCOMES.get(reply.state, CommandOutcome.REJECTED)
    return StationReply(outcome=outcome, limit=reply, detail=reply.detail)


def _limit_away(limit: ChargingLimit) -> LimitReply:
    return LimitReply(
        limit_id=limit.limit_id, state=LimitState.UNREACHABLE, detail="the station is not connected here"
    )


def _station_of(connection: ServerConnection) -> StationInfo:
    return cast(StationInfo, cast(Any, connection).backstop_station)
