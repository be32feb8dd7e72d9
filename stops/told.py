"""What evidence has told about one session, folded.

Evidence comes late, twice and out of order. The fold keeps, for each fact, the instant it is about: the same
evidence in any order gives the same facts. What they mean, stops/session.py says.
"""

from __future__ import annotations

from datetime import datetime

from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_codes import Phase, ReasonCode
from models.stop import SessionState
from stops.base import State, earliest, latest
from stops.life import Life, proves_a_start
from stops.lives import apart, key_of, live, together

_SUSPENDED = {
    EvidenceKind.SUSPENDED_BY_VEHICLE: SessionState.SUSPENDED_BY_VEHICLE,
    EvidenceKind.SUSPENDED_BY_CHARGER: SessionState.SUSPENDED_BY_CHARGER,
}
_FLOWS = frozenset({EvidenceKind.ENERGY_FLOWING, EvidenceKind.SESSION_PROGRESS, EvidenceKind.TARGET_REACHED})
_END = frozenset({EvidenceKind.SESSION_ENDED, EvidenceKind.CHARGE_RECORD, EvidenceKind.UNPLUGGED})
_DRAWS_KW = 0.5


class Heard(State):
    """When each fact reached us. The instants of the facts themselves are their tellers': clocks of stations
    and partners may be a day off, and what we wait and count for must not be."""

    started: datetime | None = None
    ended: datetime | None = None
    turned: datetime | None = None
    lost: datetime | None = None
    last: datetime | None = None
    """What `heard_at` is about."""
    progressed: datetime | None = None


class Told(Life):
    """Facts about one attempt's session. What it shares with a life is what its lives come to, together."""

    heard: Heard = Heard()
    """When we heard it, by our own clock."""
    lives: dict[str, Life] = {}
    """By reference; under no name, what was said without one."""
    released_at: datetime | None = None
    """A person has seen that it ended; what is told of its end wins over their figure."""
    released_kwh: float | None = None
    energy_since: datetime | None = None
    unplugged_at: datetime | None = None
    turned_at: datetime | None = None
    turned_to: SessionState = SessionState.ALIVE
    lost_at: datetime | None = None
    heard_at: datetime | None = None
    silent_at: datetime | None = None
    silent_heard_at: datetime | None = None
    soc_percent: float | None = None
    soc_at: datetime | None = None
    soc_kwh: float = 0.0
    """What the meter showed when the charge was measured: what came since is not in it."""
    first_soc_percent: float | None = None
    first_soc_at: datetime | None = None
    fault: ReasonCode | None = None
    fault_at: datetime | None = None
    fault_vendor_code: str = ""
    fault_detail: str = ""
    refused: ReasonCode | None = None
    refused_at: datetime | None = None
    refused_vendor_code: str = ""
    refused_detail: str = ""
    stop_refused: bool = False
    end_detail: str = ""
    end_detail_at: datetime | None = None
    sources: list[str] = []
    revision: int = 0
    """Counts what was said about it, so that whoever waits for news sees that there is some."""

    def take(self, evidence: Evidence, now: datetime | None = None) -> None:
        """Fold one piece of evidence, heard `now` (None: taken as heard when it was observed). Never raises:
        what does not fit changes nothing."""
        kind, at = evidence.kind, evidence.observed_at
        self.revision += 1
        source = str(evidence.source)
        if source not in self.sources:
            self.sources = sorted([*self.sources, source])
        draws, was_kwh = _vehicle_draws(evidence), self.seen_kwh
        self._take_life(evidence, draws)
        if self.seen_kwh > was_kwh:
            self.heard.progressed = now
        if evidence.soc_percent is not None and (self.soc_at is None or at >= self.soc_at):
            self.soc_percent, self.soc_at = evidence.soc_percent, at
            of_the_only_one = evidence.energy_kwh is not None and len(self.lives) == 1
            self.soc_kwh = (evidence.energy_kwh or 0.0) if of_the_only_one else self.seen_kwh
        if evidence.soc_percent is not None and (self.first_soc_at is None or at < self.first_soc_at):
            self.first_soc_percent, self.first_soc_at = evidence.soc_percent, at
        if proves_a_start(evidence) or draws:
            self.heard.started = earliest(self.heard.started, now)
        self._take_contact(evidence, now)
        self._take_turn(evidence, draws, now)
        if kind in _END:
            self.heard.ended = latest(self.heard.ended, now)
        if kind is EvidenceKind.SESSION_ENDED:
            self._take_end_detail(evidence)
        elif kind is EvidenceKind.UNPLUGGED:
            self.unplugged_at = latest(self.unplugged_at, at)
        elif kind in (EvidenceKind.CONNECTOR_FAULTED, EvidenceKind.SESSION_INVALID):
            self._take_fault(evidence)
        elif kind is EvidenceKind.COMMAND_FAILED:
            self._take_refusal(evidence)
        elif kind is EvidenceKind.SESSION_SILENT and (self.silent_at is None or at >= self.silent_at):
            self.silent_at, self.silent_heard_at = at, evidence.heard_at

    @property
    def stop_refs(self) -> list[str]:
        """The references that a stop has to name, the newest first."""
        running = live(apart(self.lives))
        return running or ([self.session_ref] if self.session_ref else [])

    def _take_life(self, evidence: Evidence, draws: bool) -> None:
        if not self.lives and self.has_signs:  # booked, or carried by a version that knew one life only
            self.lives[key_of(self.session_ref, self.lives)] = Life(
                **{name: getattr(self, name) for name in Life.model_fields}
            )
        key = key_of(evidence.session_ref, self.lives)
        life = self.lives.setdefault(key, Life())
        life.fold(evidence, vehicle_draws=draws)
        self._take_together()

    def _take_together(self) -> None:
        whole = together(apart(self.lives))
        whole.session_ref = whole.session_ref or self.session_ref  # as the reply to the start gave it
        if self.released_at is not None:
            whole.told_end_at = whole.told_end_at or self.released_at
            whole.end_reason = whole.end_reason or self.end_reason
            whole.final_kwh = self.released_kwh if whole.final_kwh is None else whole.final_kwh
        for name in Life.model_fields:
            setattr(self, name, getattr(whole, name))

    def _take_contact(self, evidence: Evidence, now: datetime | None) -> None:
        if evidence.kind is EvidenceKind.STATION_OFFLINE:
            self.lost_at = latest(self.lost_at, evidence.observed_at)
            self.heard.lost = latest(self.heard.lost, now)
        elif evidence.kind is EvidenceKind.SESSION_SILENT:
            self.heard_at = latest(self.heard_at, evidence.heard_at)
            self.heard.last = latest(self.heard.last, evidence.heard_at)
        elif evidence.source in (EvidenceSource.OCPP, EvidenceSource.OCPI):
            self.heard_at = latest(self.heard_at, evidence.observed_at)
            self.heard.last = latest(self.heard.last, now)

    def _take_turn(self, evidence: Evidence, draws: bool, now: datetime | None) -> None:
        """Flowing or suspended: the newest turn counts; of two at one instant, the one that flows."""
        kind, at = evidence.kind, evidence.observed_at
        flows = (kind in _FLOWS and proves_a_start(evidence)) or draws
        if not flows and kind not in _SUSPENDED:
            return
        if flows:
            self.energy_since = earliest(self.energy_since, at)
        known, turned_to = self.turned_at, SessionState.ALIVE if flows else _SUSPENDED[kind]
        if at == known and turned_to is self.turned_to:
            self.heard.turned = earliest(self.heard.turned, now)
        elif known is None or at > known or (at == known and flows):
            self.turned_at, self.turned_to, self.heard.turned = at, turned_to, now

    def _take_end_detail(self, evidence: Evidence) -> None:
        at, known_at = evidence.observed_at, self.end_detail_at
        if evidence.detail and (known_at is None or (at, evidence.detail) > (known_at, self.end_detail)):
            self.end_detail, self.end_detail_at = evidence.detail, at

    def _take_fault(self, evidence: Evidence) -> None:
        if self.fault_at is None or evidence.observed_at < self.fault_at:
            self.fault_at = evidence.observed_at
            self.fault = evidence.reason or ReasonCode.CONFIRM_EVSE_FAULT
            self.fault_vendor_code, self.fault_detail = evidence.vendor_code, evidence.detail

    def _take_refusal(self, evidence: Evidence) -> None:
        if evidence.reason is not None and evidence.reason.phase is Phase.STOP:
            self.stop_refused = True  # a stop that failed is no refusal of the start
        elif self.refused_at is None or evidence.observed_at < self.refused_at:
            self.refused_at = evidence.observed_at
            self.refused = evidence.reason or ReasonCode.START_REJECTED
            self.refused_vendor_code, self.refused_detail = evidence.vendor_code, evidence.detail


def _vehicle_draws(evidence: Evidence) -> bool:
    """The vehicle's own meter shows power: it may have flowed before we looked, so no turn was reported."""
    told_by_vehicle = evidence.source is EvidenceSource.TELEMATICS and evidence.kind is EvidenceKind.METER
    return told_by_vehicle and (evidence.power_kw or 0.0) > _DRAWS_KW
