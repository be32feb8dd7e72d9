"""What is known in the house after an action: a station's log, its record, its connectors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from models.charger import ConnectorStatus
from models.station import StationEvent, StationEventKind, StationRecord, StationSettings
from tests.ocpp.conftest import Site

V16, V201, V21 = "ocpp1.6", "ocpp2.0.1", "ocpp2.1"
V2 = (V201, V21)
_OF_CONNECTIONS = (StationEventKind.CONNECTED, StationEventKind.DISCONNECTED)


def at(seconds: float = 0) -> str:
    """From now; a clock may be some minutes ahead."""
    return ago(-seconds)


def ago(seconds: float = 0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")[:-6] + "Z"


async def log_of(site: Site, kind: StationEventKind | None = None) -> list[StationEvent]:
    """Newest first, without the lines of its connections."""
    async with site.store.tenant(site.tenant_id) as unit:
        found = await unit.stations.events(site.station_id, 100, kind)
    return [event for event in found if event.kind not in _OF_CONNECTIONS]


async def bodies(site: Site, kind: StationEventKind) -> list[dict[str, object]]:
    return [event.body for event in await log_of(site, kind)]


async def record(site: Site) -> StationRecord:
    async with site.store.tenant(site.tenant_id) as unit:
        found = await unit.stations.get(site.station_id)
    assert found is not None
    return found


async def settle(site: Site, **settings: Any) -> None:
    """An operator's decision about the station."""
    async with site.store.tenant(site.tenant_id) as unit:
        await unit.stations.put(StationSettings(station_id=site.station_id, **settings), None)


async def status(site: Site, number: int = 1) -> ConnectorStatus:
    async with site.store.tenant(site.tenant_id) as unit:
        charger = await unit.chargers.get(f"{site.station_id}-{number}")
    assert charger is not None
    return charger.status


async def told_of_boot(site: Site) -> list[dict[str, object]]:
    """The log's lines of boots: they are written after the answer."""
    async with asyncio.timeout(5):
        while not (found := await bodies(site, StationEventKind.BOOT)):
            await asyncio.sleep(0.01)
    return found
