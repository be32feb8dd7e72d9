"""Soft and hard checks of what stations say about transactions.

Soft findings are noted and all goes on. Hard ones mean that the message cannot stand as it is: it is kept
aside, raw, and still answered, because a station would tell an unanswered message again for ever.
Names are stable: they stand in the transaction's `findings` (hard ones too, where a transaction is known) and
in quarantine.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connectors.ocpp.truth.clock import AHEAD, instant

SOFT = frozenset(
    {
        "clock_ahead",
        "sample_outside_transaction",
        "meter_start_missing",
        "meter_stop_missing",
        "register_noise",
        "register_reset",
        "register_rolled_over",
        "register_replaced",
        "register_jumped",
        "unit_guessed",
        "stop_tag_unrelated",
        "end_not_told",
        "events_missing",
        "told_after_the_end",
    }
)
HARD = frozenset(
    {"connector_unknown", "meter_negative", "stop_before_start", "stop_unknown", "stop_repeated"}
)


def is_ahead(text: Any, now: datetime) -> bool:
    """A timestamp more than 5 minutes in the future: taken as the present, and noted."""
    return instant(text, now) == now and _parsed(text, now) > now + AHEAD


def _parsed(text: Any, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return now
    return at.replace(tzinfo=now.tzinfo) if at.tzinfo is None else at


def start_findings(
    *, at_text: Any, now: datetime, is_connector_known: bool, meter_start: float | None = None
) -> list[str]:
    """Findings about a start. `meter_start`: as said, in Wh; -1 is what stations say for "none"."""
    found: list[str] = []
    if is_ahead(at_text, now):
        found.append("clock_ahead")
    if not is_connector_known:
        found.append("connector_unknown")
    if meter_start is not None and meter_start < 0:
        found.append("meter_start_missing" if meter_start == -1 else "meter_negative")
    return found


def stop_findings(
    *, at_text: Any, now: datetime, started_at: datetime, meter_stop: float | None, same_tag: bool
) -> tuple[str, ...]:
    """Findings about the end of a known transaction. `meter_stop` None or -1: not said."""
    found: list[str] = []
    if is_ahead(at_text, now):
        found.append("clock_ahead")
    if instant(at_text, now) < started_at:
        found.append("stop_before_start")
    if meter_stop is None or meter_stop == -1:
        found.append("meter_stop_missing")
    elif meter_stop < 0:
        found.append("meter_negative")
    if not same_tag:
        found.append("stop_tag_unrelated")
    return tuple(found)
