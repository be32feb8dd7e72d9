"""What a stop does to the world, each through an activity with its own timeout, retries and summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import PrepareStart, Route, RouteRequest, Settlement, SettleRequest
    from models.charger import Protocol
    from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
    from models.contract import (
        ACTIVITY_COMMAND,
        ACTIVITY_FIND_ROUTE,
        ACTIVITY_OPEN_ATTEMPT,
        ACTIVITY_PLAN,
        ACTIVITY_RECORD,
        ACTIVITY_SETTLE,
        PLANNER_QUEUE,
    )
    from models.decision import Candidate, Decision, PlanRequest
    from models.ids import remote_start_id_for
    from models.reason_codes import ReasonCode
    from models.stop import Attempt
    from workflows.stop_state import StopState

_LOCAL_RETRY = RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=5))
_ONCE = RetryPolicy(maximum_attempts=1)
_SUMMARY_LENGTH = 120  # the UI shows about so many characters
_PLAN_RETRY = RetryPolicy(initial_interval=timedelta(seconds=0.5), maximum_interval=timedelta(seconds=5))

_PHASE = SearchAttributeKey.for_keyword("StopPhase")
_OUTCOME = SearchAttributeKey.for_keyword("StopOutcome")
_REASON = SearchAttributeKey.for_keyword("ReasonCode")
_CHARGER = SearchAttributeKey.for_keyword("ChargerId")
_SITE = SearchAttributeKey.for_keyword("SiteId")
_ATTEMPT = SearchAttributeKey.for_int("Attempt")
_PROTOCOL = SearchAttributeKey.for_keyword("ChargerProtocol")
_HUMAN = SearchAttributeKey.for_bool("AwaitingHuman")
_TENANT = SearchAttributeKey.for_keyword("BackstopTenant")


async def local(name: str, argument: Any, result: type | None = None, *, summary: str = "") -> Any:
    """A local activity: one marker in the history, no task-queue hop. It is retried until it works: our
    own store is the only thing it talks to."""
    return await workflow.execute_local_activity(
        name,
        argument,
        result_type=result,
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=_LOCAL_RETRY,
        summary=summary[:_SUMMARY_LENGTH] or None,
    )


class StopActions(StopState):
    """Activities of a stop behind short verbs."""

    def set_up_actions(self) -> None:
        self._shown: dict[str, Any] = {}
        self._writing = asyncio.Lock()
        self.needed_kwh = 0.0
        self.command_numbers: dict[CommandKind, int] = {}
        self.excluded_chargers: list[str] = []
        self.excluded_sites: list[str] = []
        self.failed_sites: list[str] = []

    # --- recording ------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write news to the store and show it in the Temporal UI."""
        self._show()
        async with self._writing:  # a handler may flush as well: records go out in order
            while self.book.has_news:
                await local(ACTIVITY_RECORD, self.book.take_record(), summary=self.book.headline)

    def _show(self) -> None:
        workflow.set_current_details(self.book.card())
        book, charger = self.book, self.book.candidate.charger if self.book.candidate else None
        shown: list[tuple[SearchAttributeKey[Any], Any]] = [
            (_TENANT, book.tenant_id),
            (_PHASE, str(book.phase)),
            (_OUTCOME, str(book.outcome) if book.outcome else None),
            (_REASON, str(book.reason) if book.reason else None),
            (_CHARGER, charger.charger_id if charger else None),
            (_SITE, charger.site_id if charger else None),
            (_ATTEMPT, len(book.attempts) or None),
            (_PROTOCOL, str(charger.protocol) if charger else None),
            (_HUMAN, True if book.awaiting_human_until else None),
        ]
        changes: list[SearchAttributeUpdate[Any]] = []
        for key, value in shown:
            if self._shown.get(key.name) != value:
                changes.append(key.value_unset() if value is None else key.value_set(value))
                self._shown[key.name] = value
        if changes:
            workflow.upsert_search_attributes(changes)

    # --- waiting --------------------------------------------------------------------------------------

    async def until(self, ready: Callable[[], object], seconds: float, why: str) -> bool:
        """Wait until something is ready or somebody interrupts. False: the time ran out."""
        try:
            await workflow.wait_condition(
                lambda: bool(ready()) or self.interrupted,
                timeout=timedelta(seconds=max(seconds, 0.001)),
                timeout_summary=why,
            )
        except TimeoutError:
            return False
        return True

    # --- planning -------------------------------------------------------------------------------------

    async def ask_planner(self, preferred_charger_id: str | None = None) -> Decision | None:
        """A decision for where the vehicle stands now; None when the planner does not answer in time."""
        request = self.book.request
        plan = PlanRequest(
            stop_id=self.book.stop_id,
            tenant_id=self.book.tenant_id,
            vehicle=self.vehicle,
            destination=request.destination,
            target_soc_percent=request.target_soc_percent,
            latest_departure=request.latest_departure,
            contract=request.contract,
            now=workflow.now(),
            policy=self.policy,
            excluded_charger_ids=(*request.excluded_charger_ids, *self.excluded_chargers),
            excluded_site_ids=tuple(self.excluded_sites),
            failed_site_ids=tuple(self.failed_sites),
            preferred_charger_id=preferred_charger_id,
            tried=len(self.book.attempts),
        )
        attempt = f" (after attempt {len(self.book.attempts)})" if self.book.attempts else ""
        try:
            return await workflow.execute_activity(
                ACTIVITY_PLAN,
                plan,
                task_queue=PLANNER_QUEUE,
                result_type=Decision,
                schedule_to_close_timeout=timedelta(seconds=self.policy.plan_timeout_s),
                start_to_close_timeout=timedelta(seconds=20),
                retry_policy=_PLAN_RETRY,
                summary=f"Rank chargers for {self.vehicle.vehicle_id}{attempt}",
            )
        except ActivityError:
            workflow.logger.warning("planner did not answer")
            return None

    async def judge_choice(self, charger_id: str) -> Candidate | None:
        decision = await self.ask_planner(preferred_charger_id=charger_id)
        first = decision.candidates[0] if decision and decision.candidates else None
        return first if first and first.charger.charger_id == charger_id else None

    # --- commands -------------------------------------------------------------------------------------

    async def write_intent(self, attempt: Attempt, candidate: Candidate) -> Route:
        """The attempt stands in the store, and holds vehicle and connector, before anything is sent."""
        self._show()
        async with self._writing:
            return await local(
                ACTIVITY_OPEN_ATTEMPT,
                PrepareStart(
                    tenant_id=self.book.tenant_id,
                    stop_id=self.book.stop_id,
                    attempt=attempt,
                    charger=candidate.charger,
                    vehicle_id=self.vehicle.vehicle_id,
                    token_uid=self.book.request.token_uid,
                    remote_start_id=remote_start_id_for(attempt.attempt_id),
                    window_ends_at=workflow.now()
                    + timedelta(seconds=self.policy.confirmation_s + self.policy.command_timeout_s),
                    record=self.book.take_record(),
                ),
                Route,
                summary=f"{self.book.headline}: written before anything is sent",
            )

    async def find_route(self, candidate: Candidate) -> Route:
        return await local(
            ACTIVITY_FIND_ROUTE,
            RouteRequest(tenant_id=self.book.tenant_id, charger=candidate.charger),
            Route,
        )

    async def command(
        self, kind: CommandKind, attempt: Attempt, candidate: Candidate, *, route: Route | None = None
    ) -> CommandReply:
        """Send one command through whoever can reach the charger. A dead route is looked up again for as
        long as the policy's patience lasts; a command that may have been sent is never sent again."""
        # A start is sent once per attempt, whatever happens. A stop may be repeated: it does no harm.
        number = self.command_numbers[kind] = self.command_numbers.get(kind, 0) + 1
        once = kind is CommandKind.START
        command = ChargerCommand(
            command_id=f"{attempt.attempt_id}:{kind}" + ("" if once else f":{number}"),
            tenant_id=self.book.tenant_id,
            stop_id=self.book.stop_id,
            attempt_id=attempt.attempt_id,
            kind=kind,
            charger=candidate.charger,
            token_uid=self.book.request.token_uid,
            remote_start_id=remote_start_id_for(attempt.attempt_id),
            vehicle_telematics_id=self.vehicle.telematics_id,
            session_ref=self.tracks[attempt.attempt_id].session_ref,
            timeout_s=self.policy.command_timeout_s,
        )
        patience_ends = workflow.now() + timedelta(seconds=self.policy.offline_patience_s)
        last = CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=ReasonCode.START_OFFLINE)
        while True:
            route = route or await self.find_route(candidate)
            if route.task_queue is not None:
                last = await self._send(command, route.task_queue)
                if last.outcome is not CommandOutcome.UNREACHABLE:
                    return last
            if workflow.now() >= patience_ends or candidate.charger.protocol is not Protocol.OCPP:
                return last
            route = None
            if await self.until(lambda: False, 2.0, "The charger's connection to come back"):
                return last

    async def _send(self, command: ChargerCommand, task_queue: str) -> CommandReply:
        charger = command.charger.charger_id
        try:
            return await workflow.execute_activity(
                ACTIVITY_COMMAND,
                command,
                task_queue=task_queue,
                result_type=CommandReply,
                # Not retried by the server: the process that holds the socket may be gone for good.
                schedule_to_start_timeout=timedelta(seconds=self.policy.route_wait_s),
                start_to_close_timeout=timedelta(seconds=command.timeout_s + 10),
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=_ONCE,
                summary=f"{str(command.kind).replace('_', ' ').capitalize()} {charger}",
            )
        except ActivityError as error:
            return _reply_to(error)

    async def price(self, candidate: Candidate, energy_kwh: float, occupied_s: float) -> Settlement:
        request = SettleRequest(charger=candidate.charger, energy_kwh=energy_kwh, occupied_s=occupied_s)
        return await local(ACTIVITY_SETTLE, request, Settlement)


def _reply_to(error: ActivityError) -> CommandReply:
    """What an activity that gave no reply tells us. Never taken by any worker: not sent. Anything else:
    it may have been sent."""
    cause = error.cause
    if isinstance(cause, ActivityTimeout) and cause.type is TimeoutType.SCHEDULE_TO_START:
        return CommandReply(
            outcome=CommandOutcome.UNREACHABLE,
            reason=ReasonCode.START_OFFLINE,
            detail="no gateway took the command",
        )
    return CommandReply(
        outcome=CommandOutcome.UNCERTAIN,
        reason=ReasonCode.START_TIMEOUT,
        detail="the process that sent the command ended before it knew the reply",
    )


def seconds_between(start: datetime | None, end: datetime | None) -> float:
    """Never negative; 0 where one of both is unknown."""
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0
