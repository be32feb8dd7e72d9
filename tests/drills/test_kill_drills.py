"""kill -9 of every process in the middle of a morning: nothing is lost, nothing is doubled.

The full stack on real parts, the twin with its faults, and the oracle over the partners' own ledgers.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from simulators.fault_plan import plan_faults
from simulators.world import demo_world
from workers.demo import run_demo
from workers.local_stack import OUR_PROCESSES, TENANT, LocalStack, local_stack

SEED = 11


async def kill(stack: LocalStack, name: str) -> None:
    """kill -9, and wait until it is back by itself."""
    if name == "temporal":
        before = stack.temporal.restarts
        stack.temporal.kill()
        await stack.temporal.wait_back(before)
    elif name == "postgres":
        before = stack.postgres.restarts
        stack.postgres.kill()
        await stack.postgres.wait_back(before)
    else:
        before = stack.processes.restarts(name)
        stack.processes.kill(name)
        await stack.processes.wait_restarted(name, before)


async def transitions(stack: LocalStack) -> int:
    """How far the morning is: events in the log."""
    from models.ids import TenantId
    from store.database import Store

    store = Store(stack.postgres.url, pool_size=1)
    try:
        async with store.tenant(TenantId(TENANT)) as unit:
            feed = await unit.stops.events_after(0, 5000)
        return len(feed)
    finally:
        await store.dispose()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_every_process_is_killed_in_one_morning_and_every_promise_holds(tmp_path: Path) -> None:
    world = demo_world(SEED, 24)
    plan = plan_faults(world, SEED)
    world = plan.put_on(world)
    page = io.StringIO()
    async with local_stack(tmp_path, world, lambda text: None) as stack:
        morning = asyncio.create_task(
            run_demo(
                api_url=stack.api_url,
                api_key=stack.api_key,
                driver_key=stack.driver_key,
                links=stack.links,
                world=world,
                plan=plan,
                control_urls=stack.control_urls,
                folder=tmp_path,
                console=Console(file=page, width=120),
            )
        )
        reached = 0
        for name in (*OUR_PROCESSES, "temporal", "postgres"):
            # Strike when the morning has moved on since the last blow, not after so many seconds.
            goal = reached + 15
            while not morning.done() and (reached := await transitions(stack)) < goal:
                await asyncio.sleep(0.1)
            assert not morning.done(), f"the morning was over before {name} could be killed"
            await kill(stack, name)
        code = await morning
    assert code == 0, page.getvalue()[-6000:]
    assert "All kept" in page.getvalue()
