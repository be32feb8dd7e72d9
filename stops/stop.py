"""One charging stop: its plan, its sessions, its log, and how it ended. Pure state; each part has one owner.

The stop changes through the verbs below; who orchestrates it (workflows/) decides when, and gives the time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.commands import CommandKind
from models.decision import Candidate, Decision
from models.evidence import Evidence
from models.ids import attempt_id_for, stop_id_for
from models.policy import Policy
from models.reason_catalogue import entry
from models.reason_codes import NextStep, ReasonCode
from models.stop import Attempt, ChargingStopInput, StopOutcome, StopPhase, StopRequest, StopResult
from stops.base import State
from stops.inbox import Inbox, Wishes
from stops.judge import Need
from stops.ledger import Booking
from stops.log import StopLog
from stops.need import VehicleNow, needed_kwh
from stops.presence import Heading, Presence
from stops.session import Session

_MOST_OVER_NEED = 1.25
"""Losses between meter and battery, and what the vehicle consumes while it charges."""
_ATTEMPTS_AHEAD, _KEPT_EARLY = 20, 200
_SENT_BEFORE = 5


class Plan(State):
    """Where the stop is going, and what is ruled out."""

    candidate: Candidate | None = None
    decision: Decision | None = None
    planned_at: datetime | None = None
    asked_soc_percent: float | None = None
    """The vehicle's charge when the planner was last asked."""
    way_percent: float = 0.0
    """What the way to the planned charger takes of its battery; 0 once it is booked."""
    heading: Heading | None = None
    arrive_by: datetime | None = None
    lost: ReasonCode | None = None
    """Bad news about the planned charger while the vehicle is on its way to it."""
    lost_vendor_code: str = ""
    lost_at: datetime | None = None
    healed_at: dict[ReasonCode, datetime] = {}
    """The newest word that the planned charger is well, by what it heals: older bad news is history."""
    way_at: datetime | None = None
    """The newest word of the way left to the planned charger."""
    before: list[Candidate] = []
    """Where the vehicle was sent earlier: it may stand there all the same."""
    excluded_chargers: list[str] = []
    excluded_sites: list[str] = []
    failed_sites: list[str] = []
    moves: int = 0
    """How often the stop has turned to another charger."""

    @property
    def charger_id(self) -> str | None:
        return self.candidate.charger.charger_id if self.candidate else None

    @property
    def offers(self) -> tuple[Candidate, ...]:
        return self.decision.candidates if self.decision else ()

    def sent_to(self, charger_id: str) -> Candidate | None:
        """The charger, if it is offered now, or was planned earlier."""
        earlier = next((c for c in reversed(self.before) if c.charger.charger_id == charger_id), None)
        return self.offered(charger_id) or earlier

    def lose(self, reason: ReasonCode, vendor_code: str, at: datetime) -> None:
        """Bad news of the planned charger, unless it was told to be well since."""
        if self.healed_at.get(reason, at) > at:
            return
        self.lost, self.lost_vendor_code, self.lost_at = reason, vendor_code, at

    def heal(self, reasons: tuple[ReasonCode, ...], at: datetime) -> None:
        """Good news of it: what is older and healed by it is gone."""
        for reason in reasons:
            self.healed_at[reason] = max(at, self.healed_at.get(reason, at))
        if self.lost in reasons and self.lost_at is not None and self.lost_at <= at:
            self.lost, self.lost_vendor_code, self.lost_at = None, "", None

    def offered(self, charger_id: str) -> Candidate | None:
        if self.candidate is not None and self.charger_id == charger_id:
            return self.candidate
        return next((c for c in self.offers if c.charger.charger_id == charger_id), None)


class Waiting(State):
    """What the stop waits for, until when, and whether a person must act."""

    what: str = ""
    until: datetime | None = None
    human_until: datetime | None = None
    approval_until: datetime | None = None


class Stop(State):
    """Everything a stop knows. Each of its lists is bounded: it goes into the next run's order."""

    order: ChargingStopInput
    run_id: str
    continued_from_run_id: str = ""
    former_run_ids: tuple[str, ...] = ()
    created_at: datetime
    policy: Policy = Policy()
    policy_version: str = ""
    vehicle: VehicleNow
    phase: StopPhase = StopPhase.PLANNING
    reason: ReasonCode | None = None
    """The reason of now: gone once the stop has recovered from it."""
    reason_at: str | None = None
    """The charger that the reason of now is about: the stop may be on its way to another."""
    next_step: NextStep | None = None
    log: StopLog
    plan: Plan = Plan()
    waiting: Waiting = Waiting()
    presence: Presence = Presence()
    inbox: Inbox = Inbox()
    wishes: Wishes = Wishes()
    sessions: list[Session] = []
    bookings: dict[str, Booking] = {}
    command_numbers: dict[str, int] = {}
    opened: bool = False
    late: list[Evidence] = []
    """Heard after the result was fixed: it goes to the keepers of its sessions."""
    early: list[Evidence] = []
    """About attempts that are yet to be made: the stop was set back to before them."""
    is_ending: bool = False
    """What has been reached ends the stop: nothing that is said can change its outcome any more."""
    is_closing: bool = False
    """The result is being fixed: what is heard from now on is late."""
    unreadable: str = ""
    """Why no stop can be made of the order; empty for every real stop."""
    result: StopResult | None = None

    @classmethod
    def ordered(cls, order: ChargingStopInput, run_id: str, now: datetime) -> Stop:
        stop_id = stop_id_for(order.tenant_id, order.request.business_key)
        return cls(
            order=order,
            run_id=run_id,
            created_at=now,
            vehicle=VehicleNow(state=order.request.vehicle),
            log=StopLog(stop_id=stop_id, updated_at=now),
        )

    # --- names ------------------------------------------------------------------------------------------

    @property
    def stop_id(self) -> str:
        return self.log.stop_id

    def carried(self) -> dict[str, Any]:
        """The order of the next run: all that is known, without what the store has of the log."""
        self.log.lighten()
        return {"carried": self.model_dump(mode="json")}

    @property
    def tenant_id(self) -> str:
        return self.order.tenant_id

    @property
    def request(self) -> StopRequest:
        return self.order.request

    @property
    def outcome(self) -> StopOutcome | None:
        return self.result.outcome if self.result else None

    # --- sessions ---------------------------------------------------------------------------------------

    def session(self, attempt_id: str) -> Session | None:
        return next((s for s in self.sessions if s.attempt_id == attempt_id), None)

    @property
    def current(self) -> Session | None:
        """The one session that is wanted; None between attempts."""
        return next((s for s in self.sessions if s.wanted), None)

    @property
    def under_way(self) -> Session | None:
        """The attempt that is not booked as over: wanted, or left a moment ago and yet to be judged."""
        return next((s for s in reversed(self.sessions) if not self.bookings[s.attempt_id].closed), None)

    def candidate_of(self, session: Session) -> Candidate:
        """Raises KeyError for a session that this stop did not intend."""
        candidate = self.bookings[session.attempt_id].candidate
        if candidate is None:
            raise KeyError(session.attempt_id)
        return candidate

    @property
    def alive(self) -> list[Session]:
        return [session for session in self.sessions if session.is_alive]

    @property
    def adopting(self) -> Session | None:
        return next((s for s in self.sessions if s.adopting and not s.is_over), None)

    @property
    def spoken_for_by_vehicle(self) -> Session | None:
        """The newest that lives by its vehicle's word alone: nobody else can tell its end."""
        return next((s for s in reversed(self.sessions) if s.is_alive and s.session_ref is None), None)

    def intend(self, candidate: Candidate, now: datetime) -> Session:
        """A new attempt at a charger: intended, nothing sent; unless it was made before (the stop was set
        back), and then it is what was told of it."""
        number = len(self.sessions) + 1
        session = Session(
            attempt_id=attempt_id_for(self.stop_id, number),
            number=number,
            charger=candidate.charger,
            opened_at=now,
            battery_kwh=self.vehicle.state.battery_usable_kwh,
        )
        self.sessions.append(session)
        self.bookings[session.attempt_id] = Booking(candidate=candidate)
        early, self.early = self.early, []
        for item in early:
            if item.attempt_id != session.attempt_id:
                self.early.append(item)
            elif item.charger_id in (None, session.charger_id):
                session.take(item, now)
        return session

    def keep_early(self, item: Evidence) -> None:
        """Keep what is about an attempt to come; anything else is about nothing of ours."""
        number = len(self.sessions) + 1
        ahead = range(number, number + _ATTEMPTS_AHEAD)
        if item.attempt_id and any(item.attempt_id == attempt_id_for(self.stop_id, one) for one in ahead):
            self.early = [*self.early, item][-_KEPT_EARLY:]

    def next_command_id(self, session: Session, kind: CommandKind) -> str:
        """A start has one id per attempt, whatever happens. A stop may be repeated: it does no harm."""
        if kind is CommandKind.START:
            return f"{session.attempt_id}:{kind}"
        key = f"{session.attempt_id}:{kind}"
        self.command_numbers[key] = self.command_numbers.get(key, 0) + 1
        return f"{key}:{self.command_numbers[key]}"

    def energy_kwh(self) -> float:
        return round(sum(session.energy_kwh for session in self.sessions), 4)

    def need_of(self, session: Session) -> Need:
        """What this session is to bring, counted from its own start."""
        booking = self.bookings[session.attempt_id]
        return Need(
            kwh=booking.needed_kwh,
            target_soc_percent=self.request.target_soc_percent,
            tolerance_percent=self.policy.target_tolerance_percent,
            battery_kwh=self.vehicle.state.battery_usable_kwh,
            most_kwh=booking.most_kwh,
        )

    def set_need(self, session: Session) -> float:
        """From the charge the vehicle has now, as it stands there. Returns kWh."""
        booking = self.bookings[session.attempt_id]
        self._book_way()
        self.vehicle.weigh(self.sessions)
        soc = self.vehicle.state.soc_percent
        booking.needed_kwh = needed_kwh(self.vehicle, self.request.target_soc_percent, soc)
        booking.most_kwh = booking.needed_kwh * _MOST_OVER_NEED
        return booking.needed_kwh

    # --- attempts as others see them ----------------------------------------------------------------------

    def attempt(self, session: Session) -> Attempt:
        return self.bookings[session.attempt_id].attempt(session)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(self.attempt(session) for session in self.sessions)

    # --- the log ----------------------------------------------------------------------------------------

    def note(
        self,
        type_: str,
        text: str,
        now: datetime,
        *,
        phase: StopPhase | None = None,
        reason: ReasonCode | None = None,
        next_step: NextStep | None = None,
        vendor_code: str = "",
        charger_id: str | None = None,
        passing: bool = False,
        **data: Any,
    ) -> None:
        """Log one transition. Its reason becomes the reason of now, unless it is only `passing`."""
        if phase is not None:
            self.phase = phase
        if reason is not None and not passing:
            if reason is not self.reason or charger_id is not None:
                self.reason_at = charger_id or self.plan.charger_id
            self.reason, self.next_step = reason, next_step or entry(reason).next_step
        self.log.add(
            type_,
            text,
            now,
            self.phase,
            attempt_number=self.sessions[-1].number if self.sessions else None,
            charger_id=charger_id or self.plan.charger_id,
            reason=reason,
            vendor_code=vendor_code,
            next_step=next_step,
            eta_impact_s=self.plan.candidate.eta_impact_s if self.plan.candidate else None,
            data={key: value for key, value in data.items() if value is not None},
        )

    def recovered(self) -> None:
        """What was wrong is behind: reason and advice of the past are not those of now."""
        self.reason = self.reason_at = self.next_step = None

    # --- the plan ---------------------------------------------------------------------------------------

    def keep_decision(self, decision: Decision) -> None:
        self.plan.decision = decision
        self.log.decisions.append(decision)

    def go_for(self, candidate: Candidate, now: datetime) -> None:
        """Turn to a charger: evidence and words about the one before are not about this one."""
        self._book_way()
        self.plan.way_percent = self._way_to(candidate)
        before = [c for c in (*self.plan.before, self.plan.candidate) if c is not None and c != candidate]
        self.plan.before = before[-_SENT_BEFORE:]
        self.plan.candidate, self.plan.planned_at = candidate, now
        self.plan.lost, self.plan.lost_vendor_code, self.plan.lost_at = None, "", None
        self.plan.healed_at, self.plan.way_at = {}, None
        self.plan.heading, self.plan.arrive_by = None, None
        self.plan.moves += 1
        self.phase = StopPhase.PLANNING

    def _way_to(self, candidate: Candidate) -> float:
        """Percent, as the plan expects it; nothing where the vehicle stands there (a ranking may be older
        than its way)."""
        asked = self.plan.asked_soc_percent
        if asked is None or self.vehicle.is_at(candidate):
            return 0.0
        return max(0.0, asked - candidate.arrival_soc_percent)

    def _book_way(self) -> None:
        """The way to the planned charger, where it is behind the vehicle, and no measured charge holds it."""
        plan, measured_at = self.plan, self.vehicle.measured_at
        if plan.candidate is None or not self.vehicle.is_at(plan.candidate):
            return
        if measured_at is None or plan.planned_at is None or measured_at < plan.planned_at:
            self.vehicle.drove(plan.way_percent)
        plan.way_percent = 0.0
