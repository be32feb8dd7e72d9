"""What tests of the store need beside the shared server: a look past the policies, and a tenant each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from models.ids import TenantId
from store.database import Store

Raw = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]


@pytest.fixture
def raw(database_url: str, schema: str) -> Raw:
    """The server as its superuser: what is really there, with no policy in between."""

    @contextmanager
    def connect() -> Generator[psycopg.Connection[Any]]:
        with psycopg.connect(database_url, options=f"-csearch_path={schema}") as connection:
            yield connection

    return connect


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(store: Store) -> TenantId:
    name = TenantId(f"t-{uuid.uuid4().hex[:12]}")
    async with store.platform() as unit:
        await unit.ensure_tenant(name)
    return name
