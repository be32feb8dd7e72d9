"""The invariants of a charging stop, checked from outside: what the simulated partners say they received and
did (their ledgers) against what Backstop says happened (views and timelines). Pure; used by the demo, the
tests and the benchmarks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations, pairwise

from models.base import Message
from models.ids import remote_start_id_for
from models.stop import Attempt, AttemptState, StopEvent, StopView
from simulators.twin import LedgerEntry

ENERGY_TOLERANCE_KWH = 0.2
CLOCK_SLACK = timedelta(seconds=2)
"""Partners and workers stamp with clocks of their own; in one demo they differ by less than this."""
GUARD_TIME = timedelta(seconds=30)
"""A session that came alive after its stop closed is being stopped for so long before it counts as lost."""


class Violation(Message):
    """One broken promise: which one, whose, and what was seen."""

    invariant: str
    subject: str
    text: str


@dataclass
class Session:
    """One session of a partner's ledger."""

    charger_id: str
    key: str
    session_ref: str | None
    vehicle_id: str | None
    started_at: datetime
    ended_at: datetime | None = None
    energy_kwh: float = 0.0


@dataclass
class _Books:
    """The world as both sides told it, with look-ups."""

    ledgers: Sequence[LedgerEntry]
    views: Sequence[StopView]
    timelines: Mapping[str, Sequence[StopEvent]]
    now: datetime
    sessions: list[Session] = field(default_factory=lambda: [])
    at_charger: dict[str, list[tuple[StopView, Attempt]]] = field(default_factory=lambda: {})
    by_intent: dict[str, tuple[StopView, Attempt]] = field(default_factory=lambda: {})

    def __post_init__(self) -> None:
        self.sessions = sessions_of(self.ledgers)
        for view in self.views:
            for attempt in view.attempts:
                self.at_charger.setdefault(attempt.charger_id, []).append((view, attempt))
                self.by_intent[attempt.attempt_id] = (view, attempt)
                self.by_intent[str(remote_start_id_for(attempt.attempt_id))] = (view, attempt)
        for attempts in self.at_charger.values():
            attempts.sort(key=lambda pair: pair[1].opened_at)

    def owner(self, session: Session) -> tuple[StopView, Attempt] | None:
        """The attempt that a session belongs to: by the intent's key, by session reference, else the latest
        attempt of the same vehicle that was open at this charger when the session began."""
        named = self.by_intent.get(session.key)
        if named is not None and named[1].charger_id == session.charger_id:
            return named
        here = self.at_charger.get(session.charger_id, [])
        if session.session_ref is not None:
            for pair in here:
                if pair[1].session_ref == session.session_ref:
                    return pair
        fitting = [
            (view, attempt)
            for view, attempt in here
            if attempt.opened_at <= session.started_at + CLOCK_SLACK
            and session.vehicle_id in (None, view.vehicle_id)
        ]
        return fitting[-1] if fitting else None


def sessions_of(ledgers: Iterable[LedgerEntry]) -> list[Session]:
    """Starts paired with their ends: by session reference where there is one, else by charger."""
    open_sessions: dict[tuple[str, str], Session] = {}
    found: list[Session] = []
    for entry in sorted(ledgers, key=lambda e: e.at):
        name = (entry.charger_id, entry.session_ref or "")
        if entry.what == "session_started":
            session = Session(
                charger_id=entry.charger_id,
                key=entry.key,
                session_ref=entry.session_ref,
                vehicle_id=entry.vehicle_id,
                started_at=entry.at,
            )
            found.append(session)
            open_sessions[name] = session
        elif entry.what == "session_ended":
            ended = open_sessions.pop(name, None)
            if ended is not None:
                ended.ended_at = entry.at
                ended.energy_kwh = entry.energy_kwh or 0.0
    return found


def check_invariants(
    ledgers: Sequence[LedgerEntry],
    views: Sequence[StopView],
    timelines: Mapping[str, Sequence[StopEvent]],
    now: datetime,
) -> list[Violation]:
    """Every promise that the ledgers and logs show broken; an empty list is the good answer. `ledgers`: of
    the partners that deliver energy (charge points, roaming). `timelines`: by stop id, whole."""
    books = _Books(ledgers, views, timelines, now)
    return [
        *_one_live_session_per_vehicle(books),
        *_one_effective_start_per_intent(books),
        *_every_session_accounted(books),
        *_one_outcome_per_stop(books),
        *_no_fallback_without_reason(books),
        *_energy_agrees(books),
        *_log_without_gaps(books),
    ]


def _one_live_session_per_vehicle(books: _Books) -> Iterable[Violation]:
    by_vehicle: defaultdict[str, list[Session]] = defaultdict(list)
    for session in books.sessions:
        if session.vehicle_id:
            by_vehicle[session.vehicle_id].append(session)
    for vehicle_id, sessions in sorted(by_vehicle.items()):
        ordered = sorted(sessions, key=lambda s: s.started_at)
        for earlier, later in combinations(ordered, 2):
            if earlier.ended_at is None or later.started_at < earlier.ended_at:
                yield Violation(
                    invariant="one live session per vehicle",
                    subject=vehicle_id,
                    text=f"sessions at {earlier.charger_id} and {later.charger_id} run at the same time "
                    f"from {later.started_at:%H:%M:%S}",
                )


def _one_effective_start_per_intent(books: _Books) -> Iterable[Violation]:
    started: defaultdict[str, int] = defaultdict(int)
    accepted: defaultdict[str, int] = defaultdict(int)
    for entry in books.ledgers:
        took_effect = entry.what == "command_start" and entry.result.lower() == "accepted"
        if not took_effect and entry.what != "session_started":
            continue
        intent = _intent_of(books, entry)
        if intent is None:
            if took_effect:
                yield Violation(
                    invariant="no start without an intent",
                    subject=entry.charger_id,
                    text=f"start accepted at {entry.at:%H:%M:%S} that no attempt asked for",
                )
            continue
        counts = accepted if took_effect else started
        counts[intent.attempt_id] += 1
    for attempt_id in sorted({*started, *accepted}):
        most = max(started[attempt_id], accepted[attempt_id])
        if most > 1:
            view, attempt = books.by_intent[attempt_id]
            yield Violation(
                invariant="a start is never effective twice",
                subject=view.stop_id,
                text=f"attempt {attempt.number} at {attempt.charger_id}: {accepted[attempt_id]} accepted "
                f"starts, {started[attempt_id]} sessions",
            )


def _intent_of(books: _Books, entry: LedgerEntry) -> Attempt | None:
    """By the key that the command carried; OCPP 1.6 carries only an id tag, so there it is the latest attempt
    that was opened at this charger before."""
    named = books.by_intent.get(entry.key)
    if named is not None:
        return named[1]
    before = [
        attempt
        for view, attempt in books.at_charger.get(entry.charger_id, [])
        if attempt.opened_at <= entry.at + CLOCK_SLACK and entry.vehicle_id in (None, view.vehicle_id)
    ]
    return before[-1] if before else None


def _every_session_accounted(books: _Books) -> Iterable[Violation]:
    for session in books.sessions:
        owner = books.owner(session)
        if owner is None:
            yield Violation(
                invariant="every session is accounted for",
                subject=session.charger_id,
                text=f"session {session.session_ref or 'without a reference'} of "
                f"{session.vehicle_id or 'no vehicle'}, started {session.started_at:%H:%M:%S}, belongs to "
                "no attempt",
            )
            continue
        view, attempt = owner
        if view.outcome is not None and attempt.state is AttemptState.OPEN:
            yield Violation(
                invariant="every session is accounted for",
                subject=view.stop_id,
                text=f"attempt {attempt.number} at {attempt.charger_id} is still open though its stop ended",
            )
        closed_at = view.result.closed_at if view.result else None
        since = max(closed_at, session.started_at) if closed_at else None
        if session.ended_at is None and since is not None and books.now - since > GUARD_TIME:
            yield Violation(
                invariant="no session outlives its stop",
                subject=view.stop_id,
                text=f"the session at {session.charger_id} still runs, its stop closed {closed_at:%H:%M:%S}",
            )


def _one_outcome_per_stop(books: _Books) -> Iterable[Violation]:
    for view in books.views:
        closed = [e for e in books.timelines.get(view.stop_id, ()) if e.type == "stop.closed"]
        if view.outcome is None or view.result is None or len(closed) != 1:
            yield Violation(
                invariant="exactly one outcome per stop",
                subject=view.stop_id,
                text=f"{view.business_key}: outcome {view.outcome or 'none'}, phase {view.phase}, "
                f"{len(closed)} times closed",
            )


def _no_fallback_without_reason(books: _Books) -> Iterable[Violation]:
    for stop_id, events in sorted(books.timelines.items()):
        failed_with_reason = False
        for event in sorted(events, key=lambda e: e.seq):
            if event.type == "attempt.failed":
                failed_with_reason = event.reason is not None
                if event.reason is None:
                    yield _unexplained(stop_id, event)
            elif event.type == "fallback.chosen":
                if event.reason is None and not failed_with_reason:
                    yield _unexplained(stop_id, event)
                failed_with_reason = False


def _unexplained(stop_id: str, event: StopEvent) -> Violation:
    return Violation(
        invariant="no fallback without a reason",
        subject=stop_id,
        text=f"event {event.seq} ({event.type}) gives no reason code",
    )


def _energy_agrees(books: _Books) -> Iterable[Violation]:
    delivered: defaultdict[str, float] = defaultdict(float)
    running: set[str] = set()
    for session in books.sessions:
        owner = books.owner(session)
        if owner is not None:
            delivered[owner[0].stop_id] += session.energy_kwh
            if session.ended_at is None:
                running.add(owner[0].stop_id)
    for view in books.views:
        if view.outcome is None or view.stop_id in running:
            continue
        booked = sum(attempt.energy_kwh for attempt in view.attempts)
        if abs(booked - delivered[view.stop_id]) > ENERGY_TOLERANCE_KWH:
            yield Violation(
                invariant="booked energy is delivered energy",
                subject=view.stop_id,
                text=f"{view.business_key}: booked {booked:.2f} kWh, delivered "
                f"{delivered[view.stop_id]:.2f} kWh",
            )


def _log_without_gaps(books: _Books) -> Iterable[Violation]:
    for view in books.views:
        numbers = sorted(event.seq for event in books.timelines.get(view.stop_id, ()))
        gap = next((after for before, after in pairwise([0, *numbers]) if after != before + 1), None)
        if gap is not None or not numbers:
            yield Violation(
                invariant="the event log has no gaps",
                subject=view.stop_id,
                text=f"{len(numbers)} events; broken at number {gap}" if numbers else "no events at all",
            )
