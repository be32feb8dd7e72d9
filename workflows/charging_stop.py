"""A charging stop, from plan to outcome, whatever fails on the way.

planning -> en route -> arrived -> starting -> confirming -> charging -> settling -> closed
    ^                                  |            |            |
    +---- re-ranked fallback <---------+------------+------------+   (or a human, with a deadline)
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import OpenedStop, OpenStop
    from models.charger import Protocol
    from models.commands import CommandKind, CommandOutcome, CommandReply
    from models.contract import ACTIVITY_OPEN_STOP, STOP_WORKFLOW
    from models.decision import Candidate
    from models.reason_catalogue import entry
    from models.reason_codes import ReasonCode
    from models.stop import (
        Attempt,
        ChargingStopInput,
        StopMode,
        StopOutcome,
        StopPhase,
        StopResult,
    )
    from workflows.evidence_fold import SessionTrack
    from workflows.stop_actions import local, seconds_between
    from workflows.stop_flow import AttemptFailed, Redirected, StopEnds
    from workflows.stop_settlement import StopSettlement


@workflow.defn(name=STOP_WORKFLOW)
class ChargingStop(StopSettlement):
    """One stop, one history: attempts are a loop in here."""

    @workflow.init
    def __init__(self, stop: ChargingStopInput) -> None:
        self.set_up(stop)
        self.set_up_actions()

    @workflow.run
    async def run(self, stop: ChargingStopInput) -> StopResult:
        try:
            await self._open(stop)
            await self._charge_somewhere()
            ending = StopEnds(StopOutcome.CHARGED)
        except StopEnds as end:
            ending = end
        except asyncio.CancelledError:  # the operator's native cancel: compensate as for a business one
            ending = StopEnds(StopOutcome.CANCELLED, ReasonCode.STOP_CANCELLED_BY_FLEET)
        result = await self._settle_and_close(ending)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    async def _open(self, stop: ChargingStopInput) -> None:
        now = workflow.now()
        key = stop.request.business_key
        self.book.note("stop.requested", f"Stop {key} requested", now, mode=str(stop.request.mode))
        opened: OpenedStop = await local(
            ACTIVITY_OPEN_STOP, OpenStop(input=stop, record=self.book.take_record()), OpenedStop
        )
        self.policy, self.vehicle = opened.policy, opened.vehicle
        battery_kwh = self.vehicle.battery_usable_kwh or 0.0
        gap_percent = stop.request.target_soc_percent - self.vehicle.soc_percent
        self.needed_kwh = max(0.0, gap_percent / 100 * battery_kwh)
        if opened.problem:
            self.book.note("plan.failed", opened.problem, now, reason=ReasonCode.PLAN_BAD_REQUEST)
            raise StopEnds(StopOutcome.NOT_CHARGED, ReasonCode.PLAN_BAD_REQUEST)

    # --- the loop over attempts -------------------------------------------------------------------------

    async def _charge_somewhere(self) -> None:
        candidate = await self._first_plan()
        while True:
            try:
                adopted = await self._reach(candidate)
                if adopted is None:
                    attempt = await self._start(candidate)
                else:
                    attempt, candidate = self._adopt(adopted)
                await self._watch_charge(attempt, candidate)
                return
            except Redirected as redirected:
                await self._leave_attempt(candidate, ReasonCode.REACH_REDIRECTED)
                candidate = redirected.candidate
                self._go_for(candidate)
                text = f"{redirected.by.capitalize()} chose {candidate.charger.charger_id}"
                self.book.note("charger.chosen", text, workflow.now(), by=redirected.by)
            except AttemptFailed as failure:
                await self._close_attempt(candidate, failure)
                candidate = await self._fall_back(candidate, failure)

    async def _first_plan(self) -> Candidate:
        decision = await self.ask_planner()
        self._end_if_cancelled()
        if decision is None:
            return await self._ask_human(ReasonCode.PLAN_UNAVAILABLE, "The planner did not answer")
        self.book.keep_decision(decision)
        shadow = self.book.request.mode is StopMode.SHADOW
        if not decision.candidates:
            reason = _code(decision.no_candidate_because, ReasonCode.PLAN_NO_CANDIDATE)
            text = f"No charger fits: {entry(reason).title}"
            self.book.note("plan.failed", text, workflow.now(), reason=reason)
            if shadow:
                raise StopEnds(StopOutcome.NOT_CHARGED, reason)
            return await self._ask_human(reason, text)
        candidate = decision.candidates[0]
        self._go_for(candidate)
        text = (
            f"Planned {candidate.charger.charger_id} ({len(decision.candidates)} options, "
            f"{decision.rejected_count} rejected), detour {candidate.detour_s / 60:.0f} min"
        )
        self.book.note("plan.decided", text, workflow.now(), decision_id=decision.decision_id)
        if shadow:
            raise StopEnds(StopOutcome.NOT_CHARGED)
        if self.book.request.mode is StopMode.ASSISTED:
            candidate = await self._await_approval(candidate)
        if self.arrived_early:
            self.at_charger_id = candidate.charger.charger_id
        return candidate

    async def _await_approval(self, candidate: Candidate) -> Candidate:
        deadline = workflow.now() + timedelta(seconds=self.policy.approval_s)
        self.book.awaiting_approval_until = deadline
        self.book.note("approval.requested", "The plan waits for approval", workflow.now())
        await self.flush()
        await self.until(lambda: self.approval, self.policy.approval_s, "Approval of the plan")
        self.book.awaiting_approval_until = None
        self._end_if_cancelled()
        chosen, self.choice = self.choice, None
        if chosen is None and (self.approval is None or not self.approval.approved):
            return await self._ask_human(ReasonCode.PLAN_NOT_APPROVED, "The plan was not approved")
        named = self.approval.charger_id if self.approval else None
        candidate = chosen or next(
            (c for c in self.candidates_offered() if c.charger.charger_id == named), candidate
        )
        self._go_for(candidate)
        self.book.note("plan.approved", f"Approved: {candidate.charger.charger_id}", workflow.now())
        return candidate

    # --- arrival ----------------------------------------------------------------------------------------

    async def _reach(self, candidate: Candidate) -> str | None:
        """Returns once the vehicle stands at the charger; or the id of a given-up attempt that came alive
        meanwhile, which is then adopted."""
        charger = candidate.charger
        while self.at_charger_id != charger.charger_id:
            self._pass_interruptions()
            if late := self.late_start():
                return late
            wait_s = self._arrival_wait_s(candidate)
            if self.book.phase is not StopPhase.EN_ROUTE:
                self.book.arrive_by = workflow.now() + timedelta(seconds=wait_s)
                text = f"On the way to {charger.charger_id}, {candidate.drive_s / 60:.0f} min"
                self.book.note("vehicle.en_route", text, workflow.now(), phase=StopPhase.EN_ROUTE)
            await self.flush()
            came = await self.until(
                lambda: self.at_charger_id == charger.charger_id or self.late_start(),
                wait_s,
                f"Arrival at {charger.charger_id}",
            )
            if not came:
                raise StopEnds(StopOutcome.NO_SHOW, ReasonCode.REACH_NO_SHOW)
        self._pass_interruptions()
        if late := self.late_start():
            return late
        if self.book.phase in (StopPhase.PLANNING, StopPhase.EN_ROUTE):
            sources = ", ".join(self.arrival_sources) or "the earlier attempt"
            text = f"Arrived at {charger.charger_id} (says: {sources})"
            self.book.note("vehicle.arrived", text, workflow.now(), phase=StopPhase.ARRIVED)
        self._arrived_at = workflow.now()
        return None

    def _arrival_wait_s(self, candidate: Candidate) -> float:
        """Until the window's end or the expected arrival, whichever is later, plus the grace."""
        expected = workflow.now() + timedelta(seconds=candidate.drive_s)
        latest = self.book.request.latest_arrival
        ends = max(expected, latest) if latest and not self.book.attempts else expected
        return seconds_between(workflow.now(), ends) + self.policy.arrival_grace_s

    # --- start and confirmation -------------------------------------------------------------------------

    async def _start(self, candidate: Candidate) -> Attempt:
        """Intent, command, and evidence. Accepted is not started."""
        attempt = self.book.open_attempt(candidate, workflow.now())
        track = self.tracks[attempt.attempt_id] = SessionTrack()
        self.candidates[attempt.attempt_id] = candidate
        text = f"Attempt {attempt.number} at {attempt.charger_id}"
        self.book.note("attempt.opened", text, workflow.now(), phase=StopPhase.STARTING)
        route = await self.write_intent(attempt, candidate)
        if route.refused is not None:
            raise AttemptFailed(route.refused, detail=route.detail)
        self._pass_interruptions()
        if candidate.charger.protocol is Protocol.NONE:
            reply = CommandReply(outcome=CommandOutcome.UNCERTAIN, detail="started by badge at the charger")
        else:
            reply = await self.command(CommandKind.START, attempt, candidate, route=route)
        self._take_reply(attempt, track, reply)
        confirmed = await self._confirm(attempt, track, reply)
        self.queue_from_arrival(confirmed.started_at)
        return confirmed

    def _take_reply(self, attempt: Attempt, track: SessionTrack, reply: CommandReply) -> None:
        now = workflow.now()
        if reply.outcome in (CommandOutcome.ACCEPTED, CommandOutcome.UNCERTAIN):
            self.book.amend(attempt.attempt_id, accepted_at=now)
            said = "accepted" if reply.outcome is CommandOutcome.ACCEPTED else "uncertain"
            self.book.note(
                f"command.{said}",
                f"Start {said} by {attempt.charger_id}; waiting for evidence",
                now,
                phase=StopPhase.CONFIRMING,
                vendor_code=reply.vendor_code,
            )
            return
        if track.started_at is not None:
            return  # the charger says no, yet energy flows: evidence wins over words
        reason = reply.reason or ReasonCode.START_REJECTED
        self.book.note(
            "command.rejected",
            f"{attempt.charger_id}: {entry(reason).title}",
            now,
            vendor_code=reply.vendor_code,
        )
        raise AttemptFailed(reason, vendor_code=reply.vendor_code, detail=reply.detail)

    async def _confirm(self, attempt: Attempt, track: SessionTrack, reply: CommandReply) -> Attempt:
        if track.started_at is None:
            await self.flush()
            await self.until(
                lambda: track.started_at or track.fault or track.refused,
                self.policy.confirmation_s,
                f"Evidence that {attempt.charger_id} charges",
            )
        if track.started_at is None:
            self._pass_interruptions()
            given = track.refused or track.fault
            silent = reply.reason if reply.outcome is CommandOutcome.UNCERTAIN else None
            reason = given or silent or ReasonCode.CONFIRM_NEVER_STARTED
            raise AttemptFailed(
                reason,
                vendor_code=track.vendor_code or reply.vendor_code,
                detail=track.detail or reply.detail,
                may_come_alive=True,
            )
        self.book.note(
            "charge.confirmed",
            f"Charging at {attempt.charger_id} (evidence: {', '.join(track.sources)})",
            workflow.now(),
            phase=StopPhase.CHARGING,
        )
        return self.book.amend(attempt.attempt_id, started_at=track.started_at, session_ref=track.session_ref)


def _code(text: str, otherwise: ReasonCode) -> ReasonCode:
    return ReasonCode(text) if text in ReasonCode._value2member_map_ else otherwise
