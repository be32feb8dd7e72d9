"""Stops a session that came alive after its stop had closed, and books it there.

Started with the first evidence (signal-with-start by the evidence relay), one per attempt.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import (
        LateSession,
        LateSessionBooking,
        LateSessionFacts,
        Route,
        RouteRequest,
    )
    from models.charger import Charger
    from models.commands import ChargerCommand, CommandKind, CommandReply
    from models.contract import (
        ACTIVITY_BOOK_LATE_SESSION,
        ACTIVITY_COMMAND,
        ACTIVITY_FIND_ROUTE,
        ACTIVITY_LATE_SESSION_FACTS,
        LATE_START_WORKFLOW,
        SIGNAL_EVIDENCE,
    )
    from models.evidence import Evidence
    from models.ids import remote_start_id_for
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_actions import local

_TRIES = 20


@workflow.defn(name=LATE_START_WORKFLOW)
class LateStartGuard:
    """Nobody waits for this session any more: end it, and write down what it cost."""

    @workflow.init
    def __init__(self, late: LateSession) -> None:
        self._late = late
        self._track = SessionTrack()
        self._seen: set[str] = set()

    @workflow.signal(name=SIGNAL_EVIDENCE)
    def evidence(self, items: list[Evidence]) -> None:
        for item in items:
            if item.event_id not in self._seen:
                self._seen.add(item.event_id)
                self._track.take(item)

    @workflow.run
    async def run(self, late: LateSession) -> LateSessionBooking:
        track = self._track
        facts: LateSessionFacts = await local(ACTIVITY_LATE_SESSION_FACTS, late, LateSessionFacts)
        if facts.charger is not None:
            await self._wait(300.0, "Evidence of a session")
        detail = ""
        for number in range(_TRIES):
            if not track.alive or facts.charger is None:
                break
            detail = await self._stop(facts, facts.charger, number)
            await self._wait_end(min(5.0 * 2**number, 300.0))
        booking = LateSessionBooking(
            tenant_id=late.tenant_id,
            stop_id=late.stop_id,
            attempt_id=late.attempt_id,
            at=workflow.now(),
            session_ref=track.session_ref,
            energy_kwh=round(track.energy_kwh, 4),
            stopped=track.ended_at is not None,
            detail=detail,
        )
        if track.started_at is not None and facts.charger is not None:
            await local(ACTIVITY_BOOK_LATE_SESSION, booking)
        return booking

    async def _wait(self, seconds: float, why: str) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._track.started_at is not None,
                timeout=timedelta(seconds=seconds),
                timeout_summary=why,
            )
        except TimeoutError:
            return

    async def _wait_end(self, seconds: float) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._track.ended_at is not None,
                timeout=timedelta(seconds=seconds),
                timeout_summary="The end of the late session",
            )
        except TimeoutError:
            return

    async def _stop(self, facts: LateSessionFacts, charger: Charger, number: int) -> str:
        late = self._late
        route: Route = await local(
            ACTIVITY_FIND_ROUTE, RouteRequest(tenant_id=late.tenant_id, charger=charger), Route
        )
        if route.task_queue is None:
            return "nobody holds the charger's connection"
        command = ChargerCommand(
            command_id=f"{late.attempt_id}:late-stop:{number}",
            tenant_id=late.tenant_id,
            stop_id=late.stop_id,
            attempt_id=late.attempt_id,
            kind=CommandKind.STOP,
            charger=charger,
            token_uid=facts.token_uid,
            remote_start_id=remote_start_id_for(late.attempt_id),
            session_ref=self._track.session_ref,
            timeout_s=facts.policy.command_timeout_s,
        )
        try:
            reply: CommandReply = await workflow.execute_activity(
                ACTIVITY_COMMAND,
                command,
                task_queue=route.task_queue,
                result_type=CommandReply,
                schedule_to_start_timeout=timedelta(seconds=facts.policy.route_wait_s),
                start_to_close_timeout=timedelta(seconds=command.timeout_s + 10),
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_attempts=1),
                summary=f"Stop the late session at {charger.charger_id}",
            )
        except ActivityError:
            return "no reply to the stop command"
        return f"{reply.outcome} {reply.vendor_code}".strip()
