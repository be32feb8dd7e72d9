"""Soft and hard checks of what stations say about transactions.

Soft findings are noted and all goes on. Hard ones mean that the message cannot stand as it is: it is kept
aside, raw, and still answered, because a station would tell an unanswered message again for ever.
Names are stable: they stand in the transaction's `findings` and in quarantine.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from connectors.ocpp.clock import AHEAD, instant

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
        "events_missing",
    }
)
HARD = frozenset(
    {"connector_unknown", "meter_negative", "stop_before_start", "stop_unknown", "stop_repeated"}
)


def is_ahead(text: Any, now: datetime) -> bool:
    """A timestamp more than 5 minutes in the future: taken as the present, and noted."""
    return instant(text, now - timedelta(0)) == now and _parsed(text, now) > now + AHEAD


def _parsed(text: Any, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return now
    return at.replace(tzinfo=now.tzinfo) if at.tzinfo is None else at


def stop_findings(
    *, at_text: Any, now: datetime, started_at: datetime, meter_stop: float | None, same_tag: bool
) -> tuple[str, ...]:
    """Findings about the end of a known transaction."""
    found: list[str] = []
    if is_ahead(at_text, now):
        found.append("clock_ahead")
    if instant(at_text, now) < started_at:
        found.append("stop_before_start")
    if meter_stop is None:
        found.append("meter_stop_missing")
    if not same_tag:
        found.append("stop_tag_unrelated")
    return tuple(found)
