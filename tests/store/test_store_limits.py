"""What one tenant may take of the store: connections, and time in which others wait for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.ids import TenantId
from store.database import Store
from store.errors import is_bad_data

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_LIMITS = text(
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
    "current_setting('idle_in_transaction_session_timeout')"
)


async def test_one_tenant_has_half_the_connections_at_most(
    database_url: str, schema: str, tenant: TenantId
) -> None:
    made = Store(database_url, schema=schema, pool_size=4, wait_s=0.3)
    try:
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(made.tenant(tenant))
            with pytest.raises(PoolTimeout) as refused:
                await held.enter_async_context(made.tenant(tenant))
            assert not is_bad_data(refused.value)
            async with made.tenant(TenantId(f"{tenant}-b")) as unit:
                assert await unit.stops.list(limit=1) == []
            await made.ping()
        async with made.tenant(tenant), made.tenant(tenant):
            pass  # what was given back may be had again
    finally:
        await made.dispose()


async def test_waiting_for_a_lock_ends_and_is_no_bad_data(store: Store, tenant: TenantId) -> None:
    name = f"test:{tenant}"
    async with store.tenant(tenant) as holder:
        await holder.connection.execute(_LOCK, {"name": name})
        with pytest.raises(DBAPIError, match="lock timeout") as refused:
            async with asyncio.timeout(10), store.tenant(tenant) as other:
                await other.connection.execute(_LOCK, {"name": name})
        assert not is_bad_data(refused.value)
    async with store.tenant(tenant) as unit:
        await unit.connection.execute(_LOCK, {"name": name})


async def test_every_unit_has_its_limits(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        assert tuple((await unit.connection.execute(_LIMITS)).one()) == ("3s", "6s", "8s")


async def test_a_missing_or_forbidden_value_is_bad_data_and_a_taken_key_is_not(
    store: Store, tenant: TenantId
) -> None:
    """The first no repeat heals; the second may be a race."""
    missing = "INSERT INTO outbox (tenant_id, topic, payload) VALUES (:tenant, NULL, '{}')"
    taken = """INSERT INTO vehicle_model (tenant_id, model_id, body)
        SELECT :tenant, 'm', '{}' FROM generate_series(1, 2)"""
    for statement, is_bad in ((missing, True), (taken, False)):
        with pytest.raises(DBAPIError) as refused:
            async with store.tenant(tenant) as unit:
                await unit.connection.execute(text(statement), {"tenant": tenant})
        assert is_bad_data(refused.value) is is_bad, refused.value
