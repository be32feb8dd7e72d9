"""A charging stop, from plan to outcome, whatever fails on the way.

planning -> en route -> arrived -> starting -> confirming -> charging -> settling -> closed
    ^                                  |            |            |
    +---- re-ranked fallback <---------+------------+------------+   (or a person, with a deadline)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import OpenStop, Route
    from models.commands import CommandKind
    from models.contract import (
        QUERY_STATUS,
        QUERY_TIMELINE,
        SIGNAL_ARRIVED,
        SIGNAL_EVIDENCE,
        STOP_WORKFLOW,
        UPDATE_APPROVE,
        UPDATE_ARRIVED,
        UPDATE_CANCEL,
        UPDATE_CHOOSE,
        UPDATE_PROBLEM,
    )
    from models.decision import Candidate
    from models.evidence import Evidence
    from models.reason_codes import ReasonCode
    from models.stop import (
        Approval,
        ArrivalReport,
        CancelRequest,
        ChooseCharger,
        ProblemReport,
        Receipt,
        StopEvent,
        StopOutcome,
        StopPhase,
        StopResult,
        StopView,
    )
    from stops.may import Refused, may_approve, may_arrive, may_cancel, may_choose, may_report
    from stops.order import carried_on, read_order, unreadable
    from stops.session import Session
    from stops.stop import Stop
    from stops.view import view_of

from workflows import calls
from workflows.charging import Charging
from workflows.commands import Commands
from workflows.desk import Desk
from workflows.fallback import Fallback
from workflows.flow import AttemptFailed, GoesOn, Redirected, StopEnds
from workflows.hearing import Hearing, refuse
from workflows.intake import Unread, read_each, the_one
from workflows.journey import Journey
from workflows.keeper import Keeper
from workflows.planning import Planning
from workflows.recorder import Recorder
from workflows.settlement import Settlement
from workflows.waits import Waits


@workflow.defn(name=STOP_WORKFLOW)
class ChargingStop:
    """One stop, one history: attempts are a loop in here."""

    @workflow.init
    def __init__(self, *orders: Any) -> None:
        """`orders`: one ChargingStopInput as JSON; anything at all may come, from any backend."""
        self.stop: Stop = _ordered(the_one(orders))
        self.keepers: dict[str, Keeper] = {}
        self._recording: asyncio.Task[None] | None = None
        stop = self.stop
        self.recorder, self.waits = Recorder(stop), Waits(stop)
        self.desk = Desk(stop, self.waits)
        self.planning = Planning(stop, self.desk)
        self.journey = Journey(stop, self.waits, self.desk, self.planning, self.recorder)
        self.charging = Charging(stop, self.waits, self.desk, self.recorder, self.keepers, self._keep)
        self.fallback = Fallback(stop, self.planning, self.desk, self.charging)
        self.settlement = Settlement(stop, self.waits, self.recorder, self.charging, self.keepers)
        self.hearing = Hearing(stop, self.planning, self.journey)
        workflow.register_random_seed_callback(self._was_set_back)

    @workflow.run
    async def run(self, *orders: Any) -> StopResult:
        if self.stop.unreadable:
            raise ApplicationError(self.stop.unreadable, type="stop.bad_order", non_retryable=True)
        course = asyncio.create_task(self._course())
        while not course.done():
            try:
                await workflow.wait_condition(lambda: course.done() or self._broken() is not None)
            except asyncio.CancelledError:  # native cancel: as the business one, at every moment
                self._cancelled_natively()
            if broken := self._broken():
                raise broken  # a bug: the task fails, is seen, and is tried again with mended code
        result = course.result()
        if result is None:
            workflow.continue_as_new(self.stop.carried())
        return result

    async def _course(self) -> StopResult | None:
        """Plan, arrive, start, confirm, charge; on any failure fall back; in the end, one outcome. None: the
        stop goes on in a new run."""
        self._recording = asyncio.create_task(self.recorder.run())
        try:
            await self._charge_somewhere()
            ending = StopEnds(StopOutcome.CHARGED)
        except StopEnds as end:
            ending = end
        except GoesOn:
            await workflow.wait_condition(workflow.all_handlers_finished)
            await self.recorder.flush()
            return None
        self.stop.is_ending = True
        result = await self.settlement.close(self.desk.obeyed(ending))
        while self.stop.late or not workflow.all_handlers_finished():
            await workflow.wait_condition(lambda: bool(self.stop.late) or workflow.all_handlers_finished())
            await self.settlement.pass_on_late_evidence()
        return result

    async def _charge_somewhere(self) -> None:
        resumed, failure = self._resumed(), None
        candidate = self.stop.plan.candidate
        if not self.stop.opened:
            await self._open()
        while True:
            try:
                if failure is not None:
                    failed, failure = failure, None
                    candidate = await self.fallback.after(self._at(candidate), failed)
                elif candidate is None:
                    candidate = await self.planning.first()
                session = resumed or await self.journey.reach(candidate)
                resumed = None
                if session is None:
                    session = await self.charging.start(candidate)
                return await self.charging.charge(session)
            except AttemptFailed as failed:
                failure, resumed, self.stop.is_ending = failed, None, False
            except Redirected as chosen:
                candidate = self.fallback.leave_for(self._at(candidate), chosen)

    def _at(self, candidate: Candidate | None) -> Candidate:
        """The charger that the stop is about now."""
        planned = self.stop.plan.candidate or candidate
        if planned is None:
            raise StopEnds(StopOutcome.NOT_CHARGED, ReasonCode.PLAN_NO_CANDIDATE)
        return planned

    async def _open(self) -> None:
        # The order's own time: should this task be lost, the next one writes the same.
        stop, now = self.stop, workflow.info().workflow_start_time
        key = stop.request.business_key
        stop.note("stop.requested", f"Stop {key} requested", now, mode=str(stop.request.mode))
        try:
            opened = await self.recorder.write_with(
                lambda record: calls.OPEN_STOP(
                    OpenStop(input=stop.order, record=record), summary=stop.log.headline
                )
            )
        except ActivityError as error:
            raise StopEnds(StopOutcome.NOT_CHARGED, ReasonCode.PLAN_BAD_REQUEST) from error
        stop.policy, stop.policy_version = opened.policy, opened.policy.version
        stop.vehicle.state, stop.opened = opened.vehicle, True
        if opened.problem:
            stop.note("plan.failed", opened.problem, now, reason=ReasonCode.PLAN_BAD_REQUEST)
            raise StopEnds(StopOutcome.NOT_CHARGED, ReasonCode.PLAN_BAD_REQUEST)

    # --- sessions and their keepers ---------------------------------------------------------------------

    def _keep(self, session: Session, open_attempt: Callable[[], Awaitable[Route]] | None) -> Keeper:
        stop = self.stop
        commands = Commands(
            tenant_id=stop.tenant_id,
            stop_id=stop.stop_id,
            token_uid=stop.request.token_uid,
            telematics_id=stop.vehicle.state.telematics_id,
            policy=lambda: stop.policy,
        )
        keeper = Keeper(
            session,
            commands,
            self._note,
            self._next_command_id,
            first_pause_s=lambda: stop.policy.uncertain_guard_s / 3,
            called_off=lambda: stop.wishes.cancel is not None,
        )
        self.keepers[session.attempt_id] = keeper
        keeper.task = asyncio.create_task(keeper.run(open_attempt))
        return keeper

    def _note(self, type_: str, text: str, now: datetime, **more: Any) -> None:
        """A keeper's word for the log; once the result is fixed, the keepers' workflows speak."""
        if not self.stop.is_closing:
            self.stop.note(type_, text, now, **more)

    def _broken(self) -> BaseException | None:
        """What one of the tasks beside the course died of: nothing of ours may die unseen."""
        beside = [self._recording, *(keeper.task for keeper in self.keepers.values())]
        for task in beside:
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    def _was_set_back(self, seed: int) -> None:
        """A reset gives the run a new seed, and nothing else tells of it. It stands in the history, so every
        replay comes here at the same place."""
        del seed
        self.recorder.takes_over = True

    def _next_command_id(self, session: Session, kind: CommandKind) -> str:
        return self.stop.next_command_id(session, kind)

    # --- a long stop ------------------------------------------------------------------------------------

    def _resumed(self) -> Session | None:
        """The session that ran when the run before this one was continued as new."""
        for session in self.stop.sessions:
            self._keep(session, None)  # of what is over, too: it may live again
        return self.stop.current if self.stop.phase is StopPhase.CHARGING else None

    def _cancelled_natively(self) -> None:
        if not self.stop.is_ending and self.stop.phase not in (StopPhase.SETTLING, StopPhase.CLOSED):
            known = self.stop.wishes.cancel
            self.stop.wishes.cancel = known or CancelRequest(event_id="temporal-cancel", by="fleet")

    # --- what the world may say -------------------------------------------------------------------------

    @workflow.query(name=QUERY_STATUS, description="Where the stop stands, as the API shows it")
    def status(self) -> StopView:
        return view_of(self.stop)

    @workflow.query(
        name=QUERY_TIMELINE, description="Every transition, oldest first; of a long stop its last ones"
    )
    def timeline(self) -> list[StopEvent]:
        return self.stop.log.events

    @workflow.update(name=UPDATE_ARRIVED, description="The vehicle stands at the charger")
    async def driver_arrived(self, report: ArrivalReport) -> Receipt:
        return self.hearing.arrived(report, "driver")

    @driver_arrived.validator
    def _may_arrive(self, report: ArrivalReport) -> None:
        _allowed(may_arrive, self.stop, report)

    @workflow.update(name=UPDATE_PROBLEM, description="The driver reports a problem at the charger")
    async def driver_reports_problem(self, report: ProblemReport) -> Receipt:
        return self.hearing.problem(report)

    @driver_reports_problem.validator
    def _may_report(self, report: ProblemReport) -> None:
        _allowed(may_report, self.stop, report)

    @workflow.update(name=UPDATE_CANCEL, description="Driver or fleet calls the stop off")
    async def cancel_stop(self, request: CancelRequest) -> Receipt:
        return self.hearing.cancel(request)

    @cancel_stop.validator
    def _may_cancel(self, request: CancelRequest) -> None:
        _allowed(may_cancel, self.stop, request)

    @workflow.update(name=UPDATE_CHOOSE, description="Driver or fleet chooses another charger")
    async def choose_charger(self, request: ChooseCharger) -> Receipt:
        return await self.hearing.choice(request)

    @choose_charger.validator
    def _may_choose(self, request: ChooseCharger) -> None:
        _allowed(may_choose, self.stop, request)

    @workflow.update(name=UPDATE_APPROVE, description="Answer to an assisted plan")
    async def approve_plan(self, approval: Approval) -> Receipt:
        return self.hearing.approval(approval)

    @approve_plan.validator
    def _may_approve(self, approval: Approval) -> None:
        _allowed(may_approve, self.stop, approval)

    @workflow.signal(name=SIGNAL_ARRIVED, description="Arrival, for those who hold a Temporal client")
    def arrived(self, report: ArrivalReport) -> None:
        self.hearing.signalled_arrival(report)

    @workflow.signal(name=SIGNAL_EVIDENCE, description="What charger, partner or vehicle say happened")
    def evidence(self, items: list[Any]) -> None:
        self.hearing.evidence(read_each(Evidence, items))


def _ordered(order: Any) -> Stop:
    info = workflow.info()
    if isinstance(order, Unread):
        return unreadable(order.why, info.run_id, info.workflow_start_time)
    # Only a run before this one can carry a stop over: from outside, it would be anybody's stop.
    if info.continued_run_id is not None and isinstance(order, dict) and "carried" in order:
        return carried_on(order["carried"], info.run_id)  # pyright: ignore[reportUnknownArgumentType]
    return read_order(order, info.workflow_id, info.run_id, info.workflow_start_time)


def _allowed(rule: Callable[[Stop, Any], None], stop: Stop, message: Any) -> None:
    """A validator's refusal, with the rule's own code."""
    try:
        rule(stop, message)
    except Refused as refused:
        raise refuse(refused) from None
