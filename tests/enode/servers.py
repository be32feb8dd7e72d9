"""Real servers on ephemeral loopback ports, and waiting on conditions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from simulators.telematics_vendor import TelematicsConfig, Vendor, build_app
from simulators.twin import TwinPace, VehicleTwin

WEBHOOK_SECRET = "a-webhook-secret-of-enough-bits"


class _Quiet(uvicorn.Server):
    """Leaves the signal handlers of the test run alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[str]:
    """Serves the app over a real socket; yields its base URL."""
    # The protocol is named: asyncio sets TCP_NODELAY only then, and without it each reply waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = _Quiet(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started or task.done())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
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


@dataclass
class RunningVendor:
    url: str
    vendor: Vendor
    http: httpx.AsyncClient

    async def put(self, telematics_id: str, **values: object) -> None:
        reply = await self.http.put(f"{self.url}/twin/vehicles/{telematics_id}", json=values)
        reply.raise_for_status()

    async def faults(self, *names: str) -> None:
        reply = await self.http.put(f"{self.url}/twin/faults", json={"faults": names})
        reply.raise_for_status()

    async def quiet(self) -> None:
        """Until every event is delivered."""

        async def drained() -> bool:
            reply = await self.http.get(f"{self.url}/twin/pending")
            return reply.json()["pending"] == 0

        await until(drained)


@asynccontextmanager
async def running_vendor(
    webhook_url: str = "", vehicles: dict[str, VehicleTwin] | None = None, heartbeat_interval_s: float = 60.0
) -> AsyncGenerator[RunningVendor]:
    config = TelematicsConfig(
        pace=TwinPace(meter_interval_s=0.1, speed=600),
        client_id="client",
        client_secret="client-secret",
        webhook_url=webhook_url,
        webhook_secret=WEBHOOK_SECRET,
        vehicles=vehicles or {},
        heartbeat_interval_s=heartbeat_interval_s,
    )
    app = build_app(config)
    async with serving(app) as url, httpx.AsyncClient(trust_env=False) as http:
        yield RunningVendor(url, app.state.vendor, http)
