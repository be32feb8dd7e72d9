"""A session's life: what evidence about one attempt adds up to, from the intent to the proven end.

Evidence comes late, twice and out of order. The fold keeps, for each fact, the instant it is about, and every
conclusion is drawn from those instants: the same evidence in any order gives the same session.

Nothing is called ended that has not been seen to end. What proves an end: charger or partner says so, a
charge record comes (there is one only for a session that is over), or, where the vehicle alone speaks for
the session, it is unplugged. A command that was accepted, a timer that ran out and silence prove nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from models.charger import Charger
from models.commands import CommandOutcome, CommandReply
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.reason_codes import Phase, ReasonCode
from models.stop import SessionState
from stops.base import State, earliest, latest, seconds_between

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
_DRAWS_KW = 0.5
_POWER_SLACK, _ENERGY_SLACK_KWH = 1.15, 0.5
_RECORD_SLACK, _RECORD_SLACK_KWH = 0.05, 0.5


class Session(State):
    """One attempt's session. Energies in kWh, instants in UTC."""

    attempt_id: str
    number: int
    charger: Charger
    opened_at: datetime

    wanted: bool = True
    """The stop wants it to run. What is alive and not wanted is being stopped by its keeper."""
    adoptable: bool = True
    """False once somebody chose to leave it: then it is stopped, whatever else it does."""
    adopting: bool = False
    """It came alive after it was given up, and its holds are being taken back."""
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    rejected: ReasonCode | None = None
    """The start was refused, or was certainly not sent. Evidence that it lives wins over this."""
    uncertain: bool = False
    stop_sent_at: datetime | None = None
    stop_tries: int = 0
    stop_refused: bool = False
    left_at: datetime | None = None
    left_alive: bool = False
    """It lived when the stop left it; otherwise it came alive after it was given up."""
    left_because: ReasonCode | None = None
    """Why we ended it; None while the other side is the one that ends it."""
    given_up: Annotated[bool, Field(description="Unknown: nobody proved an end in time.")] = False
    released_by: str = ""

    session_ref: str | None = None
    ref_key: tuple[int, datetime, str] | None = None
    started_at: datetime | None = None
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
    fault: ReasonCode | None = None
    fault_at: datetime | None = None
    fault_vendor_code: str = ""
    refused: ReasonCode | None = None
    refused_at: datetime | None = None
    refused_vendor_code: str = ""
    detail: str = ""
    record_at: datetime | None = None
    record_kwh: float | None = None
    record_kwh_at: datetime | None = None
    record_cost: Money | None = None
    record_cost_at: datetime | None = None
    sources: list[str] = []
    revision: int = 0
    """Counts what was said about it, so that whoever waits for news sees that there is some."""

    # --- conclusions ------------------------------------------------------------------------------------

    @property
    def charger_id(self) -> str:
        return self.charger.charger_id

    @property
    def ended_at(self) -> datetime | None:
        """When it was seen to end; None while it has not been."""
        if self.told_end_at is not None:
            return self.told_end_at
        if self.record_at is not None:
            return self.record_at
        if self.session_ref is None and self.started_at is not None:
            gone = self.unplugged_at
            return gone if gone is not None and gone >= self.started_at else None
        return None

    @property
    def is_alive(self) -> bool:
        """It began, and has not been seen to end."""
        return self.started_at is not None and self.ended_at is None and not self.given_up

    @property
    def may_come_alive(self) -> bool:
        """Something was sent that may still have an effect."""
        was_sent = self.sent_at is not None and (self.rejected is None or self.uncertain)
        return was_sent and self.started_at is None and self.ended_at is None and not self.given_up

    @property
    def is_over(self) -> bool:
        """Nothing more is to be done: it ended, or nobody will ever prove it."""
        return self.ended_at is not None or self.given_up

    @property
    def is_out_of_contact(self) -> bool:
        return self.lost_at is not None and (self.heard_at is None or self.heard_at < self.lost_at)

    @property
    def state(self) -> SessionState:
        if self.ended_at is not None:
            return SessionState.ENDED
        if self.given_up:
            return SessionState.UNKNOWN
        if self.started_at is None:
            return self._state_before_life()
        if not self.wanted:
            return SessionState.STOPPING
        if self.is_out_of_contact:
            return SessionState.OUT_OF_CONTACT
        return self.turned_to

    def _state_before_life(self) -> SessionState:
        if self.accepted_at is not None or self.uncertain:
            return SessionState.ACCEPTED
        if self.rejected is not None:
            return SessionState.NEVER_BEGAN
        return SessionState.SENT if self.sent_at is not None else SessionState.INTENDED

    @property
    def suspended_at(self) -> datetime | None:
        """Since when the vehicle takes nothing; None while it does, or the charger is who pauses."""
        return self.turned_at if self.turned_to is SessionState.SUSPENDED_BY_VEHICLE else None

    @property
    def paused_at(self) -> datetime | None:
        """Since when the charger holds back (load management)."""
        return self.turned_at if self.turned_to is SessionState.SUSPENDED_BY_CHARGER else None

    @property
    def metered_kwh(self) -> float:
        """What the charger's register or the partner's session shows: the final figure, if there is one."""
        return self.final_kwh if self.final_kwh is not None else self.seen_kwh

    @property
    def energy_kwh(self) -> float:
        """What is booked. The charge record wins over the meter (it is what is billed), unless it says more
        than the connector could have delivered; then the meter stands."""
        if self.record_kwh is not None and self.record_is_possible:
            return round(self.record_kwh, 4)
        return round(self.metered_kwh, 4)

    @property
    def record_is_possible(self) -> bool:
        """Not more than the connector could have delivered, unless the meter shows as much, too."""
        if self.record_kwh is None or not self.record_differs:
            return True
        return self.record_kwh <= self._most_kwh(latest(self.told_end_at, self.record_at))

    @property
    def record_differs(self) -> bool:
        """Record and meter are further apart than rounding and losses explain."""
        if self.record_kwh is None or (self.final_kwh is None and self.seen_kwh <= 0):
            return False
        slack = max(_RECORD_SLACK_KWH, self.metered_kwh * _RECORD_SLACK)
        return abs(self.record_kwh - self.metered_kwh) > slack

    def _most_kwh(self, until: datetime | None) -> float:
        hours = seconds_between(self.started_at or self.opened_at, until) / 3600
        return self.charger.power_kw * hours * _POWER_SLACK + _ENERGY_SLACK_KWH

    @property
    def is_measured(self) -> bool:
        """The vehicle's charge was told since the session began."""
        return self.soc_at is not None and self.started_at is not None and self.soc_at >= self.started_at

    @property
    def unmeasured_kwh(self) -> float:
        """What has flowed since the charge was measured (all of it, where it was not)."""
        return max(0.0, self.energy_kwh - (self.soc_kwh if self.is_measured else 0.0))

    @property
    def flowed(self) -> bool:
        return self.energy_since is not None or self.energy_kwh > 0

    @property
    def idle_s(self) -> float:
        """Plugged in after the vehicle was done, until the end."""
        return seconds_between(self.suspended_at, self.ended_at)

    @property
    def occupied_s(self) -> float:
        return seconds_between(self.started_at, self.ended_at or self.heard_at)

    @property
    def vendor_code(self) -> str:
        return self.fault_vendor_code or self.refused_vendor_code or self.end_vendor_code

    # --- what happens to it -----------------------------------------------------------------------------

    def take_reply(self, reply: CommandReply, now: datetime) -> None:
        """The answer to the start command. Only a clean no, or a command that never left, rules a session
        out; even then evidence wins."""
        if reply.outcome is CommandOutcome.ACCEPTED:
            self.accepted_at = now
        elif reply.outcome is CommandOutcome.UNCERTAIN:
            self.uncertain = True
            self.refused_vendor_code = self.refused_vendor_code or reply.vendor_code
        else:
            self.rejected = reply.reason or ReasonCode.START_REJECTED
            self.refused_vendor_code = self.refused_vendor_code or reply.vendor_code
        self.session_ref = self.session_ref or reply.session_ref
        self.detail = self.detail or reply.detail

    def leave(self, reason: ReasonCode | None, now: datetime, *, adoptable: bool = False) -> None:
        """No longer wanted. Its keeper ends it as soon as it lives, and goes on until it is over."""
        if self.wanted and self.left_at is None:
            self.left_at, self.left_alive = now, self.started_at is not None
        self.wanted = False
        self.adopting = False
        self.adoptable = self.adoptable and adoptable
        self.left_because = self.left_because or reason

    def take_again(self) -> None:
        """Adopted: wanted again, and what made us give it up is forgotten."""
        self.wanted, self.adopting, self.left_at = True, False, None
        self.left_because = self.fault = self.refused = self.rejected = None
        self.fault_at = self.refused_at = None

    def give_up(self) -> None:
        self.given_up = True

    def release(self, by: str, energy_kwh: float | None, at: datetime) -> None:
        """A person has seen that it ended."""
        self.released_by = by
        self.told_end_at = self.told_end_at or at
        if energy_kwh is not None:
            self.final_kwh = energy_kwh
        self.end_reason = self.end_reason or ReasonCode.STOP_END_UNKNOWN

    # --- evidence ---------------------------------------------------------------------------------------

    def take(self, evidence: Evidence) -> None:
        """Fold one piece of evidence. Never raises: what does not fit changes nothing."""
        kind, at = evidence.kind, evidence.observed_at
        self.revision += 1
        source = str(evidence.source)
        if source not in self.sources:
            self.sources = sorted([*self.sources, source])
        self._take_reference(evidence)
        if evidence.soc_percent is not None and (self.soc_at is None or at >= self.soc_at):
            self.soc_percent, self.soc_at = evidence.soc_percent, at
            self.soc_kwh = self.seen_kwh if evidence.energy_kwh is None else evidence.energy_kwh
        draws = _vehicle_draws(evidence)
        if _proves_a_start(evidence) or draws:
            self.started_at = earliest(self.started_at, at)
        self._take_contact(evidence)
        self._take_turn(evidence, draws)
        self._take_energy(evidence)
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

    def _take_contact(self, evidence: Evidence) -> None:
        if evidence.kind is EvidenceKind.STATION_OFFLINE:
            self.lost_at = latest(self.lost_at, evidence.observed_at)
        elif evidence.kind is EvidenceKind.SESSION_SILENT:
            self.heard_at = latest(self.heard_at, evidence.heard_at)
        elif evidence.source in (EvidenceSource.OCPP, EvidenceSource.OCPI):
            self.heard_at = latest(self.heard_at, evidence.observed_at)

    def _take_turn(self, evidence: Evidence, draws: bool) -> None:
        """Flowing or suspended: the newest turn counts; of two at one instant, the one that flows."""
        kind, at = evidence.kind, evidence.observed_at
        flows = (kind in _FLOWS and _proves_a_start(evidence)) or draws
        if not flows and kind not in _SUSPENDED:
            return
        if flows:
            self.energy_since = earliest(self.energy_since, at)
        known = self.turned_at
        if known is None or at > known or (at == known and flows):
            self.turned_at = at
            self.turned_to = SessionState.ALIVE if flows else _SUSPENDED[kind]

    def _take_energy(self, evidence: Evidence) -> None:
        if evidence.kind is EvidenceKind.CHARGE_RECORD or evidence.energy_kwh is None:
            return
        if evidence.energy_kwh > self.seen_kwh:
            self.seen_kwh = evidence.energy_kwh
            self.seen_kwh_at = evidence.observed_at

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
