"""Our receiver and the simulated partner on real sockets, over real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import uvicorn
from fastapi import FastAPI

from connectors.ocpi.client import http_client
from connectors.ocpi.commands import OcpiCommandPort
from connectors.ocpi.handshake import OurParty, register_partner
from connectors.ocpi.intake import Intake
from connectors.ocpi.mapping import charger_id_for
from connectors.ocpi.ports import PartnerLink
from connectors.ocpi.pull import pull_locations
from connectors.ocpi.receiver import build_receiver
from connectors.ports import RoutedEvidence
from models.charger import Charger, TariffTerms
from models.commands import ChargerCommand, CommandKind
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId, attempt_id_for, remote_start_id_for
from models.place import Place
from models.stop import Attempt
from simulators.roaming.config import PartyConfig, RoamingConfig
from simulators.roaming.partner import Partner
from simulators.roaming_partner import build_app as build_partner
from simulators.twin import Fault, FaultKind, PlugIn, TwinConnector, TwinLocation, TwinPace
from store.attempts import AttemptIntent
from store.database import Store
from workers.ocpi_store import StoreCatalogue, StoreQuarantine, StoreRoaming

TOKEN_A = "token-a-of-the-partner"
PLACE = Place(latitude=51.2277, longitude=6.7735)


class _Quiet(uvicorn.Server):
    """Leaves the signal handlers of the test run alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(build: Callable[[str], FastAPI]) -> AsyncGenerator[tuple[str, FastAPI]]:
    """Serves the app that `build` makes for its base URL, over a real socket."""
    # The protocol is named: asyncio sets TCP_NODELAY only then, and without it each reply waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = build(url)
    server = _Quiet(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started or task.done())
        yield url, app
    finally:
        server.should_exit = True
        await task
        listener.close()


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 15.0) -> None:
    """Waits for the condition; raises TimeoutError when it does not come true."""
    async with asyncio.timeout(within_s):
        while True:
            held = condition()
            if held is True or (not isinstance(held, bool) and await held):
                return
            await asyncio.sleep(0.01)


class StoredSink:
    """EvidenceSink that commits, as the relay does, and delivers to nobody."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, items: list[RoutedEvidence]) -> None:
        for item in items:
            async with self._store.tenant(TenantId(item.tenant_id)) as unit:
                await unit.evidence.append([(item.stop_id, item.evidence)])


@dataclass
class World:
    """One tenant, our API process and one partner."""

    store: Store
    tenant_id: str
    us: OurParty
    intake: Intake
    roaming: StoreRoaming
    port: OcpiCommandPort
    http: httpx.AsyncClient
    partner: Partner
    partner_url: str

    async def register(self) -> PartnerLink:
        link = await register_partner(
            self.http, self.roaming, self.us, self.tenant_id, f"{self.partner_url}/ocpi/versions", TOKEN_A
        )
        await pull_locations(self.http, self.intake, link)
        return link

    def charger_id(self, number: int = 1) -> str:
        return charger_id_for("DE", "RBX", f"E{number}", "1")

    async def charger(self, number: int = 1) -> Charger:
        async with self.store.tenant(TenantId(self.tenant_id)) as unit:
            found = await unit.chargers.get(self.charger_id(number))
        assert found is not None
        return found

    async def intend(self, number: int = 1, token_uid: str = "FLEET1") -> ChargerCommand:
        """Opens an attempt at the charger, as a workflow does, and returns its start."""
        charger = await self.charger(number)
        stop_id = f"stop_{uuid.uuid4().hex}"
        attempt_id = attempt_id_for(stop_id, 1)
        now = datetime.now(UTC)
        attempt = Attempt(
            attempt_id=attempt_id,
            number=1,
            charger_id=charger.charger_id,
            site_id=charger.site_id,
            operator=charger.operator,
            protocol=charger.protocol,
            opened_at=now,
        )
        async with self.store.tenant(TenantId(self.tenant_id)) as unit:
            await unit.attempts.open(
                AttemptIntent(
                    stop_id=stop_id,
                    attempt=attempt,
                    vehicle_id=f"van-{uuid.uuid4().hex[:8]}",
                    station_id=charger.station_id,
                    connector_number=charger.connector_number,
                    evse_uid=charger.evse_uid,
                    token_uid=token_uid,
                    remote_start_id=remote_start_id_for(attempt_id),
                    window_ends_at=now + timedelta(minutes=5),
                )
            )
        return ChargerCommand(
            command_id=f"{attempt_id}:start",
            tenant_id=self.tenant_id,
            stop_id=stop_id,
            attempt_id=attempt_id,
            kind=CommandKind.START,
            charger=charger,
            token_uid=token_uid,
            remote_start_id=remote_start_id_for(attempt_id),
        )

    def plug(self, number: int = 1, soc: float = 20.0, target: float = 40.0) -> None:
        vehicle = PlugIn(
            vehicle_id=f"van-{number}",
            soc_percent=soc,
            battery_kwh=50.0,
            max_power_kw=100.0,
            target_soc_percent=target,
        )
        assert self.partner.by_charger(self.charger_id(number)).plug(vehicle)

    def fault(self, kind: FaultKind, number: int = 1, *, delay_s: float = 5.0, times: int = 1) -> None:
        fault = Fault(kind=kind, delay_s=delay_s, times=times)
        self.partner.by_charger(self.charger_id(number)).faults.append(fault)

    async def evidence(self, command: ChargerCommand) -> list[Evidence]:
        async with self.store.tenant(TenantId(self.tenant_id)) as unit:
            return await unit.evidence.of_stop(command.stop_id)

    async def kinds(self, command: ChargerCommand) -> list[EvidenceKind]:
        return [item.kind for item in await self.evidence(command)]

    async def heard(self, command: ChargerCommand, kind: EvidenceKind) -> Evidence:
        """Waits until evidence of the kind is stored."""

        async def there() -> bool:
            return kind in await self.kinds(command)

        await until(there)
        return next(item for item in await self.evidence(command) if item.kind is kind)

    async def quiet(self) -> None:
        """Until the partner has delivered everything."""
        await until(lambda: self.partner.courier.pending == 0)

    async def set_aside(self) -> list[str]:
        async with self.store.tenant(TenantId(self.tenant_id)) as unit:
            return [item.reason for item in await unit.quarantine.list(50)]


def locations(count: int = 1) -> tuple[TwinLocation, ...]:
    return tuple(
        TwinLocation(
            location_id=f"LOC{number}",
            name=f"Ladepark {number}",
            place=PLACE,
            connectors=(
                TwinConnector(
                    charger_id=charger_id_for("DE", "RBX", f"E{number}", "1"),
                    evse_uid=f"E{number}",
                    power_kw=50.0,
                ),
            ),
            tariff=TariffTerms(energy_per_kwh=Decimal("0.5"), session_fee=Decimal("1.0")),
        )
        for number in range(1, count + 1)
    )


@asynccontextmanager
async def world(
    store: Store,
    *,
    count: int = 1,
    pace: TwinPace | None = None,
    page_limit: int = 50,
    read_timeout_s: float = 5.0,
    meter_interval_s: float = 0.001,
    tenant_id: str | None = None,
) -> AsyncGenerator[World]:
    tenant = tenant_id or f"t-{uuid.uuid4().hex[:12]}"
    async with store.platform() as platform:
        await platform.ensure_tenant(TenantId(tenant))
    roaming = StoreRoaming(store)
    intake = Intake(
        roaming,
        StoredSink(store),
        StoreCatalogue(store),
        StoreQuarantine(store),
        meter_interval_s=meter_interval_s,
    )
    config = RoamingConfig(
        pace=pace or TwinPace(speed=2000, meter_interval_s=0.05, connection_timeout_s=0.3),
        party=PartyConfig(country_code="DE", party_id="RBX", name="Roaming Box"),
        token_a=TOKEN_A,
        locations=locations(count),
        page_limit=page_limit,
    )
    async with http_client() as http:

        def ours(url: str) -> FastAPI:
            app = FastAPI()
            app.include_router(build_receiver(intake, http, url, allow_plain_http=True))
            return app

        async with (
            serving(ours) as (our_url, _),
            serving(lambda url: build_partner(config, url)) as (partner_url, partner_app),
        ):
            us = OurParty(country_code="DE", party_id="BST", name="Backstop", public_url=our_url)
            port = OcpiCommandPort(roaming, http, our_url, read_timeout_s=read_timeout_s)
            partner: Partner = partner_app.state.partner
            yield World(store, tenant, us, intake, roaming, port, http, partner, partner_url)
