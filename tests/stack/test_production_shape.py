"""Production's shape without containers: the stock Temporal server on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from temporalio.worker import Worker

from tests.stack.toys import Patient, double
from workers.stack.postgres import Postgres
from workers.stack.processes import until_ready
from workers.stack.settings import StackSettings
from workers.stack.temporal_config import PostgresDatabases
from workers.stack.temporal_schema import create_databases
from workers.stack.temporal_server import TemporalServer
from workers.stack.temporal_source import build_with_go, cached_build

pytestmark = pytest.mark.asyncio

OWN = replace(StackSettings.from_environment(), database_url=None, temporal_address=None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tcp_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    async with Postgres(tmp_path_factory.mktemp("pg"), tcp=True, durable=False, settings=OWN) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def temporal_on_postgres(
    tcp_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TemporalServer]:
    if cached_build(OWN) is None and shutil.which("go") is None:
        pytest.skip("the stock server has to be built, and there is no Go")
    databases = PostgresDatabases("127.0.0.1", tcp_postgres.port, "postgres", tcp_postgres.password)
    build = await build_with_go(OWN)
    await create_databases(build, databases)
    await create_databases(build, databases)  # as every release does: nothing to do is no error
    folder = tmp_path_factory.mktemp("temporal")
    async with TemporalServer(folder, databases=databases, source=build, settings=OWN) as server:
        yield server


async def test_a_workflow_completes_and_survives_the_servers_kill(
    temporal_on_postgres: TemporalServer, unique: Callable[[str], str], task_queue: str
) -> None:
    server = temporal_on_postgres
    client = await server.client()
    async with Worker(client, task_queue=task_queue, workflows=[Patient], activities=[double]):
        handle = await client.start_workflow(Patient.run, 21, id=unique("patient"), task_queue=task_queue)
        restarts = server.restarts
        server.kill()
        await server.wait_back(restarts)
        await handle.signal(Patient.release)
        assert await handle.result() == 42
    await until_ready(server.ui_answers, "the UI after the server came back", 30)
