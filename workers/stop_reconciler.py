"""Keeps what a stop's row promises, whatever became of its workflow.

Runs beside the stop worker, in as many processes as there are (stops are claimed), every few seconds:
- a stop that was accepted and never began is started, once;
- a stop whose workflow was terminated, failed or timed out is closed and released, and whatever of it may
  still charge gets a keeper that ends it;
- a stop whose workflow completed and whose last records are missing is repaired from the workflow;
- a cancel that no worker could take is delivered;
- a session that outlives its stop has a keeper (again, where somebody terminated that), and a keeper that
  has ended leaves nothing behind (workers.left_sessions);
- a stop that was closed and then set back is followed again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import TemporalError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.engine import begin_workflow
from models.contract import QUERY_STATUS, QUERY_TIMELINE, STOP_QUEUE, UPDATE_CANCEL
from models.stop import (
    CancelRequest,
    Receipt,
    StopEvent,
    StopRecord,
    StopRequest,
    StopResult,
    StopView,
)
from store.database import Store
from store.errors import OtherRequest
from store.stop_changes import StopChange, StopState
from store.stop_claims import ClaimedStop
from workers.left_sessions import LeftSessions
from workers.stop_release import closed_with, released

_log = structlog.get_logger(__name__)

_ALIVE = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)


@dataclass(frozen=True)
class Patience:
    """In seconds. `start_s`: a stop that has not begun (ever less often as it ages, down to every
    `start_most_s`: in a rush most of these were started long since, and wait for a worker); `cancel_s`: a
    cancel that waits; `check_s`: an open stop that nothing was heard of; `closed_s`: a closed one with a
    session that may live. For `reset_s` after its last word a closed stop is looked at (ever less often):
    somebody may set it back. `rpc_s`: one stop's turn. `most`: stops in one round, of all tenants."""

    start_s: float = 5.0
    start_most_s: float = 30.0
    cancel_s: float = 2.0
    check_s: float = 60.0
    closed_s: float = 600.0
    reset_s: float = 3600.0
    rpc_s: float = 10.0
    every_s: float = 3.0
    most: int = 50


class StopReconciler:
    def __init__(
        self, store: Store, client: Client, *, task_queue: str = STOP_QUEUE, patience: Patience | None = None
    ) -> None:
        self._store = store
        self._client = client
        self._queue = task_queue
        self._patience = patience or Patience()
        self._sessions = LeftSessions(store, client, task_queue)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="stop-reconciler")

    async def stop(self) -> None:
        """End at once: what was claimed and not done is due again soon."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                while sum((await self.round()).values()) >= self._patience.most:
                    pass
            except Exception as error:  # noqa: BLE001  it must outlive any outage of store or server
                _log.warning("stop reconciler waits", error=type(error).__name__)
            await asyncio.sleep(self._patience.every_s)

    async def round(self) -> Counter[str]:
        """Look after the stops that are due. Returns how often what was done. One stop's trouble is its
        own."""
        p = self._patience
        async with self._store.platform() as unit:
            due = await unit.stops.claim(
                most=p.most,
                start_s=p.start_s,
                start_most_s=p.start_most_s,
                check_s=p.check_s,
                cancel_s=p.cancel_s,
                closed_s=p.closed_s,
                reset_s=p.reset_s,
            )
        return Counter(await asyncio.gather(*(self._one(stop) for stop in due)))

    async def _one(self, stop: ClaimedStop) -> str:
        try:
            async with asyncio.timeout(self._patience.rpc_s):
                done = await self.look_after(stop)
        except Exception as error:  # noqa: BLE001  see round
            _log.warning("stop not looked after", stop_id=stop.stop_id, error=type(error).__name__)
            return "failed"
        if done not in ("running", "kept"):
            _log.info("stop looked after", stop_id=stop.stop_id, done=done)
        return done

    async def look_after(self, stop: ClaimedStop) -> str:
        """What one stop needs; idempotent. Returns what was done, in a word: started, running, cancelled,
        released, repaired, kept (closed; its sessions have keepers), followed (closed, and set back since),
        changed (somebody else was faster)."""
        if stop.closed:
            if await self._follow_again(stop):
                return "followed"
            return await self._sessions.look_after(stop)
        done = "running"
        found = await self._describe(stop)
        if found is None and not stop.began:
            done = "started" if await self._start(stop) else done
            found = await self._describe(stop)
        status = found.status if found else None
        if status in _ALIVE:
            return "cancelled" if await self._deliver_cancel(stop) else done
        if found is not None and status is WorkflowExecutionStatus.COMPLETED:
            return await self._repair(stop, found)
        if found is None and not stop.began:
            return done  # gone between two questions: the next round starts it
        return await self.release(stop, status.name if status else "NOT_FOUND")

    async def _start(self, stop: ClaimedStop) -> bool:
        request = StopRequest.model_validate(stop.request)
        try:
            await begin_workflow(self._client, stop.tenant_id, request, self._queue, self._patience.rpc_s)
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _describe(self, stop: ClaimedStop) -> WorkflowExecutionDescription | None:
        """None where Temporal knows no such workflow. An unknown namespace is a mistake in our settings, and
        proves nothing about a stop."""
        try:
            return await self._client.get_workflow_handle(stop.workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and "namespace" not in error.message.lower():
                return None
            raise

    async def _deliver_cancel(self, stop: ClaimedStop) -> bool:
        """Hand a kept cancel over. False where there is none, or no worker takes it now."""
        if stop.cancel_wanted is None:
            return False
        request = CancelRequest.model_validate(stop.cancel_wanted)
        handle = self._client.get_workflow_handle(stop.workflow_id)
        try:
            await handle.start_update(
                UPDATE_CANCEL,
                request,
                id=f"{UPDATE_CANCEL}:{request.event_id}",
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                result_type=Receipt,
                rpc_timeout=timedelta(seconds=self._patience.rpc_s / 2),
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return False
        except WorkflowUpdateFailedError:
            pass  # refused: there is nothing left to call off
        async with self._store.tenant(stop.tenant_id) as unit:
            await unit.stops.intake.cancel_taken(stop.stop_id)
        return True

    # --- without a workflow -------------------------------------------------------------------------------

    async def release(self, stop: ClaimedStop, status: str) -> str:
        """Close a stop that no workflow runs any more; its vehicle is free, and every session of it that may
        be alive gets a keeper."""
        at = datetime.now(UTC)
        async with self._store.tenant(stop.tenant_id) as unit:
            view = await unit.stops.get(stop.stop_id)
            known = [one.attempt_id for one in view.attempts] if view else []
            sent = await unit.commands.sent_for(known) if known else frozenset[str]()

            def close(state: StopState) -> StopChange | None:
                if state.view.outcome is not None or state.run_id != stop.run_id:
                    return None
                return released(state, max(at, state.view.updated_at), sent, status)

            closed = await unit.stops.changes.change(stop.stop_id, close)
        if closed is None:
            return "changed"
        # Should this process die here, the next round finds the connector held, and starts the keeper.
        await self._sessions.look_after(stop)
        return "released"

    async def _follow_again(self, stop: ClaimedStop) -> bool:
        """Where another run of a closed stop lives (it was reset to before its close), the row follows it:
        until that run writes by itself, nobody could read the stop, or tell it anything."""
        found = await self._describe(stop)
        if (
            found is None
            or found.status is not WorkflowExecutionStatus.RUNNING
            or found.run_id == stop.run_id
        ):
            return False
        told = await self._ask(stop, found.run_id)
        if told is None or told[0].outcome is not None:
            return False
        # Number 0: whatever that run writes by itself is newer.
        view = told[0].model_copy(update={"run_id": found.run_id, "version": 0})
        try:
            async with self._store.tenant(stop.tenant_id) as unit:
                await unit.stops.record(StopRecord(view=view), takes_over=True)
                await unit.attempts.regain(view.attempts)
        except OtherRequest:
            return False
        return True

    async def _repair(self, stop: ClaimedStop, found: WorkflowExecutionDescription) -> str:
        """The workflow completed: what it says of itself is the truth, and is written."""
        told = await self._ask(stop, found.run_id)
        if told is not None and told[0].outcome is not None:
            view, events = told
            follows = stop.run_id in ("", found.run_id)
            record = StopRecord(
                view=view.model_copy(update={"run_id": found.run_id}),
                events=events if follows else events[-1:],
            )
            try:
                async with self._store.tenant(stop.tenant_id) as unit:
                    await unit.stops.record(record, takes_over=not follows, anew=True)
            except OtherRequest:
                return await self.release(stop, "OTHER_REQUEST")
            return "repaired"
        try:
            result: StopResult = await self._client.get_workflow_handle(
                stop.workflow_id, run_id=found.run_id, result_type=StopResult
            ).result()
        except WorkflowFailureError:
            return await self.release(stop, "FAILED")
        at = datetime.now(UTC)
        async with self._store.tenant(stop.tenant_id) as unit:

            def close(state: StopState) -> StopChange | None:
                if state.view.outcome is not None or state.run_id != stop.run_id:
                    return None
                return closed_with(state, result, at)

            closed = await unit.stops.changes.change(stop.stop_id, close)
        return "changed" if closed is None else "repaired"

    async def _ask(self, stop: ClaimedStop, run_id: str) -> tuple[StopView, tuple[StopEvent, ...]] | None:
        """The view and timeline of a closed run; None where no worker answers."""
        handle = self._client.get_workflow_handle(stop.workflow_id, run_id=run_id)
        patience = timedelta(seconds=self._patience.rpc_s / 4)
        try:
            view = await handle.query(QUERY_STATUS, result_type=StopView, rpc_timeout=patience)
            events = await handle.query(QUERY_TIMELINE, result_type=list[StopEvent], rpc_timeout=patience)
        except (RPCError, TemporalError, ValueError) as error:
            _log.info("a closed run does not answer", stop_id=stop.stop_id, error=type(error).__name__)
            return None
        return view, tuple(events)
