"""Which turns of a session (paused, out of contact, charging again) its stop's log tells."""

from __future__ import annotations

from datetime import datetime, timedelta

from stops.base import State
from stops.judge import Pause

_AT_ONCE, _EACH = 12, timedelta(minutes=10)


class Turns(State):
    """A dozen at once, then one in ten minutes, with the number of those that were not told: a connector may
    flap every second for hours, and nobody reads ten thousand events."""

    does: Pause = Pause.NONE
    told: Pause = Pause.NONE
    """What the log says that it does."""
    untold: int = 0
    rested_at: datetime | None = None
    """When a dozen may be told at once again."""

    def turn(self, pause: Pause, now: datetime) -> bool:
        """It does this now. True where the log is to say so."""
        if pause is not self.does:
            self.does = pause
            self.untold += 1
        if pause is self.told:
            return False
        rested_at = max(self.rested_at or now, now)
        if rested_at - now > _EACH * (_AT_ONCE - 1):
            return False
        self.told, self.rested_at = pause, rested_at + _EACH
        return True

    def count(self) -> int | None:
        """How many turns there were since the last one that was told; None where this is the only one."""
        turns, self.untold = self.untold, 0
        return turns if turns > 1 else None

    @property
    def next_at(self) -> datetime | None:
        """When what it does is to be told; None where the log says it."""
        if self.does is self.told or self.rested_at is None:
            return None
        return self.rested_at - _EACH * (_AT_ONCE - 1)
