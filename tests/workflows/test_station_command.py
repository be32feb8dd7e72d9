"""StationCommand on the real server: routed, moved, lost, repeated; each with a scripted gateway."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import Worker

from activities.station_commands import StationBooks, StationCommands
from models.commands import CommandOutcome
from models.contract import ACTIVITY_DO_AT_STATION, STATION_WORKFLOW, station_workflow_id
from models.ids import TenantId
from models.station import StationEvent, StationSettings
from models.station_commands import StationReply, StationTask, StationTaskKind
from store.database import Store
from workers.bootstrap import sandbox
from workflows.station_command import StationCommand

ACCEPTED = StationReply(outcome=CommandOutcome.ACCEPTED, payload={"status": "Accepted"})
NOT_HERE = StationReply(outcome=CommandOutcome.UNREACHABLE, error_code="NotSent", detail="not here")


@dataclass
class Gateway:
    """StationPort on a queue of its own."""

    queue: str
    answer: Callable[[StationTask], Awaitable[StationReply]]
    done: list[StationTask] = field(default_factory=list)

    async def do(self, task: StationTask) -> StationReply:
        self.done.append(task)
        return await self.answer(task)


@dataclass
class House:
    """The stop worker, and a station of one tenant that any gateway may hold."""

    client: Client
    store: Store
    tenant_id: TenantId
    station_id: str
    queue: str

    async def hold(self, queue: str) -> None:
        async with self.store.platform() as unit:
            await unit.claim_routes([(self.tenant_id, self.station_id, queue, uuid.uuid4().hex, "ocpp1.6")])

    @asynccontextmanager
    async def gateway(
        self, answer: Callable[[StationTask], Awaitable[StationReply]]
    ) -> AsyncIterator[Gateway]:
        made = Gateway(f"gateway-{uuid.uuid4().hex[:8]}", answer)
        commands = StationCommands(made)
        async with Worker(self.client, task_queue=made.queue, activities=[commands.do_at_station]):
            yield made

    def task(self, **changes: Any) -> StationTask:
        fields: dict[str, Any] = {
            "command_id": uuid.uuid4().hex,
            "tenant_id": self.tenant_id,
            "station_id": self.station_id,
            "action": "Reset",
            "payload": {"idToken": "SECRET"},
            "timeout_s": 2,
            "actor": "key 1",
        }
        return StationTask.model_validate({**fields, **changes})

    async def start(self, task: StationTask, queue: str | None = None) -> WorkflowHandle[Any, StationReply]:
        return await self.client.start_workflow(
            STATION_WORKFLOW,
            task,
            id=station_workflow_id(task.tenant_id, task.command_id),
            task_queue=queue or self.queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            result_type=StationReply,
        )

    async def run(self, task: StationTask | None = None) -> StationReply:
        async with asyncio.timeout(60):
            return await (await self.start(task or self.task())).result()

    async def log(self) -> list[StationEvent]:
        async with self.store.tenant(self.tenant_id) as unit:
            return await unit.stations.events(self.station_id, 10)


@asynccontextmanager
async def stop_worker(client: Client, store: Store, queue: str) -> AsyncIterator[None]:
    books = StationBooks(store)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[StationCommand],
        activities=[books.find_station, books.note_at_station],
        workflow_runner=sandbox(),
    ):
        yield


@pytest_asyncio.fixture
async def house(temporal_client: Client, store: Store) -> AsyncIterator[House]:
    mark = uuid.uuid4().hex[:8]
    made = House(temporal_client, store, TenantId(f"t{mark}"), f"CP-{mark}", f"stops-{mark}")
    async with store.platform() as unit:
        await unit.ensure_tenant(made.tenant_id)
    async with store.tenant(made.tenant_id) as unit:
        await unit.stations.put(StationSettings(station_id=made.station_id), "hash")
    async with stop_worker(temporal_client, store, made.queue):
        yield made


async def accept(task: StationTask) -> StationReply:
    return ACCEPTED


@pytest.mark.asyncio
async def test_a_command_goes_to_the_gateway_that_holds_the_station(house: House) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(house.gateway(accept)) for _ in range(2)]
        await house.hold(two.queue)
        task = house.task()
        assert await house.run(task) == ACCEPTED
    assert (one.done, two.done) == ([], [task])
    (line,) = await house.log()
    assert line.body == {
        "command_id": task.command_id,
        "kind": "call",
        "action": "Reset",
        "actor": "key 1",
        "outcome": "accepted",
        "status": "Accepted",
        "error_code": "",
    }
    assert "SECRET" not in str(line.body)


@pytest.mark.asyncio
async def test_a_station_that_moves_between_look_and_doing_is_found_again(house: House) -> None:
    async with house.gateway(accept) as new:

        async def moved(task: StationTask) -> StationReply:
            await house.hold(new.queue)
            return NOT_HERE

        async with house.gateway(moved) as old:
            await house.hold(old.queue)
            assert await house.run() == ACCEPTED
    assert (len(old.done), len(new.done)) == (1, 1)
    assert [line.body["outcome"] for line in await house.log()] == ["accepted"]


@pytest.mark.asyncio
async def test_a_gateway_that_is_gone_does_not_get_the_command_late(house: House) -> None:
    """Its queue has no worker: the command waits seconds there, then the route is looked up again."""
    async with house.gateway(accept) as new:
        await house.hold("gateway-that-died")
        running = await house.start(house.task(timeout_s=30))
        await asyncio.wait_for(_is_scheduled(running), 10)
        await house.hold(new.queue)
        async with asyncio.timeout(30):
            assert await running.result() == ACCEPTED


async def _is_scheduled(running: WorkflowHandle[Any, StationReply]) -> None:
    while not (await running.describe()).raw_description.pending_activities:
        await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_nobody_holds_it_and_nothing_is_sent(house: House) -> None:
    reply = await house.run()
    assert (reply.outcome, reply.error_code) == (CommandOutcome.UNREACHABLE, "NotSent")
    assert [line.body["outcome"] for line in await house.log()] == ["unreachable"]


@pytest.mark.asyncio
async def test_gateways_that_all_deny_it_are_asked_a_few_times_only(house: House) -> None:
    async def deny(task: StationTask) -> StationReply:
        return NOT_HERE

    async with house.gateway(deny) as gateway:
        await house.hold(gateway.queue)
        reply = await house.run()
    assert (reply.outcome, reply.detail, len(gateway.done)) == (CommandOutcome.UNREACHABLE, "not here", 3)


@pytest.mark.asyncio
async def test_another_tenants_station_is_held_by_nobody(house: House) -> None:
    async with house.gateway(accept) as gateway:
        await house.hold(gateway.queue)
        async with house.store.platform() as unit:
            await unit.ensure_tenant(TenantId(f"x{house.tenant_id}"))
        reply = await house.run(house.task(tenant_id=f"x{house.tenant_id}"))
    assert (reply.outcome, gateway.done) == (CommandOutcome.UNREACHABLE, [])


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_gateway_lost_in_mid_command_leaves_it_uncertain(house: House) -> None:
    """Its heartbeats end (as with kill -9): it may have sent. It is not sent again."""
    sent: list[StationTask] = []
    over = asyncio.Event()

    @activity.defn(name=ACTIVITY_DO_AT_STATION)
    async def sends_and_dies(task: StationTask) -> StationReply:
        sent.append(task)
        await over.wait()  # no heartbeat
        return ACCEPTED

    queue = f"gateway-{uuid.uuid4().hex[:8]}"
    async with Worker(house.client, task_queue=queue, activities=[sends_and_dies]):
        await house.hold(queue)
        began = time.monotonic()
        reply = await house.run(house.task(timeout_s=60))
        over.set()
    assert (reply.outcome, reply.error_code) == (CommandOutcome.UNCERTAIN, "NoReply")
    assert time.monotonic() - began < 40  # heartbeats, not the command's own time-out
    assert len(sent) == 1
    assert [line.body["outcome"] for line in await house.log()] == ["uncertain"]


@pytest.mark.asyncio
async def test_a_gateway_that_breaks_leaves_it_uncertain(house: House) -> None:
    async def breaks(task: StationTask) -> StationReply:
        raise RuntimeError("a bug")

    async with house.gateway(breaks) as gateway:
        await house.hold(gateway.queue)
        reply = await house.run()
    assert (reply.outcome, len(gateway.done)) == (CommandOutcome.UNCERTAIN, 1)


@pytest.mark.asyncio
async def test_a_repeat_sends_nothing(house: House) -> None:
    async with house.gateway(accept) as gateway:
        await house.hold(gateway.queue)
        task = house.task()
        assert await house.run(task) == ACCEPTED
        with pytest.raises(WorkflowAlreadyStartedError):
            await house.start(task)
        again = house.client.get_workflow_handle(
            station_workflow_id(task.tenant_id, task.command_id), result_type=StationReply
        )
        assert await again.result() == ACCEPTED
    assert len(gateway.done) == 1
    assert len(await house.log()) == 1


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_command_that_waited_too_long_for_us_is_not_sent(house: House) -> None:
    """The stop worker was away: nobody expects the reset of then any more."""
    later = f"late-{house.queue}"
    async with house.gateway(accept) as gateway:
        await house.hold(gateway.queue)
        running = await house.start(house.task(timeout_s=1), later)
        asked = (await running.describe()).start_time
        async with asyncio.timeout(30):
            while (datetime.now(UTC) - asked).total_seconds() < 15.5:
                await asyncio.sleep(0.1)
        async with stop_worker(house.client, house.store, later), asyncio.timeout(20):
            reply = await running.result()
    assert (reply.outcome, gateway.done) == (CommandOutcome.UNREACHABLE, [])
    assert "too late" in reply.detail


@pytest.mark.asyncio
async def test_other_tasks_travel_the_same_way(house: House) -> None:
    async with house.gateway(accept) as gateway:
        await house.hold(gateway.queue)
        for kind in (StationTaskKind.ROTATE_PASSWORD, StationTaskKind.RENEW_CERTIFICATE):
            assert await house.run(house.task(kind=kind, action="", payload={})) == ACCEPTED
    assert [task.kind for task in gateway.done] == ["rotate_password", "renew_certificate"]
