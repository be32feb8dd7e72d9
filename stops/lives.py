"""The lives of one attempt's session, told apart by their references and taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce

from models.money import Money
from stops.base import earliest, latest
from stops.life import Life

NAMELESS = ""
_MOST = 12
"""Whoever names more is not to be kept apart any further: what a stop carries stays small."""


def key_of(ref: str | None, lives: Mapping[str, Life]) -> str:
    """References are compared without case, as OCPI and OCPP 2 have it."""
    key = (ref or NAMELESS).casefold()
    return key if key in lives or len(lives) < _MOST else NAMELESS


def apart(lives: Mapping[str, Life]) -> list[Life]:
    """The lives that something is known of. What names none is about the first; and so is the record of a
    session that nobody told of, where the first has none: partners bill under references of their own."""
    named = [(key, life) for key, life in lives.items() if key != NAMELESS]
    named.sort(key=lambda pair: (not pair[1].has_signs, pair[1].is_record_only, _born(pair[1]), pair[0]))
    first = named[0][1].model_copy() if named else Life()
    has_record = first.record_at is not None
    others: list[Life] = []
    for _, life in named[1:]:
        if life.is_record_only and not has_record:
            first.absorb(life)
        elif life.has_signs:
            others.append(life)
    if NAMELESS in lives:
        first.absorb(lives[NAMELESS])
    return [first, *others]


def together(lives: Sequence[Life]) -> Life:
    """As one: it began with the first, ends with the last, and its figures are the sums."""
    if len(lives) == 1:
        return _alone(lives[0])
    whole = Life()
    for life in lives:
        if life.ref_key is not None and (whole.ref_key is None or life.ref_key < whole.ref_key):
            whole.ref_key, whole.session_ref = life.ref_key, life.session_ref
        whole.started_at = earliest(whole.started_at, _started(life))
        whole.lived_at = latest(whole.lived_at, life.lived_at)
        whole.seen_kwh_at = latest(whole.seen_kwh_at, life.seen_kwh_at)
        whole.last_kwh_at = latest(whole.last_kwh_at, life.last_kwh_at)
    whole.seen_kwh = round(_shown(lives), 6)
    over = [life.over_at(lives) for life in lives]
    ends = [at for at in over if at is not None]
    if len(ends) == len(lives):
        _end(whole, lives, max(ends))
    _bill(whole, lives)
    return whole


def live(lives: Sequence[Life]) -> list[str]:
    """The references of what may be running, the newest first."""
    running = [one for one in lives if one.has_signs and one.over_at(lives) is None and one.session_ref]
    running.sort(key=lambda one: (_born(one), one.session_ref or ""), reverse=True)
    return [one.session_ref for one in running if one.session_ref]


def _shown(lives: Sequence[Life]) -> float:
    """One connector feeds one vehicle at a time: lives that follow each other add up; those that are told of
    the same time are one under two names, and the larger figure stands."""
    total_kwh, most_kwh, until = 0.0, 0.0, None
    for life in sorted(lives, key=lambda one: (_born(one), one.session_ref or "")):
        began = life.started_at or life.seen_kwh_at
        if until is None or began is None or began >= until:
            total_kwh, most_kwh = total_kwh + most_kwh, 0.0
        most_kwh = max(most_kwh, life.shown_kwh)
        until = latest(until, life.over_at(lives) or latest(life.lived_at, life.seen_kwh_at))
    return total_kwh + most_kwh


def _alone(life: Life) -> Life:
    whole = life.model_copy()
    whole.started_at = _started(life)
    if life.is_refuted:
        whole.told_end_at = whole.end_reason = whole.final_kwh = whole.final_kwh_at = None
        whole.end_vendor_code = ""
    return whole


def _end(whole: Life, lives: Sequence[Life], at: datetime) -> None:
    if any(life.told_end_at or not life.record_at for life in lives):
        whole.told_end_at = at
    told = [life for life in lives if life.told_end_at is not None]
    if told:
        last = max(
            told, key=lambda one: (one.told_end_at or at, str(one.end_reason or ""), one.end_vendor_code)
        )
        whole.end_reason, whole.end_vendor_code = last.end_reason, last.end_vendor_code
    whole.final_kwh, whole.final_kwh_at = whole.seen_kwh, at
    readings = [life.shown_kwh if life.last_kwh is None else life.last_kwh for life in lives]
    whole.last_kwh = round(sum(max(reading, 0.0) for reading in readings), 6)


def _bill(whole: Life, lives: Sequence[Life]) -> None:
    """A part of the bill is not the bill: it is known once everything that gave energy has its record."""
    recorded = [life for life in lives if life.record_at is not None]
    if not recorded or any(life.record_at is None and life.shown_kwh > 0 for life in lives):
        return
    for life in recorded:
        whole.record_at = latest(whole.record_at, life.record_at)
    if any(life.record_kwh is not None for life in recorded):
        kwh = sum(life.shown_kwh if life.record_kwh is None else life.record_kwh for life in lives)
        whole.record_kwh, whole.record_kwh_at = round(kwh, 6), whole.record_at
    idle = [life.record_idle_s for life in recorded if life.record_idle_s is not None]
    if idle:
        whole.record_idle_s, whole.record_idle_at = sum(idle), whole.record_at
    costs = [life.record_cost for life in recorded if life.record_cost is not None]
    if len(costs) == len(recorded) and len({cost.currency for cost in costs}) == 1:
        whole.record_cost, whole.record_cost_at = reduce(Money.plus, costs), whole.record_at


def _started(life: Life) -> datetime | None:
    """A record of energy proves a start, too; when that was, it does not tell."""
    billed = life.record_at if (life.record_kwh or 0.0) > 0 else None
    return life.started_at or billed


def _born(life: Life) -> tuple[bool, float]:
    at = life.started_at or life.seen_kwh_at or life.told_end_at or life.record_at
    return (at is None, at.timestamp() if at else 0.0)
