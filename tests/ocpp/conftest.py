"""A running gateway over the real store, one station of each version, and a recording sink."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from station_pki import old_authority
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from connectors.ocpp.door.certificates import StationAuthority
from connectors.ocpp.server import Gateway
from connectors.ports import RoutedEvidence
from models.charger import Charger, Protocol
from models.commands import ChargerCommand, CommandKind
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId, attempt_id_for, remote_start_id_for
from models.place import Place
from models.station_passwords import hash_password
from models.stop import Attempt
from models.vehicle import ConnectorStandard
from store.attempts import AttemptIntent
from store.database import Store, TenantUnit
from workers.gateway.house import OcppHouse

PASSWORD = "a-station-password-16+"


@dataclass
class Sink:
    """Keeps what the gateway says, without repeats, as the store does."""

    heard: dict[str, Evidence] = field(default_factory=dict)

    async def write(self, unit: TenantUnit, items: list[RoutedEvidence]) -> None:
        for item in items:
            self.heard.setdefault(item.evidence.event_id, item.evidence)

    def wake(self) -> None:
        """Nothing waits here for delivery."""

    def of(self, kind: EvidenceKind) -> list[Evidence]:
        return [evidence for evidence in self.heard.values() if evidence.kind is kind]

    async def until(self, kind: EvidenceKind, number: int = 1) -> list[Evidence]:
        async with asyncio.timeout(15):
            while len(found := self.of(kind)) < number:
                await asyncio.sleep(0.02)
        return found


@dataclass
class Client:
    """A raw OCPP client: frames in, frames out."""

    socket: ClientConnection

    async def raw(self, text: str | bytes) -> list[Any]:
        await self.socket.send(text)
        return await self.frame()

    async def frame(self) -> list[Any]:
        async with asyncio.timeout(5):
            return json.loads(await self.socket.recv())

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        frame = await self.raw(json.dumps([2, uuid.uuid4().hex, action, payload]))
        assert frame[0] == 3, frame
        return frame[2]


@dataclass
class Site:
    """A gateway and a station with two connectors."""

    gateway: Gateway
    store: Store
    sink: Sink
    tenant_id: TenantId
    station_id: str

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.gateway.port}/ocpp/{self.station_id}"

    def charger(self, number: int = 1) -> Charger:
        return Charger(
            charger_id=f"{self.station_id}-{number}",
            site_id="site",
            operator="Op",
            network="Net",
            place=Place(latitude=51.0, longitude=6.0),
            protocol=Protocol.OCPP,
            station_id=self.station_id,
            connector_number=number,
            standard=ConnectorStandard.CCS_2,
            power_kw=50,
        )

    async def connect(
        self, *versions: str, password: str = PASSWORD, user: str | None = None, url: str | None = None
    ) -> Client:
        token = base64.b64encode(f"{user or self.station_id}:{password}".encode()).decode()
        socket = await connect(
            url or self.url,
            subprotocols=[Subprotocol(version) for version in versions] or None,
            additional_headers={"Authorization": f"Basic {token}"},
            compression=None,
            proxy=None,
        )
        return Client(socket)

    async def attempt(self, token_uid: str = "TAG1", number: int = 1) -> str:
        """An open attempt at a connector, as the workflow writes it before any command."""
        stop_id = f"stop_{uuid.uuid4().hex}"
        attempt_id = attempt_id_for(stop_id, 1)
        now = datetime.now(UTC)
        charger = self.charger(number)
        attempt = Attempt(
            attempt_id=attempt_id,
            number=1,
            charger_id=charger.charger_id,
            site_id="site",
            operator="Op",
            protocol="ocpp",
            opened_at=now,
        )
        async with self.store.tenant(self.tenant_id) as unit:
            await unit.attempts.open(
                AttemptIntent(
                    stop_id=stop_id,
                    attempt=attempt,
                    vehicle_id=f"van-{uuid.uuid4().hex[:6]}",
                    station_id=self.station_id,
                    connector_number=number,
                    evse_uid="",
                    token_uid=token_uid,
                    remote_start_id=remote_start_id_for(attempt_id),
                    window_ends_at=now + timedelta(minutes=5),
                )
            )
        return attempt_id

    def command(self, kind: CommandKind, attempt_id: str = "a", **changes: Any) -> ChargerCommand:
        fields: dict[str, Any] = {
            "command_id": uuid.uuid4().hex,
            "tenant_id": self.tenant_id,
            "stop_id": "stop",
            "attempt_id": attempt_id,
            "kind": kind,
            "charger": self.charger(),
            "token_uid": "TAG1",
            "remote_start_id": remote_start_id_for(attempt_id),
            "timeout_s": 2.0,
        }
        return ChargerCommand.model_validate({**fields, **changes})


@pytest_asyncio.fixture
async def site(store: Store, unique: Callable[[str], str]) -> AsyncIterator[Site]:
    tenant_id, station_id = TenantId(unique("ocpp")), unique("cp")
    sink = Sink()
    house = OcppHouse(store, "backstop-ocpp-test", sink)
    gateway = Gateway(house, meter_evidence_interval_s=0.0, transfer_hosts={"example.org"})
    await gateway.start("127.0.0.1", 0)
    made = Site(gateway, store, sink, tenant_id, station_id)
    async with store.platform() as unit:
        await unit.ensure_tenant(tenant_id)
        await unit.add_station(tenant_id, station_id, hash_password(PASSWORD))
    async with store.tenant(tenant_id) as unit:
        await unit.chargers.upsert([made.charger(1), made.charger(2)])
    yield made
    await gateway.stop()


# --- certificates ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> StationAuthority:
    return old_authority()


@pytest.fixture(scope="module")
def stranger() -> StationAuthority:
    """Another CA with the same names."""
    return old_authority()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)
