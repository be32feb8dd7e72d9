"""The simulated telematics vendor: Enode's API shape over real HTTP, in its own process.

    python -m simulators.telematics_vendor --config FILE --port N

Beside the vendor's API it serves the twin's control API: PUT and DELETE /twin/vehicles/{telematics_id},
PUT /twin/faults, GET /twin/pending, GET /twin/ledger. See docs/simulators-telematics.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import hmac
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response

from models.base import Message, StrictMessage
from simulators.telematics.faults import FaultPlan, VendorFault
from simulators.telematics.fleet import Action, Car, Fleet
from simulators.telematics.push import Pusher
from simulators.twin import TwinPace, VehicleTwin

_CONFIRM_S: Final = 0.3
_CONFIRM_LATE_S: Final = 20.0
_TOKEN_LIFE_S: Final = 3600


class TelematicsConfig(Message):
    """Configuration file (JSON) of the vendor. `faults`: see simulators/telematics/faults.py. Without a
    `webhook_url` nothing is pushed."""

    pace: TwinPace = TwinPace()
    client_id: str
    client_secret: str
    webhook_url: str = ""
    webhook_secret: str = ""
    vehicles: dict[str, VehicleTwin] = {}
    faults: tuple[str, ...] = ()
    heartbeat_interval_s: float = 10.0


class ChargingBody(StrictMessage):
    action: Literal["START", "STOP"]


class FaultsBody(StrictMessage):
    """Replaces the faults that are on."""

    faults: tuple[str, ...] = ()


class Vendor:
    """State of one vendor process."""

    def __init__(self, config: TelematicsConfig) -> None:
        self.config = config
        self.faults = FaultPlan(config.faults)
        self.tokens: set[str] = set()
        self.closing = asyncio.Event()
        self.pusher = Pusher(
            config.webhook_url,
            config.webhook_secret,
            config.pace.seed,
            config.heartbeat_interval_s,
            lambda: self.faults,
        )
        self.fleet = Fleet(config.pace, lambda: self.faults, self.pusher.emit)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Runs pushing and charging; ends both on exit."""
        for telematics_id, twin in self.config.vehicles.items():
            self.fleet.put(telematics_id, twin)
        tasks = [asyncio.create_task(self.pusher.run()), asyncio.create_task(self._charge())]
        try:
            yield
        finally:
            self.closing.set()
            for task in [*tasks, *self._tasks]:
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)

    async def _charge(self) -> None:
        interval_s = self.config.pace.meter_interval_s
        while True:
            await asyncio.sleep(interval_s)
            self.fleet.advance(interval_s)

    def schedule(self, action: Action) -> None:
        """Lets the vehicle carry out a pending action after a moment, unless a fault keeps it pending."""
        if action.state != "PENDING" or self.faults.strikes(VendorFault.ACTION_PENDING_FOREVER):
            return
        delay_s = _CONFIRM_LATE_S if self.faults.strikes(VendorFault.ACTION_LATE) else _CONFIRM_S

        async def later() -> None:
            await asyncio.sleep(delay_s)
            self.fleet.carry_out(action)

        task = asyncio.create_task(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep_waiting(self) -> None:
        """Never answers; ends only with the process."""
        await self.closing.wait()
        raise HTTPException(504)

    async def admit(self, authorization: str | None) -> None:
        """Token and transport faults of one API call."""
        if self.faults.strikes(VendorFault.TOKEN_REVOKED):
            self.tokens.clear()
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or token not in self.tokens:
            raise HTTPException(401)
        if self.faults.strikes(VendorFault.RATE_LIMITED):
            raise HTTPException(429, headers={"retry-after": "2"})
        if self.faults.strikes(VendorFault.RATE_LIMITED_BARE):
            raise HTTPException(429)
        if self.faults.strikes(VendorFault.SERVER_ERROR):
            raise HTTPException(500)
        if self.faults.strikes(VendorFault.TIMEOUT):
            await self.keep_waiting()

    def car(self, telematics_id: str) -> Car:
        car = self.fleet.cars.get(telematics_id)
        if car is None:
            raise HTTPException(404)
        return car


def _credentials(authorization: str | None, form: dict[str, list[str]]) -> tuple[str, str]:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return name, secret
    return form.get("client_id", [""])[0], form.get("client_secret", [""])[0]


def build_app(config: TelematicsConfig) -> FastAPI:
    """The vendor as an ASGI application; its state is `app.state.vendor` once it runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        vendor = Vendor(config)
        app.state.vendor = vendor
        async with vendor.running():
            yield

    app = FastAPI(title="Simulated telematics vendor", lifespan=lifespan)
    _vendor_routes(app, config)
    _twin_routes(app)
    return app


def _of(request: Request) -> Vendor:
    vendor: Vendor = request.app.state.vendor
    return vendor


def _vendor_routes(app: FastAPI, config: TelematicsConfig) -> None:
    @app.post("/oauth/token")
    async def token(request: Request, authorization: str | None = Header(None)) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        form = parse_qs((await request.body()).decode("ascii", "replace"))
        client_id, secret = _credentials(authorization, form)
        known = hmac.compare_digest(client_id.encode(), config.client_id.encode())
        right = hmac.compare_digest(secret.encode(), config.client_secret.encode())
        if form.get("grant_type") != ["client_credentials"] or not (known and right):
            raise HTTPException(401)
        issued = secrets.token_urlsafe(24)
        _of(request).tokens.add(issued)
        return {"access_token": issued, "expires_in": _TOKEN_LIFE_S, "token_type": "bearer", "scope": ""}

    @app.get("/vehicles")
    async def vehicles(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        page_size: int = 50,
        after: str = "",
        authorization: str | None = Header(None),
    ) -> dict[str, Any]:
        vendor = _of(request)
        await vendor.admit(authorization)
        size = min(max(1, int(request.query_params.get("pageSize", page_size))), 50)
        ids = [known for known in sorted(vendor.fleet.cars) if known > after]
        cars = [vendor.fleet.wire(vendor.fleet.cars[known]) for known in ids[:size]]
        cursor = ids[size - 1] if len(ids) > size else None
        return {"data": cars, "pagination": {"after": cursor, "before": None}}

    @app.get("/vehicles/{telematics_id}")
    async def vehicle(  # pyright: ignore[reportUnusedFunction]
        telematics_id: str, request: Request, authorization: str | None = Header(None)
    ) -> dict[str, Any]:
        vendor = _of(request)
        await vendor.admit(authorization)
        return vendor.fleet.wire(vendor.car(telematics_id))

    @app.post("/vehicles/{telematics_id}/charging")
    async def charging(  # pyright: ignore[reportUnusedFunction]
        telematics_id: str, body: ChargingBody, request: Request, authorization: str | None = Header(None)
    ) -> dict[str, Any]:
        vendor = _of(request)
        await vendor.admit(authorization)
        car = vendor.car(telematics_id)
        if vendor.faults.strikes(VendorFault.PLAN_OWNS_DEVICE):
            raise HTTPException(422)
        action = vendor.fleet.command(car, body.action)
        vendor.schedule(action)
        if vendor.faults.strikes(VendorFault.TIMEOUT_AFTER_ACTING):
            await vendor.keep_waiting()
        return action.wire()


def _twin_routes(app: FastAPI) -> None:
    @app.put("/twin/vehicles/{telematics_id}")
    async def put(telematics_id: str, twin: VehicleTwin, request: Request) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        vendor = _of(request)
        return vendor.fleet.wire(vendor.fleet.put(telematics_id, twin))

    @app.delete("/twin/vehicles/{telematics_id}")
    async def delete(telematics_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(status_code=204 if _of(request).fleet.remove(telematics_id) else 404)

    @app.put("/twin/faults")
    async def faults(body: FaultsBody, request: Request) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        try:
            _of(request).faults = FaultPlan(body.faults)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return {"faults": body.faults}

    @app.get("/twin/pending")
    async def pending(request: Request) -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]
        pusher = _of(request).pusher
        return {"pending": pusher.pending, "refused": pusher.refused}

    @app.get("/twin/ledger")
    async def ledger(request: Request) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return {"entries": [entry.model_dump(mode="json") for entry in _of(request).fleet.ledger.entries()]}


def main() -> None:
    """Runs the vendor on the loopback interface until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Simulated telematics vendor (Enode's API shape)")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    config = TelematicsConfig.model_validate_json(options.config.read_bytes())
    uvicorn.run(
        build_app(config),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
