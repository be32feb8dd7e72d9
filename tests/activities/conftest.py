"""A PostgreSQL that these tests may stop, and the command ledger on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store.database import Store
from store.migration import migrate
from workers.stack.postgres import Postgres


@pytest_asyncio.fixture(scope="package")
async def our_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A server of this folder's own: it is stopped."""
    async with Postgres(tmp_path_factory.mktemp("commands"), durable=False) as server:
        if server.external:
            pytest.skip("needs a PostgreSQL that it may stop")
        await asyncio.to_thread(migrate, server.url, "commands")
        yield server


@pytest_asyncio.fixture
async def ledger(our_postgres: Postgres) -> AsyncIterator[Store]:
    await our_postgres.start()
    made = Store(our_postgres.url, schema="commands", pool_size=4)
    yield made
    await our_postgres.start()
    await made.dispose()
