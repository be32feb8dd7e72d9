"""Sessions that outlive their stop: each has a keeper, and a keeper that ended leaves nothing held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from models.activity_messages import KeptSession
from models.contract import KEEPER_WORKFLOW, keeper_workflow_id
from models.stop import Attempt, AttemptState, SessionState, StopOutcome, StopPhase, StopResult, StopView
from store.database import Store
from tests.store.store_samples import after, attempt, charger, command, intent
from tests.workers.lost_stops import Lost, lost

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SAID: dict[str, Attempt] = {}


@workflow.defn(name=KEEPER_WORKFLOW)
class EndedKeeper:
    """Ends at once, with what the test lets it say: its booking was lost, or it found nothing to keep."""

    @workflow.run
    async def run(self, session: KeptSession) -> Attempt | None:
        return _SAID.get(session.attempt_id)


@pytest_asyncio.fixture(loop_scope="session")
async def town(store: Store, temporal_client: Client) -> Lost:
    made = lost(store, temporal_client)
    async with store.platform() as unit:
        await unit.ensure_tenant(made.tenant)
    async with store.tenant(made.tenant) as unit:
        await unit.chargers.upsert([charger()])
    return made


@asynccontextmanager
async def keepers_end(town: Lost) -> AsyncGenerator[None]:
    runner = UnsandboxedWorkflowRunner()
    async with Worker(town.client, task_queue=town.queue, workflows=[EndedKeeper], workflow_runner=runner):
        yield


async def closed(town: Lost, *, sent: bool = True, **attempt_fields: object) -> StopView:
    """A closed stop with one attempt of which nobody has proved anything."""
    view = await town.begun()
    tried = attempt(view.stop_id, 1, charger_id="ch-1", holds_vehicle=False, **attempt_fields)
    async with town.store.tenant(town.tenant) as unit:
        await unit.attempts.open(intent(tried, view.stop_id))
        if sent:
            order = command(town.tenant, f"{tried.attempt_id}-start")
            await unit.commands.begin(order.model_copy(update={"attempt_id": tried.attempt_id}))
    result = StopResult(
        stop_id=view.stop_id, tenant_id=town.tenant, outcome=StopOutcome.CANCELLED, attempts=(tried,)
    )
    await town.client.get_workflow_handle(view.workflow_id).terminate()
    changes = {
        "attempts": (tried,),
        "version": view.version + 1,
        "phase": StopPhase.CLOSED,
        "outcome": StopOutcome.CANCELLED,
        "result": result,
    }
    return await town.recorded(view.model_copy(update=changes))


async def held(town: Lost, view: StopView) -> bool:
    async with town.store.tenant(town.tenant) as unit:
        found = await unit.attempts.find(view.attempts[0].attempt_id)
    assert found is not None
    return found.holds_charger


async def failures(town: Lost) -> tuple[int, int]:
    async with town.store.tenant(town.tenant) as unit:
        known = await unit.chargers.get("ch-1")
    assert known is not None
    return known.start_successes, known.start_failures


async def amendments(town: Lost, view: StopView) -> list[object]:
    """What follows a close says that it amends: readers of the log tell it from what the stop has said."""
    async with town.store.tenant(town.tenant) as unit:
        return [event.data.get("amendment_id") for event in await unit.stops.timeline(view.stop_id)]


async def test_a_start_without_life_frees_its_connector_when_its_keeper_has_ended(town: Lost) -> None:
    view = await closed(town, session=SessionState.ACCEPTED, state=AttemptState.GUARDED, start_proven=False)
    assert await held(town, view)
    async with keepers_end(town):
        done = await town.round_until(
            view.stop_id, lambda v: v.attempts[0].session is SessionState.NEVER_BEGAN
        )
        for _ in range(2):
            await town.reconciler.round()
    assert not await held(town, view)
    assert (done.outcome, done.attempts[0].state) == (StopOutcome.CANCELLED, AttemptState.FAILED)
    assert await town.log(view.stop_id) == [(1, "session.never_began")]
    assert await amendments(town, view) == [f"over:{view.attempts[0].attempt_id}:never_began"]
    assert await failures(town) == (0, 1)  # now nothing can come of it any more


async def test_what_a_keeper_said_in_the_end_is_written_where_its_booking_was_lost(town: Lost) -> None:
    view = await closed(town, session=SessionState.ALIVE, started_at=after(10))
    (tried,) = view.attempts
    _SAID[tried.attempt_id] = tried.model_copy(
        update={"session": SessionState.ENDED, "ended_at": after(600), "energy_kwh": 4.5}
    )
    async with keepers_end(town):
        done = await town.round_until(view.stop_id, lambda v: v.attempts[0].session is SessionState.ENDED)
    assert done.result is not None
    assert (done.energy_kwh, done.result.energy_kwh, await held(town, view)) == (4.5, 4.5, False)
    assert await town.log(view.stop_id) == [(1, "session.ended")]
    assert await amendments(town, view) == [f"over:{tried.attempt_id}:ended"]


async def test_a_session_that_its_keeper_left_alive_gets_another(town: Lost) -> None:
    view = await closed(town, session=SessionState.ALIVE, started_at=after(10))
    keeper = town.client.get_workflow_handle(keeper_workflow_id(view.attempts[0].attempt_id))
    async with keepers_end(town):
        await town.reconciler.round()
        async with asyncio.timeout(20):
            await keeper.result()
    first = (await keeper.describe()).run_id
    async with asyncio.timeout(20):
        while (found := await keeper.describe()).run_id == first:
            await town.reconciler.round()
    assert found.status is WorkflowExecutionStatus.RUNNING
    assert await held(town, view)


async def test_a_session_that_holds_nothing_and_may_live_has_a_keeper(town: Lost) -> None:
    """Given up without a sign of life, its hold handed back; it came alive after the close, and somebody
    terminated its keeper. The row knows nothing of that life yet."""
    view = await closed(town, session=SessionState.ACCEPTED, state=AttemptState.GUARDED, holds_charger=False)
    assert not await held(town, view)
    await town.reconciler.round()
    keeper = town.client.get_workflow_handle(keeper_workflow_id(view.attempts[0].attempt_id))
    first = (await keeper.describe()).run_id
    await keeper.terminate()
    async with asyncio.timeout(20):
        while (found := await keeper.describe()).run_id == first:
            await town.reconciler.round()
    assert found.status is WorkflowExecutionStatus.RUNNING


async def test_what_was_never_sent_never_began_and_needs_no_keeper(town: Lost) -> None:
    view = await closed(town, sent=False, session=SessionState.INTENDED, holds_charger=False)
    await town.round_until(view.stop_id, lambda v: v.attempts[0].session is SessionState.NEVER_BEGAN)
    keeper = town.client.get_workflow_handle(keeper_workflow_id(view.attempts[0].attempt_id))
    with pytest.raises(RPCError, match="not found"):
        await keeper.describe()
