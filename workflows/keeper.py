"""The keeper of one session: owns it from the intent to the proven end, whatever the stop does meanwhile.

While the session is wanted it only watches. From the moment it lives and is not wanted, it is stopped, with
back-off, until it has been seen to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import Route
    from models.commands import CommandKind, CommandOutcome, CommandReply
    from models.reason_codes import NextStep, ReasonCode
    from stops.session import Session

from workflows.commands import Commands

_LONGEST_PAUSE_S = 300.0
_TRIES_UNTIL_TOLD = 3


class Keeper:
    """`note`: writes into the log of whoever this keeper works for. `command_id`: gives the next id.
    `called_off`: whether a cancel has come in, of which the session may not have been told yet."""

    def __init__(
        self,
        session: Session,
        commands: Commands,
        note: Callable[..., None],
        command_id: Callable[[Session, CommandKind], str],
        first_pause_s: Callable[[], float],
        called_off: Callable[[], bool] = lambda: False,
    ) -> None:
        self.session = session
        self.commands = commands
        self.note = note
        self.command_id = command_id
        self.first_pause_s = first_pause_s
        self.called_off = called_off
        self.refused: ReasonCode | None = None
        """The store refused to open the attempt: vehicle or connector is held by another, or it cannot be
        written at all. Nothing was sent."""
        self.refused_detail = ""
        self.reply: CommandReply | None = None
        """The answer to the start."""
        self.task: asyncio.Task[None] | None = None
        self.retired = False
        """The stop has closed: what is not over by now has a keeper in a workflow of its own."""
        self.stopped_for_s = 0.0
        """For so long the session has been told to end, and has not been seen to."""
        self.busy = False
        """A command is under way: its effect is not known yet."""

    async def run(self, open_attempt: Callable[[], Awaitable[Route]] | None) -> None:
        """From the intent (None: it stands already) until its stop closes."""
        if open_attempt is not None:
            await self._start(open_attempt)
        await self.keep()

    async def keep(self) -> None:
        """What was seen to end may live again (a transaction that is begun anew, a charger that speaks after
        its vehicle): it is owned until the stop closes."""
        while not self.retired:
            await workflow.wait_condition(lambda: self.retired or self.must_stop)
            await self.stop_until_over()
            if self.session.is_over and not self.retired:
                self._note_end()

    @property
    def must_stop(self) -> bool:
        """It lives, nobody wants it, and nobody is about to."""
        session = self.session
        return session.is_alive and not session.wanted and not session.adopting and not self.retired

    async def _start(self, open_attempt: Callable[[], Awaitable[Route]]) -> None:
        session = self.session
        self.busy = True
        try:
            try:
                route = await open_attempt()
            except ActivityError as error:  # an intent that cannot be written is not acted upon
                workflow.logger.error("an attempt was not opened: %s", error.cause)
                route = Route(refused=ReasonCode.START_NOT_SENT, detail=f"not opened: {error.cause}")
            if route.refused is not None:
                self.refused, self.refused_detail = route.refused, route.detail
                session.rejected = route.refused
                return
            # The cancel may have come in the same task as the store's answer: then nobody has left it yet.
            if not self._is_wanted():
                session.rejected = session.left_because or ReasonCode.REACH_CANCELLED
                return  # called off before anything was sent
            if session.started_at is not None:
                return  # it has begun already: the stop was set back to before its start
            session.sent_at = workflow.now()
            command_id = self.command_id(session, CommandKind.START)
            reply = await self.commands.start(session, command_id, route, self._is_wanted)
            session.take_reply(reply, workflow.now())
            self.reply = reply
        finally:
            self.busy = False

    def _is_wanted(self) -> bool:
        return self.session.wanted and not self.called_off()

    async def stop_until_over(self, *, most_s: float | None = None) -> None:
        """Stop it, wait, stop it again. Returns when it is over, wanted again, or after `most_s`."""
        session = self.session
        gives_up_at = workflow.now() + timedelta(seconds=most_s) if most_s is not None else None
        tries = 0
        while self.must_stop and (gives_up_at is None or workflow.now() < gives_up_at):
            tries += 1
            session.stop_tries += 1
            session.stop_sent_at = workflow.now()
            self.busy = True
            try:
                reply = await self.commands.stop(session, self.command_id(session, CommandKind.STOP))
            finally:
                self.busy = False
            session.stop_refused = reply.outcome is CommandOutcome.REJECTED
            pause_s = min(self.first_pause_s() * 2 ** (tries - 1), _LONGEST_PAUSE_S)
            await self._pause(pause_s, contact_lost=session.is_out_of_contact)
            told_at = session.stop_sent_at or workflow.now()
            self.stopped_for_s += max(0.001, (workflow.now() - told_at).total_seconds())
            if tries == _TRIES_UNTIL_TOLD and self.must_stop:
                self._note_unconfirmed()

    async def _pause(self, seconds: float, *, contact_lost: bool) -> None:
        """Until it is over; or the station is back, then it is told at once."""
        session = self.session
        try:
            await workflow.wait_condition(
                lambda: not self.must_stop or (contact_lost and not session.is_out_of_contact),
                timeout=timedelta(seconds=seconds),
                timeout_summary=f"The end of the session at {session.charger_id}",
            )
        except TimeoutError:
            return

    def _note_unconfirmed(self) -> None:
        session = self.session
        reason = ReasonCode.STOP_REJECTED if session.stop_refused else ReasonCode.STOP_TIMEOUT
        self.note(
            "stop.unconfirmed",
            f"{session.charger_id} has not ended the session; it is told again until it does",
            workflow.now(),
            reason=reason,
            next_step=NextStep.HUMAN,
            charger_id=session.charger_id,
            passing=True,
            attempt_id=session.attempt_id,
        )

    def _note_end(self) -> None:
        session = self.session
        late = not session.left_alive
        self.note(
            "late_start.stopped" if late else "session.ended",
            f"{session.charger_id} started after we gave it up; stopped at {session.energy_kwh:.1f} kWh"
            if late
            else f"The session at {session.charger_id} has ended with {session.energy_kwh:.1f} kWh",
            workflow.now(),
            reason=ReasonCode.CONFIRM_LATE_START if late else None,
            next_step=NextStep.NONE if late else None,
            charger_id=session.charger_id,
            passing=True,
            attempt_id=session.attempt_id,
            energy_kwh=session.energy_kwh,
        )
