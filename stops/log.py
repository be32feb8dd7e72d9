"""The stop's own log: every transition once, in order, and what of it the store has not been given yet."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.decision import Decision
from models.reason_codes import NextStep, ReasonCode
from models.stop import StopEvent, StopPhase, StopRecord
from stops.base import State

_KEPT_EVENTS = 50


class StopLog(State):
    """`events` is the log: whole in a stop's first run, its end in the runs after it. `given`: up to this
    number, the store has been given it."""

    stop_id: str
    events: list[StopEvent] = []
    shed: int = 0
    """So many events came before `events`. They stand in the store, and in the histories of former runs."""
    given: int = 0
    decisions: list[Decision] = []
    """Not yet given to the store."""
    version: int = 0
    updated_at: datetime
    headline: str = "Looking for a charger"

    def add(
        self,
        type_: str,
        text: str,
        now: datetime,
        phase: StopPhase,
        *,
        attempt_number: int | None = None,
        charger_id: str | None = None,
        reason: ReasonCode | None = None,
        vendor_code: str = "",
        next_step: NextStep | None = None,
        eta_impact_s: float | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """One transition. It becomes the headline."""
        self.headline, self.updated_at = text, now
        self.events.append(
            StopEvent(
                stop_id=self.stop_id,
                seq=self.last_seq + 1,
                at=now,
                type=type_,
                phase=phase,
                text=text,
                attempt_number=attempt_number,
                charger_id=charger_id,
                reason=reason,
                vendor_code=vendor_code,
                next_step=next_step,
                eta_impact_s=eta_impact_s,
                data=data or {},
            )
        )

    @property
    def last_seq(self) -> int:
        return self.shed + len(self.events)

    @property
    def has_news(self) -> bool:
        return self.given < self.last_seq or bool(self.decisions)

    def give(self) -> tuple[tuple[StopEvent, ...], tuple[Decision, ...]]:
        """What the store has not seen; given once: whoever takes it writes it until it is written."""
        news, decisions = tuple(self.events[self.given - self.shed :]), tuple(self.decisions)
        self.given, self.decisions = self.last_seq, []
        self.version += 1
        return news, decisions

    def take_back(self, record: StopRecord) -> None:
        """A record that was not written at all: its news are news again."""
        self.given -= len(record.events)
        self.decisions = [*record.decisions, *self.decisions]

    def lighten(self) -> None:
        """Keep a short end of what the store has: the next run's input has a limit (2 MiB), and a stop that
        exceeds it could neither go on nor be cancelled."""
        cut = max(0, min(self.given - self.shed, len(self.events) - _KEPT_EVENTS))
        self.shed, self.events = self.shed + cut, self.events[cut:]
