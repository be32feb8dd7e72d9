"""The API: a thin FastAPI application over the store and Temporal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from temporalio.client import Client

from api import docs_page, health, reads, station_commands, station_messages, stations, stops
from api.auth import Authenticator
from api.engine import Engine
from api.problems import install_problems
from api.settings import ApiSettings
from api.station_engine import StationEngine
from api.station_messages import FrameHub
from models.contract import STOP_QUEUE
from store.database import Store

_ABOUT = (
    "Durable charging stops for electric fleets. Start a stop, follow it, report arrival and problems; "
    "commission charge points and command them. Errors are RFC 9457 problem documents with a stable code. "
    "Every POST to a stop carries an event id and may be repeated; every command to a station takes an "
    "Idempotency-Key."
)


def create_app(
    *,
    store: Store,
    client: Client,
    settings: ApiSettings,
    extra_routers: Sequence[APIRouter] = (),
    stop_queue: str = STOP_QUEUE,
) -> FastAPI:
    """The application. `extra_routers`: what connectors serve in this process (OCPI, webhooks)."""
    app = FastAPI(title="Backstop", version="1.0", description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.store = store
    app.state.settings = settings
    app.state.engine = Engine(client, settings.update_wait_s, stop_queue)
    app.state.station_engine = StationEngine(client, stop_queue, settings.command_wait_s)
    app.state.frames = FrameHub(store, settings.tails)
    app.state.authenticator = Authenticator(store, settings.key_cache_s)
    install_problems(app, settings.max_body_bytes)
    ours = (stops, reads, stations, station_commands, station_messages, health, docs_page)
    routers: list[Any] = [*(each.router for each in ours), *extra_routers]
    for router in routers:
        app.include_router(router)
    return app
