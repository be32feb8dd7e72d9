"""One attempt: intent, command, evidence that it charges, and the charge until its end is judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import PrepareStart, Route, SessionGoal
    from models.decision import Candidate
    from models.ids import remote_start_id_for
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import StopOutcome, StopPhase
    from stops.base import seconds_between
    from stops.judge import (
        Means,
        Pause,
        Stillness,
        due_at,
        is_enough,
        judge_end,
        judge_stillness,
        missing_by_soc,
    )
    from stops.session import Session
    from stops.stop import Stop

from workflows import calls
from workflows.desk import Desk
from workflows.flow import AttemptFailed, GoesOn, StopEnds
from workflows.keeper import Keeper
from workflows.recorder import Recorder
from workflows.waits import Waits

_ENDS_SOON_S = 5.0
_PROMPTLY_S = 8.0
"""Most chargers begin within seconds of their yes: then both are told at once."""
_LONG_HISTORY_EVENTS = 2000

_TURN_EVENTS = {
    Pause.NONE: "charge.resumed",
    Pause.PAUSED: "charge.paused",
    Pause.OUT_OF_CONTACT: "charge.contact_lost",
}

Keep = Callable[[Session, Callable[[], Awaitable[Route]]], Keeper]


class Charging:
    """`keep`: gives a session its keeper, who sends the start."""

    def __init__(
        self,
        stop: Stop,
        waits: Waits,
        desk: Desk,
        recorder: Recorder,
        keepers: Mapping[str, Keeper],
        keep: Keep,
    ) -> None:
        self._stop = stop
        self._waits = waits
        self._desk = desk
        self._recorder = recorder
        self._keepers = keepers
        self._keep = keep

    # --- the start --------------------------------------------------------------------------------------

    async def start(self, candidate: Candidate) -> Session:
        """Accepted is not started: returns once evidence says that it charges. Raises AttemptFailed,
        Redirected, StopEnds."""
        stop = self._stop
        for late in stop.sessions:
            late.adopting = False  # the vehicle is here: what comes alive elsewhere is stopped
        session = stop.intend(candidate, workflow.now())
        stop.set_need(session)
        stop.note(
            "attempt.opened",
            f"Attempt {session.number} at {session.charger_id}",
            workflow.now(),
            phase=StopPhase.STARTING,
            needed_kwh=round(stop.bookings[session.attempt_id].needed_kwh, 2),
        )
        keeper = self._keep(session, lambda: self._open_attempt(session))
        await self._answered(session, keeper)
        await self._confirmed(session, keeper)
        return session

    async def _open_attempt(self, session: Session) -> Route:
        """The intent stands in the store, and holds vehicle and connector, before anything is sent."""
        stop = self._stop
        patience_s = stop.policy.confirmation_s + stop.policy.command_timeout_s
        return await self._recorder.write_with(
            lambda record: calls.OPEN_ATTEMPT(
                PrepareStart(
                    tenant_id=stop.tenant_id,
                    stop_id=stop.stop_id,
                    attempt=stop.attempt(session),
                    charger=session.charger,
                    vehicle_id=stop.request.vehicle.vehicle_id,
                    token_uid=stop.request.token_uid,
                    remote_start_id=remote_start_id_for(session.attempt_id),
                    window_ends_at=workflow.now() + timedelta(seconds=patience_s),
                    goal=self._goal(session),
                    record=record,
                ),
                summary=f"{stop.log.headline}: written before anything is sent",
            ),
            attributes=False,  # starting is over in seconds
        )

    def _goal(self, session: Session) -> SessionGoal:
        stop = self._stop
        return SessionGoal(
            tenant_id=stop.tenant_id,
            stop_id=stop.stop_id,
            attempt_id=session.attempt_id,
            target_kwh=stop.bookings[session.attempt_id].needed_kwh,
            target_soc_percent=stop.request.target_soc_percent,
            stall_s=stop.policy.stall_s,
        )

    async def _answered(self, session: Session, keeper: Keeper) -> None:
        """The answer to the start; evidence may come before it and wins over it."""

        def known() -> bool:
            return keeper.refused is not None or keeper.reply is not None or session.started_at is not None

        while True:
            await self._waits.answered(known, f"{session.charger_id}'s answer to the start")
            if session.started_at is not None:
                return
            self._desk.act_on_wishes()
            if known():  # what was said may have changed nothing: then the answer is still to come
                break
        if keeper.refused is not None:
            self._stop.bookings[session.attempt_id].holds_nothing = True
            raise AttemptFailed(keeper.refused, detail=keeper.refused_detail)
        reply = keeper.reply
        if reply is not None and session.rejected is not None and not session.uncertain:
            text = f"{session.charger_id}: {entry(session.rejected).title}"
            self._stop.note("command.rejected", text, workflow.now(), vendor_code=reply.vendor_code)
            raise AttemptFailed(session.rejected, vendor_code=reply.vendor_code, detail=reply.detail)
        said = "uncertain" if session.uncertain else "accepted"
        self._stop.note(
            f"command.{said}",
            f"Start {said} by {session.charger_id}; waiting for evidence",
            workflow.now(),
            phase=StopPhase.CONFIRMING,
            vendor_code=reply.vendor_code if reply else "",
        )

    async def _confirmed(self, session: Session, keeper: Keeper) -> None:
        stop = self._stop
        promptly_s = min(_PROMPTLY_S, stop.policy.confirmation_s / 2)
        with self._recorder.held():
            came = await self._evidence(session, promptly_s)
        if not came:
            await self._evidence(session, stop.policy.confirmation_s - promptly_s)
        if session.started_at is None:
            self._desk.act_on_wishes()
            silent = keeper.reply.reason if keeper.reply and session.uncertain else None
            lost = ReasonCode.CONFIRM_CONTACT_LOST if session.is_out_of_contact else None
            reason = session.refused or session.fault or lost or silent or ReasonCode.CONFIRM_NEVER_STARTED
            raise AttemptFailed(reason, vendor_code=session.vendor_code, detail=session.detail, may_stay=True)
        if session.started_at != session.record_at:  # a record alone does not tell when it began
            came_at = stop.presence.came_at
            stop.bookings[session.attempt_id].queue_s = seconds_between(came_at, session.began_at)
        stop.recovered()
        stop.note(
            "charge.confirmed",
            f"Charging at {session.charger_id} (evidence: {', '.join(session.sources)})",
            workflow.now(),
            phase=StopPhase.CHARGING,
        )

    async def _evidence(self, session: Session, seconds: float) -> bool:
        """False: the time ran out. What people say meanwhile and changes nothing is no evidence."""

        def known() -> bool:
            return bool(session.started_at or session.fault or session.refused)

        until = workflow.now() + timedelta(seconds=seconds)
        while await self._waits.until_time(known, until, f"Evidence that {session.charger_id} charges"):
            if known():
                return True
            self._desk.act_on_wishes()
        return False

    # --- the charge -------------------------------------------------------------------------------------

    async def charge(self, session: Session) -> None:
        """Until the session's end is judged to be enough. Raises AttemptFailed where another charger helps,
        StopEnds where it does not, GoesOn where the history has grown long."""
        stop = self._stop
        while not session.is_over:
            if await self._left_by_report(session):
                break
            if is_enough(session, stop.need_of(session)):
                stop.is_ending = True
                await self._leave(session, None)  # do not block the connector
                break
            if session.fault is not None:
                await self._leave_faulted(session)
                break
            await self._raise_goal(session)
            stillness = judge_stillness(session, stop.policy, workflow.now())
            if stillness.over:
                await self._leave_still(session, stillness)
                break
            self._tell(session, stillness)
            self._go_on_later(session)
            await self._news_of(session)
        self._waits.silence()
        self._judge(session)

    async def _raise_goal(self, session: Session) -> None:
        """The energy that was asked for has come, and yet the vehicle lacks some by its own measure: what the
        session is followed by is raised, or nobody would tell when it is enough."""
        stop, booking = self._stop, self._stop.bookings[session.attempt_id]
        missing_kwh = missing_by_soc(session, stop.need_of(session))
        wanted_kwh = min(session.energy_kwh + missing_kwh, booking.most_kwh)
        if session.energy_kwh < booking.needed_kwh or wanted_kwh <= booking.needed_kwh:
            return
        booking.needed_kwh = wanted_kwh
        try:
            await calls.FOLLOW(self._goal(session), summary=f"{missing_kwh:.1f} kWh are still missing")
        except ActivityError as error:  # its turns are told by the goal of before; the charge goes on
            workflow.logger.error("the goal was not raised: %s", error.cause)

    async def _news_of(self, session: Session) -> None:
        """Until anything is said about it, or its stillness is due to be judged."""
        seen, turns = session.revision, self._stop.bookings[session.attempt_id].turns
        due = due_at(session, self._stop.policy, workflow.now())
        await self._waits.until_alarm(
            lambda: session.revision != seen,
            min(due, turns.next_at or due),
            f"Progress of the charge at {session.charger_id}",
        )

    async def _left_by_report(self, session: Session) -> bool:
        wishes = self._stop.wishes
        wishes.choice = None  # a choice that crossed the start is too late
        try:
            self._desk.act_on_wishes(charging=True)
        except AttemptFailed as report:
            await self._leave(session, report.reason)
            booking = self._stop.bookings[session.attempt_id]
            booking.vendor_code, booking.detail = report.vendor_code, report.detail
            return True
        return False

    async def _leave(self, session: Session, reason: ReasonCode | None) -> None:
        """No longer wanted: its keeper ends it. Waits a while for that to be seen; the keeper goes on."""
        session.leave(reason, workflow.now())
        keeper = self._keepers[session.attempt_id]
        patience_s = self._stop.policy.uncertain_guard_s
        self._stop.waiting.what = f"the end of the session at {session.charger_id}"
        # The keeper's own pauses are the clock: a timer beside them would say nothing new.
        await workflow.wait_condition(lambda: session.is_over or keeper.stopped_for_s >= patience_s)
        self._stop.waiting.what = ""

    async def _leave_faulted(self, session: Session) -> None:
        """A faulted connector usually ends its transaction in the next breath: let its own reason count."""
        text = f"The end of the faulted session at {session.charger_id}"
        await self._waits.until(lambda: session.is_over, _ENDS_SOON_S, text, even_if_interrupted=True)
        if not session.is_over:
            await self._leave(session, None)

    async def _leave_still(self, session: Session, stillness: Stillness) -> None:
        if stillness.pause is Pause.OUT_OF_CONTACT:
            await self._hand_over_unseen(session, stillness)
        await self._leave(session, stillness.reason)

    async def _hand_over_unseen(self, session: Session, stillness: Stillness) -> None:
        """Nobody can say whether it charges. A person is told; the session keeps its holds and its keeper."""
        reason = stillness.reason or ReasonCode.SUSTAIN_CONTACT_LOST
        text = f"No word from {session.charger_id} for too long: a person must look"
        self._stop.note("human.requested", text, workflow.now(), reason=reason, next_step=NextStep.HUMAN)
        raise StopEnds(StopOutcome.HANDED_TO_HUMAN, reason)

    def _tell(self, session: Session, stillness: Stillness) -> None:
        """Pauses and lost contact are told once when they begin, and once when they are over; of a connector
        that flaps, not each. The reason of now follows each turn, told or not."""
        stop, turns = self._stop, self._stop.bookings[session.attempt_id].turns
        pause, reason, did = stillness.pause, stillness.reason, turns.does
        if pause not in (Pause.NONE, Pause.PAUSED, Pause.OUT_OF_CONTACT):
            return
        tells = turns.turn(pause, workflow.now())
        step = entry(reason).next_step if reason else None
        if pause is Pause.PAUSED:
            step = NextStep.NONE  # it goes on by itself, until patience is over
        if pause is not did:
            stop.reason, stop.next_step = reason, step
        if tells:
            words, count = f": {entry(reason).title}" if reason else " charges again", turns.count()
            since = f" ({count} turns since the last word)" if count else ""
            stop.note(
                _TURN_EVENTS[pause],
                f"{session.charger_id}{words}{since}",
                workflow.now(),
                reason=reason,
                next_step=step,
                energy_kwh=session.energy_kwh,
                turns=count,
            )

    def _go_on_later(self, session: Session) -> None:
        """A quiet moment of a long charge: the place to continue as new."""
        info = workflow.info()
        long = info.is_continue_as_new_suggested() or info.get_current_history_length() > _LONG_HISTORY_EVENTS
        others_rest = all(s is session or not s.is_alive for s in self._stop.sessions)
        if long and others_rest:
            raise GoesOn

    def _judge(self, session: Session) -> None:
        stop = self._stop
        verdict = judge_end(session, stop.need_of(session), session.left_because)
        if verdict.means is Means.FALLBACK and verdict.reason is not None:
            raise AttemptFailed(verdict.reason, vendor_code=session.vendor_code, detail=session.detail)
        self.book_charged(session, verdict.reason)
        if verdict.means is Means.SHORT:
            charged = stop.energy_kwh() > 0
            raise StopEnds(StopOutcome.CHARGED_SHORT if charged else StopOutcome.NOT_CHARGED, verdict.reason)

    def book_charged(self, session: Session, reason: ReasonCode | None) -> None:
        stop, booking = self._stop, self._stop.bookings[session.attempt_id]
        booking.charged, booking.closed, booking.reason = True, True, reason
        if session.wanted:
            session.leave(reason, workflow.now())
        ended = "ended" if session.is_over else "has not ended yet; it is being stopped,"
        text = f"Session at {session.charger_id} {ended} with {session.energy_kwh:.1f} kWh"
        stop.note(
            "charge.ended",
            text,
            workflow.now(),
            reason=reason,
            energy_kwh=session.energy_kwh,
            passing=reason is None,
        )
        self.move_vehicle(session)

    def move_vehicle(self, session: Session) -> None:
        """Where it stands now, and what is in its battery."""
        stop = self._stop
        candidate = stop.bookings[session.attempt_id].candidate
        if candidate is not None:
            stop.vehicle.stands_at(candidate)
        stop.vehicle.weigh(stop.sessions)
