"""Complete stops per second, as a ratio to a bare workflow with the same shape, in one run.

Both run on the same server, store process and client, with as many in flight. The bare workflow has what a
calm stop has: the same number of local activities and activities (empty), timers, updates and signals, in
the same order, and no state, no store, no planning. The stop does its real work. Printed: both rates, the
ratio, history sizes.

Run: make bench
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

STOPS = 120
IN_FLIGHT = 40
ROUNDS = 3


@activity.defn
async def nothing(text: str) -> str:
    return text


@workflow.defn
class BareStop:
    """3 local activities, 6 activities, 3 timers, 1 update, 2 signals: a calm stop's shape, nothing else."""

    def __init__(self) -> None:
        self._arrived = False
        self._signals = 0

    @workflow.run
    async def run(self, text: str) -> str:
        await self._local(text)  # open
        await self._activity(text)  # plan
        await self._local(text)  # look around
        planned = asyncio.create_task(self._activity(text))  # record
        await workflow.wait_condition(lambda: self._arrived, timeout=timedelta(hours=1))
        await planned
        await self._activity(text)  # open the attempt
        await self._activity(text)  # command
        await workflow.wait_condition(lambda: self._signals >= 1, timeout=timedelta(hours=1))
        confirmed = asyncio.create_task(self._activity(text))  # record
        await workflow.wait_condition(lambda: self._signals >= 2, timeout=timedelta(hours=1))
        await confirmed
        await self._local(text)  # price
        await self._activity(text)  # record
        return text

    async def _local(self, text: str) -> None:
        await workflow.execute_local_activity(nothing, text, start_to_close_timeout=timedelta(seconds=10))

    async def _activity(self, text: str) -> None:
        await workflow.execute_activity(nothing, text, start_to_close_timeout=timedelta(seconds=10))

    @workflow.update
    async def arrived(self, text: str) -> str:
        self._arrived = True
        return text

    @workflow.signal
    def evidence(self, text: str) -> None:
        self._signals += 1


async def bare_stop(client: Client, queue: str) -> int:
    workflow_id = f"bare-{uuid.uuid4()}"
    handle = await client.start_workflow(BareStop.run, "x" * 400, id=workflow_id, task_queue=queue)
    await handle.execute_update(BareStop.arrived, "x" * 100)
    await handle.signal(BareStop.evidence, "x" * 300)
    await handle.signal(BareStop.evidence, "x" * 300)
    await handle.result()
    return len((await handle.fetch_history()).events)


async def rate(one: Callable[[], Awaitable[int]], count: int) -> tuple[float, float]:
    """(per second, median history events) of `count` runs, IN_FLIGHT at a time."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def gated() -> int:
        async with gate:
            return await one()

    began = time.perf_counter()
    sizes = await asyncio.gather(*(gated() for _ in range(count)))
    return count / (time.perf_counter() - began), statistics.median(sizes)


async def main() -> None:
    from benchmarks.calm_stop import calm_stops, servers

    with tempfile.TemporaryDirectory() as state:
        async with servers(Path(state)) as (client, store), calm_stops(client, store) as stop:
            queue = f"bare-{uuid.uuid4()}"
            async with Worker(client, task_queue=queue, workflows=[BareStop], activities=[nothing]):
                await rate(lambda: bare_stop(client, queue), IN_FLIGHT)
                await rate(stop, IN_FLIGHT)
                ratios: list[float] = []
                for number in range(ROUNDS):
                    bare, bare_events = await rate(lambda: bare_stop(client, queue), STOPS)
                    full, full_events = await rate(stop, STOPS)
                    ratios.append(full / bare)
                    print(
                        f"round {number + 1}: bare {bare:5.1f}/s ({bare_events:.0f} events), "
                        f"stops {full:5.1f}/s ({full_events:.0f} events), ratio {full / bare:.2f}"
                    )
                print(f"complete stops over bare workflows per second: ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    asyncio.run(main())
