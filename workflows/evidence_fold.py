"""Folds evidence about one attempt into what is known of its session.

Evidence comes late, twice and out of order. Three rules make the fold independent of arrival order:
the end wins over everything earlier, energy only grows until a final figure, instants keep the earliest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.reason_codes import Phase, ReasonCode

_STARTS = frozenset({EvidenceKind.SESSION_STARTED, EvidenceKind.ENERGY_FLOWING, EvidenceKind.SESSION_ENDED})

_DRAWS_KW = 0.5


def _earliest(known: datetime | None, seen: datetime) -> datetime:
    return seen if known is None else min(known, seen)


@dataclass
class SessionTrack:
    """What evidence says about the session of one attempt."""

    session_ref: str | None = None
    started_at: datetime | None = None
    energy_since: datetime | None = None
    ended_at: datetime | None = None
    suspended_at: datetime | None = None
    progress_at: datetime | None = None
    energy_kwh: float = 0.0
    soc_percent: float | None = None
    end_reason: ReasonCode | None = None
    fault: ReasonCode | None = None
    refused: ReasonCode | None = None
    vendor_code: str = ""
    detail: str = ""
    record_cost: Money | None = None
    record_energy_kwh: float | None = None
    sources: list[str] = field(default_factory=lambda: [])

    @property
    def alive(self) -> bool:
        """A session runs as far as we know."""
        return self.started_at is not None and self.ended_at is None

    def take(self, evidence: Evidence) -> None:
        """Fold one piece of evidence. Never raises: what does not fit changes nothing."""
        kind, at = evidence.kind, evidence.observed_at
        if evidence.source not in self.sources:
            self.sources.append(str(evidence.source))
        if evidence.session_ref and (self.session_ref is None or kind is EvidenceKind.SESSION_STARTED):
            self.session_ref = evidence.session_ref
        if evidence.soc_percent is not None and (self.progress_at is None or at >= self.progress_at):
            self.soc_percent = evidence.soc_percent
        if kind in _STARTS:
            self.started_at = _earliest(self.started_at, at)
        self._take_energy(evidence)
        if kind is EvidenceKind.ENERGY_FLOWING or _vehicle_draws(evidence):
            self.started_at = _earliest(self.started_at, at)
            self.energy_since = _earliest(self.energy_since, at)
            self.suspended_at = None
        elif kind is EvidenceKind.SUSPENDED_BY_VEHICLE:
            self.suspended_at = _earliest(self.suspended_at, at)
        elif kind is EvidenceKind.SESSION_ENDED and self.ended_at is None:
            self.ended_at = at
            self.end_reason = evidence.reason
            self._note(evidence)
        elif kind in (EvidenceKind.CONNECTOR_FAULTED, EvidenceKind.SESSION_INVALID):
            self.fault = self.fault or evidence.reason or ReasonCode.CONFIRM_EVSE_FAULT
            self._note(evidence)
        elif kind is EvidenceKind.COMMAND_FAILED and not _about_stopping(evidence):
            self.refused = self.refused or evidence.reason or ReasonCode.START_REJECTED
            self._note(evidence)
        elif kind is EvidenceKind.CHARGE_RECORD:
            self.record_cost = evidence.cost
            self.record_energy_kwh = evidence.energy_kwh

    def _take_energy(self, evidence: Evidence) -> None:
        if evidence.kind is EvidenceKind.CHARGE_RECORD or evidence.energy_kwh is None:
            return
        if evidence.energy_kwh > self.energy_kwh:
            self.energy_kwh = evidence.energy_kwh
            self.energy_since = _earliest(self.energy_since, evidence.observed_at)
            if self.progress_at is None or evidence.observed_at > self.progress_at:
                self.progress_at = evidence.observed_at

    def _note(self, evidence: Evidence) -> None:
        self.vendor_code = evidence.vendor_code or self.vendor_code
        self.detail = evidence.detail or self.detail


def _about_stopping(evidence: Evidence) -> bool:
    """A stop that failed is no refusal of the start."""
    return evidence.reason is not None and evidence.reason.phase is Phase.STOP


def _vehicle_draws(evidence: Evidence) -> bool:
    """The vehicle's own meter shows power: it may have flowed before we looked, so no turn was reported."""
    told_by_vehicle = evidence.source is EvidenceSource.TELEMATICS and evidence.kind is EvidenceKind.METER
    return told_by_vehicle and (evidence.power_kw or 0.0) > _DRAWS_KW
