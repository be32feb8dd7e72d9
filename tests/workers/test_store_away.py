"""The store is away, or frozen: a worker ends in time, and nothing waits much longer than it must."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy.exc import DBAPIError, OperationalError
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.stop_records import StopRecords
from models.contract import ACTIVITY_RECORD
from models.ids import TenantId
from models.stop import StopRecord
from store.database import Store
from store.migration import migrate
from tests.store.store_samples import record, view
from workers.stack.freeze import freeze
from workers.stack.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="session")
_DRAIN_S = 2.0


@workflow.defn(name="RecordsOnce")
class RecordsOnce:
    @workflow.run
    async def run(self, news: StopRecord) -> None:
        await workflow.execute_activity(
            ACTIVITY_RECORD,
            news,
            start_to_close_timeout=timedelta(seconds=60),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=1)),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mortal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A server of this file's own: it is stopped."""
    async with Postgres(tmp_path_factory.mktemp("mortal"), durable=False) as server:
        if server.external:
            pytest.skip("needs a PostgreSQL that it may stop")
        await asyncio.to_thread(migrate, server.url)
        yield server


async def ends_in_time(client: Client, worker: Worker, running: asyncio.Task[None], most_s: float) -> float:
    began = time.monotonic()
    async with asyncio.timeout(most_s):
        await worker.shutdown()
        await asyncio.gather(running, return_exceptions=True)
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_a_worker_with_a_record_under_way_ends_in_time(
    mortal: Postgres, temporal_client: Client, how: str
) -> None:
    store = Store(mortal.url, pool_size=2)
    tenant, queue = TenantId("t1"), f"away-{uuid.uuid4().hex[:8]}"
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(view(tenant), 1))  # a connection that the pool keeps
    worker = Worker(
        temporal_client,
        task_queue=queue,
        workflows=[RecordsOnce],
        activities=[StopRecords(store, {}).record_stop],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=_DRAIN_S),
    )
    frozen = None
    if how == "stopped":
        await mortal.stop()
    else:
        frozen = freeze(mortal.pid, 60)
    try:
        running = asyncio.create_task(worker.run())
        handle = await temporal_client.start_workflow(
            "RecordsOnce", record(view(tenant), 1), id=f"records-{queue}", task_queue=queue
        )
        async with asyncio.timeout(20):
            while not (await handle.describe()).raw_description.pending_activities:
                await asyncio.sleep(0.05)
        # The drain, and what the driver grants a query to end on its own (at most 10 s).
        await ends_in_time(temporal_client, worker, running, _DRAIN_S + 11)
        assert not await until_ends(store.dispose(), 6)
    finally:
        if frozen is not None:
            frozen.thaw()
        await mortal.start()
    await handle.terminate()


async def until_ends(work: object, most_s: float) -> bool:
    """Whether it had to be cut off."""
    assert asyncio.iscoroutine(work)
    try:
        await asyncio.wait_for(work, most_s)
    except TimeoutError:
        return True
    return False


async def test_a_pooled_connection_that_died_costs_nobody_a_unit(mortal: Postgres) -> None:
    """No ping before each unit: the first words of a unit find a dead connection, and take another."""
    store = Store(mortal.url, pool_size=3)
    tenant = TenantId("t1")
    try:

        async def one() -> None:
            async with store.tenant(tenant) as unit:
                await unit.stops.list(limit=1)
                await asyncio.sleep(0.05)

        await asyncio.gather(*(one() for _ in range(3)))
        await mortal.restart()
        await asyncio.gather(*(one() for _ in range(6)))
        await store.ping()
    finally:
        await store.dispose()


async def test_a_server_that_is_away_is_told_at_once(mortal: Postgres) -> None:
    store = Store(mortal.url, pool_size=1, wait_s=2)
    await mortal.stop()
    try:
        with pytest.raises(OperationalError):
            async with asyncio.timeout(5):
                await store.ping()
    finally:
        await mortal.start()
        await store.dispose()


@pytest.mark.parametrize("prepare", [True, False])
async def test_statements_may_be_prepared_or_not(mortal: Postgres, prepare: bool) -> None:
    store = Store(mortal.url, pool_size=1, prepare=prepare)
    tenant = TenantId("t1")
    try:
        for _ in range(8):
            async with store.tenant(tenant) as unit:
                await unit.stops.record(record(view(tenant), 1))
        async with store.tenant(tenant) as unit:
            kept = await unit.connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements")
            statements = [str(row[0]) for row in kept]
            with pytest.raises(DBAPIError):
                await unit.connection.exec_driver_sql("SELECT nonsense")
        assert any("WITH feed" in statement for statement in statements) is prepare
        assert not any(statement.startswith("BEGIN") for statement in statements)
    finally:
        await store.dispose()
