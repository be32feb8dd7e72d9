"""The stock Temporal server as tests, demo and development have it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.testing import TimeSkipper
from temporalio.worker import Worker

from models.contract import SEARCH_ATTRIBUTES
from tests.stack.toys import LONG_SLEEP, LongSleeper, Patient, double
from workers.stack.processes import until_ready
from workers.stack.settings import StackSettings
from workers.stack.temporal_namespace import prepare_namespace
from workers.stack.temporal_server import TemporalServer

pytestmark = pytest.mark.asyncio

Unique = Callable[[str], str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """One to kill, with a UI: the run's shared server stays alive."""
    if StackSettings.from_environment().temporal_address is not None:
        pytest.skip("an external server is neither killed nor restarted")
    # A blank in the path: the home folders of some people have one.
    async with TemporalServer(tmp_path_factory.mktemp("own temporal")) as server:
        yield server


async def test_a_35_hour_sleep_takes_moments(
    time_skipper: TimeSkipper, unique: Unique, task_queue: str
) -> None:
    began = time.monotonic()
    async with Worker(time_skipper.client, task_queue=task_queue, workflows=[LongSleeper]):
        handle = await time_skipper.client.start_workflow(
            LongSleeper.run, id=unique("sleeper"), task_queue=task_queue
        )
        await time_skipper.fast_forward(handle, LONG_SLEEP / 2)
        assert (await handle.describe()).close_time is None, "half of the way is not the end"
        await time_skipper.fast_forward(handle)
        slept_s = await handle.result()
    assert slept_s >= LONG_SLEEP.total_seconds()
    assert time.monotonic() - began < 30


async def test_kill_9_keeps_a_running_workflow(
    own_server: TemporalServer, unique: Unique, task_queue: str
) -> None:
    client = await own_server.client()
    pid, restarts = own_server.pid, own_server.restarts
    async with Worker(client, task_queue=task_queue, workflows=[Patient], activities=[double]):
        handle = await client.start_workflow(Patient.run, 21, id=unique("patient"), task_queue=task_queue)
        own_server.kill()
        await own_server.wait_back(restarts)
        assert own_server.pid != pid
        await handle.signal(Patient.release)
        assert await handle.result() == 42


async def test_a_clean_restart_keeps_address_and_workflow(
    own_server: TemporalServer, unique: Unique, task_queue: str
) -> None:
    client = await own_server.client()
    handle = await client.start_workflow(Patient.run, 4, id=unique("patient"), task_queue=task_queue)
    address = own_server.address
    await own_server.restart()
    assert own_server.address == address
    async with Worker(client, task_queue=task_queue, workflows=[Patient], activities=[double]):
        await handle.signal(Patient.release)
        assert await handle.result() == 8


async def test_the_ui_serves_its_page_and_reaches_the_server(own_server: TemporalServer) -> None:
    assert own_server.ui_url is not None
    async with httpx.AsyncClient(base_url=own_server.ui_url, trust_env=False) as browser:
        page = await browser.get("/")
        assert page.status_code == 200
        assert "<html" in page.text
        namespaces = (await browser.get("/api/v1/namespaces")).json()["namespaces"]
    assert "default" in [entry["namespaceInfo"]["name"] for entry in namespaces]


async def test_the_namespace_keeps_closed_workflows_seven_days(temporal_client: Client) -> None:
    described = await temporal_client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=temporal_client.namespace)
    )
    assert described.config.workflow_execution_retention_ttl.ToTimedelta().days == 7


async def test_search_attributes_are_usable_and_preparing_again_changes_nothing(
    temporal_client: Client, unique: Unique, task_queue: str
) -> None:
    await prepare_namespace(temporal_client)
    tenant = unique("tenant")
    pairs: list[SearchAttributePair[Any]] = []
    for name, kind in SEARCH_ATTRIBUTES.items():
        match kind:
            case "Keyword":
                pairs.append(SearchAttributePair(SearchAttributeKey.for_keyword(name), tenant))
            case "Int":
                pairs.append(SearchAttributePair(SearchAttributeKey.for_int(name), 1))
            case _:
                pairs.append(SearchAttributePair(SearchAttributeKey.for_bool(name), True))
    handle = await temporal_client.start_workflow(
        Patient.run,
        1,
        id=unique("patient"),
        task_queue=task_queue,
        search_attributes=TypedSearchAttributes(pairs),
    )

    async def listed() -> bool:
        query = f"BackstopTenant = '{tenant}' AND Attempt = 1 AND AwaitingHuman = true"
        return [found.id async for found in temporal_client.list_workflows(query)] == [handle.id]

    await until_ready(listed, "the workflow in the list", 30)
    await handle.terminate()
