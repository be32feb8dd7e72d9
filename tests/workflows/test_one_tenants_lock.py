"""A process froze (or its host vanished) in mid record of one tenant: others go on, in the end it, too."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from models.ids import TenantId
from models.stop import StopPhase
from store.database import Store
from tests.workflows.conftest import Surroundings, charger, patient_policy, surroundings

_ENTER_FEED = text("SELECT pg_advisory_xact_lock(hashtextextended('feed:' || :tenant, 0))")
_WAITING = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


async def beside(a: Surroundings) -> Surroundings:
    """Another tenant on the same workers and the same pool."""
    b = dataclasses.replace(a, tenant_id=f"t{uuid.uuid4().hex[:10]}")
    async with a.store.platform() as unit:
        await unit.ensure_tenant(TenantId(b.tenant_id))
    async with a.store.tenant(TenantId(b.tenant_id)) as unit:
        await unit.chargers.upsert([charger("c1", "s1", 1.0), charger("c3", "s2", 3.0)])
    return b


@pytest.mark.asyncio
async def test_a_writer_that_froze_in_one_tenants_feed_holds_up_no_other_tenant(
    temporal_client: Client, store: Store, database_url: str, schema: str
) -> None:
    """The frozen writer holds the feed of tenant A within its transaction. A's records wait for it, with some
    of the pool's connections; B has nothing to do with that. The server throws the writer out in the end."""
    frozen = Store(database_url, schema=schema, pool_size=1)
    async with surroundings(temporal_client, store, policy=patient_policy()) as a:
        b = await beside(a)
        warm = await b.start()
        await warm.until(lambda v: v.phase is StopPhase.EN_ROUTE)
        held, thawed = asyncio.Event(), asyncio.Event()

        async def freeze() -> None:
            async with frozen.tenant(TenantId(a.tenant_id)) as unit:
                await unit.connection.execute(_ENTER_FEED, {"tenant": a.tenant_id})
                held.set()
                await thawed.wait()
                await unit.connection.execute(text("SELECT 1"))

        holder = asyncio.create_task(freeze())
        await held.wait()
        waiting = [await a.start() for _ in range(14)]
        looker = Store(database_url, schema=schema, pool_size=1)
        async with asyncio.timeout(10):
            most = 0
            while most < 5:
                async with looker.tenant(TenantId(b.tenant_id)) as unit:
                    most = max(most, (await unit.connection.execute(_WAITING)).scalar_one())
        stop = await b.start()
        began = time.monotonic()
        await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE, seconds=15)
        took_s = time.monotonic() - began
        assert took_s < 5
        for one in waiting:
            await one.until(lambda v: v.phase is StopPhase.EN_ROUTE)
        thawed.set()
        with pytest.raises(DBAPIError):
            await holder
        for one in [*waiting, stop, warm]:
            await one.handle.terminate()
        await frozen.dispose()
        await looker.dispose()
