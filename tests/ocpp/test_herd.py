"""A gateway dies with a thousand charging stations on it; all come back at once and tell what they queued.

Nothing is timed but by a generous limit: each session must be booked once, with its energy."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import class_row
from sqlalchemy import insert
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from connectors.ocpp.server import Gateway
from models.charger import Charger
from models.ids import TenantId
from models.station_passwords import hash_password
from models.tables.access import StationRow
from store.database import Store
from store.scope import table_of
from tests.ocpp.conftest import PASSWORD, Site
from workers.gateway.house import OcppHouse

STATIONS = 1_000
START_WH = 1_000
WITHIN_S = 120.0


class Herdling:
    """One 1.6 station. It keeps its transaction's messages until they are answered, over any reconnect."""

    def __init__(self, station_id: str, number: int) -> None:
        self.station_id, self.number = station_id, number
        self.started_at = datetime.now(UTC) - timedelta(hours=1)
        self.transaction_id = 0
        self.stop_answers = 0
        self.handshakes_s: list[float] = []
        self.back_at = 0.0
        self._socket: ClientConnection | None = None
        self._sent = 0
        token = base64.b64encode(f"{station_id}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    @property
    def stop_wh(self) -> int:
        return START_WH + 10 * (self.number + 1)

    async def connect(self, port: int) -> None:
        """As often as it takes, as a station does."""
        while True:
            begin = time.perf_counter()
            try:
                self._socket = await connect(
                    f"ws://127.0.0.1:{port}/ocpp/{self.station_id}",
                    subprotocols=[Subprotocol("ocpp1.6")],
                    additional_headers=self._headers,
                    compression=None,
                    proxy=None,
                    ping_interval=None,
                    open_timeout=WITHIN_S,
                    max_queue=4,
                )
            except (OSError, InvalidHandshake, EOFError):
                await asyncio.sleep(0.1 + self.number % 10 / 20)
                continue
            self.back_at = time.perf_counter()
            self.handshakes_s.append(self.back_at - begin)
            return

    async def tell(self, port: int, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Told again over new connections until there is an answer."""
        while True:
            if self._socket is None:
                await self.connect(port)
            assert self._socket is not None
            try:
                await self.send(action, payload)
                while True:
                    frame = json.loads(await self._socket.recv())
                    if frame[0] == 3 and frame[1] == f"m{self._sent}":
                        return frame[2]
                    if frame[0] == 2:  # the gateway asks how things stand
                        await self._socket.send(json.dumps([4, frame[1], "NotImplemented", "", {}]))
            except ConnectionClosed:
                self._socket = None

    async def send(self, action: str, payload: dict[str, Any]) -> None:
        assert self._socket is not None
        self._sent += 1
        await self._socket.send(json.dumps([2, f"m{self._sent}", action, payload]))

    async def start(self, port: int) -> None:
        body = {
            "connectorId": 1,
            "idTag": "TAG1",
            "meterStart": START_WH,
            "timestamp": self.started_at.isoformat(),
        }
        self.transaction_id = (await self.tell(port, "StartTransaction", body))["transactionId"]

    @property
    def stop_body(self) -> dict[str, Any]:
        return {
            "transactionId": self.transaction_id,
            "meterStop": self.stop_wh,
            "timestamp": (self.started_at + timedelta(minutes=50)).isoformat(),
            "reason": "EVDisconnected",
        }

    async def replay(self, port: int) -> None:
        self._socket = None
        await self.tell(port, "StopTransaction", self.stop_body)
        self.stop_answers += 1

    async def leave(self) -> None:
        if self._socket is not None:
            await self._socket.close()


def raise_file_limit() -> None:
    """Both ends of each socket are ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * STATIONS + 1_000
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            pytest.skip(f"needs {wanted} open files")


async def provision(store: Store, tenant_id: TenantId, names: list[str], pattern: Charger) -> None:
    kept = hash_password(PASSWORD)  # one hash for all: the herd is not about making passwords
    rows = [
        {"tenant_id": tenant_id, "station_id": name, "password_hash": kept, "security_profile": 1}
        for name in names
    ]
    chargers = [
        pattern.model_copy(update={"charger_id": f"{name}-1", "station_id": name, "connector_number": 1})
        for name in names
    ]
    async with store.tenant(tenant_id) as unit:
        await unit.connection.execute(insert(table_of(StationRow)), rows)
        await unit.chargers.upsert(chargers)


def die(gateway: Gateway) -> None:
    """As a process that is killed: no closing frame, no goodbye, nothing released."""
    for server in gateway._servers:
        server.server.close()
        for connection in list(server.connections):
            connection.transport.abort()


class Booked:
    """A transaction as it stands in the books."""

    def __init__(self, transaction_id: int, station_id: str, energy_wh: float, is_open: bool) -> None:
        self.transaction_id, self.station_id = transaction_id, station_id
        self.energy_wh, self.is_open = energy_wh, is_open


async def books_of(
    database_url: str, schema: str, tenant_id: TenantId
) -> tuple[list[Booked], Counter[int], set[str]]:
    """Transactions, stops in the journal by transaction, and findings."""
    url = database_url
    async with await psycopg.AsyncConnection.connect(url, options=f"-csearch_path={schema}") as connection:
        booked = await connection.cursor(row_factory=class_row(Booked)).execute(
            "SELECT transaction_id, station_id, energy_wh, ended_at IS NULL AS is_open"
            " FROM ocpp_transaction WHERE tenant_id = %s",
            (tenant_id,),
        )
        transactions = await booked.fetchall()
        stops = await connection.execute(
            sql.SQL("SELECT transaction_id FROM ocpp_event WHERE tenant_id = %s AND kind = 'stop'"),
            (tenant_id,),
        )
        counts = Counter(int(row[0]) for row in await stops.fetchall())
        findings = await connection.execute(
            "SELECT DISTINCT findings FROM ocpp_transaction WHERE tenant_id = %s", (tenant_id,)
        )
        return transactions, counts, {row[0] for row in await findings.fetchall()}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_thousand_stations_come_back_at_once(
    site: Site, database_url: str, schema: str, unique: Callable[[str], str]
) -> None:
    raise_file_limit()
    tenant_id, store = TenantId(unique("herd")), site.store
    async with store.platform() as unit:
        await unit.ensure_tenant(tenant_id)
    herd = [Herdling(f"{tenant_id}-{number}", number) for number in range(STATIONS)]
    await provision(store, tenant_id, [one.station_id for one in herd], site.charger())

    first = Gateway(OcppHouse(store, f"backstop-ocpp-{tenant_id}", site.sink), 0.0)
    port = await first.start("127.0.0.1", 0)
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(one.start(port) for one in herd))
    assert first.connected == STATIONS
    # A third tell their stop just as the gateway dies: taken or not, they get no answer.
    await asyncio.gather(*(one.send("StopTransaction", one.stop_body) for one in herd[::3]))
    die(first)

    house = OcppHouse(store, f"backstop-ocpp-{tenant_id}", site.sink)
    await house.begin()
    second = Gateway(house, 0.0)
    port = await second.start("127.0.0.1", 0)
    begin = time.perf_counter()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(one.replay(port) for one in herd))
    done_s = time.perf_counter() - begin
    back_s = max(one.back_at for one in herd) - begin
    handshakes = sorted(one.handshakes_s[-1] for one in herd)
    print(  # noqa: T201  figures to look at, with pytest -s
        f"\n{STATIONS} stations: all back after {back_s:.1f} s, all stops booked after {done_s:.1f} s; "
        f"handshake p50 {handshakes[STATIONS // 2]:.2f} s, p99 {handshakes[STATIONS * 99 // 100]:.2f} s"
    )

    assert all(one.stop_answers == 1 for one in herd)
    assert second.connected == STATIONS
    assert second.counts["handshake refused"] == second.counts["handshake barred"] == 0
    booked, stops, findings = await books_of(database_url, schema, tenant_id)
    assert len(booked) == STATIONS, "one session each"
    expected = {one.station_id: (one.transaction_id, one.stop_wh - START_WH) for one in herd}
    assert {row.station_id: (row.transaction_id, row.energy_wh) for row in booked} == expected
    assert not any(row.is_open for row in booked)
    assert set(stops.values()) == {1}, "each stop once in the journal, however often it was told"
    assert len(stops) == STATIONS
    assert findings == {""}
    async with store.tenant(tenant_id) as unit_of_tenant:
        queue = await unit_of_tenant.stations.queue_of(herd[-1].station_id)
    assert queue == f"backstop-ocpp-{tenant_id}"
    await asyncio.gather(*(one.leave() for one in herd))
    await second.stop()
    await first.stop()
