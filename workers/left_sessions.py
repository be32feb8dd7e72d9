"""Sessions that outlive their stop: each has a keeper, and a keeper that has ended leaves nothing behind."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from models.activity_messages import KeptSession
from models.contract import KEEPER_WORKFLOW, keeper_workflow_id
from models.stop import SESSION_OVER, Attempt, SessionState
from store.database import Store
from store.start_counts import count_starts
from store.stop_claims import ClaimedStop
from workers.stop_release import over

_log = structlog.get_logger(__name__)


class LeftSessions:
    def __init__(self, store: Store, client: Client, task_queue: str) -> None:
        self._store = store
        self._client = client
        self._queue = task_queue

    async def look_after(self, stop: ClaimedStop) -> str:
        """Of a stop that has closed: whatever may live is kept, the rest is written down. Idempotent."""
        async with self._store.tenant(stop.tenant_id) as unit:
            attempts = await unit.attempts.unproven(stop.stop_id)
            sent = await unit.commands.sent_for([one.attempt_id for one in attempts])
        for attempt in attempts:
            if attempt.attempt_id not in sent and attempt.session is SessionState.INTENDED:
                await self._write(stop, attempt)  # the charger never heard of it
            elif not await self._keep(stop, attempt, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY):
                await self._after_keeper(stop, attempt)
        return "kept"

    async def _keep(self, stop: ClaimedStop, attempt: Attempt, reuse: WorkflowIDReusePolicy) -> bool:
        """Start its keeper; False where one runs, or has done what it could."""
        try:
            await self._client.start_workflow(
                KEEPER_WORKFLOW,
                KeptSession(tenant_id=stop.tenant_id, stop_id=stop.stop_id, attempt_id=attempt.attempt_id),
                id=keeper_workflow_id(attempt.attempt_id),
                task_queue=self._queue,
                id_reuse_policy=reuse,
                static_summary="Session whose stop has lost its workflow",
            )
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _after_keeper(self, stop: ClaimedStop, attempt: Attempt) -> None:
        """Where the keeper has ended, and the row does not say how: what it said in the end is written. If it
        left the session alive (its charger was not in the register, say), another one goes on."""
        handle = self._client.get_workflow_handle(keeper_workflow_id(attempt.attempt_id), result_type=Attempt)
        if (await handle.describe()).status is not WorkflowExecutionStatus.COMPLETED:
            return
        said: Attempt | None = await handle.result()
        known = said or attempt
        if known.session in SESSION_OVER or known.started_at is None:
            await self._write(stop, known)
            return
        _log.warning("a keeper has left its session alive", attempt=attempt.attempt_id)
        await self._keep(stop, attempt, WorkflowIDReusePolicy.ALLOW_DUPLICATE)

    async def _write(self, stop: ClaimedStop, known: Attempt) -> None:
        at = datetime.now(UTC)
        async with self._store.tenant(stop.tenant_id) as unit:
            view = await unit.stops.changes.change(stop.stop_id, lambda state: over(state, known, at))
            if view is not None:
                await count_starts(unit, view.attempts)
