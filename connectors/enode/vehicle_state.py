"""Reading vehicles: one on demand, or all of a connection after an outage."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import httpx
import structlog
from pydantic import ValidationError

from connectors.enode.client import EnodeClients, EnodeError
from connectors.enode.fold import VehicleFold, observe
from connectors.enode.ingest import Ingest, Report
from connectors.enode.ports import Connections, EnodeConnection
from connectors.enode.wire import Vehicle
from connectors.ports import VehicleSnapshot

_log = structlog.stdlib.get_logger("backstop.enode")

SILENCE_S: Final = 900.0
"""No authentic delivery (heartbeats included) for so long counts as an outage."""
BACKLOG: Final = 100
"""Pending events beyond one full delivery, as a heartbeat tells: the vendor could not get through to us."""


class EnodeVehicleState:
    """The house's VehicleStatePort over GET /vehicles/{id}."""

    def __init__(self, connections: Connections, clients: EnodeClients) -> None:
        self._connections = connections
        self._clients = clients

    async def read(self, tenant_id: str, telematics_id: str) -> VehicleSnapshot | None:
        """None when the tenant has no connection, or the vendor does not know or answer."""
        connection = await self._connections.of_tenant(tenant_id)
        if connection is None:
            return None
        try:
            item = await self._clients.of(connection).vehicle(telematics_id)
            if item is None:
                return None
            vehicle = Vehicle.model_validate(item)
        except (EnodeError, httpx.HTTPError, ValidationError) as error:
            _log.warning(
                "enode vehicle not read", connection=connection.connection_id, error=type(error).__name__
            )
            return None
        said_at = vehicle.last_seen or datetime.now(UTC)
        return VehicleFold().merge(observe(vehicle, said_at)).snapshot(vehicle.id)


class GapWatch:
    """Notices outages: silence, or a heartbeat that tells of a backlog. A connection never heard counts as
    silent from the start of the process: what happened while we were down is unknown."""

    def __init__(self, silence_s: float = SILENCE_S, backlog: int = BACKLOG) -> None:
        self._silence_s = silence_s
        self._backlog = backlog
        self._heard_s: dict[str, float] = {}
        self._behind: set[str] = set()
        self.changed = asyncio.Event()

    def heard(self, connection_id: str, report: Report) -> None:
        self._heard_s[connection_id] = time.monotonic()
        if report.pending_events is not None and report.pending_events > self._backlog:
            _log.warning("enode backlog", connection=connection_id, pending_events=report.pending_events)
            self._behind.add(connection_id)
            self.changed.set()

    def has_gap(self, connection_id: str) -> bool:
        heard_s = self._heard_s.get(connection_id)
        silent = heard_s is None or time.monotonic() - heard_s > self._silence_s
        return silent or connection_id in self._behind

    def closed(self, connection_id: str) -> None:
        """A resync went through."""
        self._heard_s[connection_id] = time.monotonic()
        self._behind.discard(connection_id)


class EnodeResync:
    """Reads all vehicles again, page by page, into the same log the webhook feeds."""

    def __init__(
        self, connections: Connections, clients: EnodeClients, ingest: Ingest, gaps: GapWatch
    ) -> None:
        self._connections = connections
        self._clients = clients
        self._ingest = ingest
        self._gaps = gaps

    async def resync(self, connection: EnodeConnection) -> int:
        """Returns the number of vehicles read. Raises EnodeError or httpx.HTTPError; pages read until then
        are kept, and doing it again repeats nothing."""
        read = 0
        async for page in self._clients.of(connection).vehicle_pages():
            await self._ingest.pulled(connection, page)
            read += len(page)
        self._gaps.closed(connection.connection_id)
        _log.info("enode resync", connection=connection.connection_id, vehicles=read)
        return read

    async def run(self, stopping: asyncio.Event, interval_s: float = 60.0) -> None:
        """Closes gaps until `stopping` is set; one broken connection does not hold up the others."""
        while not stopping.is_set():
            self._gaps.changed.clear()
            for connection in await self._connections.all():
                if not self._gaps.has_gap(connection.connection_id):
                    continue
                try:
                    await self.resync(connection)
                except Exception:  # noqa: BLE001 - tried again at the next round
                    _log.warning("enode resync failed", connection=connection.connection_id, exc_info=True)
            waits = {asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(self._gaps.changed.wait())}
            _, pending = await asyncio.wait(waits, timeout=interval_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in pending:
                wait.cancel()
