"""What both sides say: the partners' ledgers, the public API, the workflows, and the rows behind it all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.base import Message, UtcDatetime
from models.commands import CommandKind, CommandReply
from models.ids import remote_start_id_for
from models.stop import Attempt, StopEvent, StopResult, StopView
from simulators.twin import LedgerEntry

AMENDMENT = "amendment_id"
"""Events with this in their data were written after the close, by a session's keeper."""
RESET = "stop.reset"
STOP_UNCONFIRMED = "stop.unconfirmed"
"""A session was told to stop again and again, and lives: its keeper goes on."""


class Violation(Message):
    """One broken promise: which one, whose, and what was seen."""

    invariant: str
    subject: str
    text: str


class WorkflowBook(Message):
    """What a stop's workflow says of itself. `status`: Temporal's word, in lower case. `result`: once it has
    completed."""

    workflow_id: str
    status: str
    timeline: tuple[StopEvent, ...] = ()
    result: StopResult | None = None


class HeldAttempt(Message):
    """The row of an attempt, for its holds."""

    attempt_id: str
    stop_id: str
    vehicle_id: str
    charger_id: str
    holds_vehicle: bool
    holds_charger: bool


class SentCommand(Message):
    """A row of our own command ledger."""

    command_id: str
    attempt_id: str
    kind: CommandKind
    begun_at: UtcDatetime
    reply: CommandReply | None = None


class KeptEvidence(Message):
    """A row of evidence. `quarantined`: why it will not be delivered; empty where it will."""

    event_id: str
    stop_id: str | None = None
    kind: str
    received_at: UtcDatetime
    delivered_at: UtcDatetime | None = None
    quarantined: str = ""


@dataclass(frozen=True)
class Books:
    """Everything that was read at `now`. `ledgers`: of the partners that deliver energy (charge points,
    roaming). `timelines`: by stop id, whole, from the API. `workflows`: by stop id, from Temporal. `feed`:
    the tenant's, from the API, with positions. `holds`, `commands`, `evidence`: rows of the tenant. None:
    nobody asked."""

    ledgers: Sequence[LedgerEntry]
    views: Sequence[StopView]
    timelines: Mapping[str, Sequence[StopEvent]]
    now: datetime
    workflows: Mapping[str, WorkflowBook] | None = None
    feed: Sequence[tuple[int, StopEvent]] | None = None
    holds: Sequence[HeldAttempt] | None = None
    commands: Sequence[SentCommand] | None = None
    evidence: Sequence[KeptEvidence] | None = None


@dataclass(frozen=True)
class Limits:
    """How exact, and how soon. `clock_slack`: partners and workers stamp with clocks of their own.
    `stopped_within`: from the later of two sessions of one vehicle to the stop of the one that is not wanted.
    `guard`: a session that outlived its stop is being stopped for so long before it counts as lost.
    `delivered_within`: evidence on its way. `quarantine`: event ids that a test has put there."""

    energy_kwh: float = 0.2
    clock_slack: timedelta = timedelta(seconds=2)
    stopped_within: timedelta = timedelta(seconds=5)
    guard: timedelta = timedelta(seconds=30)
    delivered_within: timedelta = timedelta(seconds=20)
    quarantine: frozenset[str] = frozenset()


@dataclass
class Session:
    """One session of a partner's ledger. `stops`: when the partner got a stop command for it."""

    charger_id: str
    key: str
    session_ref: str | None
    vehicle_id: str | None
    started_at: datetime
    ended_at: datetime | None = None
    energy_kwh: float = 0.0
    stops: list[datetime] = field(default_factory=lambda: [])

    def runs_at(self, at: datetime) -> bool:
        return self.started_at <= at and (self.ended_at is None or at <= self.ended_at)


def sessions_of(ledgers: Iterable[LedgerEntry]) -> list[Session]:
    """Starts paired with their ends (by session reference where there is one, else by charger) and with the
    stops that came while they ran."""
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
        elif entry.what == "command_stop":
            for session in open_sessions.values():
                # OCPP 1.6 stops by a number that the ledger does not know: there the connector must do.
                named = entry.session_ref in (None, session.session_ref)
                if session.charger_id == entry.charger_id and named:
                    session.stops.append(entry.at)
    return found


Owner = tuple[StopView, Attempt]


@dataclass
class World:
    """The books with look-ups: whose session, whose start."""

    books: Books
    limits: Limits
    sessions: list[Session] = field(init=False)
    by_intent: dict[str, Owner] = field(default_factory=lambda: {}, init=False)
    at_charger: dict[str, list[Owner]] = field(default_factory=lambda: {}, init=False)

    def __post_init__(self) -> None:
        self.sessions = sessions_of(self.books.ledgers)
        for view in self.books.views:
            for attempt in view.attempts:
                self.at_charger.setdefault(attempt.charger_id, []).append((view, attempt))
                self.by_intent[attempt.attempt_id] = (view, attempt)
                self.by_intent[str(remote_start_id_for(attempt.attempt_id))] = (view, attempt)
        for attempts in self.at_charger.values():
            attempts.sort(key=lambda pair: pair[1].opened_at)
        self._owners = [(session, self._owner(session)) for session in self.sessions]

    @property
    def owned(self) -> list[tuple[Session, Owner]]:
        return [(session, owner) for session, owner in self._owners if owner is not None]

    @property
    def ownerless(self) -> list[Session]:
        return [session for session, owner in self._owners if owner is None]

    def timeline(self, stop_id: str) -> list[StopEvent]:
        return sorted(self.books.timelines.get(stop_id, ()), key=lambda event: event.seq)

    def of_stop_at(self, stop_id: str) -> dict[str, list[Session]]:
        """The sessions of a stop, by charger: where one charger was tried twice, an OCPP 1.6 ledger does not
        say which try a session belongs to."""
        found: defaultdict[str, list[Session]] = defaultdict(list)
        for session, (view, _) in self.owned:
            if view.stop_id == stop_id:
                found[session.charger_id].append(session)
        return dict(found)

    def intent_of(self, entry: LedgerEntry) -> Owner | None:
        """By the key that the command carried; OCPP 1.6 carries only an id tag, so there it is the latest
        attempt that was opened at this charger before."""
        named = self.by_intent.get(entry.key)
        return named or self._latest(entry.charger_id, entry.at, entry.vehicle_id)

    def _owner(self, session: Session) -> Owner | None:
        """The attempt that a session belongs to: by the intent's key, by session reference, else the latest
        attempt of the same vehicle that was open at this charger when the session began."""
        named = self.by_intent.get(session.key)
        if named is not None and named[1].charger_id == session.charger_id:
            return named
        if session.session_ref is not None:
            for pair in self.at_charger.get(session.charger_id, []):
                if pair[1].session_ref == session.session_ref:
                    return pair
        return self._latest(session.charger_id, session.started_at, session.vehicle_id)

    def _latest(self, charger_id: str, at: datetime, vehicle_id: str | None) -> Owner | None:
        fitting = [
            (view, attempt)
            for view, attempt in self.at_charger.get(charger_id, [])
            if attempt.opened_at <= at + self.limits.clock_slack and vehicle_id in (None, view.vehicle_id)
        ]
        return fitting[-1] if fitting else None
