"""A stop that has closed is reset to before its close: it is read, and told, as what it is."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from models.ids import TenantId
from models.stop import StopOutcome, StopPhase, StopView
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stop_words import arrive, cancel, timeline
from workers.stop_reconciler import Patience, StopReconciler

_DONE = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_NO_UPDATES = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE


async def last_quiet_task(stop: StopHandle) -> int:
    """The last workflow task of a stop that waits, and has written everything it had to say."""
    async with asyncio.timeout(20):
        while True:
            raw = (await stop.handle.describe()).raw_description
            if not raw.pending_activities and not raw.HasField("pending_workflow_task"):
                events = stop.handle.fetch_history_events()
                return [e.event_id async for e in events if e.event_type == _DONE][-1]
            await asyncio.sleep(0.02)


async def set_back(stop: StopHandle, task: int) -> StopHandle:
    """As an operator does it, without what was said since."""
    client = stop.around.client
    described = await stop.handle.describe()
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=stop.handle.id, run_id=described.run_id),
            reason="cancelled by mistake",
            workflow_task_finish_event_id=task,
            request_id=uuid.uuid4().hex,
            reset_reapply_exclude_types=[_NO_UPDATES],
        )
    )
    return StopHandle(client.get_workflow_handle(stop.handle.id), stop.around)


async def row(around: Surroundings, stop_id: str) -> StopView:
    async with around.store.tenant(TenantId(around.tenant_id)) as unit:
        view = await unit.stops.get(stop_id)
    assert view is not None
    return view


@pytest.mark.asyncio
async def test_a_closed_stop_that_was_set_back_to_its_way_is_on_its_way(around: Surroundings) -> None:
    """The new run waits for the vehicle and has nothing to write: the row follows it all the same, so that a
    person reads that it waits, and can say that the vehicle has come."""
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    stop_id = (await stop.stored(lambda v: v.phase is StopPhase.EN_ROUTE)).stop_id
    task = await last_quiet_task(stop)
    await cancel(stop)
    await stop.result()
    await stop.stored(lambda v: v.outcome is StopOutcome.CANCELLED)
    again = await set_back(stop, task)
    await again.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.outcome is None)
    none = Patience(start_s=0, cancel_s=0, check_s=0, closed_s=0, rpc_s=8, most=200)
    reconciler = StopReconciler(around.store, around.client, task_queue=around.queue, patience=none)
    async with asyncio.timeout(20):
        while (await row(around, stop_id)).outcome is not None:
            await reconciler.round()
    for _ in range(2):
        await reconciler.round()  # once is enough
    now, before = await row(around, stop_id), len(await timeline(again))
    assert (now.phase, now.outcome, now.result) == (StopPhase.EN_ROUTE, None, None)
    await arrive(again)
    await again.until(lambda v: v.phase is StopPhase.CHARGING)
    await again.stored(lambda v: v.phase is StopPhase.CHARGING)
    await cancel(again)
    closed = await again.stored(lambda v: v.outcome is not None)
    log = await again.stored_events(lambda events: events[-1].type == "stop.closed")
    said = [event.type for event in await timeline(again)]
    assert (closed.outcome, closed.run_id) == (StopOutcome.CANCELLED, (await again.handle.describe()).run_id)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    types = [event.type for event in log]
    assert types.count("stop.reset") == 1
    after_reset = types[types.index("stop.reset") + 1 :]
    assert after_reset == said[before:]  # nothing is missing of what the new run said
