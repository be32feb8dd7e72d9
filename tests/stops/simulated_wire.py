"""Virtual time, and what crosses between a simulated server and its workflows: payloads, failures, calls."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DefaultFailureConverter
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType

BEGINNING = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
CONVERTER = PydanticPayloadConverter()
FAILURES = DefaultFailureConverter()


class BrokenPromise(AssertionError):
    """What must always hold did not."""


class Clock:
    """Virtual time in whole microseconds, and what is to happen when."""

    def __init__(self) -> None:
        self._us = 0
        self._order = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []

    @property
    def s(self) -> float:
        return self._us / 1e6

    @property
    def now(self) -> datetime:
        return BEGINNING + timedelta(microseconds=self._us)

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self._us + max(0, round(seconds * 1e6)), self._order, do))

    def step(self) -> bool:
        """Do the next thing. False: nothing is left to happen."""
        if not self._queue:
            return False
        at_us, _, do = heapq.heappop(self._queue)
        self._us = max(self._us, at_us)
        do()
        return True


@dataclass
class Call:
    """One try of an activity. `argument`: its JSON."""

    name: str
    argument: bytes
    workflow_id: str
    run_id: str
    queue: str
    tries: int = 1


@dataclass
class Answer:
    """What comes of a try, after so long. `never_taken`: no worker took it; `lost`: its worker died."""

    result: Any = None
    after_s: float = 0.01
    error: ApplicationError | None = None
    never_taken: bool = False
    lost: bool = False


@dataclass
class UpdateCall:
    """An Update on its way; `receipt` or `error` once it is answered."""

    id: str
    name: str
    argument: Any
    answered: Callable[[UpdateCall], None]
    receipt: Any = None
    error: str = ""


def update_job(call: UpdateCall) -> WorkflowActivationJob:
    job = WorkflowActivationJob()
    job.do_update.id = job.do_update.protocol_instance_id = call.id
    job.do_update.name, job.do_update.run_validator = call.name, True
    job.do_update.input.extend(CONVERTER.to_payloads([call.argument]))
    return job


def is_local(job: WorkflowActivationJob) -> bool:
    return job.HasField("resolve_activity") and job.resolve_activity.is_local


def without_refused_updates(
    act: WorkflowActivation, commands: list[Any]
) -> tuple[WorkflowActivation, list[Any]] | None:
    """As history keeps it: an Update that its validator refused leaves no trace. None: nothing is left."""
    if not any(job.HasField("do_update") for job in act.jobs):
        return act, commands
    answers = [c.update_response for c in commands if c.HasField("update_response")]
    accepted = {a.protocol_instance_id for a in answers if a.HasField("accepted")}
    refused = {a.protocol_instance_id for a in answers if a.HasField("rejected")} - accepted
    kept = WorkflowActivation()
    kept.CopyFrom(act)
    del kept.jobs[:]
    for job in act.jobs:
        if job.HasField("do_update"):
            if job.do_update.protocol_instance_id in refused:
                continue
            kept.jobs.add().CopyFrom(job)
            kept.jobs[-1].do_update.run_validator = False
        else:
            kept.jobs.add().CopyFrom(job)
    left = [
        c
        for c in commands
        if not (c.HasField("update_response") and c.update_response.protocol_instance_id in refused)
    ]
    if kept.jobs:
        return kept, left
    if left:
        raise BrokenPromise(f"a refused Update made commands: {names_of(left)}")
    return None


def names_of(commands: Any) -> list[str]:
    return [str(command.WhichOneof("variant")) for command in commands]


def cause_of(failure: Any) -> str:
    words = [failure.message]
    trace = failure.stack_trace.strip().splitlines()
    words += [line.strip() for line in trace[-6:]]
    if failure.HasField("cause"):
        words.append("because: " + cause_of(failure.cause))
    return " | ".join(words)


def code_of(failure: Any) -> str:
    return str(failure.application_failure_info.type or failure.message)


def timeout_error(type_: TimeoutType) -> TimeoutError:
    return TimeoutError(f"activity {type_.name} timeout", type=type_, last_heartbeat_details=[])


def activity_error(name: str, seq: int, cause: BaseException) -> ActivityError:
    error = ActivityError(
        "activity error",
        scheduled_event_id=1,
        started_event_id=2,
        identity="simulated",
        activity_type=name,
        activity_id=str(seq),
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error
