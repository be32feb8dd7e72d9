"""Stops that are set back to an earlier point of their history, as the Temporal UI does it."""

from __future__ import annotations

import uuid
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from models.contract import keeper_workflow_id
from models.ids import TenantId
from models.stop import StopView
from tests.workflows.conftest import StopHandle, Surroundings
from workers.stop_reconciler import Patience, StopReconciler


async def tasks_done(stop: StopHandle) -> list[int]:
    """The points that the stop may be set back to."""
    return [
        event.event_id
        async for event in stop.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def settled(stop: StopHandle) -> int:
    """The last point of now, once no activity is under way."""
    while (await stop.handle.describe()).raw_description.pending_activities:
        pass
    return (await tasks_done(stop))[-1]


async def set_back(stop: StopHandle, at: int, *, with_updates: bool = True) -> StopHandle:
    """To a completed workflow task. Signals are applied again (and Updates, if wanted)."""
    around = stop.around
    exclude = [] if with_updates else [ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE]
    described = await around.client.get_workflow_handle(stop.handle.id).describe()
    await around.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=around.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=stop.handle.id, run_id=described.run_id),
            reason="test",
            workflow_task_finish_event_id=at,
            request_id=uuid.uuid4().hex,
            reset_reapply_exclude_types=exclude,
        )
    )
    handle: WorkflowHandle[Any, Any] = around.client.get_workflow_handle(stop.handle.id)
    return StopHandle(handle, around)


def keeper_of(around: Surroundings, attempt_id: str) -> WorkflowHandle[Any, Any]:
    return around.client.get_workflow_handle(keeper_workflow_id(attempt_id))


async def row(around: Surroundings, stop_id: str) -> StopView:
    async with around.store.tenant(TenantId(around.tenant_id)) as unit:
        view = await unit.stops.get(stop_id)
    assert view is not None
    return view


async def release(around: Surroundings, stop_id: str) -> None:
    """Rounds of an impatient reconciler, until the stop has lost its workflow for good."""
    none = Patience(start_s=0, cancel_s=0, check_s=0, closed_s=0, rpc_s=8, most=200)
    reconciler = StopReconciler(around.store, around.client, task_queue=around.queue, patience=none)
    while (await row(around, stop_id)).outcome is None:
        await reconciler.round()
