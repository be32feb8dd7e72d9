"""What tests say to a stop, and what they look for in it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from models.contract import (
    QUERY_TIMELINE,
    SIGNAL_EVIDENCE,
    UPDATE_ARRIVED,
    UPDATE_CANCEL,
    UPDATE_PROBLEM,
)
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.stop import (
    ArrivalReport,
    CancelRequest,
    ProblemKind,
    ProblemReport,
    Receipt,
    StopEvent,
    StopPhase,
)
from tests.workflows.conftest import StopHandle


async def arrive(stop: StopHandle, event_id: str = "", charger_id: str | None = None) -> Receipt:
    """As a driver's app does: it names the charger that it shows."""
    view = await stop.until(lambda view: view.phase is StopPhase.EN_ROUTE)
    report = ArrivalReport(event_id=event_id or uuid.uuid4().hex, charger_id=charger_id or view.charger_id)
    return await stop.handle.execute_update(UPDATE_ARRIVED, report, result_type=Receipt)


async def cancel(stop: StopHandle, by: str = "fleet") -> Receipt:
    request = CancelRequest(event_id=uuid.uuid4().hex, by=by)
    return await stop.handle.execute_update(UPDATE_CANCEL, request, result_type=Receipt)


async def report(
    stop: StopHandle, kind: ProblemKind, event_id: str = "", charger_id: str | None = None
) -> Receipt:
    message = ProblemReport(event_id=event_id or uuid.uuid4().hex, kind=kind, charger_id=charger_id)
    return await stop.handle.execute_update(UPDATE_PROBLEM, message, result_type=Receipt)


async def timeline(stop: StopHandle) -> list[StopEvent]:
    return await stop.handle.query(QUERY_TIMELINE, result_type=list[StopEvent])


async def types(stop: StopHandle) -> list[str]:
    return [event.type for event in await timeline(stop)]


def heard(kind: EvidenceKind, **fields: Any) -> Evidence:
    """Evidence of no attempt: a connector's status, or the vehicle's own feed."""
    plain: dict[str, Any] = {
        "event_id": uuid.uuid4().hex,
        "source": EvidenceSource.OCPP,
        "kind": kind,
        "observed_at": datetime.now(UTC),
    }
    return Evidence.model_validate({**plain, **fields})


async def tell(stop: StopHandle, *items: Evidence) -> None:
    await stop.handle.signal(SIGNAL_EVIDENCE, list(items))


async def refusal(stop: StopHandle, update: str, message: Any) -> str:
    """The code with which an Update is refused."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await stop.handle.execute_update(update, message, result_type=Receipt)
    cause = refused.value.cause
    assert isinstance(cause, ApplicationError)
    return cause.type or ""


async def task_failures(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Why workflow tasks failed; a late answer to an old task is none of it."""
    found: list[str] = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            said = event.workflow_task_failed_event_attributes
            if "UnhandledCommand" not in said.failure.message:
                found.append(said.failure.message[:160])
    return found
