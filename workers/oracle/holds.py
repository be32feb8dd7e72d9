"""Promises about rows: the holds on vehicles and connectors, and evidence on its way."""

from __future__ import annotations

from collections.abc import Iterator

from models.stop import Attempt, SessionState, StopView
from workers.oracle.books import HeldAttempt, World

_NOT_THERE = frozenset({SessionState.ENDED, SessionState.NEVER_BEGAN})
_BEFORE_LIFE = frozenset({SessionState.INTENDED, SessionState.SENT, SessionState.ACCEPTED})
Broken = Iterator[tuple[str, str]]


def holds_follow_the_sessions(world: World) -> Broken:
    """The rows say what the views say; a vehicle is held by the wanted attempt of an open stop, a connector
    for as long as nobody has proved that the session there is over (a start that a stop gave up and that has
    shown no life is guarded, not held)."""
    if world.books.holds is None:
        return
    running = {attempt.attempt_id for session, (_, attempt) in world.owned if session.ended_at is None}
    for row in world.books.holds:
        known = world.by_intent.get(row.attempt_id)
        if known is None:
            if row.holds_vehicle or row.holds_charger:
                yield row.stop_id, f"{_what(row)} is held by an attempt that no stop shows"
            continue
        for text in _wrong(row, *known, runs=row.attempt_id in running):
            yield row.stop_id, f"attempt {known[1].number} at {row.charger_id}: {text}"


def _what(row: HeldAttempt) -> str:
    return row.vehicle_id if row.holds_vehicle else row.charger_id


def _wrong(row: HeldAttempt, view: StopView, attempt: Attempt, *, runs: bool) -> Iterator[str]:
    if (row.holds_vehicle, row.holds_charger) != (attempt.holds_vehicle, attempt.holds_charger):
        yield (
            f"the row holds {_held(row.holds_vehicle, row.holds_charger)}, the view says "
            f"{_held(attempt.holds_vehicle, attempt.holds_charger)}"
        )
    if row.holds_vehicle and view.outcome is not None:
        yield f"{row.vehicle_id} is held, its stop has closed"
    given_up = view.outcome is not None and attempt.session in _BEFORE_LIFE
    if row.holds_charger and (given_up or attempt.session in _NOT_THERE):
        yield f"the connector is held, its session is {attempt.session}"
    if not row.holds_charger and runs:
        yield f"the connector is free, its session ({attempt.session}) still runs"


def _held(vehicle: bool, charger: bool) -> str:
    names = [name for name, held in (("vehicle", vehicle), ("connector", charger)) if held]
    return " and ".join(names) or "nothing"


def evidence_arrives(world: World) -> Broken:
    """What concerns a stop is delivered; only what a test has spoilt is in quarantine."""
    if world.books.evidence is None:
        return
    late = world.books.now - world.limits.delivered_within
    for row in world.books.evidence:
        if row.quarantined:
            if row.event_id not in world.limits.quarantine:
                yield row.stop_id or row.event_id, f"{row.kind} is in quarantine: {row.quarantined}"
        elif row.stop_id is not None and row.delivered_at is None and row.received_at < late:
            yield row.stop_id, f"{row.kind}, received {row.received_at:%H:%M:%S}, was never delivered"
