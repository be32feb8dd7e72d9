"""Connector health as planning reads it: from the station's route and the connector's own columns."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.charger import Charger, ConnectorHealth, ConnectorStatus, Protocol
from models.ids import TenantId
from models.station import StationIdentity
from planning.status import LINE_FRESH_S, LINE_GRACE_S, fresh_status
from store.chargers import ConnectorReport
from store.database import Store
from tests.store.conftest import Raw
from tests.store.store_samples import HOME, after, charger

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def station_id(unique: Callable[[str], str]) -> str:
    return unique("cp")


async def listed(store: Store, tenant: TenantId, station_id: str, **changes: Any) -> None:
    """A station and its charger, as an import writes them."""
    async with store.platform() as unit:
        await unit.add_station(tenant, station_id, "hash")
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger(station_id=station_id, **changes)])


async def read(store: Store, tenant: TenantId) -> Charger:
    async with store.tenant(tenant) as unit:
        found = await unit.chargers.get("ch-1")
    assert found is not None
    return found


async def health(store: Store, tenant: TenantId) -> ConnectorHealth | None:
    return (await read(store, tenant)).health


async def claim(store: Store, tenant: TenantId, station_id: str, generation: str = "g1") -> None:
    async with store.platform() as unit:
        await unit.claim_routes([(tenant, station_id, f"queue-{station_id}", generation, "ocpp1.6")])


def report(status: ConnectorStatus, seconds: float, changes: int = 0, fault: str = "") -> ConnectorReport:
    return ConnectorReport("ch-1", status, after(seconds), after(seconds), changes, fault)


async def test_a_station_that_never_came_has_no_health(
    store: Store, tenant: TenantId, station_id: str
) -> None:
    await listed(store, tenant, station_id)
    assert await health(store, tenant) is None


async def test_a_line_is_held_given_up_and_held_again(
    store: Store, tenant: TenantId, station_id: str
) -> None:
    await listed(store, tenant, station_id)
    await claim(store, tenant, station_id)
    held = await health(store, tenant)
    assert held is not None
    assert held.connected
    assert held.seen_at is not None
    assert datetime.now(UTC) - held.seen_at < timedelta(seconds=60)
    async with store.tenant(tenant) as unit:
        await unit.stations.booted(station_id, StationIdentity(), after(0))
    async with store.platform() as unit:
        await unit.release_routes([(station_id, "g1")])
    gone = await health(store, tenant)
    assert gone is not None
    assert not gone.connected
    charger = await read(store, tenant)
    assert gone.seen_at is not None
    assert fresh_status(charger, gone.seen_at + timedelta(seconds=LINE_GRACE_S - 1)) is charger.status
    assert fresh_status(charger, gone.seen_at + timedelta(seconds=LINE_GRACE_S)) is ConnectorStatus.OFFLINE
    await claim(store, tenant, station_id, "g2")
    again = await health(store, tenant)
    assert again is not None
    assert again.connected


async def test_a_line_of_a_dead_gateway_grows_old(
    store: Store, tenant: TenantId, station_id: str, raw: Raw
) -> None:
    await listed(store, tenant, station_id, status=ConnectorStatus.AVAILABLE, status_at=after(0))
    await claim(store, tenant, station_id)
    with raw() as connection:
        connection.execute(
            "UPDATE route SET seen_at = now() - make_interval(secs => %s) WHERE station_id = %s",
            (LINE_FRESH_S + 5, station_id),
        )
    assert fresh_status(await read(store, tenant), datetime.now(UTC)) is ConnectorStatus.UNKNOWN
    async with store.platform() as unit:
        await unit.hold_routes(f"queue-{station_id}", ["g1"])
    assert fresh_status(await read(store, tenant), datetime.now(UTC)) is ConnectorStatus.AVAILABLE


async def test_the_connectors_own_columns(store: Store, tenant: TenantId, station_id: str) -> None:
    await listed(store, tenant, station_id)
    await claim(store, tenant, station_id)
    async with store.tenant(tenant) as unit:
        await unit.chargers.set_connectors(
            [
                report(ConnectorStatus.FAULTED, 60, 7, "mrec:CX017"),
                report(ConnectorStatus.AVAILABLE, 30, 6),
            ]
        )
        await unit.chargers.set_connectors([report(ConnectorStatus.AVAILABLE, 59, 1)])
        await unit.chargers.set_connectors([])
    found = await read(store, tenant)
    assert (found.status, found.status_at) == (ConnectorStatus.FAULTED, after(60))
    assert found.health is not None
    assert found.health.model_dump(exclude={"seen_at"}) == {
        "connected": True,
        "state_since": after(60),
        "changes_last_hour": 7,
        "fault_code": "mrec:CX017",
    }
    async with store.tenant(tenant) as unit:
        await unit.chargers.set_connectors([report(ConnectorStatus.AVAILABLE, 61, 8)])
    assert (await read(store, tenant)).health == found.health.model_copy(
        update={"state_since": after(61), "changes_last_hour": 8, "fault_code": ""}
    )


async def test_an_import_leaves_health_alone(store: Store, tenant: TenantId, station_id: str) -> None:
    await listed(store, tenant, station_id)
    await claim(store, tenant, station_id)
    async with store.tenant(tenant) as unit:
        await unit.chargers.set_connectors([report(ConnectorStatus.FAULTED, 60, 7, "x")])
    before = await read(store, tenant)
    async with store.tenant(tenant) as unit:
        # What was read is written back: health is no part of what a list says.
        await unit.chargers.upsert([before.model_copy(update={"operator": "Renamed"})])
    after_import = await read(store, tenant)
    assert after_import == before.model_copy(update={"operator": "Renamed"})


@pytest.mark.parametrize("protocol", [Protocol.OCPI, Protocol.ENODE, Protocol.NONE])
async def test_other_protocols_have_no_line(
    store: Store, tenant: TenantId, station_id: str, protocol: Protocol
) -> None:
    """An OCPI location may be called as a station is."""
    await listed(store, tenant, station_id, protocol=protocol)
    await claim(store, tenant, station_id)
    assert await health(store, tenant) is None


async def test_another_tenants_station_of_that_name_is_not_ours(
    store: Store, tenant: TenantId, station_id: str
) -> None:
    other = TenantId(f"t-{uuid.uuid4().hex[:12]}")
    async with store.platform() as unit:
        await unit.ensure_tenant(other)
        await unit.add_station(other, station_id, "hash")
    await claim(store, other, station_id)
    async with store.tenant(tenant) as unit:
        await unit.chargers.upsert([charger(station_id=station_id)])
    assert await health(store, tenant) is None


async def test_every_way_of_reading_tells_it(store: Store, tenant: TenantId, station_id: str) -> None:
    await listed(store, tenant, station_id)
    await claim(store, tenant, station_id)
    one = await read(store, tenant)
    assert one.health is not None
    async with store.tenant(tenant) as unit:
        assert await unit.chargers.list(9) == [one]
        assert await unit.chargers.by_station(station_id) == [one]
        assert await unit.chargers.nearby(HOME, 1.0, 9) == [one]
