"""Promises about sessions: what the partners delivered against what Backstop booked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import combinations

from models.commands import CommandKind
from models.stop import Attempt, AttemptState, SessionState, StopView
from workers.oracle.books import STOP_UNCONFIRMED, Owner, Session, World

_LIVES = frozenset(
    {
        SessionState.SENT,
        SessionState.ACCEPTED,
        SessionState.ALIVE,
        SessionState.SUSPENDED_BY_VEHICLE,
        SessionState.SUSPENDED_BY_CHARGER,
        SessionState.OUT_OF_CONTACT,
    }
)
_SAID_TO_LIVE = _LIVES - {SessionState.SENT, SessionState.ACCEPTED} | {
    SessionState.STOPPING,
    SessionState.UNKNOWN,
}
"""A start that was accepted and never showed life may stay so for ever: it is guarded."""
Broken = Iterator[tuple[str, str]]


def one_wanted_session(world: World) -> Broken:
    """Two sessions of one vehicle, or of one stop, may overlap only where one of them is being stopped."""
    owners = {id(session): owner for session, owner in world.owned}
    ordered = sorted(world.sessions, key=lambda session: session.started_at)
    for earlier, later in combinations(ordered, 2):
        ours = owners.get(id(earlier)), owners.get(id(later))
        one_stop = ours[0] is not None and ours[1] is not None and ours[0][0].stop_id == ours[1][0].stop_id
        one_vehicle = earlier.vehicle_id is not None and earlier.vehicle_id == later.vehicle_id
        if not (one_stop or one_vehicle) or not earlier.runs_at(later.started_at):
            continue
        due = later.started_at + world.limits.stopped_within
        stopped = [
            _stopped_from(world, session, owner)
            for session, owner in zip((earlier, later), ours, strict=True)
        ]
        if not any(at is not None and at <= due for at in stopped):
            yield (
                later.vehicle_id or (ours[1][0].stop_id if ours[1] else later.charger_id),
                f"sessions at {earlier.charger_id} and {later.charger_id} run at the same time from "
                f"{later.started_at:%H:%M:%S}, and neither is being stopped",
            )


def _stopped_from(world: World, session: Session, owner: Owner | None) -> datetime | None:
    """When its charger got the first stop, or we wrote one down to send it, or said that it does not obey."""
    told = list(session.stops)
    if owner is not None:
        view, attempt = owner
        told += [
            command.begun_at
            for command in world.books.commands or ()
            if command.attempt_id == attempt.attempt_id and command.kind is CommandKind.STOP
        ]
        told += [
            event.at
            for event in world.timeline(view.stop_id)
            if event.type == STOP_UNCONFIRMED and event.data.get("attempt_id") == attempt.attempt_id
        ]
    return min(told, default=None)


def every_session_accounted(world: World) -> Broken:
    for session in world.ownerless:
        yield (
            session.charger_id,
            f"session {session.session_ref or 'without a reference'} of "
            f"{session.vehicle_id or 'no vehicle'}, started {session.started_at:%H:%M:%S}, belongs to no "
            "attempt",
        )
    for view in world.books.views:
        for attempt in view.attempts:
            if view.outcome is not None and attempt.state is AttemptState.OPEN:
                where = f"attempt {attempt.number} at {attempt.charger_id}"
                yield view.stop_id, f"{where} is still open though its stop ended"


def energy_agrees(world: World) -> Broken:
    """Per stop and charger; what still runs is not booked yet."""
    for view in world.books.views:
        if view.outcome is None:
            continue
        delivered = world.of_stop_at(view.stop_id)
        for charger_id in sorted({*delivered, *(a.charger_id for a in view.attempts)}):
            sessions = delivered.get(charger_id, [])
            if any(session.ended_at is None for session in sessions):
                continue
            flowed = sum(session.energy_kwh for session in sessions)
            booked = sum(a.energy_kwh for a in view.attempts if a.charger_id == charger_id)
            if abs(booked - flowed) > world.limits.energy_kwh:
                text = f"booked {booked:.2f} kWh, delivered {flowed:.2f} kWh at {charger_id}"
                yield view.stop_id, f"{view.business_key}: {text}"


def ended_is_booked_as_ended(world: World) -> Broken:
    """As many ends as the partner has seen, no more and no fewer: of a stop that has closed."""
    for view in world.books.views:
        if view.outcome is None:
            continue
        lived = world.of_stop_at(view.stop_id)
        for charger_id in sorted({*lived, *(a.charger_id for a in view.attempts)}):
            seen = sum(1 for s in lived.get(charger_id, []) if s.ended_at is not None)
            here = [a for a in view.attempts if a.charger_id == charger_id]
            booked = sum(1 for a in here if a.session is SessionState.ENDED)
            if booked != seen:
                states = ", ".join(f"{a.number} {a.session}" for a in here)
                text = f"{seen} sessions have ended at {charger_id}, {booked} are booked as ended ({states})"
                yield view.stop_id, f"{view.business_key}: {text}"
            living = [a for a in here if a.session in _SAID_TO_LIVE]
            running = sum(1 for s in lived.get(charger_id, []) if s.ended_at is None)
            if booked == seen and len(living) > running:
                first = living[0]
                text = f"attempt {first.number} at {charger_id} is {first.session}, and nothing runs there"
                yield view.stop_id, f"{view.business_key}: {text}"


def running_sessions_have_an_owner(world: World) -> Broken:
    """The open stop that wants it, the keeper that stops it, or nobody's knowledge: then it is held."""
    for session, (view, attempt) in world.owned:
        if session.ended_at is not None:
            continue
        closed_at = view.result.closed_at if view.result else None
        since = max(closed_at, session.started_at) if closed_at else session.started_at
        if world.books.now - since <= world.limits.guard or _is_owned(view, attempt):
            continue
        ended = f"closed {closed_at:%H:%M:%S}" if closed_at else "is open"
        yield (
            view.stop_id,
            f"the session at {session.charger_id} still runs, its stop {ended}, attempt {attempt.number} is "
            f"{attempt.session}, {'held' if attempt.holds_charger else 'not held'}",
        )


def _is_owned(view: StopView, attempt: Attempt) -> bool:
    if attempt.session in (SessionState.STOPPING, SessionState.UNKNOWN):
        return attempt.holds_charger
    return view.outcome is None and attempt.holds_vehicle and attempt.session in _LIVES
