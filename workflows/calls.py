"""Typed calls of activities: each with its queue, time limits and retries in one place.

What leaves the workflow is a regular activity, because its input then stands in the history first. Only reads
are local: where a task is lost they simply run again.

This module, like all of workflows/, is imported anew for every run, under guard: plain classes, because
generating a dataclass would cost each run a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import (
        Amendment,
        FindCharger,
        FoundCharger,
        KeptSession,
        LookAround,
        OpenedStop,
        OpenStop,
        PrepareStart,
        Route,
        RouteRequest,
        SessionFacts,
        SessionGoal,
        Settlement,
        SettleRequest,
        Surroundings,
        TakeBack,
    )
    from models.commands import ChargerCommand, CommandReply
    from models.contract import (
        ACTIVITY_AMEND,
        ACTIVITY_COMMAND,
        ACTIVITY_FIND_CHARGER,
        ACTIVITY_FIND_ROUTE,
        ACTIVITY_FIND_STATION,
        ACTIVITY_FOLLOW,
        ACTIVITY_LOOK_AROUND,
        ACTIVITY_NOTE_AT_STATION,
        ACTIVITY_OPEN_ATTEMPT,
        ACTIVITY_OPEN_STOP,
        ACTIVITY_PLAN,
        ACTIVITY_RECORD,
        ACTIVITY_SESSION_FACTS,
        ACTIVITY_SETTLE,
        ACTIVITY_TAKE_BACK,
        PLANNER_QUEUE,
    )
    from models.decision import Decision, PlanRequest
    from models.station_commands import StationRoute, StationTask, StationTaskDone
    from models.stop import StopRecord

from workflows.intake import Unread

A = TypeVar("A")
R = TypeVar("R")

_SUMMARY_LENGTH = 120  # the UI shows about so many characters

_UNTIL_DONE = RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=10))
_A_FEW = RetryPolicy(
    initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=2), maximum_attempts=5
)
_ONCE = RetryPolicy(maximum_attempts=1)


class OwnCall(Generic[A, R]):
    """An activity on our own store, on the workflow's own queue (so that it starts eagerly, without a queue's
    hop). Retried until it works: while the store is away, the UI shows the pending activity and its error."""

    def __init__(self, name: str, result: type[R]) -> None:
        self.name, self.result = name, result

    async def __call__(self, argument: A, *, summary: str) -> R:
        """Raises ActivityError only where the store refuses the data itself (never retried)."""
        result: R | Unread = await workflow.execute_activity(
            self.name,
            argument,
            result_type=self.result,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_UNTIL_DONE,
            summary=_short(summary),
        )
        return readable(result, self.name)


class Read(Generic[A, R]):
    """A read of our own store: local. `otherwise`: what is taken where it does not work out in `within_s`."""

    def __init__(
        self, name: str, result: type[R], otherwise: Callable[[], R], *, within_s: float = 6.0
    ) -> None:
        self.name, self.result, self.otherwise, self.within_s = name, result, otherwise, within_s

    async def __call__(self, argument: A, *, summary: str) -> R:
        try:
            result: R | Unread = await workflow.execute_local_activity(
                self.name,
                argument,
                result_type=self.result,
                start_to_close_timeout=timedelta(seconds=self.within_s / 2),
                schedule_to_close_timeout=timedelta(seconds=self.within_s),
                retry_policy=_A_FEW,
                summary=_short(summary),
            )
            return readable(result, self.name)
        except FailureError:
            # Not only ActivityError: a local activity that timed out is that when it happens, and the bare
            # TimeoutError when its marker is replayed. Both must go the same way.
            workflow.logger.warning("a read did not work out", extra={"activity": self.name})
            return self.otherwise()


class FirstCall(Generic[A, R]):
    """The very first record: local, because its content follows from the order alone, so that a second run of
    a lost task writes the same bytes. Where the store does not answer at once, as a regular activity, so that
    the UI shows what the stop waits for."""

    def __init__(self, name: str, result: type[R]) -> None:
        self.name, self.result = name, result

    async def __call__(self, argument: A, *, summary: str) -> R:
        """Raises ActivityError only where the store refuses the data itself (never retried)."""
        try:
            result: R | Unread = await workflow.execute_local_activity(
                self.name,
                argument,
                result_type=self.result,
                schedule_to_close_timeout=timedelta(seconds=4),
                start_to_close_timeout=timedelta(seconds=3),
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_attempts=3),
                summary=_short(summary),
            )
            return readable(result, self.name)
        except FailureError:
            return await OwnCall(self.name, self.result)(argument, summary=summary)


OPEN_STOP: FirstCall[OpenStop, OpenedStop] = FirstCall(ACTIVITY_OPEN_STOP, OpenedStop)
RECORD: OwnCall[StopRecord, None] = OwnCall(ACTIVITY_RECORD, type(None))
OPEN_ATTEMPT: OwnCall[PrepareStart, Route] = OwnCall(ACTIVITY_OPEN_ATTEMPT, Route)
TAKE_BACK: OwnCall[TakeBack, Route] = OwnCall(ACTIVITY_TAKE_BACK, Route)
FOLLOW: OwnCall[SessionGoal, None] = OwnCall(ACTIVITY_FOLLOW, type(None))
AMEND: OwnCall[Amendment, None] = OwnCall(ACTIVITY_AMEND, type(None))
SESSION_FACTS: OwnCall[KeptSession, SessionFacts] = OwnCall(ACTIVITY_SESSION_FACTS, SessionFacts)

NOTE_AT_STATION: OwnCall[StationTaskDone, None] = OwnCall(ACTIVITY_NOTE_AT_STATION, type(None))

FIND_STATION: Read[StationTask, StationRoute] = Read(
    ACTIVITY_FIND_STATION, StationRoute, StationRoute, within_s=15.0
)
FIND_ROUTE: Read[RouteRequest, Route] = Read(
    ACTIVITY_FIND_ROUTE, Route, lambda: Route(detail="our store is away")
)
LOOK_AROUND: Read[LookAround, Surroundings] = Read(
    ACTIVITY_LOOK_AROUND, Surroundings, lambda: Surroundings(missed=True)
)
FIND_CHARGER: Read[FindCharger, FoundCharger] = Read(ACTIVITY_FIND_CHARGER, FoundCharger, FoundCharger)
PRICE: Read[SettleRequest, Settlement] = Read(
    ACTIVITY_SETTLE, Settlement, lambda: Settlement(detail="not priced"), within_s=20.0
)


def plan(request: PlanRequest, timeout_s: float, summary: str) -> workflow.ActivityHandle[Decision | Unread]:
    """On the planner's own queue: solving never delays a stop's messages. Read its result by `readable`."""
    return workflow.start_activity(
        ACTIVITY_PLAN,
        request,
        task_queue=PLANNER_QUEUE,
        result_type=Decision,
        schedule_to_close_timeout=timedelta(seconds=timeout_s),
        start_to_close_timeout=timedelta(seconds=20),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=0.5), maximum_interval=timedelta(seconds=5)
        ),
        summary=_short(summary),
    )


async def send(command: ChargerCommand, task_queue: str, route_wait_s: float, summary: str) -> CommandReply:
    """To the process that can reach the charger. Never retried by the server: that process may be gone for
    good, and what it sent may have worked. Raises ActivityError."""
    reply: CommandReply | Unread = await workflow.execute_activity(
        ACTIVITY_COMMAND,
        command,
        task_queue=task_queue,
        result_type=CommandReply,
        schedule_to_start_timeout=timedelta(seconds=route_wait_s),
        start_to_close_timeout=timedelta(seconds=command.timeout_s + 10),
        heartbeat_timeout=timedelta(seconds=10),
        retry_policy=_ONCE,
        summary=_short(summary),
    )
    return readable(reply, ACTIVITY_COMMAND)


def readable(result: R | Unread, name: str) -> R:
    """What an activity gave. Planner and gateways have no pinned versions, and may be newer than this run:
    what it cannot read counts as an activity that failed, and never fails the task. Raises ActivityError."""
    if not isinstance(result, Unread):
        return result
    workflow.logger.error("a result cannot be read", extra={"activity": name, "fault": result.why})
    raise ActivityError(
        f"{name} gave what this version cannot read",
        scheduled_event_id=0,
        started_event_id=0,
        identity="",
        activity_type=name,
        activity_id="",
        retry_state=None,
    ) from ApplicationError(result.why, type="reply.unreadable", non_retryable=True)


def _short(summary: str) -> str | None:
    return summary[:_SUMMARY_LENGTH] or None
