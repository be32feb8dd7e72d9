"""The gateway's websocket side: who may connect, which connection counts, and where commands go."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from connectors.ocpp import commands
from connectors.ocpp.absence import Absences
from connectors.ocpp.connection import BEFORE_ACCEPTED, TABLES, Connection
from connectors.ocpp.door.entry import Door, entry_of
from connectors.ocpp.greeting import greet
from connectors.ocpp.ports import House, StationInfo
from connectors.ocpp.renewal import renew_due
from connectors.ocpp.session import StationSession
from connectors.ocpp.vendor_fields import VendorFields
from connectors.ocpp.wire.frames import MAX_FRAME_BYTES
from connectors.ocpp.wire.rpc import Answer, Rpc, Rules
from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from models.charging_limit import ChargingLimit, LimitReply, LimitState
from models.commands import ChargerCommand, CommandOutcome, CommandReply
from models.station import StationEventKind
from models.station_commands import StationReply, StationTask, StationTaskKind

_log = structlog.get_logger(__name__)
# The library's debug lines show whole frames and Authorization headers: never, whatever level we log at.
_wire_log = logging.getLogger("connectors.ocpp.wire")
_wire_log.setLevel(logging.INFO)

_TRY_AGAIN_LATER = 1013

Watch = Callable[[str, str], None]
"""`watch(direction, text)`: sees a station's frames, "in" and "out"."""


class Gateway:
    """Serves `/ocpp/<station id>`; the connection table of one process.

    `transfer_hosts`: where firmware may come from and logs may go to. `behind_tls_proxy`: a proxy in front
    ends TLS and says so in X-Forwarded-Proto; without one that header is anybody's word and is not read.
    `away_after_s`: a station that is back by then was never away, as far as stops are told."""

    def __init__(
        self,
        house: House,
        meter_evidence_interval_s: float = 60.0,
        *,
        transfer_hosts: Collection[str] = (),
        behind_tls_proxy: bool = False,
        ping_interval_s: float = 30.0,
        away_after_s: float = 5.0,
    ) -> None:
        self._house = house
        self._interval_s = meter_evidence_interval_s
        self._transfer_hosts = frozenset(transfer_hosts)
        self._ping_s = ping_interval_s
        self._connections: dict[str, Connection] = {}
        self._absences = Absences(away_after_s, self._is_held, self._connections.__contains__)
        self._watches: dict[str, Watch] = {}
        self._servers: list[Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        self.door = Door(house, self.counts, behind_tls_proxy=behind_tls_proxy)
        self.vendor_fields = VendorFields()
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
            process_request=self.door.admit,
            compression=None,  # 40 KiB per idle station would be its price
            max_size=MAX_FRAME_BYTES,
            max_queue=16,
            open_timeout=20,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            close_timeout=3,
            server_header=None,
            logger=_wire_log,
            backlog=4096,  # a herd comes at once
        )
        self._servers.append(server)
        return int(next(iter(server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Going away (1001): stations reconnect elsewhere at once. That they are away is our doing, and
        nobody is told so."""
        self._absences.close()
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _choose(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        """The client's order is its preference. None completes the handshake; the socket is then closed
        (OCPP-J 1.6 3.1.2)."""
        pin = entry_of(connection).station.settings.protocol_pin
        known = {str(version) for version in Version} if pin is None else {pin}
        return next((name for name in offered if name in known), None)

    # --- a connection's life ----------------------------------------------------------------------------

    async def _run(self, socket: ServerConnection) -> None:
        if socket.subprotocol is None:
            await socket.close(1002, "no common OCPP version")
            return
        entry = entry_of(socket)
        mine = self._connect(socket, entry.station, Version(socket.subprotocol))
        station_id = entry.station.station_id
        older, self._connections[station_id] = self._connections.get(station_id), mine
        if older is not None:
            self._replace(older, mine.generation)
        mine.rpc.watch = self._watches.get(station_id)
        try:
            away_since = await self._house.claim(entry.station, mine.generation, mine.version)
            mine.is_claimed = True
            if away_since is not None:
                self._spawn(self._absences.ended(mine, away_since))
            noted = self._note(mine, StationEventKind.CONNECTED, {"address": entry.address})
            greeting = self._spawn(greet(mine))
            try:
                await self._listen(socket, mine)
            finally:
                greeting.cancel()
                await asyncio.wait([noted])  # the log keeps the order
        finally:
            mine.rpc.close()
            if self._is_held(mine):
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
            mine.rpc.close()  # what came behind the message that failed must not be taken before its repeat
            self._spawn(socket.close(_TRY_AGAIN_LATER, "try again"))

        def count_field(action: str, field: str, value: Any) -> None:
            model = session.identity.model_name
            self.vendor_fields.count(station.tenant_id, model, action, field, value)

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

    def _replace(self, older: Connection, newer: str) -> None:
        """The authenticated newcomer counts; the older socket is told so, and its end takes nothing away."""
        self.counts["replaced"] += 1
        older.rpc.close()
        self._note(older, StationEventKind.DISCONNECTED, {"reason": "replaced", "by": newer})
        self._spawn(older.socket.close(1000, "replaced"))

    def replaced_elsewhere(self, station_id: str, generation: str) -> None:
        """Another gateway has claimed the station: what we hold of it is a dead socket."""
        mine = self._connections.get(station_id)
        if mine is not None and mine.generation != generation:
            del self._connections[station_id]
            self._replace(mine, generation)

    async def _farewell(self, mine: Connection) -> None:
        body: dict[str, object] = {"reason": "closed", "code": mine.socket.close_code}
        noted = self._note(mine, StationEventKind.DISCONNECTED, body)
        self._spawn(self._absences.lost(mine))
        try:
            await self._house.release(mine.session.station, mine.generation)
        except Exception as error:  # noqa: BLE001  an outage of the store must not keep a dead socket alive
            _log.warning("route not released", error=type(error).__name__)
        await asyncio.wait([noted])

    def _is_held(self, connection: Connection) -> bool:
        return self._connections.get(connection.session.station.station_id) is connection

    def _note(self, mine: Connection, kind: StationEventKind, body: dict[str, object]) -> asyncio.Task[None]:
        """Who came, who went, and who took whose place: for the audit. Nobody need wait for it."""
        told = {"generation": mine.generation, "version": str(mine.version), **body}
        return self._spawn(mine.session.note(kind, told))

    async def _after_boot(self, mine: Connection) -> None:
        await mine.session.note(
            StationEventKind.BOOT,
            {"version": str(mine.version), **mine.session.identity.model_dump()},
        )
        await mine.limits.install()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Done in the background; its failure is only logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spent)
        return task

    def _spent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.warning("gateway task failed", error=type(error).__name__)

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

    async def end_stale(self, now: datetime) -> None:
        """Transactions whose end was never told, at all stations that are here."""
        for connection in list(self._connections.values()):
            await connection.session.end_stale(now)

    async def renew_certificates(self, now: datetime) -> None:
        """Those of the stations that are here which end soon."""
        await renew_due(list(self._connections.values()), now)

    def connection(self, station_id: str) -> Connection | None:
        return self._connections.get(station_id)

    async def send(self, command: ChargerCommand) -> CommandReply:
        """CommandPort: one command to the station that holds the charger."""
        connection = self._of(command.charger.station_id, command.tenant_id)
        return commands.OFFLINE if connection is None else await commands.send(connection, command)

    def _of(self, station_id: str, tenant_id: str) -> Connection | None:
        """A station of the tenant's own: whoever writes another's id into his charger gets nothing."""
        held = self._connections.get(station_id)
        return held if held is not None and held.session.station.tenant_id == tenant_id else None

    async def request(self, station_id: str, action: str, payload: Json, timeout_s: float) -> StationReply:
        """An operator's CALL, within the guards."""
        connection = self._connections.get(station_id)
        if connection is None:
            return _NOT_HERE
        return await commands.request(connection, action, payload, timeout_s, self._transfer_hosts)

    async def rotate_password(self, station_id: str, timeout_s: float = 30.0) -> StationReply:
        connection = self._connections.get(station_id)
        if connection is None:
            return _NOT_HERE
        if connection.password_undecided:
            return _PASSWORD_UNDECIDED
        connection.password_undecided = True
        reply = await commands.rotate_password(connection, timeout_s)
        waits = "RebootRequired" in str(reply.payload)
        connection.password_undecided = waits or reply.outcome is CommandOutcome.UNCERTAIN
        return reply

    async def renew_certificate(self, station_id: str, timeout_s: float = 30.0) -> StationReply:
        connection = self._connections.get(station_id)
        return _NOT_HERE if connection is None else await commands.renew_certificate(connection, timeout_s)

    async def do(self, task: StationTask) -> StationReply:
        """StationPort: one task of an operator or scheduler."""
        station_id = task.station_id
        if self._of(station_id, task.tenant_id) is None:
            return _NOT_HERE
        match task.kind:
            case StationTaskKind.CALL:
                return await self.request(station_id, task.action, task.payload, task.timeout_s)
            case StationTaskKind.ROTATE_PASSWORD:
                return await self.rotate_password(station_id, task.timeout_s)
            case StationTaskKind.RENEW_CERTIFICATE:
                return await self.renew_certificate(station_id, task.timeout_s)
            case StationTaskKind.SET_LIMIT | StationTaskKind.CLEAR_LIMIT:
                limit = task.limit
                if limit is None or (limit.station_id, limit.tenant_id) != (station_id, task.tenant_id):
                    return _NOT_HERE
                change = self.set_limit if task.kind is StationTaskKind.SET_LIMIT else self.clear_limit
                return _limited(await change(limit))

    async def set_limit(self, limit: ChargingLimit) -> LimitReply:
        connection = self._connections.get(limit.station_id)
        return _limit_away(limit) if connection is None else await connection.limits.apply(limit)

    async def clear_limit(self, limit: ChargingLimit) -> LimitReply:
        connection = self._connections.get(limit.station_id)
        return _limit_away(limit) if connection is None else await connection.limits.clear(limit)


_NOT_HERE = StationReply(
    outcome=CommandOutcome.UNREACHABLE, error_code="NotSent", detail="the station is not connected here"
)
# A second offer would overwrite the first, which the station may have taken: it would be locked out.
_PASSWORD_UNDECIDED = StationReply(
    outcome=CommandOutcome.REJECTED,
    error_code="NotSent",
    detail="the last password is not decided yet; the station's next connection shows which one it has",
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
