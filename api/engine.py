"""The API's few words with Temporal: start a stop, say something to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.problems import Problem, unavailable
from models.contract import STOP_QUEUE, STOP_WORKFLOW
from models.ids import stop_id_for, workflow_id_for
from models.stop import ChargingStopInput, Receipt, StopPhase, StopRequest, StopView

_log = structlog.get_logger(__name__)
_TENANT = SearchAttributeKey.for_keyword("BackstopTenant")
_PHASE = SearchAttributeKey.for_keyword("StopPhase")
_VEHICLE = SearchAttributeKey.for_keyword("VehicleId")
_CONFLICTS = frozenset(
    {
        "stop.closed",
        "arrival.too_late",
        "problem.too_late",
        "cancel.too_late",
        "choice.too_late",
        "choice.busy",
        "charger.already_failed",
        "approval.not_awaited",
        "message.conflicting_id",
    }
)


async def begin_workflow(
    client: Client, tenant_id: str, request: StopRequest, queue: str, wait_s: float
) -> str:
    """Start a stop's workflow, once per key for ever. Returns the run id.

    Raises WorkflowAlreadyStartedError where one runs or ran, TimeoutError or RPCError where Temporal does not
    take it within `wait_s` seconds (it may have, all the same)."""
    begin = client.start_workflow(
        STOP_WORKFLOW,
        ChargingStopInput(tenant_id=tenant_id, request=request),
        id=workflow_id_for(tenant_id, request.business_key),
        task_queue=queue,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        memo={"fingerprint": request.fingerprint},
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(_TENANT, tenant_id),
                SearchAttributePair(_PHASE, str(StopPhase.PLANNING)),
                SearchAttributePair(_VEHICLE, request.vehicle.vehicle_id),
            ]
        ),
        static_summary=f"Stop {request.business_key} of {request.vehicle.vehicle_id}",
        static_details=(f"From {request.vehicle.soc_percent:.0f} % to {request.target_soc_percent:.0f} %"),
        request_eager_start=False,
    )
    async with asyncio.timeout(wait_s):  # of all tries: the client's own limit is that of one
        return (await begin).result_run_id or ""


class Engine:
    def __init__(self, client: Client, update_wait_s: float, queue: str = STOP_QUEUE) -> None:
        self._client = client
        self._update_wait_s = update_wait_s
        self._queue = queue

    async def start(self, tenant_id: str, request: StopRequest) -> str:
        """Start the workflow of a stop whose row stands. Returns its run id; empty where it runs already, or
        where Temporal did not take it: then the reconciler starts it, and nobody has to send it again.

        Raises Problem 409 where a workflow of this key was begun with another request."""
        try:
            try:
                return await begin_workflow(
                    self._client, tenant_id, request, self._queue, self._update_wait_s
                )
            except WorkflowAlreadyStartedError as running:
                known = await self._client.get_workflow_handle(running.workflow_id).describe()
                memo = await known.memo_value("fingerprint", default="")
                if (memo or await self._begun_with(known)) != request.fingerprint:
                    raise conflicting() from None
        except (RPCError, TimeoutError) as error:
            _log.warning("stop accepted, not started yet", error=type(error).__name__)
        return ""

    async def _begun_with(self, known: WorkflowExecutionDescription) -> str:
        """The fingerprint of the request that a stop was begun with, by whoever sets no memo; empty where it
        cannot be read."""
        handle = self._client.get_workflow_handle(known.id, run_id=known.run_id)
        async for event in handle.fetch_history_events(page_size=1):
            given = event.workflow_execution_started_event_attributes.input.payloads
            try:
                (order,) = await self._client.data_converter.decode(given)
                if isinstance(order, dict) and "carried" in order:  # a long stop, continued as new
                    order = order["carried"]["order"]  # pyright: ignore[reportUnknownVariableType]
                return ChargingStopInput.model_validate(order).request.fingerprint
            except Exception:  # noqa: BLE001  whatever anybody began under this id, it is not this request
                return ""
        return ""

    async def tell(self, view: StopView, update: str, message: BaseModel) -> Receipt:
        """Send an Update and wait for its answer. Raises Problem with the validator's own code.

        Each request is an Update of its own: under an id made from the event's, Temporal would answer a
        refusal or another content with what it answered first. The stop itself knows its repeats."""
        handle = self._client.get_workflow_handle(view.workflow_id)
        try:
            async with asyncio.timeout(self._update_wait_s):
                return await handle.execute_update(
                    update,
                    message,
                    result_type=Receipt,
                    rpc_timeout=timedelta(seconds=self._update_wait_s),
                )
        except WorkflowUpdateFailedError as error:
            raise _refused(error.cause) from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise unavailable("stop_worker.unavailable", "No stop worker answers; send it again.") from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and not view.run_id:
                text = "The stop is accepted and has yet to begin; send it again."
                raise unavailable("stop.not_begun", text) from error
            if error.status is RPCStatusCode.NOT_FOUND:
                raise Problem(409, "stop.closed", "The stop has ended.") from error
            if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
                text = "No stop worker answers; send it again."
                raise unavailable("stop_worker.unavailable", text) from error
            raise

    async def healthy(self) -> bool:
        try:
            return await self._client.service_client.check_health(timeout=timedelta(seconds=2))
        except RPCError:
            return False

    async def workers(self) -> int:
        """How many pollers the stop queue has had within the last minutes."""
        from temporalio.api.enums.v1 import TaskQueueType
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

        answer = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=self._queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            ),
            timeout=timedelta(seconds=2),
        )
        now = datetime.now(UTC).timestamp()
        return sum(1 for poller in answer.pollers if now - poller.last_access_time.seconds < 90)


def conflicting() -> Problem:
    return Problem(409, "stop.conflicting_request", "This business key was used with another request.")


def _refused(cause: BaseException | None) -> Problem:
    code = cause.type if isinstance(cause, ApplicationError) and cause.type else "stop.refused"
    text = cause.message if isinstance(cause, ApplicationError) else "The stop refused it."
    return Problem(409 if code in _CONFLICTS else 422, code, text)


def first_view(tenant_id: str, request: StopRequest) -> StopView:
    """What is true the moment a stop was accepted; a worker has not touched it yet."""
    now = datetime.now(UTC)
    details: dict[str, Any] = {
        "stop_id": stop_id_for(tenant_id, request.business_key),
        "tenant_id": tenant_id,
        "business_key": request.business_key,
        "workflow_id": workflow_id_for(tenant_id, request.business_key),
        "vehicle_id": request.vehicle.vehicle_id,
        "phase": StopPhase.PLANNING,
        "headline": "Accepted",
        "waits_for": "a worker to begin",
        "fingerprint": request.fingerprint,
        "telematics_id": request.vehicle.telematics_id,
        "created_at": now,
        "updated_at": now,
    }
    return StopView.model_validate(details)
