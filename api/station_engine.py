"""The API's words with Temporal about stations: one workflow for each command, found again by its id."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.problems import Problem
from api.station_bodies import CommandView
from models.contract import STATION_WORKFLOW, station_workflow_id
from models.ids import fingerprint
from models.station_commands import StationReply, StationTask

_STATION = SearchAttributeKey.for_keyword("StationId")
_TENANT = SearchAttributeKey.for_keyword("BackstopTenant")
_SLACK_S = 2.0
"""The station's own time-out comes first, and is the better answer."""


class StationEngine:
    def __init__(self, client: Client, queue: str, longest_wait_s: float) -> None:
        self._client, self._queue, self._longest_wait_s = client, queue, longest_wait_s

    async def run(self, task: StationTask, said: dict[str, Any]) -> CommandView:
        """Have it done once, and wait for its end as long as the station may take. `said`: what the caller
        asked for, in his words; the same command id with other words raises Problem 409."""
        mark = fingerprint({"station_id": task.station_id, "kind": str(task.kind), **said})
        workflow_id = station_workflow_id(task.tenant_id, task.command_id)
        memo = {
            "fingerprint": mark,
            "station_id": task.station_id,
            "kind": str(task.kind),
            "action": task.action,
        }
        try:
            await self._client.start_workflow(
                STATION_WORKFLOW,
                task,
                id=workflow_id,
                task_queue=self._queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                memo=memo,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(_STATION, task.station_id),
                        SearchAttributePair(_TENANT, task.tenant_id),
                    ]
                ),
                static_summary=f"{task.action or task.kind} at {task.station_id}",
            )
        except WorkflowAlreadyStartedError:
            if (await self._memo(task.tenant_id, task.command_id)).get("fingerprint") != mark:
                text = "This Idempotency-Key was used with another command."
                raise Problem(409, "command.conflicting_request", text) from None
        view = CommandView(
            command_id=task.command_id,
            station_id=task.station_id,
            kind=str(task.kind),
            action=task.action,
            status="running",
        )
        return await self._ended(view, workflow_id, min(task.timeout_s + _SLACK_S, self._longest_wait_s))

    async def _ended(self, view: CommandView, workflow_id: str, wait_s: float) -> CommandView:
        handle = self._client.get_workflow_handle(workflow_id, result_type=StationReply)
        try:
            async with asyncio.timeout(wait_s):
                reply = await handle.result()
        except TimeoutError:
            return view
        except WorkflowFailureError:  # an operator ended it
            return view.model_copy(update={"status": "lost"})
        return view.model_copy(update={"status": "done", "reply": reply})

    async def read(self, tenant_id: str, station_id: str, command_id: str) -> CommandView:
        """How far a command has come. Raises Problem 404 for one that is not the station's."""
        memo = await self._memo(tenant_id, command_id)
        if memo.get("station_id") != station_id:
            raise _unknown()
        workflow_id = station_workflow_id(tenant_id, command_id)
        view = CommandView(
            command_id=command_id,
            station_id=station_id,
            kind=str(memo.get("kind")),
            action=str(memo.get("action")),
            status="running",
        )
        if (await self._client.get_workflow_handle(workflow_id).describe()).status is (
            WorkflowExecutionStatus.RUNNING
        ):
            return view
        return await self._ended(view, workflow_id, _SLACK_S)

    async def _memo(self, tenant_id: str, command_id: str) -> dict[str, Any]:
        handle = self._client.get_workflow_handle(station_workflow_id(tenant_id, command_id))
        try:
            return dict(await (await handle.describe()).memo())
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise _unknown() from error
            raise


def _unknown() -> Problem:
    return Problem(404, "command.unknown", "There is no such command.")
