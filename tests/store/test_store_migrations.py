"""Migrations: up, down, up again; the same as the models; at once; and by a role that is no superuser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

import models.tables
from models.ids import TenantId
from store.database import Store, engine_url
from store.migration import downgrade, migrate
from tests.store.store_samples import record, view

VERSION_TABLE = "backstop_migration"


@pytest.fixture
def own_schema(database_url: str) -> Iterator[str]:
    name = f"m_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(database_url) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def tables_of(url: str, schema: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return {str(row[0]) for row in found}


def test_up_down_and_up_again(database_url: str, own_schema: str) -> None:
    migrate(database_url, own_schema)
    migrate(database_url, own_schema)  # a repeat does nothing
    there = tables_of(database_url, own_schema)
    assert there == {str(table) for table in SQLModel.metadata.tables} | {VERSION_TABLE}
    downgrade(database_url, own_schema)
    assert tables_of(database_url, own_schema) == {VERSION_TABLE}
    migrate(database_url, own_schema)
    assert tables_of(database_url, own_schema) == there


def test_what_migrations_make_is_what_the_models_say(database_url: str, own_schema: str) -> None:
    assert models.tables.__all__
    migrate(database_url, own_schema)
    engine = create_engine(engine_url(database_url), connect_args={"options": f"-csearch_path={own_schema}"})
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "compare_type": True,
                    "compare_server_default": True,
                    "version_table": VERSION_TABLE,
                },
            )
            assert compare_metadata(context, SQLModel.metadata) == []
    finally:
        engine.dispose()


def test_two_processes_may_migrate_at_once(database_url: str, own_schema: str) -> None:
    schemas = [own_schema, own_schema, f"{own_schema}_b"]
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(migrate, [database_url] * len(schemas), schemas))
        assert tables_of(database_url, own_schema) == tables_of(database_url, f"{own_schema}_b") != set()
    finally:
        with psycopg.connect(database_url) as connection:
            name = sql.Identifier(f"{own_schema}_b")
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))


@pytest.mark.asyncio(loop_scope="session")
async def test_a_role_that_is_no_superuser_migrates_and_runs(database_url: str, own_schema: str) -> None:
    """Managed PostgreSQL gives no superuser: ours may create roles, and owns its database. Since version 16
    a role's creator is its administrator, but must still be allowed to become it."""
    owner = f"owner_{own_schema}"
    name = sql.Identifier(owner)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(name))
        # The state of a cluster in which this role made ours itself.
        for role in ("backstop_app", "backstop_platform"):
            connection.execute(
                sql.SQL("GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE").format(
                    sql.Identifier(role), name
                )
            )
    url = make_url(database_url).set(username=owner, database=owner).render_as_string(hide_password=False)
    migrate(url)
    store = Store(url, pool_size=1)
    tenant = TenantId("managed")
    try:
        async with store.platform() as platform:
            await platform.ensure_tenant(tenant)
        async with store.tenant(tenant) as unit:
            stop = view(tenant)
            await unit.stops.record(record(stop, 1))
            assert await unit.stops.get(stop.stop_id) == stop
        async with store.tenant(TenantId("other")) as unit:
            assert await unit.stops.get(stop.stop_id) is None
    finally:
        await store.dispose()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {}").format(name))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
