"""What evidence has told about one session, folded.

Evidence comes late, twice and out of order. The fold keeps, for each fact, the instant it is about: the same
evidence in any order gives the same facts. What they mean, stops/session.py says.
"""

from __future__ import annotations

from datetime import datetime

from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.reason_codes import Phase, ReasonCode
from models.stop import SessionState
from stops.base import State, earliest, latest

_PROVE_A_START = frozenset(
    {
        EvidenceKind.SESSION_STARTED,
        EvidenceKind.ENERGY_FLOWING,
        EvidenceKind.SESSION_PROGRESS,
        EvidenceKind.TARGET_REACHED,
        EvidenceKind.SESSION_ENDED,
        EvidenceKind.SUSPENDED_BY_CHARGER,
        EvidenceKind.SUSPENDED_BY_VEHICLE,
    }
)
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


class Told(State):
    """Facts about one attempt's session. Energies in kWh, instants in UTC."""

    session_ref: str | None = None
    ref_key: tuple[int, datetime, str] | None = None
    started_at: datetime | None = None
    heard: Heard = Heard()
    """When we heard it, by our own clock."""
    energy_since: datetime | None = None
    told_end_at: datetime | None = None
    final_kwh: float | None = None
    final_kwh_at: datetime | None = None
    end_reason: ReasonCode | None = None
    end_vendor_code: str = ""
    unplugged_at: datetime | None = None
    turned_at: datetime | None = None
    turned_to: SessionState = SessionState.ALIVE
    lost_at: datetime | None = None
    heard_at: datetime | None = None
    silent_at: datetime | None = None
    silent_heard_at: datetime | None = None
    seen_kwh: float = 0.0
    seen_kwh_at: datetime | None = None
    soc_percent: float | None = None
    soc_at: datetime | None = None
    soc_kwh: float = 0.0
    """What the meter showed when the charge was measured: what came since is not in it."""
    first_soc_percent: float | None = None
    first_soc_at: datetime | None = None
    fault: ReasonCode | None = None
    fault_at: datetime | None = None
    fault_vendor_code: str = ""
    refused: ReasonCode | None = None
    refused_at: datetime | None = None
    refused_vendor_code: str = ""
    stop_refused: bool = False
    detail: str = ""
    record_at: datetime | None = None
    record_kwh: float | None = None
    record_kwh_at: datetime | None = None
    record_cost: Money | None = None
    record_cost_at: datetime | None = None
    record_idle_s: float | None = None
    record_idle_at: datetime | None = None
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
        self._take_reference(evidence)
        if evidence.soc_percent is not None and (self.soc_at is None or at >= self.soc_at):
            self.soc_percent, self.soc_at = evidence.soc_percent, at
            self.soc_kwh = self.seen_kwh if evidence.energy_kwh is None else evidence.energy_kwh
        if evidence.soc_percent is not None and (self.first_soc_at is None or at < self.first_soc_at):
            self.first_soc_percent, self.first_soc_at = evidence.soc_percent, at
        draws = _vehicle_draws(evidence)
        if _proves_a_start(evidence) or draws:
            self.started_at = earliest(self.started_at, at)
            self.heard.started = earliest(self.heard.started, now)
        self._take_contact(evidence, now)
        self._take_turn(evidence, draws, now)
        self._take_energy(evidence, now)
        if kind in _END:
            self.heard.ended = latest(self.heard.ended, now)
        if kind is EvidenceKind.SESSION_ENDED:
            self._take_end(evidence)
        elif kind is EvidenceKind.UNPLUGGED:
            self.unplugged_at = latest(self.unplugged_at, at)
        elif kind in (EvidenceKind.CONNECTOR_FAULTED, EvidenceKind.SESSION_INVALID):
            self._take_fault(evidence)
        elif kind is EvidenceKind.COMMAND_FAILED:
            self._take_refusal(evidence)
        elif kind is EvidenceKind.SESSION_SILENT:
            if self.silent_at is None or at >= self.silent_at:
                self.silent_at, self.silent_heard_at = at, evidence.heard_at
        elif kind is EvidenceKind.CHARGE_RECORD:
            self._take_record(evidence)

    def _take_reference(self, evidence: Evidence) -> None:
        """The start's own word, else the earliest."""
        if not evidence.session_ref:
            return
        rank = 0 if evidence.kind is EvidenceKind.SESSION_STARTED else 1
        key = (rank, evidence.observed_at, evidence.session_ref)
        if self.ref_key is None or key < self.ref_key:
            self.ref_key, self.session_ref = key, evidence.session_ref

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
        flows = (kind in _FLOWS and _proves_a_start(evidence)) or draws
        if not flows and kind not in _SUSPENDED:
            return
        if flows:
            self.energy_since = earliest(self.energy_since, at)
        known, turned_to = self.turned_at, SessionState.ALIVE if flows else _SUSPENDED[kind]
        if at == known and turned_to is self.turned_to:
            self.heard.turned = earliest(self.heard.turned, now)
        elif known is None or at > known or (at == known and flows):
            self.turned_at, self.turned_to, self.heard.turned = at, turned_to, now

    def _take_energy(self, evidence: Evidence, now: datetime | None) -> None:
        if evidence.kind is EvidenceKind.CHARGE_RECORD or evidence.energy_kwh is None:
            return
        if evidence.energy_kwh > self.seen_kwh:
            self.seen_kwh = evidence.energy_kwh
            self.seen_kwh_at = evidence.observed_at
            self.heard.progressed = now

    def _take_record(self, evidence: Evidence) -> None:
        """Each figure is the newest that was told; of two at one instant, the larger."""
        at, energy, cost = evidence.observed_at, evidence.energy_kwh, evidence.cost
        self.record_at = latest(self.record_at, at)
        if energy is not None and _newer((at, energy), (self.record_kwh_at, self.record_kwh)):
            self.record_kwh, self.record_kwh_at = energy, at
        known = self.record_cost
        if cost is not None and _newer(
            (at, float(cost.amount)), (self.record_cost_at, float(known.amount) if known else None)
        ):
            self.record_cost, self.record_cost_at = cost, at
        idle_s = float(evidence.idle_minutes) * 60 if evidence.idle_minutes is not None else None
        if idle_s is not None and _newer((at, idle_s), (self.record_idle_at, self.record_idle_s)):
            self.record_idle_s, self.record_idle_at = idle_s, at

    def _take_end(self, evidence: Evidence) -> None:
        """The end that is told latest stands (a station may first be taken for lost), with the newest figure
        that an end told; of two at one instant, the larger, and of equal ones the one with a reason."""
        at, energy = evidence.observed_at, evidence.energy_kwh
        if energy is not None and _newer((at, energy), (self.final_kwh_at, self.final_kwh)):
            self.final_kwh, self.final_kwh_at = energy, at
        key = (at, str(evidence.reason or ""), evidence.vendor_code)
        if self.told_end_at is not None and key < (
            self.told_end_at,
            str(self.end_reason or ""),
            self.end_vendor_code,
        ):
            return
        self.told_end_at = at
        self.end_reason = evidence.reason
        self.end_vendor_code = evidence.vendor_code
        self.detail = evidence.detail or self.detail

    def _take_fault(self, evidence: Evidence) -> None:
        if self.fault_at is None or evidence.observed_at < self.fault_at:
            self.fault_at = evidence.observed_at
            self.fault = evidence.reason or ReasonCode.CONFIRM_EVSE_FAULT
            self.fault_vendor_code = evidence.vendor_code
            self.detail = evidence.detail or self.detail

    def _take_refusal(self, evidence: Evidence) -> None:
        if evidence.reason is not None and evidence.reason.phase is Phase.STOP:
            self.stop_refused = True  # a stop that failed is no refusal of the start
        elif self.refused_at is None or evidence.observed_at < self.refused_at:
            self.refused_at = evidence.observed_at
            self.refused = evidence.reason or ReasonCode.START_REJECTED
            self.refused_vendor_code = evidence.vendor_code
            self.detail = evidence.detail or self.detail


def _newer(told: tuple[datetime, float], known: tuple[datetime | None, float | None]) -> bool:
    if known[0] is None or known[1] is None:
        return True
    return told >= (known[0], known[1])


def _proves_a_start(evidence: Evidence) -> bool:
    """A goal that was reached without energy (by the vehicle's own charge) is no sign of a session."""
    if evidence.kind in (EvidenceKind.SESSION_PROGRESS, EvidenceKind.TARGET_REACHED):
        return (evidence.energy_kwh or 0.0) > 0
    return evidence.kind in _PROVE_A_START


def _vehicle_draws(evidence: Evidence) -> bool:
    """The vehicle's own meter shows power: it may have flowed before we looked, so no turn was reported."""
    told_by_vehicle = evidence.source is EvidenceSource.TELEMATICS and evidence.kind is EvidenceKind.METER
    return told_by_vehicle and (evidence.power_kw or 0.0) > _DRAWS_KW
