"""One task at one station: find the gateway that holds it, do it there once, write it into the station's log.

Its history is the audit: who asked for what, when, and what the station said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

with workflow.unsafe.imports_passed_through():
    from models.commands import CommandOutcome
    from models.contract import (
        ACTIVITY_DO_AT_STATION,
        STATION_WORKFLOW,
    )
    from models.station_commands import StationReply, StationTask, StationTaskDone

from workflows import calls
from workflows.intake import Unread, read, the_one

_LOOKS = 3
_SLACK_S = 15.0
_PATIENCE_S = 15.0
"""So long at least a command may wait for us. An old one is not sent: who expects a reset of last night?"""


@workflow.defn(name=STATION_WORKFLOW)
class StationCommand:
    """Reads like its name."""

    @workflow.run
    async def run(self, *tasks: Any) -> StationReply:
        task = read(StationTask, the_one(tasks))
        if isinstance(task, Unread):
            text = f"This is no task for a station: {task.why}"
            raise ApplicationError(text, type="station.bad_task", non_retryable=True)
        reply = await self._do(task)
        await calls.NOTE_AT_STATION(
            StationTaskDone(task=task, reply=reply), summary=f"{reply.outcome} by {task.station_id}"
        )
        return reply

    async def _do(self, task: StationTask) -> StationReply:
        """The station may move to another gateway between the look and the doing: then it is looked again."""
        detail = "no gateway holds the station"
        too_late = workflow.info().workflow_start_time + timedelta(seconds=max(task.timeout_s, _PATIENCE_S))
        for _ in range(_LOOKS):
            if workflow.now() > too_late:
                detail = "it came too late to be sent"
                break
            route = await calls.FIND_STATION(task, summary=f"The gateway that holds {task.station_id}")
            if route.task_queue is None:
                break
            try:
                result: StationReply | Unread = await workflow.execute_activity(
                    ACTIVITY_DO_AT_STATION,
                    task,
                    result_type=StationReply,
                    task_queue=route.task_queue,
                    schedule_to_start_timeout=timedelta(seconds=5),
                    start_to_close_timeout=timedelta(seconds=task.timeout_s + _SLACK_S),
                    heartbeat_timeout=timedelta(seconds=10),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                    summary=f"{task.kind} {task.action}".strip(),
                )
                reply = calls.readable(result, ACTIVITY_DO_AT_STATION)
            except ActivityError as error:
                cause = error.cause
                if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START:
                    detail = "the gateway that holds the station does not answer"
                    continue
                return StationReply(
                    outcome=CommandOutcome.UNCERTAIN, error_code="NoReply", detail="the gateway was lost"
                )
            if reply.outcome is not CommandOutcome.UNREACHABLE:
                return reply
            detail = reply.detail
        return StationReply(outcome=CommandOutcome.UNREACHABLE, error_code="NotSent", detail=detail)
