"""The API over a real store and a real Temporal server, with a gateway whose answers the test writes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker

from activities.station_commands import StationBooks, StationCommands
from api.app import create_app
from api.keys import generate_key
from api.settings import ApiSettings
from models.commands import CommandOutcome
from models.ids import TenantId
from models.station_commands import StationReply, StationTask
from store.database import Store
from workers.bootstrap import sandbox
from workflows.station_command import StationCommand

SCOPES = {
    "writer": {"stations:write"},
    "commander": {"stations:command"},
    "reader": {"chargers:read"},
    "powerless": {"stops:write", "stops:read", "driver"},
    "admin": {"admin"},
}
CONNECTOR: dict[str, Any] = {
    "number": 1,
    "standard": "IEC_62196_T2_COMBO",
    "power_kw": 150,
    "place": {"latitude": 51.2, "longitude": 6.8},
    "site_id": "depot",
    "operator": "Op",
    "network": "own",
}


async def accept(task: StationTask) -> StationReply:
    return StationReply(outcome=CommandOutcome.ACCEPTED, payload={"status": "Accepted"})


@dataclass
class ScriptedGateway:
    """StationPort: keeps what it was told to do, and does what the test says."""

    answer: Callable[[StationTask], Awaitable[StationReply]] = accept
    done: list[StationTask] = field(default_factory=list)

    async def do(self, task: StationTask) -> StationReply:
        self.done.append(task)
        return await self.answer(task)


@dataclass
class StationsApi:
    http: httpx.AsyncClient
    app: FastAPI
    store: Store
    tenant_id: TenantId
    gateway: ScriptedGateway
    gateway_queue: str
    keys: dict[str, str]

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"}

    async def ask(
        self, verb: str, path: str, body: Any = None, who: str = "admin", key: str | None = None
    ) -> httpx.Response:
        headers = self.headers(who) | ({"Idempotency-Key": key} if key else {})
        return await self.http.request(verb, f"/v1{path}", json=body, headers=headers)

    async def add(self, station_id: str | None = None, **changes: Any) -> str:
        """A new station with connectors 1 and 2."""
        name = station_id or f"CP-{uuid.uuid4().hex[:8]}"
        body = {"connectors": [CONNECTOR, {**CONNECTOR, "number": 2}], **changes}
        answer = await self.ask("PUT", f"/stations/{name}", body)
        assert answer.status_code == 201, answer.text
        return name

    async def hold(self, station_id: str) -> None:
        """The scripted gateway holds the station's socket."""
        async with self.store.platform() as unit:
            claim = (self.tenant_id, station_id, self.gateway_queue, uuid.uuid4().hex, "ocpp1.6")
            await unit.claim_routes([claim])


@asynccontextmanager
async def stations_api(client: Client, store: Store, **settings: Any) -> AsyncIterator[StationsApi]:
    mark = uuid.uuid4().hex[:10]
    tenant_id, stranger = TenantId(f"t{mark}"), TenantId(f"x{mark}")
    queue, gateway_queue = f"stops-{mark}", f"gateway-{mark}"
    gateway, books = ScriptedGateway(), StationBooks(store)
    app = create_app(
        store=store,
        client=client,
        settings=ApiSettings(cursor_secret=SecretStr("test"), key_cache_s=0, **settings),
        stop_queue=queue,
    )
    keys: dict[str, str] = {}
    async with store.platform() as unit:
        for tenant, name, granted in [
            *((tenant_id, name, granted) for name, granted in SCOPES.items()),
            (stranger, "stranger", {"admin"}),
        ]:
            await unit.ensure_tenant(tenant)
            keys[name], hashed = generate_key()
            await unit.add_api_key(tenant, name, hashed, frozenset(granted))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        Worker(
            client,
            task_queue=queue,
            workflows=[StationCommand],
            activities=[books.find_station, books.note_at_station],
            workflow_runner=sandbox(),
        ),
        Worker(client, task_queue=gateway_queue, activities=[StationCommands(gateway).do_at_station]),
        httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30) as http,
    ):
        yield StationsApi(http, app, store, tenant_id, gateway, gateway_queue, keys)
