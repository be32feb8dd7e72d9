"""The line to the chargers of a simulated world: replies, lost and late ones, and what they do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.reason_codes import ReasonCode
from tests.stops.simulated_wire import Answer

if TYPE_CHECKING:
    from tests.stops.simulated_world import World

_ACCEPTED = CommandReply(outcome=CommandOutcome.ACCEPTED)


class Line:
    """`replies`: the ledger, by command id; a repeat gives the first reply and sends nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.replies: dict[str, CommandReply] = {}

    def command(self, command: ChargerCommand) -> Answer:
        """One try of the command activity, by the rules of activities/charger_commands.py."""
        if self._world.hits(self._world.weather.worker_dies / 2):
            return Answer(never_taken=True, after_s=5.0)
        if self._world.hits(self._world.weather.store_busy):
            return Answer(error=ApplicationError("not sent", type=ReasonCode.START_NOT_SENT), after_s=1.0)
        first = self.replies.get(command.command_id)
        if first is not None:
            return Answer(first)
        dies = self._world.hits(self._world.weather.worker_dies)
        if dies and self._world.hits(0.5):
            return Answer(lost=True, after_s=10.0)
        reply = self._at_charger(command)
        if reply.outcome is not CommandOutcome.UNREACHABLE:
            self.replies[command.command_id] = reply
        self._world.note(
            f"{command.kind} {command.charger.charger_id} #{command.attempt_id[:8]}: {reply.outcome}"
        )
        return Answer(reply, after_s=self._world.random.choice([0.1, 1.0, 20.0]), lost=dies)

    def _at_charger(self, command: ChargerCommand) -> CommandReply:
        charger_id = command.charger.charger_id
        offline = charger_id in self._world.yard.offline
        if offline or (
            command.kind is CommandKind.START and self._world.hits(self._world.weather.unreachable)
        ):
            return CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=ReasonCode.START_OFFLINE)
        if command.kind is CommandKind.START:
            return self._start_at(charger_id, command.attempt_id)
        return self._stop_at(command) if command.kind is CommandKind.STOP else _ACCEPTED

    def _start_at(self, charger_id: str, attempt_id: str) -> CommandReply:
        yard, weather = self._world.yard, self._world.weather
        yard.starts_sent[attempt_id] = yard.starts_sent.get(attempt_id, 0) + 1
        if self._world.hits(weather.reject) or yard.live_at(charger_id) is not None:
            return CommandReply(
                outcome=CommandOutcome.REJECTED, reason=ReasonCode.START_REJECTED, vendor_code="R"
            )
        delay_s = self._world.random.choice([0.0, 0.05, 2.0, 30.0])
        if self._world.hits(weather.late):
            delay_s = self._world.random.uniform(1, 3000)
        if not self._world.hits(weather.never):
            self._world.clock.after(delay_s, lambda: yard.begin(attempt_id, charger_id, 60.0))
        if self._world.hits(weather.uncertain):
            return CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=ReasonCode.START_TIMEOUT)
        return _ACCEPTED

    def _stop_at(self, command: ChargerCommand) -> CommandReply:
        session = self._world.yard.sessions.get(command.attempt_id)
        if session is None or not session.lives or command.session_ref is None:
            return CommandReply(outcome=CommandOutcome.REJECTED, reason=ReasonCode.STOP_REJECTED)
        weather = self._world.weather
        if self._world.hits(weather.stop_refused):
            return CommandReply(outcome=CommandOutcome.REJECTED, reason=ReasonCode.STOP_REJECTED)
        lost = self._world.hits(weather.stop_lost)
        if not (lost and self._world.hits(0.7)):
            late = self._world.hits(weather.stop_late)
            delay_s = (
                self._world.random.uniform(30, 3000) if late else self._world.random.choice([0.0, 0.5, 3.0])
            )
            self._world.clock.after(
                delay_s, lambda: self._world.yard.end(session, ReasonCode.SUSTAIN_STOPPED_REMOTELY)
            )
        if lost and self._world.hits(0.5):
            return CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=ReasonCode.STOP_TIMEOUT)
        return _ACCEPTED
