"""Meters folded into turns, by the rules of store/progress.py, for one simulated world."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.activity_messages import SessionGoal
from models.evidence import Evidence, EvidenceKind

_FLOWS_KWH = 0.01
_SUSPENDED = (EvidenceKind.SUSPENDED_BY_VEHICLE, EvidenceKind.SUSPENDED_BY_CHARGER)
_ENDS = (EvidenceKind.SESSION_ENDED, EvidenceKind.SESSION_INVALID, EvidenceKind.CHARGE_RECORD)


@dataclass
class Progress:
    """One followed session, as its meters show it."""

    goal: SessionGoal
    began: bool = False
    ended: bool = False
    energy_kwh: float = 0.0
    progress_kwh: float = 0.0
    progress_at: datetime | None = None
    heard_at: datetime | None = None
    silent_at: datetime | None = None
    suspended: bool = False
    flowing: bool = False
    goal_told: bool = False
    told: dict[str, int] = field(default_factory=lambda: {})
    newest: Evidence | None = None

    def fold(self, item: Evidence, now: datetime) -> list[Evidence]:
        """The turns that this sample makes."""
        self.began, self.heard_at = True, now
        if item.energy_kwh is None or item.kind is EvidenceKind.CHARGE_RECORD:
            kwh = self.energy_kwh
        else:
            kwh = item.energy_kwh
        self.newest = item
        if self.progress_at is None:
            self.progress_at = now
        late = self.ended and kwh > self.energy_kwh + _FLOWS_KWH
        self.energy_kwh = max(self.energy_kwh, kwh)
        self.ended = self.ended or item.kind in _ENDS
        turns: list[Evidence] = []
        grew = self.energy_kwh > self.progress_kwh + _FLOWS_KWH * (5 if self.suspended else 1)
        if grew:
            self.progress_kwh, self.progress_at = self.energy_kwh, now
            if not self.flowing and not self.ended:
                turns.append(self._turn(EvidenceKind.ENERGY_FLOWING, "flowing", item))
            self.flowing, self.suspended = True, False
        if item.kind in _SUSPENDED:
            self.suspended, self.flowing = True, False
        turns += self._reached(item)
        if late:
            kind = (
                EvidenceKind.SESSION_ENDED
                if item.kind is EvidenceKind.SESSION_ENDED
                else EvidenceKind.SESSION_PROGRESS
            )
            turns.append(self._turn(kind, "late", item).model_copy(update={"reason": item.reason}))
        return turns

    def _reached(self, item: Evidence) -> list[Evidence]:
        if self.ended or self.goal_told:
            return []
        soc = item.soc_percent or 0.0
        if 0 < self.goal.target_kwh <= self.energy_kwh or 0 < self.goal.target_soc_percent <= soc:
            self.goal_told = True
            return [self._turn(EvidenceKind.TARGET_REACHED, "target", item)]
        quarter = min(3, int(4 * self.energy_kwh / self.goal.target_kwh)) if self.goal.target_kwh > 0 else 0
        if quarter > self.told.get("quarter", 0):
            self.told["quarter"] = quarter - 1
            return [self._turn(EvidenceKind.SESSION_PROGRESS, "quarter", item)]
        return []

    def silence(self, now: datetime) -> Evidence | None:
        """SESSION_SILENT, where patience has run out."""
        if not self.began or self.ended or self.newest is None:
            return None
        since = max(filter(None, (self.heard_at if self.suspended else self.progress_at, self.silent_at)))
        if (now - since).total_seconds() < self.goal.stall_s:
            return None
        self.silent_at, self.flowing = now, False
        silent = self._turn(EvidenceKind.SESSION_SILENT, "silent", self.newest)
        return silent.model_copy(update={"observed_at": now, "heard_at": self.heard_at})

    def _turn(self, kind: EvidenceKind, name: str, sample: Evidence) -> Evidence:
        self.told[name] = self.told.get(name, 0) + 1
        return Evidence(
            event_id=f"progress:{self.goal.attempt_id}:{name}:{self.told[name]}",
            source=sample.source,
            kind=kind,
            observed_at=sample.observed_at,
            attempt_id=self.goal.attempt_id,
            charger_id=sample.charger_id,
            session_ref=sample.session_ref,
            energy_kwh=self.energy_kwh,
            soc_percent=sample.soc_percent,
        )
