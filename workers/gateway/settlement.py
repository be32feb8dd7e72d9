"""What a transaction is worth, folded from its journal: at its end, and again when something is told late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NamedTuple

from connectors.ocpp.ports import is_lost
from connectors.ocpp.truth.register import Reading, Register, folded
from store.journal import JournalEvent
from store.sessions import Transaction

UNKNOWN_WH = -1.0
"""In a row's meter_start_wh: the start did not say."""
_TOLERANCE = timedelta(minutes=1)


class Settlement(NamedTuple):
    """`findings`: by name (connectors.ocpp.truth.checks), from all messages and from the fold."""

    register: Register
    findings: frozenset[str]

    @property
    def energy_wh(self) -> float | None:
        """None where no register was shown, or one value only: nothing can be said."""
        register = self.register
        if register.wh is None or ("meter_start_missing" in register.findings and not register.taken_wh):
            return None
        return round(register.taken_wh, 3)


def settled(row: Transaction, events: list[JournalEvent], ended_at: datetime | None) -> Settlement:
    """`events`: the whole journal of the transaction, by time. What was told after the end counts where it
    was measured before it: a register goes on with the next vehicle."""
    events = _without_lost(events)
    end = min((e for e in events if _is_end(e)), key=lambda e: e.position, default=None)
    ends = [e for e in events if e.kind == "stop" and e.sequence is not None]
    last_number = min(ends, key=lambda e: e.position).sequence if ends else None

    def belongs(event: JournalEvent) -> bool:
        if end is None or ended_at is None or event.position <= end.position:
            return True
        if event.sequence is not None and last_number is not None and event.sequence < last_number:
            return True
        return event.observed_at <= ended_at

    shown = [e for e in events if e.register_wh is not None and e.kind != "start"]
    mine = [e for e in shown if belongs(e)]
    last = _last_reading(mine, last_number)
    rest = [e for e in mine if e.kind != "stop" and e is not last]
    stop = _reading(last) if last else None
    orders = [_in_time(rest), *_other_orders(rest, last_number)]
    # Told late, or the clock was set back? The order in which the register falls least is the true one.
    folds = [folded(start_wh(row), row.started_at, readings, stop) for readings in orders]
    register = min(folds, key=lambda fold: fold.fell_wh)
    findings = {name for event in events for name in (event.body or {}).get("findings", ())}
    until = ended_at or datetime.max.replace(tzinfo=row.started_at.tzinfo) - _TOLERANCE
    window = (row.started_at - _TOLERANCE, until + _TOLERANCE)
    samples = [e for e in shown if e.kind != "stop"]
    if not all(belongs(e) and window[0] <= e.observed_at <= window[1] for e in samples):
        findings.add("sample_outside_transaction")
    if ended_at is not None and not _is_whole(events):
        findings.add("events_missing")
    return Settlement(register, frozenset(findings | register.findings))


def start_wh(row: Transaction) -> float | None:
    return None if row.meter_start_wh == UNKNOWN_WH else row.meter_start_wh


def _without_lost(events: list[JournalEvent]) -> list[JournalEvent]:
    """The end that we concluded from silence is none, once the station has told its own."""
    lost = [e for e in events if _is_end(e) and is_lost(str((e.body or {}).get("reason", "")))]
    told = any(_is_end(e) and e not in lost for e in events)
    return [e for e in events if e not in lost] if told else events


def _is_end(event: JournalEvent) -> bool:
    """The line of the end itself; a 2.x event's own line has a sequence number."""
    return event.kind == "stop" and event.sequence is None


def _last_reading(events: list[JournalEvent], last_number: int | None) -> JournalEvent | None:
    """What the end itself showed: 1.6 meterStop; in 2.x the newest sample of the Ended event."""
    stops = [e for e in events if e.kind == "stop"]
    if stops:
        return min(stops, key=lambda e: e.position)
    ends = [e for e in events if e.sequence is not None and e.sequence == last_number]
    return max(ends, key=lambda e: (e.observed_at, e.position), default=None)


def _in_time(events: list[JournalEvent]) -> list[Reading]:
    return [_reading(event) for event in events]


def _other_orders(events: list[JournalEvent], last_number: int | None) -> list[list[Reading]]:
    """As the station numbered its events, and as they came (1.6 has no numbers, and tells in order); where
    that is not the order of time. Of a 2.x end only its last sample, the stop: it may tell all again."""
    others = [e for e in events if e.sequence is None or e.sequence != last_number]
    came = sorted(others, key=lambda e: e.position)
    numbered = sorted((e for e in came if e.sequence is not None), key=lambda e: e.sequence or 0)
    plain = [e for e in came if e.sequence is None]
    return [
        _never_back(order) + _in_time(rest)
        for order, rest in ((numbered, plain), (came, []))
        if [e.observed_at for e in order] != sorted(e.observed_at for e in order)
    ]


def _never_back(events: list[JournalEvent]) -> list[Reading]:
    times = accumulate((event.observed_at for event in events), max)
    return [_reading(event)._replace(at=at) for event, at in zip(events, times, strict=True)]


def _reading(event: JournalEvent) -> Reading:
    known = not event.body or event.body.get("unit_known", True)
    return Reading(event.observed_at, event.register_wh or 0.0, bool(known))


def _is_whole(events: Iterable[JournalEvent]) -> bool:
    """Every number from the Started's to the Ended's is there (2.0.1 part 2, E01); 1.6 has no numbers."""
    numbers: dict[str, set[int]] = {}
    for event in events:
        if event.sequence is not None:
            numbers.setdefault(event.kind, set()).add(event.sequence)
    if not numbers:
        return True
    if "start" not in numbers or "stop" not in numbers:
        return False
    first, last = min(numbers["start"]), max(numbers["stop"])
    return set().union(*numbers.values()).issuperset(range(first, last + 1))
