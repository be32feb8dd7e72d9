"""Promises about starts: what the chargers obeyed against what Backstop meant to send, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from models.commands import CommandKind, CommandOutcome
from simulators.twin import LedgerEntry
from workers.oracle.books import World

Broken = Iterator[tuple[str, str]]


def _took_effect(entry: LedgerEntry) -> bool:
    return entry.what == "command_start" and entry.result.lower() == "accepted"


def _accepted(world: World) -> Counter[str]:
    """Accepted starts in the chargers' ledgers, by attempt."""
    owners = (world.intent_of(entry) for entry in world.books.ledgers if _took_effect(entry))
    return Counter(owner[1].attempt_id for owner in owners if owner is not None)


def no_start_without_an_intent(world: World) -> Broken:
    for entry in world.books.ledgers:
        if _took_effect(entry) and world.intent_of(entry) is None:
            text = f"start accepted at {entry.at:%H:%M:%S} that no attempt asked for"
            yield entry.charger_id, text


def one_effective_start_per_intent(world: World) -> Broken:
    accepted = _accepted(world)
    begun = [world.intent_of(e) for e in world.books.ledgers if e.what == "session_started"]
    started = Counter(owner[1].attempt_id for owner in begun if owner is not None)
    for attempt_id in sorted({*started, *accepted}):
        if max(started[attempt_id], accepted[attempt_id]) > 1:
            view, attempt = world.by_intent[attempt_id]
            yield (
                view.stop_id,
                f"attempt {attempt.number} at {attempt.charger_id}: {accepted[attempt_id]} accepted "
                f"starts, {started[attempt_id]} sessions",
            )


def command_ledgers_agree(world: World) -> Broken:
    """Each start that a charger obeyed has its own row, written before it was sent; and what our rows call
    accepted, a charger has accepted."""
    if world.books.commands is None:
        return
    starts = [command for command in world.books.commands if command.kind is CommandKind.START]
    written = Counter(command.attempt_id for command in starts)
    said = Counter(
        command.attempt_id
        for command in starts
        if command.reply is not None and command.reply.outcome is CommandOutcome.ACCEPTED
    )
    obeyed = _accepted(world)
    for attempt_id in sorted({*written, *obeyed}):
        view, attempt = world.by_intent.get(attempt_id, (None, None))
        whose = view.stop_id if view is not None else attempt_id
        where = f"attempt {attempt.number} at {attempt.charger_id}" if attempt else "an attempt of no stop"
        if obeyed[attempt_id] > written[attempt_id]:
            yield whose, f"{where}: {obeyed[attempt_id]} starts obeyed, {written[attempt_id]} written down"
        elif said[attempt_id] > obeyed[attempt_id]:
            yield whose, f"{where}: {said[attempt_id]} starts noted as accepted, {obeyed[attempt_id]} obeyed"
