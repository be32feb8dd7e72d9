"""The OCPP gateway: holds the sockets of charge points and takes their commands from a queue of its own."""

from __future__ import annotations

import asyncio

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from connectors.ocpp.server import Gateway
from models.charger import Protocol
from models.contract import gateway_queue
from workers.bootstrap import command_worker, open_house, run_until, stop_signal
from workers.ocpp_store import OcppHouse
from workers.settings import Settings

_CONNECTED = Gauge("backstop_gateway_stations", "Charge points connected to this gateway")


async def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM; then commands in flight are finished and sockets closed as going away."""
    stopped = stop_signal()
    async with open_house(settings, "gateway") as house:
        queue = gateway_queue(settings.gateway_instance)
        gateway = Gateway(OcppHouse(house.store, queue), house.relay, settings.meter_evidence_interval_s)
        _CONNECTED.set_function(lambda: gateway.connected)
        worker = command_worker(house, queue, {Protocol.OCPP: gateway})
        await gateway.start(settings.gateway_host, settings.gateway_port)
        health = uvicorn.Server(
            uvicorn.Config(
                _health(gateway),
                host=settings.gateway_host,
                port=settings.gateway_health_port,
                log_config=None,
                access_log=False,
            )
        )
        health.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        serving = asyncio.create_task(health.serve())
        try:
            await run_until(stopped, worker)
        finally:
            await gateway.stop()
            health.should_exit = True
            await serving


def _health(gateway: Gateway) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        return {"stations": gateway.connected}

    @app.get("/metrics")
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
