"""Activities of one simulated run: tries, retries by their policy, time limits, and their answers as jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import temporalio.common
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutType

from tests.stops.simulated_wire import CONVERTER, FAILURES, Answer, Call, activity_error, timeout_error

if TYPE_CHECKING:
    from tests.stops.simulated_run import Run


@dataclass
class Activity:
    call: Call
    seq: int
    local: bool
    policy: temporalio.common.RetryPolicy
    give_up_at_s: float | None
    start_s: float | None
    done: bool = False


@dataclass
class Task:
    """One workflow task: its jobs, the activations it took, and the commands that leave with it."""

    jobs: list[WorkflowActivationJob]
    acts: list[tuple[WorkflowActivation, list[Any]]] = field(default_factory=lambda: [])
    held: list[Any] = field(default_factory=lambda: [])
    local: dict[int, Activity] = field(default_factory=lambda: {})


class Activities:
    """`pending`: the regular ones by their number; local ones belong to their workflow task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._server = run.server
        self.pending: dict[int, Activity] = {}

    def begin(self, body: Any, task: Task | None) -> None:
        def seconds(name: str) -> float | None:
            return getattr(body, name).ToTimedelta().total_seconds() if body.HasField(name) else None

        whole_s = seconds("schedule_to_close_timeout")
        one = Activity(
            call=Call(
                name=body.activity_type,
                argument=body.arguments[0].data,
                workflow_id=self._run.workflow_id,
                run_id=self._run.run_id,
                queue=getattr(body, "task_queue", ""),
            ),
            seq=body.seq,
            local=task is not None,
            policy=temporalio.common.RetryPolicy.from_proto(body.retry_policy),
            give_up_at_s=self._server.clock.s + whole_s if whole_s else None,
            start_s=seconds("schedule_to_start_timeout"),
        )
        if task is not None:
            task.local[body.seq] = one
        else:
            self.pending[body.seq] = one
            self._server.on_scheduled(self._run, one.call)
        self._try(one)

    def _try(self, one: Activity) -> None:
        if one.done:
            return
        answer = self._server.perform(one.call)
        limit_s = one.give_up_at_s - self._server.clock.s if one.give_up_at_s is not None else None
        if answer.never_taken and one.start_s is not None:
            self._server.clock.after(
                one.start_s, lambda: self._resolve(one, timeout_error(TimeoutType.SCHEDULE_TO_START))
            )
        elif limit_s is not None and answer.after_s >= limit_s:
            late = timeout_error(TimeoutType.SCHEDULE_TO_CLOSE)
            self._server.clock.after(max(0.0, limit_s), lambda: self._resolve(one, late))
        else:
            self._server.clock.after(answer.after_s, lambda: self._answered(one, answer))

    def _answered(self, one: Activity, answer: Answer) -> None:
        if one.done:
            return
        error: BaseException | None = timeout_error(TimeoutType.HEARTBEAT) if answer.lost else answer.error
        if error is None:
            self._resolve(one, None, answer.result)
            return
        final = isinstance(error, ApplicationError) and error.non_retryable
        most = one.policy.maximum_attempts
        if final or (most and one.call.tries >= most):
            self._resolve(one, error)
            return
        pause_s = min(
            one.policy.initial_interval.total_seconds()
            * one.policy.backoff_coefficient ** (one.call.tries - 1),
            (one.policy.maximum_interval or timedelta(seconds=100)).total_seconds(),
        )
        if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
            pause_s = error.next_retry_delay.total_seconds()
        if one.give_up_at_s is not None and self._server.clock.s + pause_s >= one.give_up_at_s:
            self._resolve(one, error)
            return
        one.call.tries += 1
        self._server.clock.after(pause_s, lambda: self._try(one))

    def _resolve(self, one: Activity, error: BaseException | None, result: Any = None) -> None:
        if one.done:
            return
        one.done = True
        job = WorkflowActivationJob()
        resolved = job.resolve_activity
        resolved.seq, resolved.is_local = one.seq, one.local
        if error is not None:
            FAILURES.to_failure(
                activity_error(one.call.name, one.seq, error), CONVERTER, resolved.result.failed.failure
            )
        elif result is not None:
            resolved.result.completed.result.CopyFrom(CONVERTER.to_payloads([result])[0])
        else:
            resolved.result.completed.SetInParent()
        task = self._run.task
        if not one.local:
            self.pending.pop(one.seq, None)
            self._run.push(job)
        elif task is not None and task.local.pop(one.seq, None) is not None:
            self._run.resolved_locally(task, job)

    def cancel(self, seq: int) -> None:
        one = self.pending.pop(seq, None)
        if one is not None and not one.done:
            one.done = True
            job = WorkflowActivationJob()
            job.resolve_activity.seq = seq
            failure = job.resolve_activity.result.cancelled.failure
            FAILURES.to_failure(
                activity_error(one.call.name, one.seq, CancelledError("cancelled")), CONVERTER, failure
            )
            self._run.push(job)

    def forget(self) -> None:
        """The run is over: nobody waits for them any more."""
        for one in self.pending.values():
            one.done = True
        self.pending.clear()
