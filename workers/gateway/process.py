"""The OCPP gateway: holds the sockets of charge points and takes their commands from a queue of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from connectors.ocpp.door.certificates import StationAuthority
from connectors.ocpp.door.transport_security import server_context
from connectors.ocpp.server import Gateway
from models.contract import gateway_queue
from workers.bootstrap import gateway_worker, open_house, run_until, stop_signal
from workers.gateway.bus import GatewayBus
from workers.gateway.house import OcppHouse
from workers.gateway.metrics import GatewayCollector
from workers.settings import Settings

_log = structlog.get_logger(__name__)

_UPKEEP_S = 15.0
_STALE_S = 60.0
_RENEWAL_S = 3600.0


async def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM; then commands in flight are finished and sockets closed as going away."""
    stopped = stop_signal()
    async with open_house(settings, "gateway") as house:
        queue = gateway_queue(settings.gateway_instance)
        ocpp_house = OcppHouse(
            house.store,
            queue,
            house.relay,
            operator=settings.station_operator,
            authority=_authority(settings),
            open_door=settings.allow_unauthenticated_stations,
        )
        gateway = Gateway(
            ocpp_house,
            settings.meter_evidence_interval_s,
            transfer_hosts=settings.transfer_hosts,
            behind_tls_proxy=settings.gateway_behind_tls_proxy,
        )
        GatewayCollector.register(gateway)
        worker = gateway_worker(house, queue, gateway)
        calm_collector()
        await ocpp_house.begin()
        await gateway.start(settings.gateway_host, settings.gateway_port)
        await _start_tls(gateway, settings)
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
        bus = asyncio.create_task(GatewayBus(gateway, house.store, settings.database_url).run())
        chores = [_every(_UPKEEP_S, lambda: _keep_up(gateway, ocpp_house))]
        chores.append(_every(_STALE_S, lambda: gateway.end_stale(datetime.now(UTC))))
        if ocpp_house.signs_certificates:
            chores.append(_every(_RENEWAL_S, lambda: gateway.renew_certificates(datetime.now(UTC))))
        upkeep = [asyncio.create_task(chore) for chore in chores]
        try:
            await run_until(stopped, worker)
        finally:
            for task in (bus, *upkeep):
                task.cancel()
            await gateway.stop()
            with contextlib.suppress(Exception):
                await _flush_fields(gateway, ocpp_house)
            health.should_exit = True
            await serving


def calm_collector() -> None:
    """What was loaded is never garbage, and messages leave hardly any cycles: looked for seldom, a message
    costs a third less (benchmarks/ocpp_durable.py), and no pause grows with the number of stations."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _start_tls(gateway: Gateway, settings: Settings) -> None:
    if settings.gateway_tls_port is None:
        return
    if settings.gateway_tls_cert is None or settings.gateway_tls_key is None:
        raise ValueError("BACKSTOP_GATEWAY_TLS_PORT needs BACKSTOP_GATEWAY_TLS_CERT and _KEY")
    context = server_context(
        settings.gateway_tls_cert, settings.gateway_tls_key, settings.station_ca_cert, False
    )
    await gateway.start(settings.gateway_host, settings.gateway_tls_port, context)


def _authority(settings: Settings) -> StationAuthority | None:
    if settings.station_ca_cert is None or settings.station_ca_key is None:
        return None
    return StationAuthority(settings.station_ca_cert.read_bytes(), settings.station_ca_key.read_bytes())


async def _every(interval_s: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await chore()
        except Exception as error:  # noqa: BLE001  an outage of the store must not end the upkeep
            _log.warning("gateway upkeep waits", error=type(error).__name__)


async def _keep_up(gateway: Gateway, house: OcppHouse) -> None:
    """Routes are said again, so that planning believes them; vendor fields go to the store."""
    await house.hold(gateway.held())
    await _flush_fields(gateway, house)


async def _flush_fields(gateway: Gateway, house: OcppHouse) -> None:
    fields = gateway.vendor_fields.take()
    try:
        await house.count_fields(fields)
    except Exception:
        gateway.vendor_fields.put_back(fields)
        raise


def _health(gateway: Gateway) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        return {"stations": gateway.connected}

    @app.get("/metrics")
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
