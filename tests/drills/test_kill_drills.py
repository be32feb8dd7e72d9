"""Blows in the middle of a morning: nothing is lost, nothing is doubled, and log and history stay equal.

The full stack on real parts, the twin with its faults, and the oracle over everybody's books. The long
version is `make soak`.
"""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import pytest
from rich.console import Console

from models.ids import TenantId
from simulators.fault_plan import plan_faults
from simulators.world import demo_world
from store.database import Store
from workers.demo import UNDER_CHAOS
from workers.local_stack import OUR_PROCESSES, TENANT, LocalStack, local_stack
from workers.stack.chaos import BlowKind
from workers.stack.freeze import signal_all, tree
from workers.stack.processes import until_ready

SEED = 11


async def kill(stack: LocalStack, name: str) -> None:
    """kill -9 of a process and all that it has started, and wait until it is back by itself."""
    victim = stack.victims()[name]
    before = victim.restarts
    signal_all(tree(victim.pid), signal.SIGKILL)

    async def is_back() -> bool:
        return victim.restarts > before and await victim.stands()

    await until_ready(is_back, f"the return of {name}", 60)


async def transitions(stack: LocalStack) -> int:
    """How far the morning is: events in the log."""
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
    page = io.StringIO()
    async with local_stack(tmp_path, plan.put_on(world), lambda text: None) as stack:
        console = Console(file=page, width=120)
        morning = asyncio.create_task(stack.morning(plan, console, patience=UNDER_CHAOS))
        reached = 0
        for name in (*OUR_PROCESSES, "temporal", "postgres"):
            # Strike when the morning has moved on since the last blow, not after so many seconds.
            goal = reached + 15
            while not morning.done() and (reached := await transitions(stack)) < goal:
                await asyncio.sleep(0.1)
            assert not morning.done(), f"the morning was over before {name} could be killed"
            await kill(stack, name)
        end = await morning
    assert end.code == 0, page.getvalue()[-6000:]
    assert "All kept" in page.getvalue()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_small_morning_under_chaos_keeps_every_promise(tmp_path: Path) -> None:
    """Six blows: one to each process at least, a pair and two freezes among them."""
    world = demo_world(SEED, 10)
    plan = plan_faults(world, SEED)
    page = io.StringIO()
    async with local_stack(tmp_path, plan.put_on(world), lambda text: None) as stack:
        chaos = stack.chaos(SEED, most=6)
        end = await stack.morning(plan, Console(file=page, width=120), chaos=chaos)
        struck = {name for blow in end.blows for name in blow.planned.names}
        assert struck == set(stack.victims()), "the morning was over before all were struck"
    assert {blow.planned.kind for blow in end.blows} == set(BlowKind)
    assert end.code == 0, page.getvalue()[-6000:]
    for blow in end.blows:
        assert blow.line() in page.getvalue()
