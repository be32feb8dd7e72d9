"""The servers that are measured, each in a process of its own on libuv's loop: prints its port, then serves.

python -m benchmarks.ocpp_server KIND [DATABASE_URL] [TENANT]
  house       our gateway over PostgreSQL, with its bus and upkeep, as workers/gateway/process.py runs it
  free        the same without the limit of messages per second and station, for closed loops
  rpc         our gateway with handlers that return at once: sockets and RPC layer alone
  instant     our gateway with its own handlers over a house that returns at once (no limit either)
  stock       the `ocpp` package on `websockets`, defaults of both
  stock-lean  the same at its best: validation in the loop's own thread, no compression

Ours with the garbage collector as in production (workers.gateway.process.calm_collector).
Delivery of evidence to Temporal is left out everywhere; its rows are written.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import ocpp.messages
import uvloop
from ocpp.routing import on  # pyright: ignore[reportUnknownVariableType]
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call_result as result_16
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call_result as result_201
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks.ocpp_load import raise_file_limit
from connectors.ocpp.action import Action
from connectors.ocpp.connection import TABLES
from connectors.ocpp.door.entry import Bucket
from connectors.ocpp.ports import Credentials, StartOfTransaction, StationInfo, TransactionFacts
from connectors.ocpp.server import Gateway
from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.register import Register
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationIdentity, StationSettings
from store.database import Store
from workers.evidence_relay import EvidenceRelay
from workers.gateway.bus import GatewayBus
from workers.gateway.house import OcppHouse
from workers.gateway.process import calm_collector

TRANSACTION_ID = 4711
TRANSACTION_REF = "0f9d6f9a-1d0d-4c40-9ba4-000000004711"


class InstantHouse:
    """Knows everybody, and has one open transaction of an attempt at each station. Keeps nothing."""

    async def authenticate(self, shown: Credentials) -> StationInfo:
        return StationInfo(
            tenant_id="bench",
            station_id=shown.station_id,
            settings=StationSettings(station_id=shown.station_id),
            identity=StationIdentity(vendor="V", model="M"),
            connectors={1: f"{shown.station_id}-1"},
        )

    def _facts(self) -> TransactionFacts:
        return TransactionFacts(
            transaction_id=TRANSACTION_ID,
            transaction_ref=TRANSACTION_REF,
            connector_number=1,
            id_tag="TAG",
            meter_start_wh=0.0,
            started_at=datetime.now(UTC) - timedelta(hours=1),
            attempt_id="attempt",
            stop_id="stop",
        )

    async def open_transactions(self, station: StationInfo) -> list[tuple[TransactionFacts, Register]]:
        facts = self._facts()
        return [(facts, Register(0.0, facts.started_at))]

    async def start(
        self, station: StationInfo, start: StartOfTransaction, told: object, evidence_of: object
    ) -> TransactionFacts:
        return self._facts()

    async def knows_token(self, station: StationInfo, token: str) -> bool:
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def nothing(*_: object, **__: object) -> None:
            return None

        return nothing


class Stock16(ChargePoint16):
    """Answers what the gateway answers."""

    @on("Heartbeat")
    def on_heartbeat(self, **_: Any) -> Any:
        return result_16.Heartbeat(current_time=_now())

    @on("BootNotification")
    def on_boot_notification(self, **_: Any) -> Any:
        return result_16.BootNotification(current_time=_now(), interval=300, status="Accepted")  # pyright: ignore

    @on("StatusNotification")
    def on_status_notification(self, **_: Any) -> Any:
        return result_16.StatusNotification()

    @on("Authorize")
    def on_authorize(self, **_: Any) -> Any:
        return result_16.Authorize(id_tag_info={"status": "Accepted"})  # pyright: ignore

    @on("StartTransaction")
    def on_start_transaction(self, **_: Any) -> Any:
        return result_16.StartTransaction(transaction_id=1, id_tag_info={"status": "Accepted"})  # pyright: ignore

    @on("StopTransaction")
    def on_stop_transaction(self, **_: Any) -> Any:
        return result_16.StopTransaction()

    @on("MeterValues")
    def on_meter_values(self, **_: Any) -> Any:
        return result_16.MeterValues()

    @on("DataTransfer")
    def on_data_transfer(self, **_: Any) -> Any:
        return result_16.DataTransfer(status="UnknownVendorId")  # pyright: ignore

    @on("FirmwareStatusNotification")
    def on_firmware_status(self, **_: Any) -> Any:
        return result_16.FirmwareStatusNotification()

    @on("DiagnosticsStatusNotification")
    def on_diagnostics_status(self, **_: Any) -> Any:
        return result_16.DiagnosticsStatusNotification()


class Stock201(ChargePoint201):
    """Answers what the gateway answers."""

    @on("Heartbeat")
    def on_heartbeat(self, **_: Any) -> Any:
        return result_201.Heartbeat(current_time=_now())

    @on("BootNotification")
    def on_boot_notification(self, **_: Any) -> Any:
        return result_201.BootNotification(current_time=_now(), interval=300, status="Accepted")  # pyright: ignore

    @on("StatusNotification")
    def on_status_notification(self, **_: Any) -> Any:
        return result_201.StatusNotification()

    @on("Authorize")
    def on_authorize(self, **_: Any) -> Any:
        return result_201.Authorize(id_token_info={"status": "Accepted"})  # pyright: ignore

    @on("TransactionEvent")
    def on_transaction_event(self, **_: Any) -> Any:
        return result_201.TransactionEvent()

    @on("MeterValues")
    def on_meter_values(self, **_: Any) -> Any:
        return result_201.MeterValues()

    @on("NotifyEvent")
    def on_notify_event(self, **_: Any) -> Any:
        return result_201.NotifyEvent()

    @on("DataTransfer")
    def on_data_transfer(self, **_: Any) -> Any:
        return result_201.DataTransfer(status="UnknownVendorId")  # pyright: ignore


def _now() -> str:
    return datetime.now(UTC).isoformat()


async def stock(lean: bool) -> None:
    ocpp.messages.ASYNC_VALIDATION = not lean
    for name in ("ocpp", "websockets.server"):  # the levels stay: only what would be written is not
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    sockets: set[ServerConnection] = set()

    async def handle(socket: ServerConnection) -> None:
        make = Stock16 if socket.subprotocol == "ocpp1.6" else Stock201
        sockets.add(socket)
        try:
            await make("bench", socket).start()
        except ConnectionClosed:
            pass
        finally:
            sockets.discard(socket)

    subprotocols = [Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0.1")]
    more: dict[str, Any] = {"compression": None} if lean else {}
    async with serve(handle, "127.0.0.1", 0, subprotocols=subprotocols, backlog=4096, **more) as server:
        _cut_on_signal(lambda: list(sockets))
        _serves(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


async def ours(house: Any, unlimited: bool, store: Store | None = None, url: str = "") -> None:
    if unlimited:
        Bucket.per_s = Bucket.burst = 1e9
    gateway = Gateway(house, behind_tls_proxy=False)
    await gateway.start("127.0.0.1", 0)
    connections = cast(Any, gateway)._connections
    _cut_on_signal(lambda: [connection.socket for connection in connections.values()])
    _serves(gateway.port)
    if store is not None:
        bus = asyncio.create_task(GatewayBus(gateway, store, url).run())
        while not bus.done():
            await asyncio.sleep(15)
            await house.hold(gateway.held())
    await asyncio.Event().wait()


async def answers_at_once() -> None:
    """As the package's handlers above do."""

    async def at_once(session: StationSession, payload: Json) -> Answer:
        return Answer({})

    for version, table in TABLES.items():
        TABLES[version] = {name: Action(at_once, row.repair) for name, row in table.items()}
    await ours(InstantHouse(), True)


async def over_postgres(url: str, unlimited: bool) -> None:
    store = Store(url)
    relay = EvidenceRelay(store, cast(Any, None))
    house = OcppHouse(store, "bench-gateway", relay)
    await house.begin()
    await ours(house, unlimited, store, url)


def _cut_on_signal(sockets: Callable[[], list[ServerConnection]]) -> None:
    def cut() -> None:
        for socket in sockets():
            socket.transport.abort()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cut)


def _serves(port: int) -> None:
    print(port, flush=True)


def main() -> None:
    raise_file_limit()
    kind, *more = sys.argv[1:]
    if not kind.startswith("stock"):
        calm_collector()
    work = {
        "house": lambda: over_postgres(more[0], False),
        "free": lambda: over_postgres(more[0], True),
        "rpc": answers_at_once,
        "instant": lambda: ours(InstantHouse(), True),
        "stock": lambda: stock(False),
        "stock-lean": lambda: stock(True),
    }[kind]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
