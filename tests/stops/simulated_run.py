"""One run of one workflow: tasks, timers, Updates and children, and its history, which can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import temporalio.common
import temporalio.workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.bridge.proto.child_workflow import StartChildWorkflowExecutionFailedCause
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.converter import DefaultFailureConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker._workflow_instance import WorkflowInstance, WorkflowInstanceDetails

from tests.stops.simulated_activities import Activities, Activity, Task
from tests.stops.simulated_wire import (
    CONVERTER,
    FAILURES,
    BrokenPromise,
    UpdateCall,
    cause_of,
    code_of,
    is_local,
    names_of,
    without_refused_updates,
)

if TYPE_CHECKING:
    from tests.stops.simulated_runtime import Server

_HEARTBEAT_S = 8.0
"""So long a task may run for its local activities, before what it has decided leaves all the same."""
_ALREADY_EXISTS = (
    StartChildWorkflowExecutionFailedCause.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
)
_CLOSES = (
    "complete_workflow_execution",
    "fail_workflow_execution",
    "cancel_workflow_execution",
    "continue_as_new_workflow_execution",
)
_RUNNER = UnsandboxedWorkflowRunner()
_OUTSIDE = asyncio.AbstractEventLoop()
"""An instance is made within some loop, which it never runs on."""


def _any_activity(_: str) -> None:
    """The worker is asked whether it knows a local activity: this world knows all."""


class Run:
    """One run of one workflow."""

    def __init__(
        self, server: Server, defn: Any, workflow_id: str, args: Sequence[Payload], former: str
    ) -> None:
        self.server = server
        self.workflow_id = workflow_id
        server.runs_begun += 1
        self.run_id = f"{server.runs_begun:08d}-0000-4000-8000-run{server.runs_begun:09d}"
        self.defn = defn
        self.former = former
        self.began_at = server.clock.now
        self.status = "running"
        self.result: Payload | None = None
        self.history: list[tuple[WorkflowActivation, list[Any]]] = []
        self.events = 1
        self.inbox: list[WorkflowActivationJob] = []
        self.timers: set[int] = set()
        self.calls = Activities(self)
        self.updates: dict[str, UpdateCall] = {}
        self.task: Task | None = None
        self._woken = False
        self.replays = 0
        self.instance = self._make()
        job = WorkflowActivationJob()
        begin = job.initialize_workflow
        begin.workflow_type, begin.workflow_id = str(defn.name), workflow_id
        begin.arguments.extend(args)
        begin.randomness_seed = server.runs_begun
        begin.start_time.FromDatetime(self.began_at.replace(tzinfo=None))
        self.push(job)

    @property
    def activities(self) -> dict[int, Activity]:
        return self.calls.pending

    @property
    def object(self) -> Any:
        """The workflow's object, to look at (never to change)."""
        return self.instance._object  # type: ignore[attr-defined]

    def _make(self) -> WorkflowInstance:
        info = temporalio.workflow.Info(
            attempt=1,
            continued_run_id=self.former or None,
            cron_schedule=None,
            execution_timeout=None,
            first_execution_run_id=self.former or self.run_id,
            headers={},
            namespace="simulated",
            original_execution_run_id=self.run_id,
            parent=None,
            root=None,
            priority=temporalio.common.Priority(),
            raw_memo={},
            retry_policy=None,
            run_id=self.run_id,
            run_timeout=None,
            search_attributes={},
            start_time=self.began_at,
            task_queue="simulated-stops",
            task_timeout=timedelta(seconds=10),
            typed_search_attributes=temporalio.common.TypedSearchAttributes([]),
            workflow_id=self.workflow_id,
            workflow_start_time=self.began_at,
            workflow_type=str(self.defn.name),
        )
        details = WorkflowInstanceDetails(
            payload_converter_factory=lambda: CONVERTER,
            failure_converter_class=DefaultFailureConverter,
            interceptor_classes=[],
            defn=self.defn,
            info=info,
            randomness_seed=1,
            extern_functions={"__temporal_assert_local_activity_valid": _any_activity},
            disable_eager_activity_execution=False,
            worker_level_failure_exception_types=[],
            patch_activation_callback=None,
            last_completion_result=Payloads(),
            last_failure=None,
        )
        asyncio._set_running_loop(_OUTSIDE)
        try:
            return _RUNNER.create_instance(details)
        finally:
            asyncio._set_running_loop(None)

    # --- tasks ------------------------------------------------------------------------------------------

    def push(self, job: WorkflowActivationJob) -> None:
        if self.status == "running":
            self.inbox.append(job)
            self._wake()

    def _wake(self) -> None:
        if not self._woken and self.task is None:
            self._woken = True
            self.server.clock.after(self.server.task_delay_s(), self._begin_task)

    def _begin_task(self) -> None:
        self._woken = False
        if self.status != "running" or self.task is not None or not self.inbox:
            return
        jobs, self.inbox = self.inbox, []
        self.task = task = Task(jobs)
        self._activate(task, jobs)
        self._end_task_if_done(task)

    def _activate(self, task: Task, jobs: list[WorkflowActivationJob]) -> None:
        act = WorkflowActivation(run_id=self.run_id, history_length=self.events + 3, jobs=jobs)
        act.timestamp.FromDatetime(self.server.clock.now.replace(tzinfo=None))
        act.continue_as_new_suggested = self.events > self.server.long_history_events
        done = self.instance.activate(act)
        if done.HasField("failed"):
            raise BrokenPromise(f"workflow task failed: {cause_of(done.failed.failure)}")
        commands = list(done.successful.commands)
        task.acts.append((act, commands))
        for command in commands:
            if command.HasField("schedule_local_activity"):
                self.calls.begin(command.schedule_local_activity, task)
            else:
                task.held.append(command)

    def _end_task_if_done(self, task: Task) -> None:
        if self.task is not task:
            return
        closes = any(any(c.HasField(name) for name in _CLOSES) for c in task.held)
        if task.local and not closes:
            self.server.clock.after(_HEARTBEAT_S, lambda: self._heartbeat(task))
            return
        unhandled = closes and any(
            job.HasField("signal_workflow") or job.HasField("cancel_workflow") for job in self.inbox
        )
        if unhandled or self.server.loses_task():
            self._lose(task)
            return
        self._commit(task)

    def resolved_locally(self, task: Task, job: WorkflowActivationJob) -> None:
        self._activate(task, [job])
        self._end_task_if_done(task)

    def _heartbeat(self, task: Task) -> None:
        if self.task is task and task.local:
            held, task.held = task.held, []
            self._write(task)
            self._run_commands(held)
            if self.inbox and self.status == "running":
                jobs, self.inbox = self.inbox, []
                self._activate(task, jobs)
            self._end_task_if_done(task)

    def _write(self, task: Task) -> None:
        for act, commands in task.acts:
            kept = without_refused_updates(act, commands)
            if kept is not None:
                self.history.append(kept)
                self.events += 3 + len(kept[0].jobs) + len(kept[1])
        task.acts = []

    def _commit(self, task: Task) -> None:
        self.task = None
        self._write(task)
        self._run_commands(task.held)
        self.server.on_commit(self)
        if self.status == "running":
            if self.server.kills_worker():
                self.replay()
            if self.inbox:
                self._wake()
        elif self.status != "continued":
            self._close_updates()

    def _lose(self, task: Task) -> None:
        """The worker died, or the server refused its task: what it did is forgotten, and done again."""
        self.server.tasks_lost += 1
        self.task = None
        for one in task.local.values():
            one.done = True
        jobs = [job for act, _ in task.acts for job in act.jobs if not is_local(job)]
        self.inbox = jobs + self.inbox
        self.replay()
        if unanswered := self._unanswered_locally():
            # A heartbeat has put them into the history: the task that is given out again runs them again.
            self.task = again = Task([])
            for call in unanswered:
                self.calls.begin(call, again)
            self._end_task_if_done(again)
        self._wake()

    def _unanswered_locally(self) -> list[Any]:
        calls: dict[int, Any] = {}
        for act, commands in self.history:
            for job in filter(is_local, act.jobs):
                calls.pop(job.resolve_activity.seq, None)
            for command in commands:
                if command.HasField("schedule_local_activity"):
                    calls[command.schedule_local_activity.seq] = command.schedule_local_activity
        return list(calls.values())

    def replay(self) -> None:
        """A fresh worker reads the history: the same commands must come out of it."""
        self.replays += 1
        self.evict()
        self.instance = self._make()
        for act, commands in self.history:
            again = WorkflowActivation()
            again.CopyFrom(act)
            again.is_replaying = True
            done = self.instance.activate(again)
            if done.HasField("failed"):
                raise BrokenPromise(f"replay failed: {cause_of(done.failed.failure)}")
            if list(done.successful.commands) != commands:
                was, now = names_of(commands), names_of(done.successful.commands)
                raise BrokenPromise(f"replay is not deterministic: {was} became {now}")

    def evict(self) -> None:
        act = WorkflowActivation(run_id=self.run_id)
        act.jobs.add().remove_from_cache.SetInParent()
        self.instance.activate(act)

    # --- commands ---------------------------------------------------------------------------------------

    def _run_commands(self, commands: list[Any]) -> None:
        for command in commands:
            self._run_command(command)

    def _run_command(self, command: Any) -> None:
        which = command.WhichOneof("variant")
        body = getattr(command, which)
        if which == "start_timer":
            self.timers.add(body.seq)
            delay_s = body.start_to_fire_timeout.ToTimedelta().total_seconds()
            self.server.clock.after(delay_s, lambda: self._fire(body.seq))
        elif which == "cancel_timer":
            self.timers.discard(body.seq)
            self.inbox = [
                j for j in self.inbox if not (j.HasField("fire_timer") and j.fire_timer.seq == body.seq)
            ]
        elif which == "schedule_activity":
            self.calls.begin(body, None)
        elif which == "request_cancel_activity":
            self.calls.cancel(body.seq)
        elif which == "start_child_workflow_execution":
            self._start_child(body)
        elif which == "signal_external_workflow_execution":
            self._signal_other(body)
        elif which == "update_response":
            self._answer_update(body)
        elif which in _CLOSES:
            self._close(which, body)
        elif which not in ("upsert_workflow_search_attributes", "modify_workflow_properties"):
            raise BrokenPromise(f"a command that the simulation does not know: {which}")

    def _fire(self, seq: int) -> None:
        if seq in self.timers:
            self.timers.discard(seq)
            job = WorkflowActivationJob()
            job.fire_timer.seq = seq
            self.push(job)

    def _start_child(self, body: Any) -> None:
        run = self.server.start(body.workflow_type, body.workflow_id, list(body.input))
        job = WorkflowActivationJob()
        start = job.resolve_child_workflow_execution_start
        start.seq = body.seq
        if run is not None:
            start.succeeded.run_id = run.run_id
        else:
            start.failed.workflow_id, start.failed.workflow_type = body.workflow_id, body.workflow_type
            start.failed.cause = _ALREADY_EXISTS
        self.push(job)

    def _signal_other(self, body: Any) -> None:
        to = body.child_workflow_id or body.workflow_execution.workflow_id
        job = WorkflowActivationJob()
        job.resolve_signal_external_workflow.seq = body.seq
        if not self.server.signal_payloads(to, body.signal_name, list(body.args)):
            error = ApplicationError("no such workflow runs", type="NotFound")
            FAILURES.to_failure(error, CONVERTER, job.resolve_signal_external_workflow.failure)
        self.push(job)

    def _answer_update(self, body: Any) -> None:
        update = self.updates.get(body.protocol_instance_id)
        if update is None or body.HasField("accepted"):
            return
        del self.updates[body.protocol_instance_id]
        if body.HasField("completed"):
            update.receipt = body.completed.data
        else:
            update.error = code_of(body.rejected)
        update.answered(update)

    def _close(self, which: str, body: Any) -> None:
        self.timers.clear()
        self.calls.forget()
        if which == "continue_as_new_workflow_execution":
            self.status = "continued"
            self.server.continued(self, list(body.arguments))
        elif which == "complete_workflow_execution":
            self.status = "completed"
            self.result = body.result if body.HasField("result") else None
        else:
            self.status = "failed"
            failure = getattr(body, "failure", None)
            raise BrokenPromise(f"the workflow failed: {cause_of(failure) if failure else which}")

    def _close_updates(self) -> None:
        for update in list(self.updates.values()):
            update.error = "workflow.closed"
            update.answered(update)
        self.updates.clear()
