"""Keys, stations and routes; and a store that outlives its server's connections."""

from __future__ import annotations

import pytest

from models.ids import TenantId
from store.database import Store, engine_url
from tests.store.conftest import Raw

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_names_its_tenant_and_scopes(store: Store, tenant: TenantId) -> None:
    async with store.platform() as platform:
        await platform.add_api_key(tenant, "backend", f"h-{tenant}", frozenset({"stops:write", "stops:read"}))
        found = await platform.api_key(f"h-{tenant}")
        assert found is not None
        assert (found.tenant_id, found.name) == (tenant, "backend")
        assert found.scopes == {"stops:write", "stops:read"}
        assert await platform.api_key("no-such-hash") is None


async def test_a_station_is_known_and_its_password_may_change(store: Store, tenant: TenantId) -> None:
    name = f"st-{tenant}"
    async with store.platform() as platform:
        await platform.add_station(tenant, name, "hash-1")
        await platform.add_station(tenant, name, "hash-2", "ocpp1.6")
        found = await platform.station(name)
        assert found is not None
        assert (found.tenant_id, found.password_hash, found.protocol_pin) == (tenant, "hash-2", "ocpp1.6")
        assert await platform.station("no-such-station") is None


async def test_a_station_cannot_be_taken_from_its_tenant(store: Store, tenant: TenantId) -> None:
    name = f"st-{tenant}"
    async with store.platform() as platform:
        await platform.add_station(tenant, name, "hash-1")
        await platform.add_station(TenantId("thief"), name, "hash-2")
        found = await platform.station(name)
    assert found is not None
    assert (found.tenant_id, found.password_hash) == (tenant, "hash-1")


async def test_the_end_of_an_old_connection_leaves_the_new_route(store: Store, tenant: TenantId) -> None:
    name = f"st-{tenant}"
    async with store.platform() as platform:
        await platform.add_station(tenant, name, "hash")
        await platform.claim_routes([(tenant, name, "queue-a", "g1", "ocpp1.6")])
        await platform.claim_routes([(tenant, name, "queue-b", "g2", "ocpp2.0.1")])
        await platform.release_routes([(name, "g1")])
        found = await platform.find_route(name)
        assert found is not None
        assert (found.queue, found.generation, found.protocol_version) == ("queue-b", "g2", "ocpp2.0.1")
        await platform.release_routes([(name, "g2")])
        assert await platform.find_route(name) is None


async def test_touching_routes_renews_those_of_one_queue(store: Store, tenant: TenantId) -> None:
    ours, theirs = f"st-a-{tenant}", f"st-b-{tenant}"
    async with store.platform() as platform:
        for name, queue in ((ours, f"queue-{tenant}"), (theirs, "queue-other")):
            await platform.add_station(tenant, name, "hash")
            await platform.claim_routes([(tenant, name, queue, "g1", "ocpp1.6")])
    async with store.platform() as platform:
        before = [await platform.find_route(name) for name in (ours, theirs)]
        await platform.hold_routes(f"queue-{tenant}", ["g1"])
        touched = [await platform.find_route(name) for name in (ours, theirs)]
    assert before[0] is not None
    assert touched[0] is not None
    assert touched[0].seen_at > before[0].seen_at
    assert touched[1] == before[1]


async def test_connections_that_the_server_dropped_are_replaced(
    database_url: str, schema: str, raw: Raw, tenant: TenantId
) -> None:
    """What a restart of PostgreSQL does to a pool: every idle connection is dead, the next unit works."""
    name = f"pool-{tenant}"
    url = f"{database_url}{'&' if '?' in database_url else '?'}application_name={name}"
    made = Store(url, schema=schema, pool_size=2)
    try:
        await made.ping()
        with raw() as connection:
            killed = connection.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
                "WHERE application_name = %s",
                [name],
            ).fetchone()
        assert killed == (1,)
        async with made.tenant(tenant) as unit:
            assert await unit.stops.list(limit=1) == []
        await made.ping()
    finally:
        await made.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@db.example:5433/backstop",
        "postgresql+psycopg://u:p%40ss@db.example:5433/backstop",
        "postgresql+asyncpg://u:p%40ss@db.example:5433/backstop",
    ],
)
async def test_any_postgresql_url_gets_our_driver(url: str) -> None:
    assert engine_url(url) == "postgresql+psycopg://u:p%40ss@db.example:5433/backstop"


async def test_a_socket_url_keeps_its_folder() -> None:
    url = engine_url("postgresql://postgres:@/postgres?host=/run/pg")
    assert url.startswith("postgresql+psycopg://postgres:")
    assert url.endswith("/postgres?host=%2Frun%2Fpg") or url.endswith("/postgres?host=/run/pg")
