"""A backend and its chargers in one small app over a real socket, under a test's control."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from models.place import Place
from models.stop import StopOutcome, StopPhase, StopView
from simulators.twin import ConnectorState, PlugIn

PLACE = Place(latitude=51.23, longitude=6.78)
KEY = "a-key"


class ScriptedBackend:
    """`views` is what the API shows; `told` and `done` are what drivers said and did, in order."""

    def __init__(self) -> None:
        self.views: dict[str, StopView] = {}
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.done: list[tuple[str, str]] = []
        self.shown: list[dict[str, Any]] = []
        self.connectors: dict[str, ConnectorState] = {}
        self.plugs: list[PlugIn] = []
        self.away_for = 0
        self.looks = 0

    def send_to(self, stop_id: str, charger_id: str, phase: StopPhase = StopPhase.EN_ROUTE) -> None:
        known = self.views.get(stop_id)
        now = datetime.now(UTC)
        self.connectors.setdefault(charger_id, ConnectorState(status="Available"))
        self.views[stop_id] = StopView(
            stop_id=stop_id,
            tenant_id="demo",
            business_key=stop_id,
            workflow_id=stop_id,
            vehicle_id="van-001",
            phase=phase,
            charger_id=charger_id,
            charger_place=PLACE,
            created_at=known.created_at if known else now,
            updated_at=now,
        )

    def move_on(self, stop_id: str, phase: StopPhase, outcome: StopOutcome | None = None) -> None:
        self.views[stop_id] = self.views[stop_id].model_copy(update={"phase": phase, "outcome": outcome})

    def topics(self) -> list[str]:
        return [topic for _, topic, _ in self.told]

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v1/charging-stops", self._list, methods=["GET"])
        app.add_api_route("/v1/charging-stops/{stop_id}/{topic}", self._tell, methods=["POST"])
        app.add_api_route("/twin/connectors/{charger_id}", self._connector, methods=["GET"])
        app.add_api_route("/twin/connectors/{charger_id}/plug", self._plug, methods=["POST"])
        app.add_api_route("/twin/connectors/{charger_id}/unplug", self._unplug, methods=["POST"])
        app.add_api_route("/twin/vehicles/{telematics_id}", self._vehicle, methods=["PUT"])
        return app

    def _answer(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise HTTPException(401)
        if self.away_for > 0:
            self.away_for -= 1
            raise HTTPException(503)

    async def _list(self, request: Request, limit: int = 50) -> dict[str, Any]:
        """The newest, as the API gives them."""
        self._answer(request)
        self.looks += 1
        newest = sorted(self.views.values(), key=lambda view: view.created_at, reverse=True)
        data = [view.model_dump(mode="json") for view in newest[:limit]]
        return {"object": "list", "data": data, "next_cursor": None}

    async def _tell(self, stop_id: str, topic: str, request: Request) -> dict[str, str]:
        self._answer(request)
        self.told.append((stop_id, topic, await request.json()))
        return {}

    async def _connector(self, charger_id: str) -> ConnectorState:
        return self.connectors[charger_id]

    async def _plug(self, charger_id: str, vehicle: PlugIn) -> ConnectorState:
        state = self.connectors[charger_id]
        if state.vehicle_id not in (None, vehicle.vehicle_id):
            raise HTTPException(409)
        self.plugs.append(vehicle)
        self.done.append(("plug", charger_id))
        self.connectors[charger_id] = ConnectorState(
            status="Charging",
            vehicle_id=vehicle.vehicle_id,
            charging=True,
            power_kw=50.0,
            soc_percent=vehicle.soc_percent + 10,
        )
        return self.connectors[charger_id]

    async def _unplug(self, charger_id: str) -> ConnectorState:
        self.done.append(("unplug", charger_id))
        self.connectors[charger_id] = ConnectorState(status="Available")
        return self.connectors[charger_id]

    async def _vehicle(self, telematics_id: str, request: Request) -> dict[str, str]:
        self.shown.append({"id": telematics_id, **(await request.json())})
        return {}


class _Quiet(uvicorn.Server):
    """Leaves the signal handlers of the test run alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[str]:
    """Serves the app over a real socket; yields its base URL."""
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


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Waits for the condition; raises TimeoutError when it does not come true."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
