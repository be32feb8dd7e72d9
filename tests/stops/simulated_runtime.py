"""A Temporal server and worker in virtual time, in one process and without a socket.

The workflows run on the SDK's own event loop (`temporalio.worker`'s workflow instance): what a server and
the SDK's core do between activations is done here. Commands leave only with their workflow task; a task may
be lost, and then runs again with whatever has come meanwhile; a worker may die, and then the history is
replayed and must give the same commands. Everything crosses as JSON payloads, as it would the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import temporalio.workflow
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivationJob

from tests.stops.simulated_run import Run
from tests.stops.simulated_wire import CONVERTER, Answer, Call, Clock, UpdateCall, update_job


class Server:
    """Workflows by id, and the world that their activities act upon (subclasses say how)."""

    long_history_events = 50_000

    def __init__(self, clock: Clock, random: Random, definitions: Sequence[type]) -> None:
        self.clock = clock
        self.random = random
        self.runs: dict[str, Run] = {}
        self.all_runs: list[Run] = []
        self.runs_begun = 0
        self.tasks_lost = 0
        self._definitions = {}
        for cls in definitions:
            defn = temporalio.workflow._Definition.must_from_class(cls)
            self._definitions[str(defn.name)] = defn

    # --- what a world says ------------------------------------------------------------------------------

    def perform(self, call: Call) -> Answer:
        raise NotImplementedError

    def on_scheduled(self, run: Run, call: Call) -> None:
        """An activity stands in the history."""

    def on_commit(self, run: Run) -> None:
        """A workflow task stands in the history."""

    def task_delay_s(self) -> float:
        return 0.005

    def loses_task(self) -> bool:
        return False

    def kills_worker(self) -> bool:
        return False

    # --- what clients do --------------------------------------------------------------------------------

    def start(self, workflow_type: str, workflow_id: str, args: Sequence[Payload]) -> Run | None:
        """None where it runs already."""
        if workflow_id in self.runs and self.runs[workflow_id].status == "running":
            return None
        run = Run(self, self._definitions[workflow_type], workflow_id, args, "")
        self.runs[workflow_id] = run
        self.all_runs.append(run)
        return run

    def continued(self, former: Run, args: list[Payload]) -> None:
        run = Run(self, former.defn, former.workflow_id, args, former.run_id)
        self.runs[former.workflow_id] = run
        self.all_runs.append(run)
        run.updates, former.updates = former.updates, {}
        for update in run.updates.values():
            run.push(update_job(update))
        for job in former.inbox:
            if job.HasField("signal_workflow") or job.HasField("cancel_workflow"):
                run.push(job)

    def _running(self, workflow_id: str) -> Run | None:
        run = self.runs.get(workflow_id)
        return run if run is not None and run.status == "running" else None

    def signal(self, workflow_id: str, name: str, argument: Any) -> bool:
        """False where nothing runs under that id."""
        return self.signal_payloads(workflow_id, name, CONVERTER.to_payloads([argument]))

    def signal_payloads(self, workflow_id: str, name: str, payloads: list[Payload]) -> bool:
        run = self._running(workflow_id)
        if run is None:
            return False
        job = WorkflowActivationJob()
        job.signal_workflow.signal_name = name
        job.signal_workflow.originating_event_id = 1 + run.events + len(run.inbox)
        job.signal_workflow.input.extend(payloads)
        run.push(job)
        return True

    def cancel(self, workflow_id: str) -> bool:
        run = self._running(workflow_id)
        if run is None:
            return False
        job = WorkflowActivationJob()
        job.cancel_workflow.reason = "simulated"
        run.push(job)
        return True

    def update(self, workflow_id: str, call: UpdateCall) -> None:
        run = self._running(workflow_id)
        if run is None:
            call.error = "workflow.closed"
            call.answered(call)
            return
        run.updates[call.id] = call
        run.push(update_job(call))

    def close(self) -> None:
        for run in self.all_runs:
            run.evict()
