"""Commands to the charger of a session, through whoever can reach it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import Route, RouteRequest
    from models.charger import Protocol
    from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
    from models.ids import remote_start_id_for
    from models.policy import Policy
    from models.reason_codes import ReasonCode
    from stops.session import Session

from workflows import calls

_AGAIN_AFTER_S = 2.0
_BY_HAND = CommandReply(outcome=CommandOutcome.UNCERTAIN, detail="started and ended by badge at the charger")


class Commands:
    """Whose sessions these are, and the patience for commands. `policy` is asked anew: it comes with the
    stop's opening."""

    def __init__(
        self,
        *,
        tenant_id: str,
        stop_id: str,
        token_uid: str,
        telematics_id: str | None,
        policy: Callable[[], Policy],
    ) -> None:
        self.tenant_id, self.stop_id = tenant_id, stop_id
        self.token_uid, self.telematics_id = token_uid, telematics_id
        self.policy = policy

    async def start(
        self, session: Session, command_id: str, route: Route, still_wanted: Callable[[], bool]
    ) -> CommandReply:
        """Once. Looked for again while the charger cannot be reached, for as long as patience lasts and the
        session is wanted; never sent again once it may have been sent."""
        if session.charger.protocol is Protocol.NONE:
            return _BY_HAND
        policy = self.policy()
        patience_ends = workflow.now() + timedelta(seconds=policy.offline_patience_s)
        found: Route | None = route
        while True:
            reply = await self._try(session, CommandKind.START, command_id, found, still_wanted)
            if reply.outcome is not CommandOutcome.UNREACHABLE:
                return reply
            if workflow.now() >= patience_ends:
                return reply
            await _pause(lambda: not still_wanted(), "The charger's connection to come back")
            if not still_wanted():
                return reply
            found = None

    async def stop(self, session: Session, command_id: str) -> CommandReply:
        """One try. Whoever wants the session ended tries again until it is seen to have ended."""
        if session.charger.protocol is Protocol.NONE:
            return _BY_HAND
        return await self._try(session, CommandKind.STOP, command_id, None)

    async def _try(
        self,
        session: Session,
        kind: CommandKind,
        command_id: str,
        route: Route | None,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> CommandReply:
        if route is None or route.task_queue is None:
            route = await calls.FIND_ROUTE(
                RouteRequest(tenant_id=self.tenant_id, charger=session.charger),
                summary=f"The process that holds the connection of {session.charger_id}",
            )
        # Asked last: nothing waits between this and sending.
        if route.task_queue is None or not still_wanted():
            return _unreachable(route)
        policy = self.policy()
        command = ChargerCommand(
            command_id=command_id,
            tenant_id=self.tenant_id,
            stop_id=self.stop_id,
            attempt_id=session.attempt_id,
            kind=kind,
            charger=session.charger,
            token_uid=self.token_uid,
            remote_start_id=remote_start_id_for(session.attempt_id),
            vehicle_telematics_id=self.telematics_id,
            session_ref=_ref_to_stop(session) if kind is CommandKind.STOP else session.session_ref,
            timeout_s=policy.command_timeout_s,
        )
        summary = f"{str(kind).replace('_', ' ').capitalize()} {session.charger_id}"
        try:
            return await calls.send(command, route.task_queue, policy.route_wait_s, summary)
        except ActivityError as error:
            return _reply_to(error, kind)


def _ref_to_stop(session: Session) -> str | None:
    """Where several may run, the newest is told first, and then each in its turn."""
    refs = session.stop_refs
    return refs[max(0, session.stop_tries - 1) % len(refs)] if refs else None


async def _pause(ended_early: Callable[[], bool], why: str) -> None:
    try:
        await workflow.wait_condition(
            ended_early, timeout=timedelta(seconds=_AGAIN_AFTER_S), timeout_summary=why
        )
    except TimeoutError:
        return


def _unreachable(route: Route) -> CommandReply:
    """No gateway holds the station's line: the station is offline. Our store being away is our fault."""
    reason = ReasonCode.START_NOT_SENT if route.detail else ReasonCode.START_OFFLINE
    return CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=reason, detail=route.detail)


def _reply_to(error: ActivityError, kind: CommandKind) -> CommandReply:
    """What an activity that gave no reply tells us. Never taken by any worker, or failed before it sent: not
    sent, and our own fault. Anything else: it may have been sent."""
    cause = error.cause
    never_taken = isinstance(cause, ActivityTimeout) and cause.type is TimeoutType.SCHEDULE_TO_START
    not_sent = isinstance(cause, ApplicationError) and cause.type == ReasonCode.START_NOT_SENT
    if never_taken or not_sent:
        return CommandReply(
            outcome=CommandOutcome.UNREACHABLE,
            reason=ReasonCode.START_NOT_SENT,
            detail="no process of ours took the command" if never_taken else "our own store was away",
        )
    return CommandReply(
        outcome=CommandOutcome.UNCERTAIN,
        reason=ReasonCode.START_TIMEOUT if kind is CommandKind.START else ReasonCode.STOP_TIMEOUT,
        detail="the process that sent the command ended before it knew the reply",
    )
