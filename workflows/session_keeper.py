"""The keeper of a session that outlives its stop: ends it, and books it there as a new event.

Started by the stop for what it could not see to end, or (signal-with-start) by the evidence relay for what
came alive, or was billed, after the stop had closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import Amendment, KeptSession, SessionFacts
    from models.booked import evidence_of
    from models.charger import Charger, Protocol
    from models.commands import CommandKind
    from models.contract import (
        KEEPER_WORKFLOW,
        QUERY_STATUS,
        SIGNAL_EVIDENCE,
        SIGNAL_HAND_BACK,
        UPDATE_RELEASE_SESSION,
    )
    from models.evidence import Evidence
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import Attempt, AttemptState, SessionReleased, SessionState
    from stops.inbox import Inbox
    from stops.ledger import attempt_after
    from stops.session import Session

from workflows import calls
from workflows.commands import Commands
from workflows.intake import Unread, read, read_each, the_one
from workflows.keeper import Keeper
from workflows.settlement import price_of

_WAIT_FOR_LIFE_S = 60.0
_HOURLY = timedelta(hours=1)
_LONG_HISTORY_EVENTS = 4000
_KEPT_EVIDENCE = 200

_TENANT = SearchAttributeKey.for_keyword("BackstopTenant")
_CHARGER = SearchAttributeKey.for_keyword("ChargerId")
_REASON = SearchAttributeKey.for_keyword("ReasonCode")
_HUMAN = SearchAttributeKey.for_bool("AwaitingHuman")


@workflow.defn(name=KEEPER_WORKFLOW)
class SessionKeeper:
    """Goes on until the session has been seen to end, or a person says so."""

    @workflow.init
    def __init__(self, *orders: Any) -> None:
        """`orders`: one KeptSession as JSON."""
        kept = read(KeptSession, the_one(orders))
        self._unreadable = kept.why if isinstance(kept, Unread) else ""
        self._kept = (
            KeptSession(tenant_id="", stop_id="", attempt_id="") if isinstance(kept, Unread) else kept
        )
        self._facts = SessionFacts()
        # One that cannot be read is kept all the same: by what the store knows of it.
        carried = read(Session, self._kept.carried) if self._kept.carried else None
        self._session: Session | None = None if isinstance(carried, Unread) else carried
        self._early: list[Evidence] = []
        self._inbox = Inbox()
        self._amendments = 0
        self._commands_sent = 0
        self._booked: Attempt | None = None
        self._heard: list[Evidence] = []
        self._owner = ""
        """The workflow id of the stop that owns the session again."""

    # --- messages ---------------------------------------------------------------------------------------

    @workflow.signal(name=SIGNAL_EVIDENCE, description="What charger, partner or vehicle say happened")
    def evidence(self, items: list[Any]) -> None:
        for item in read_each(Evidence, items):
            if not self._inbox.hears(item.event_id):
                continue
            self._heard = [*self._heard, item][-_KEPT_EVIDENCE:]
            if self._session is None:
                self._early.append(item)
            else:
                self._session.take(item, workflow.now())

    @workflow.signal(name=SIGNAL_HAND_BACK, description="The stop runs again, and owns its session")
    def hand_back(self, workflow_id: Any) -> None:
        self._owner = workflow_id if isinstance(workflow_id, str) else ""

    @workflow.update(name=UPDATE_RELEASE_SESSION, description="A person has seen that it has ended")
    async def release_session(self, released: SessionReleased) -> str:
        await workflow.wait_condition(lambda: self._session is not None)
        session = self._session
        if session is not None and session.ended_at is None:
            session.release(released.by, released.energy_kwh, workflow.now())
        return str(session.state) if session else ""

    @workflow.query(name=QUERY_STATUS, description="The session as it is known")
    def status(self) -> dict[str, Any]:
        session = self._session
        if session is None:
            return {}
        told = {
            "session": str(session.state),
            "energy_kwh": session.energy_kwh,
            "stop_tries": session.stop_tries,
        }
        return {**told, "attempt_id": session.attempt_id, "charger_id": session.charger_id}

    # --- the run ----------------------------------------------------------------------------------------

    @workflow.run
    async def run(self, *orders: Any) -> Attempt | None:
        if self._unreadable:
            text = f"This is no session to keep: {self._unreadable}"
            raise ApplicationError(text, type="keeper.bad_order", non_retryable=True)
        course = asyncio.create_task(self._course())
        while not course.done():
            try:
                await workflow.wait_condition(lambda: course.done() or bool(self._owner))
                if not course.done() and await self._handed_back():
                    return None
            except asyncio.CancelledError:
                # Native cancel: the session would go on, nobody's. A person ends it with release_session.
                workflow.logger.warning("cancelled, and goes on: the session lives")
        if course.result():
            carried = self._session.model_dump(mode="json") if self._session else None
            workflow.continue_as_new(self._kept.model_copy(update={"carried": carried}))
        return self._booked

    async def _course(self) -> bool:
        """Until the session is over and booked. True: the history has grown long, it goes on in a new run."""
        self._facts = await calls.SESSION_FACTS(self._kept, summary="What is known of this session")
        facts = self._facts
        if facts.attempt is None or facts.charger is None:
            return False
        session = self._take_over(facts.attempt, facts.charger)
        keeper = self._keeper(session)
        if not session.is_alive and not session.is_over:
            patience_s = min(_WAIT_FOR_LIFE_S, facts.policy.confirmation_s)
            await self._until(lambda: session.is_alive or session.is_over, patience_s, "A sign of life")
        while True:
            if session.is_alive:
                self._show(session)
                await keeper.stop_until_over(most_s=facts.policy.keeper_s)
            if session.is_alive:
                await self._call_unknown(session)
                if await self._wait_for_proof(session, keeper):
                    return True
            await self._book_all(session)
            if not session.is_alive:
                return False

    async def _handed_back(self) -> bool:
        """Whether the stop has the session again: it is told what was heard here. False where it does not run
        any more."""
        try:
            # A native cancel may break in here: the owner is still known then, and is told again.
            await workflow.get_external_workflow_handle(self._owner).signal(SIGNAL_EVIDENCE, self._heard)
        except ApplicationError:
            self._owner = ""
            return False
        await workflow.wait_condition(workflow.all_handlers_finished)
        return True

    def _take_over(self, attempt: Attempt, charger: Charger) -> Session:
        session = self._session or session_of(attempt, charger)
        session.leave(None, workflow.now())
        self._session, self._booked = session, attempt
        for item in (*evidence_of(attempt), *self._early):
            session.take(item, workflow.now())
        self._early = []
        return session

    def _keeper(self, session: Session) -> Keeper:
        kept, facts = self._kept, self._facts
        commands = Commands(
            tenant_id=kept.tenant_id,
            stop_id=kept.stop_id,
            token_uid=facts.token_uid,
            telematics_id=facts.vehicle_telematics_id,
            policy=lambda: facts.policy,
        )
        first_pause_s = facts.policy.uncertain_guard_s / 3
        return Keeper(session, commands, _nobody, self._command_id, lambda: first_pause_s)

    def _command_id(self, session: Session, kind: CommandKind) -> str:
        """Its own numbers: the stop has counted, too, and another keeper may have been here before."""
        self._commands_sent += 1
        return f"{session.attempt_id}:{kind}:kept:{workflow.info().run_id[:8]}:{self._commands_sent}"

    async def _call_unknown(self, session: Session) -> None:
        """Nobody has proved an end in time: held, and shown to a person."""
        facts = await calls.SESSION_FACTS(self._kept, summary="What is known of it by now")
        if facts.attempt is not None and facts.attempt.session is SessionState.ENDED:
            self._booked = facts.attempt
            for item in evidence_of(facts.attempt):
                session.take(item, workflow.now())  # somebody else has seen its end: that is the truth
        if session.is_over:
            return
        reason = ReasonCode.STOP_END_UNKNOWN
        self._show(session, reason)
        text = f"{session.charger_id}: {entry(reason).title}; {session.energy_kwh:.1f} kWh so far"
        unknown = session.model_copy(update={"given_up": True})
        attempt = await self._priced(unknown, self._booked)
        await self._amend("session.unknown", text, attempt, reason=reason, next_step=NextStep.HUMAN)

    async def _wait_for_proof(self, session: Session, keeper: Keeper) -> bool:
        """As long as it takes; stopped again now and then, and at once when its station is back. True: the
        history has grown long by now."""
        while not session.is_over:
            await self._until(_over_or_back(session), _HOURLY.total_seconds(), "Proof that the session ended")
            if not session.is_over:
                await keeper.stop_until_over(most_s=1.0)
            if workflow.info().get_current_history_length() > _LONG_HISTORY_EVENTS and not session.is_over:
                return True
        return False

    async def _book_all(self, session: Session) -> None:
        """Until nothing more was said while it was being written."""
        await self._book(session)
        written = -1
        while written != session.revision:
            await workflow.wait_condition(workflow.all_handlers_finished)
            written = session.revision
            await self._book(session)

    async def _book(self, session: Session) -> None:
        """What is known now and was not booked yet."""
        known = self._booked
        if known is None:
            return
        if session.started_at is None and not session.is_over:
            await self._book_without_life(session, known)
            return
        attempt = await self._priced(session, known)
        if _books(attempt) == _books(known):
            return
        energy = f"{session.energy_kwh:.1f} kWh"
        if session.record_at is not None and known.session is SessionState.ENDED:
            type_, text = (
                "charge_record.came",
                f"The charge record came after all: {energy}, {session.record_cost}",
            )
            reason = ReasonCode.SETTLE_ENERGY_DIFFERS if session.record_differs else None
        elif session.started_at is None and session.record_at is not None:
            type_, reason = "charge_record.came", ReasonCode.CONFIRM_LATE_START
            text = f"A charge record for a start that nobody saw: {energy}, {session.record_cost}"
        elif known.started_at is None and session.started_at is not None:
            type_, reason = "late_start.stopped", ReasonCode.CONFIRM_LATE_START
            text = f"A start came alive after the stop had closed; stopped at {energy}"
        else:
            type_, reason = "session.ended", None
            text = f"The session at {session.charger_id} has ended with {energy}"
            if session.released_by:
                text += f", seen by {session.released_by}"
                reason = session.end_reason
        await self._amend(type_, text, attempt, reason=reason)

    async def _book_without_life(self, session: Session, known: Attempt) -> None:
        """Nobody else would ever give back what it holds. Should it live after all, it gets a keeper."""
        if not known.holds_charger:
            return
        given_back = known.model_copy(
            update={
                "state": AttemptState.FAILED,
                "session": SessionState.NEVER_BEGAN,
                "holds_vehicle": False,
                "holds_charger": False,
            }
        )
        text = f"{session.charger_id} gave no sign of life after its start; the connector is free again"
        await self._amend("session.never_began", text, given_back, reason=ReasonCode.CONFIRM_NEVER_STARTED)

    async def _priced(self, session: Session, known: Attempt | None) -> Attempt:
        assert known is not None
        estimated = await price_of(session) if session.energy_kwh > 0 else known.cost_estimated
        roaming = session.charger.protocol is Protocol.OCPI
        actual = (session.record_cost or known.cost_actual) if roaming else estimated
        if not roaming and (session.is_estimated or known.energy_estimated):
            actual = None  # nobody has metered it
        return attempt_after(known, session, estimated, actual)

    async def _amend(
        self,
        type_: str,
        text: str,
        attempt: Attempt,
        *,
        reason: ReasonCode | None = None,
        next_step: NextStep | None = None,
    ) -> None:
        self._amendments += 1
        info = workflow.info()
        amendment = Amendment(
            tenant_id=self._kept.tenant_id,
            stop_id=self._kept.stop_id,
            amendment_id=f"{info.workflow_id}:{info.run_id}:{self._amendments}",
            at=workflow.now(),
            type=type_,
            text=text,
            attempt=attempt,
            reason=reason,
            next_step=next_step,
            data={"attempt_id": attempt.attempt_id, "energy_kwh": attempt.energy_kwh},
        )
        await calls.AMEND(amendment, summary=text)
        self._booked = attempt
        workflow.set_current_details(f"### {text}\n\nStop `{self._kept.stop_id}`, attempt {attempt.number}")

    # --- waiting and showing ------------------------------------------------------------------------------

    async def _until(self, ready: Any, seconds: float, why: str) -> None:
        try:
            await workflow.wait_condition(ready, timeout=timedelta(seconds=seconds), timeout_summary=why)
        except TimeoutError:
            return

    def _show(self, session: Session, reason: ReasonCode | None = None) -> None:
        why = f" ({entry(reason).operator_advice})" if reason else ""
        workflow.set_current_details(
            f"### The session at {session.charger_id} lives and nobody wants it\n\n"
            f"It is stopped until it is seen to end{why}. Stop `{self._kept.stop_id}`."
        )
        workflow.upsert_search_attributes(
            [
                _TENANT.value_set(self._kept.tenant_id),
                _CHARGER.value_set(session.charger_id),
                *([_REASON.value_set(str(reason))] if reason else []),
                *([_HUMAN.value_set(True)] if reason else []),
            ]
        )


def _books(attempt: Attempt) -> tuple[object, ...]:
    """What a late word must change to be worth an event."""
    return (attempt.session, attempt.energy_kwh, attempt.cost_actual, attempt.holds_charger)


def session_of(attempt: Attempt, charger: Charger) -> Session:
    """A session as its stop has booked it."""
    ended = attempt.ended_at if attempt.session is SessionState.ENDED else None
    unmetered = attempt.metered_kwh is None or attempt.energy_estimated
    metered_kwh = attempt.energy_kwh if unmetered else (attempt.metered_kwh or 0.0)
    roaming = charger.protocol is Protocol.OCPI
    return Session(
        attempt_id=attempt.attempt_id,
        number=attempt.number,
        charger=charger,
        opened_at=attempt.opened_at,
        wanted=False,
        sent_at=attempt.opened_at,
        accepted_at=attempt.accepted_at,
        started_at=attempt.started_at,
        told_end_at=ended,
        final_kwh=metered_kwh if ended else None,
        final_kwh_at=ended,
        seen_kwh=metered_kwh,
        record_kwh=attempt.record_kwh,
        record_at=ended if attempt.record_kwh is not None else None,
        record_kwh_at=ended if attempt.record_kwh is not None else None,
        record_cost=attempt.cost_actual if roaming else None,
        record_cost_at=ended if roaming and attempt.cost_actual else None,
        session_ref=attempt.session_ref,
        left_at=attempt.opened_at,
        left_alive=attempt.state is AttemptState.CHARGED or attempt.started_at is not None,
        left_because=attempt.reason,
    )


def _over_or_back(session: Session) -> Callable[[], bool]:
    """It is over, or its station is in contact again."""
    lost_at = None if session.is_out_of_contact else session.lost_at
    return lambda: session.is_over or (session.lost_at != lost_at and not session.is_out_of_contact)


def _nobody(type_: str, text: str, now: datetime, **more: Any) -> None:
    """What a stop's keeper would write into the stop's log, this one books as amendments."""
    workflow.logger.info("%s: %s", type_, text)
