"""What a stop needs: energy from the measured state of charge, or from what is expected at arrival."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from models.charger import Charger
from models.decision import Candidate
from models.money import Money
from models.place import Place
from models.policy import Policy
from models.stop import StopRequest
from models.vehicle import VehicleState
from stops.base import State
from stops.session import Session

_ENOUGH_PERCENT = 0.5
_SAME_PLACE_M = 100.0


class VehicleNow(State):
    """The vehicle of the stop as it is known now. Its charge is the last measured one (`measured_at` None:
    the request's), less what it has driven, and with what its sessions have delivered since."""

    state: VehicleState
    measured_at: datetime | None = None
    base_percent: float | None = None
    """Without what has flowed since; None: the state's own, nothing has changed it."""
    kwh_then: dict[str, float] = {}
    """By attempt, what had flowed when it was measured."""

    def measure(self, soc_percent: float, at: datetime, sessions: Sequence[Session]) -> None:
        """A measured state of charge; an older one changes nothing."""
        if self.measured_at is None or at >= self.measured_at:
            self.measured_at, self.base_percent = at, soc_percent
            self.kwh_then = {session.attempt_id: session.energy_kwh for session in sessions}

    def weigh(self, sessions: Sequence[Session]) -> None:
        """Its charge now, by all of its sessions: a figure may be told long after its attempt was over."""
        if self.base_percent is None:
            self.base_percent = self.state.soc_percent
        battery, soc = self.state.battery_usable_kwh, self.base_percent
        if battery:
            soc += sum(self._gained_kwh(session) for session in sessions) / battery * 100
        self.state = self.state.model_copy(update={"soc_percent": max(0.0, min(100.0, soc))})

    def _gained_kwh(self, session: Session) -> float:
        ended, measured = session.ended_at, self.measured_at
        if not session.has_our_vehicle or (ended and measured and ended <= measured):
            return 0.0
        return max(0.0, session.energy_kwh - self.kwh_then.get(session.attempt_id, 0.0))

    def drove(self, percent: float) -> None:
        """It has taken so much to come here."""
        if self.base_percent is None:
            self.base_percent = self.state.soc_percent
        self.base_percent -= percent
        soc = max(0.0, self.state.soc_percent - percent)
        self.state = self.state.model_copy(update={"soc_percent": soc})

    def is_at(self, candidate: Candidate) -> bool:
        return candidate.charger.place.distance_m(self.state.position) < _SAME_PLACE_M

    def is_on_the_way(self, candidate: Candidate, distance_km: float) -> None:
        """So far from a charger, as the crow flies: somewhere on the line from where it was last known."""
        goal, was = candidate.charger.place, self.state.position
        whole_km = goal.distance_m(was) / 1000
        if whole_km <= 0:
            return
        share = min(1.0, distance_km / whole_km)
        place = Place(
            latitude=goal.latitude + (was.latitude - goal.latitude) * share,
            longitude=goal.longitude + (was.longitude - goal.longitude) * share,
        )
        self.state = self.state.model_copy(update={"position": place})

    def stands_at(self, candidate: Candidate) -> None:
        """It is at this charger now."""
        self.state = self.state.model_copy(update={"position": candidate.charger.place})


def needed_kwh(vehicle: VehicleNow, target_soc_percent: float, soc_percent: float) -> float:
    """Energy from a state of charge to the target, in the battery's usable kWh. Never negative."""
    gap_percent = max(0.0, target_soc_percent - soc_percent)
    return gap_percent / 100 * (vehicle.state.battery_usable_kwh or 0.0)


def nothing_needed(request: StopRequest, soc_percent: float) -> bool:
    """The vehicle has what it came for."""
    return soc_percent >= request.target_soc_percent - _ENOUGH_PERCENT


def will_not_make_it(vehicle: VehicleNow, distance_km: float, road_factor: float) -> bool:
    """Whether what is in the battery falls short of the way left (beeline times road factor), without any
    reserve: the plan's reserve is what this eats into first."""
    battery, consumption = vehicle.state.battery_usable_kwh, vehicle.state.consumption_kwh_per_100_km
    if not battery or not consumption:
        return False
    way_kwh = distance_km * road_factor / 100 * consumption
    return vehicle.state.soc_percent / 100 * battery < way_kwh


def by_hand(charger: Charger, vehicle: VehicleNow, request: StopRequest, policy: Policy) -> Candidate:
    """A charger that a person names while no planner answers: figures by rule of thumb, judged by nobody."""
    distance_km = vehicle.state.position.distance_m(charger.place) / 1000 * policy.road_factor
    drive_s = distance_km / policy.average_speed_kmh * 3600
    needed = needed_kwh(vehicle, request.target_soc_percent, vehicle.state.soc_percent)
    charge_s = needed / charger.power_kw * 3600
    price = charger.tariff.energy_per_kwh if charger.tariff else Decimal(0)
    cost = Money(
        amount=(price * Decimal(str(round(needed, 3)))).quantize(Decimal("0.01")),
        currency=charger.tariff.currency if charger.tariff else policy.currency,
    )
    return Candidate(
        charger=charger,
        rank=1,
        detour_s=drive_s,
        distance_km=distance_km,
        drive_s=drive_s,
        wait_s=0.0,
        charge_s=charge_s,
        energy_kwh=needed,
        arrival_soc_percent=vehicle.state.soc_percent,
        start_probability=0.5,
        cost=cost,
        generalized_cost=cost.amount,
        failure_term=Decimal(0),
        eta_impact_s=drive_s,
    )
