"""One Temporal server and one PostgreSQL per run; unique ids, task queues and schemas per test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from store.database import Store
from store.migration import migrate
from workers.stack.postgres import Postgres
from workers.stack.temporal_server import TemporalServer


@pytest_asyncio.fixture(scope="session")
async def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    async with TemporalServer(tmp_path_factory.mktemp("temporal"), ui=False) as server:
        yield server


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal_server: TemporalServer) -> Client:
    return await temporal_server.client()


@pytest.fixture
def time_skipper(temporal_client: Client) -> TimeSkipper:
    """Workflows started through `.client` have a clock each that tests move: no test waits in real time."""
    return TimeSkipper(temporal_client, config=TimeSkippingConfig(enabled=False))


@pytest_asyncio.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    async with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def database_url(postgres: Postgres) -> str:
    return postgres.url


@pytest_asyncio.fixture(scope="session")
async def schema(database_url: str) -> str:
    """A migrated schema of this run."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    migrate(database_url, name)
    return name


@pytest_asyncio.fixture(scope="session")
async def store(database_url: str, schema: str) -> AsyncIterator[Store]:
    made = Store(database_url, schema=schema)
    yield made
    await made.dispose()


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Ids that no other test uses."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def task_queue() -> str:
    return f"queue-{uuid.uuid4().hex[:10]}"
