"""What ranking learns from starts: counted once per attempt, when nothing can change it any more."""

from __future__ import annotations

from collections.abc import Iterable

from models.stop import SESSION_OVER, Attempt
from store.database import TenantUnit


async def count_starts(unit: TenantUnit, attempts: Iterable[Attempt]) -> None:
    """Count what came of each start. Energy that flowed is a success at once, however late it came. A failure
    is one when no life can come any more: a start that was given up may still charge."""
    for attempt in attempts:
        succeeded = _proven(attempt)
        if succeeded is not None and await unit.attempts.count_once(attempt.attempt_id):
            await unit.chargers.count_start(attempt.charger_id, succeeded)


def _proven(attempt: Attempt) -> bool | None:
    if attempt.start_proven is None:
        return None
    if attempt.start_proven or attempt.energy_kwh > 0:
        return True
    return False if attempt.session in SESSION_OVER else None
