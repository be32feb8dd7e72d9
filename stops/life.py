"""One life of a session: one transaction of a station, or one session of a partner, folded from evidence.

An attempt may own several: after a power loss a station begins another transaction for the start that it was
given, and partners drop a session and open the next. A connector feeds one vehicle at a time: what shows no
sign of life once the next one has begun is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from models.evidence import Evidence, EvidenceKind
from models.money import Money
from models.reason_codes import ReasonCode
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
_ENDS = frozenset({EvidenceKind.SESSION_ENDED, EvidenceKind.CHARGE_RECORD})
_GROWTH_KWH = 0.1
_AFTERTHOUGHT = timedelta(minutes=1)
"""The last meter value of a session may be stamped a little later than its end."""


class Life(State):
    """Facts about it. Energies in kWh, instants in UTC. Each is folded so that order does not matter."""

    session_ref: str | None = None
    ref_key: tuple[int, datetime, str] | None = None
    started_at: datetime | None = None
    lived_at: datetime | None = None
    """Its newest sign of life, an end not being one."""
    told_end_at: datetime | None = None
    final_kwh: float | None = None
    final_kwh_at: datetime | None = None
    end_reason: ReasonCode | None = None
    end_vendor_code: str = ""
    seen_kwh: float = 0.0
    seen_kwh_at: datetime | None = None
    last_kwh: float | None = None
    last_kwh_at: datetime | None = None
    """The newest reading that was not told with the end."""
    record_at: datetime | None = None
    record_kwh: float | None = None
    record_kwh_at: datetime | None = None
    record_cost: Money | None = None
    record_cost_at: datetime | None = None
    record_idle_s: float | None = None
    record_idle_at: datetime | None = None

    # --- conclusions ------------------------------------------------------------------------------------

    @property
    def has_signs(self) -> bool:
        return any((self.started_at, self.told_end_at, self.record_at, self.seen_kwh_at))

    @property
    def is_record_only(self) -> bool:
        return self.record_at is not None and not any((self.started_at, self.told_end_at, self.seen_kwh_at))

    @property
    def is_refuted(self) -> bool:
        """Its register went on after the end that was told: it had not ended."""
        if self.told_end_at is None or self.seen_kwh_at is None:
            return False
        if self.final_kwh is None:
            return self.seen_kwh_at > self.told_end_at + _AFTERTHOUGHT
        return self.seen_kwh_at > self.told_end_at and self.seen_kwh > self.final_kwh + _GROWTH_KWH

    @property
    def ended_at(self) -> datetime | None:
        return self.record_at if self.told_end_at is None or self.is_refuted else self.told_end_at

    @property
    def shown_kwh(self) -> float:
        return self.seen_kwh if self.final_kwh is None or self.is_refuted else self.final_kwh

    def over_at(self, others: Sequence[Life]) -> datetime | None:
        """When it ended, or another one began to which it has said nothing."""
        if self.ended_at is not None:
            return self.ended_at
        known = self.lived_at or self.started_at or self.seen_kwh_at
        began = [other.started_at for other in others if other is not self and other.started_at is not None]
        return min((at for at in began if known is None or at > known), default=None)

    # --- folding ----------------------------------------------------------------------------------------

    def fold(self, evidence: Evidence, *, vehicle_draws: bool) -> None:
        kind, at, energy = evidence.kind, evidence.observed_at, evidence.energy_kwh
        if evidence.session_ref:
            rank = 0 if kind is EvidenceKind.SESSION_STARTED else 1
            self._name((rank, at, evidence.session_ref))
        if proves_a_start(evidence) or vehicle_draws:
            self.started_at = earliest(self.started_at, at)
            if kind not in _ENDS:
                self.lived_at = latest(self.lived_at, at)
        if kind is EvidenceKind.CHARGE_RECORD:
            idle_s = None if evidence.idle_minutes is None else float(evidence.idle_minutes) * 60
            self._record(at, (energy, at), (evidence.cost, at), (idle_s, at))
            return
        if energy is not None:
            self._see(energy, at)
        if kind is EvidenceKind.SESSION_ENDED:
            self._end(at, evidence.reason, evidence.vendor_code, (energy, at))
        elif energy is not None:
            self._read(energy, at)

    def absorb(self, other: Life) -> None:
        """What was told without a name, or by a record alone, is about this one."""
        if other.ref_key is not None:
            self._name(other.ref_key)
        self.started_at = earliest(self.started_at, other.started_at)
        if self.ref_key is None:
            self.lived_at = latest(self.lived_at, other.lived_at)
        if other.seen_kwh_at is not None:
            self._see(other.seen_kwh, other.seen_kwh_at)
        if other.last_kwh is not None and other.last_kwh_at is not None:
            self._read(other.last_kwh, other.last_kwh_at)
        if other.told_end_at is not None:
            final = (other.final_kwh, other.final_kwh_at)
            self._end(other.told_end_at, other.end_reason, other.end_vendor_code, final)
        if other.record_at is not None:
            energy, cost = (other.record_kwh, other.record_kwh_at), (other.record_cost, other.record_cost_at)
            self._record(other.record_at, energy, cost, (other.record_idle_s, other.record_idle_at))

    def _name(self, key: tuple[int, datetime, str]) -> None:
        """The start's own word, else the earliest."""
        if self.ref_key is None or key < self.ref_key:
            self.ref_key, self.session_ref = key, key[2]

    def _see(self, energy: float, at: datetime) -> None:
        """The most that was shown, and since when."""
        known = self.seen_kwh_at
        if energy > self.seen_kwh:
            self.seen_kwh, self.seen_kwh_at = energy, at
        elif energy == self.seen_kwh and energy > 0 and known is not None:
            self.seen_kwh_at = min(known, at)

    def _read(self, energy: float, at: datetime) -> None:
        if _newer((at, energy), (self.last_kwh_at, self.last_kwh)):
            self.last_kwh, self.last_kwh_at = energy, at

    def _end(
        self,
        at: datetime,
        reason: ReasonCode | None,
        vendor_code: str,
        final: tuple[float | None, datetime | None],
    ) -> None:
        """The end that is told latest stands (a station may first be taken for lost), with the newest figure
        that an end told; of two at one instant, the larger, and of equal ones the one with a reason."""
        kwh, kwh_at = final
        if _newer((kwh_at, kwh), (self.final_kwh_at, self.final_kwh)):
            self.final_kwh, self.final_kwh_at = kwh, kwh_at
        known = self.told_end_at
        key = (at, str(reason or ""), vendor_code)
        if known is None or key >= (known, str(self.end_reason or ""), self.end_vendor_code):
            self.told_end_at, self.end_reason, self.end_vendor_code = at, reason, vendor_code

    def _record(
        self,
        at: datetime,
        energy: tuple[float | None, datetime | None],
        cost: tuple[Money | None, datetime | None],
        idle: tuple[float | None, datetime | None],
    ) -> None:
        """Each figure is the newest that was told; of two at one instant, the larger."""
        self.record_at = latest(self.record_at, at)
        kwh, kwh_at = energy
        if _newer((kwh_at, kwh), (self.record_kwh_at, self.record_kwh)):
            self.record_kwh, self.record_kwh_at = kwh, kwh_at
        money, money_at = cost
        if _newer((money_at, _amount(money)), (self.record_cost_at, _amount(self.record_cost))):
            self.record_cost, self.record_cost_at = money, money_at
        idle_s, idle_at = idle
        if _newer((idle_at, idle_s), (self.record_idle_at, self.record_idle_s)):
            self.record_idle_s, self.record_idle_at = idle_s, idle_at


def proves_a_start(evidence: Evidence) -> bool:
    """A goal that was reached without energy (by the vehicle's own charge) is no sign of a session."""
    if evidence.kind in (EvidenceKind.SESSION_PROGRESS, EvidenceKind.TARGET_REACHED):
        return (evidence.energy_kwh or 0.0) > 0
    return evidence.kind in _PROVE_A_START


def _newer(told: tuple[datetime | None, float | None], known: tuple[datetime | None, float | None]) -> bool:
    """Of two at one instant, the larger."""
    if told[0] is None or told[1] is None:
        return False
    return known[0] is None or known[1] is None or (told[0], told[1]) >= (known[0], known[1])


def _amount(cost: Money | None) -> float | None:
    return float(cost.amount) if cost is not None else None
