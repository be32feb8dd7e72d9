"""A session's life: what evidence about one attempt adds up to, from the intent to the proven end.

Every conclusion is drawn from the instants of facts (stops/told.py): the same evidence in any order gives the
same session.

Nothing is called ended that has not been seen to end. What proves an end: charger or partner says so, a
charge record comes (there is one only for a session that is over), or, where the vehicle alone speaks for
the session, it is unplugged. A command that was accepted, a timer that ran out and silence prove nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from models.charger import Charger
from models.commands import CommandOutcome, CommandReply
from models.evidence import EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import SessionState
from stops.base import latest, seconds_between
from stops.told import Told

_POWER_SLACK, _ENERGY_SLACK_KWH = 1.15, 0.5
_CLOCKS_AGREE = timedelta(minutes=5)
_RECORD_SLACK, _RECORD_SLACK_KWH = 0.05, 0.5


class Session(Told):
    """One attempt's session. Energies in kWh, instants in UTC."""

    attempt_id: str
    number: int
    charger: Charger
    opened_at: datetime
    battery_kwh: float | None = None

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
    left_at: datetime | None = None
    left_alive: bool = False
    """It lived when the stop left it; otherwise it came alive after it was given up."""
    left_because: ReasonCode | None = None
    """Why we ended it; None while the other side is the one that ends it."""
    given_up: Annotated[bool, Field(description="Unknown: nobody proved an end in time.")] = False
    released_by: str = ""

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
        lost, heard = self.lost_since, self.ours(self.heard_at, self.heard.last)
        if lost is None or self.lost_at is None or heard is None or self.heard_at is None:
            return lost is not None
        # What reached us in one moment, from a clock that is ahead: then the order in which it was told.
        return (heard, self.heard_at) < (lost, self.lost_at)

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
        """What the charger's register or the partner's session shows: the final figure, if there is one. A
        register does not fall: an end that tells clearly less than was read before it (partners tell energy
        with the record only) unmakes nothing, unless no charger could have given so much."""
        if self.final_kwh is None:
            return self.seen_kwh
        read = self.last_kwh or 0.0
        slack = max(_RECORD_SLACK_KWH, read * _RECORD_SLACK)
        credible = read <= self.charger.power_kw * _POWER_SLACK * max(1.0, self.occupied_s / 3600)
        return read if credible and read > self.final_kwh + slack else self.final_kwh

    @property
    def energy_kwh(self) -> float:
        """What is booked. The charge record wins over the meter (it is what is billed), unless it says more
        than the connector could have delivered; then the meter stands."""
        if self.record_kwh is not None and self.record_is_possible:
            return round(self.record_kwh, 4)
        return round(self._by_charge_kwh if self.is_estimated else self.metered_kwh, 4)

    @property
    def is_estimated(self) -> bool:
        """Nothing meters it: by badge, say, where the vehicle alone speaks. What its charge has risen by, is
        booked."""
        told = self.seen_kwh_at or self.final_kwh_at or self.record_kwh_at or self.session_ref
        chargers = {EvidenceSource.OCPP, EvidenceSource.OCPI} & set(self.sources)
        return told is None and not chargers and self.final_kwh is None and self._by_charge_kwh > 0

    @property
    def _by_charge_kwh(self) -> float:
        if self.soc_percent is None or self.first_soc_percent is None or self.started_at is None:
            return 0.0
        return max(0.0, self.soc_percent - self.first_soc_percent) / 100 * (self.battery_kwh or 0.0)

    @property
    def record_is_possible(self) -> bool:
        """Not more than the connector could have delivered, unless the meter shows as much, too."""
        if self.record_kwh is None or not self.record_differs:
            return True
        return self.record_kwh <= self._most_kwh(self.told_end_at or self.record_at)

    @property
    def record_differs(self) -> bool:
        """Record and meter are further apart than rounding and losses explain."""
        if self.record_kwh is None or (self.final_kwh is None and self.seen_kwh <= 0):
            return False
        slack = max(_RECORD_SLACK_KWH, self.metered_kwh * _RECORD_SLACK)
        return abs(self.record_kwh - self.metered_kwh) > slack

    @property
    def delivered_kwh(self) -> float:
        """What the vehicle has, as far as anybody showed: a record may bill less, or nothing at all."""
        return max(self.energy_kwh, round(self.metered_kwh, 4))

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
        if self.is_estimated:
            return 0.0
        return max(0.0, self.delivered_kwh - (self.soc_kwh if self.is_measured else 0.0))

    @property
    def has_our_vehicle(self) -> bool:
        """What it delivers goes into the vehicle of the stop; a start that came alive after it was given up
        may charge anybody's."""
        return self.wanted or self.left_alive

    @property
    def flowed(self) -> bool:
        return self.energy_since is not None or self.delivered_kwh > 0

    @property
    def idle_s(self) -> float:
        """Plugged in after the vehicle was done, until the end; by the charge record, where it bills them."""
        if self.record_idle_s is not None:
            return self.record_idle_s
        return seconds_between(self.suspended_since, self._over_since)

    @property
    def occupied_s(self) -> float:
        return seconds_between(self.began_at, self._over_since or self.ours(self.heard_at, self.heard.last))

    @property
    def vendor_code(self) -> str:
        return self.fault_vendor_code or self.refused_vendor_code or self.end_vendor_code

    @property
    def detail(self) -> str:
        return self.fault_detail or self.refused_detail or self.end_detail

    # --- by our own clock -------------------------------------------------------------------------------

    @property
    def began_at(self) -> datetime | None:
        """Not before it was sent, and not after we heard of it, whatever its teller's clock says."""
        if self.started_at is None:
            return None
        began_at = max(self.started_at, self.sent_at or self.opened_at)
        return min(began_at, self.heard.started) if self.heard.started else began_at

    @property
    def suspended_since(self) -> datetime | None:
        return self.ours(self.suspended_at, self.heard.turned)

    @property
    def paused_since(self) -> datetime | None:
        return self.ours(self.paused_at, self.heard.turned)

    @property
    def lost_since(self) -> datetime | None:
        return self.ours(self.lost_at, self.heard.lost)

    @property
    def progressed_at(self) -> datetime | None:
        energy = self.ours(self.seen_kwh_at, self.heard.progressed)
        return latest(energy, self.ours(self.turned_at, self.heard.turned))

    @property
    def _over_since(self) -> datetime | None:
        return self.ours(self.ended_at, self.heard.ended)

    def ours(self, told_at: datetime | None, heard_at: datetime | None) -> datetime | None:
        """A told instant by our clock: as far from the beginning as its teller says, never after we heard it.
        Where that lies well before the beginning, the teller's clock is not the one that told the start:
        what is known is when we heard it."""
        began_at, started_at = self.began_at, self.started_at
        if told_at is None:
            return None
        at = told_at
        if began_at is not None and started_at is not None:
            at += began_at - started_at
            if heard_at is not None and at < began_at - _CLOCKS_AGREE:
                at = heard_at
            at = max(at, began_at)
        return min(at, heard_at) if heard_at is not None else at

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
        self.refused_detail = self.refused_detail or reply.detail

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
        self.fault_vendor_code = self.refused_vendor_code = self.fault_detail = self.refused_detail = ""

    def release(self, by: str, energy_kwh: float | None, at: datetime) -> None:
        """A person has seen that it ended."""
        self.revision += 1
        self.heard.ended = latest(self.heard.ended, at)
        self.released_by = by
        self.released_at, self.released_kwh = at, energy_kwh
        self.told_end_at = self.told_end_at or at
        if energy_kwh is not None:
            self.final_kwh = energy_kwh
        self.end_reason = self.end_reason or ReasonCode.STOP_END_UNKNOWN
