"""A fleet asks for 2,000 stops at once: how long until each has a plan, and how long a workflow task takes.

The whole stack in processes of its own, asked over HTTP as a fleet's backend does. The stops are those of a
demo city, each of its vans many times over under other names, so chargers are far too few: every plan is a
real one, with queues. Printed: time until all are accepted, until all are planned; the longest workflow
tasks, from their histories.

Run: make bench BENCH=starts          (FEW=1 for 200)
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import psycopg
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from models.ids import workflow_id_for
from models.stop import StopRequest
from simulators.fleet_backend import FleetBackend
from simulators.world import demo_world
from workers.local_stack import TENANT, local_stack

STARTS = 200 if os.environ.get("FEW") else 2000
_VANS = 40
_LOOK_S = 0.5
_MOST_S = 600.0
_TASK_ENDS = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
)


def requests() -> list[StopRequest]:
    vans = demo_world(1, _VANS).stop_requests()
    return [
        request.model_copy(
            update={
                "business_key": f"{request.business_key}-{copy}",
                "vehicle": request.vehicle.model_copy(
                    update={"vehicle_id": f"{request.vehicle.vehicle_id}-{copy}", "telematics_id": None}
                ),
            }
        )
        for copy in range(STARTS // _VANS)
        for request in vans
    ]


def without_plan(url: str) -> int:
    """Those whose first decision is on record are not among them, also where a person must approve of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM stop s WHERE NOT EXISTS"
            " (SELECT FROM decision d WHERE d.tenant_id = s.tenant_id AND d.stop_id = s.stop_id)"
        ).fetchone()
    return int(found[0]) if found else 0


async def longest_task_s(client: Client, workflow_id: str) -> float:
    """From the moment a worker took it to its completion."""
    handle: WorkflowHandle[object, object] = client.get_workflow_handle(workflow_id)
    taken_s: float | None = None
    longest_s = 0.0
    async for event in handle.fetch_history_events():
        at_s = event.event_time.seconds + event.event_time.nanos / 1e9
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            taken_s = at_s
        elif event.event_type in _TASK_ENDS and taken_s is not None:
            longest_s, taken_s = max(longest_s, at_s - taken_s), None
    return longest_s


async def main() -> None:
    wanted = requests()
    with tempfile.TemporaryDirectory(prefix="backstop-bench-", ignore_cleanup_errors=True) as folder:
        async with local_stack(Path(folder), demo_world(1, _VANS), print) as stack:
            began_s = time.perf_counter()
            async with FleetBackend(stack.api_url, stack.api_key, connections=100) as backend:
                await asyncio.gather(*(backend.start(request) for request in wanted))
            accepted_s = time.perf_counter() - began_s
            print(f"{len(wanted)} stops: all accepted after {accepted_s:.1f} s", flush=True)
            while left := await asyncio.to_thread(without_plan, stack.postgres.url):
                if time.perf_counter() - began_s > _MOST_S:
                    raise TimeoutError(f"{left} stops have no plan after {_MOST_S:.0f} s")
                await asyncio.sleep(_LOOK_S)
            print(f"all planned after {time.perf_counter() - began_s:.1f} s", flush=True)
            client = await stack.temporal.client()
            gate = asyncio.Semaphore(20)

            async def longest(request: StopRequest) -> float:
                async with gate:
                    return await longest_task_s(client, workflow_id_for(TENANT, request.business_key))

            tasks = sorted(await asyncio.gather(*(longest(request) for request in wanted)))
            print(
                f"the longest workflow task of a stop: p50 {statistics.median(tasks):.2f} s, "
                f"p99 {tasks[int(len(tasks) * 0.99)]:.2f} s, most {tasks[-1]:.2f} s"
            )


if __name__ == "__main__":
    asyncio.run(main())
