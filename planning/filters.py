"""Hard filters: what no wish can outweigh. Each rejection says the rule, what was seen, and the limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from models.charger import Charger, ConnectorStatus, Protocol
from models.decision import PlanRequest, Rejection, RejectionRule
from models.money import Money
from planning.figures import VehicleFigures
from planning.networks import demanded_networks, network_rank
from planning.power import charge_time_s
from planning.price import price_session, tariff_of
from planning.probability import StartChances
from planning.status import fresh_status
from planning.travel import Leg, Travel
from planning.waiting import expected_wait_s

START_BY_HAND_S = 180
"""Extra time where nobody can start remotely: the driver uses a card or the operator's app."""

_DEAD = frozenset({ConnectorStatus.FAULTED, ConnectorStatus.OFFLINE})
_NOWHERE = Leg(metres=0, seconds=0)


@dataclass(frozen=True, slots=True)
class Passed:
    """A charger that passed every filter, with the figures that ranking needs."""

    charger: Charger
    there: Leg
    onward: Leg
    detour_m: int
    detour_s: int
    arrival_wh: int
    energy_wh: int
    wait_s: int
    charge_s: int
    chance_ppm: int
    cost: Money
    network_rank: int

    @property
    def handling_s(self) -> int:
        return START_BY_HAND_S if self.charger.protocol is Protocol.NONE else 0

    @property
    def ready_s(self) -> int:
        """From now until charged."""
        return self.there.seconds + self.wait_s + self.handling_s + self.charge_s


class Filters:
    """The filters of one planning call, in the order of `RejectionRule`: cheap and physical ones first, so
    that policy is only ever blamed for a charger that the vehicle could really have used."""

    def __init__(
        self,
        request: PlanRequest,
        figures: VehicleFigures,
        travel: Travel,
        chances: StartChances,
        occupancy: Mapping[str, int],
    ) -> None:
        self._request = request
        self._policy = request.policy
        self._figures = figures
        self._travel = travel
        self._chances = chances
        self._occupancy = occupancy
        self._excluded_chargers = frozenset(request.excluded_charger_ids)
        self._excluded_sites = frozenset(request.excluded_site_ids)
        self._reserve_wh = round(figures.battery_wh * request.policy.reserve_soc_percent / 100)
        start, end = request.vehicle.position, request.destination
        self._direct = travel.leg(start, end) if end else _NOWHERE

    def examine(self, charger: Charger) -> Passed | Rejection:
        """The verdict on one charger: its figures, or the first rule that it breaks."""
        there = self._travel.leg(self._request.vehicle.position, charger.place)
        unusable = self._unusable(charger, there)
        if unusable:
            return unusable
        onward, detour = self._detour(charger, there)
        chance_ppm = self._chances.of(charger)
        forbidden = self._forbidden(charger, detour, chance_ppm)
        if forbidden:
            return forbidden
        figures = self._figures
        arrival_wh = max(0, figures.charge_wh - figures.used_wh(there.metres))
        charge_s = charge_time_s(figures, charger.standard, charger.power_kw, arrival_wh, figures.target_wh)
        energy_wh = max(0, figures.target_wh - arrival_wh)
        tariff = tariff_of(charger, self._policy.currency)
        cost = price_session(tariff, Decimal(energy_wh) / 1000, charge_s)
        if self._too_dear(cost):
            ceiling = "none" if self._policy.cost_ceiling is None else str(self._policy.cost_ceiling)
            limit = f"{ceiling} {self._policy.currency}"
            return _rejected(charger, RejectionRule.COST_ABOVE_CEILING, str(cost), limit)
        ahead = self._occupancy.get(charger.charger_id, 0)
        return Passed(
            charger=charger,
            there=there,
            onward=onward,
            detour_m=detour.metres,
            detour_s=detour.seconds,
            arrival_wh=arrival_wh,
            energy_wh=energy_wh,
            wait_s=expected_wait_s(charger, self._request.now, there.seconds, ahead),
            charge_s=charge_s,
            chance_ppm=chance_ppm,
            cost=cost,
            network_rank=network_rank(self._policy, charger, self._request.contract),
        )

    def _unusable(self, charger: Charger, there: Leg) -> Rejection | None:
        """Not for this vehicle in this stop, whatever the policy says."""
        if not charger.plannable:
            return _rejected(charger, RejectionRule.NOT_PLANNABLE, "not plannable", "plannable")
        if charger.charger_id in self._excluded_chargers:
            return _rejected(charger, RejectionRule.EXCLUDED, charger.charger_id, "not excluded")
        if charger.site_id in self._excluded_sites:
            return _rejected(charger, RejectionRule.EXCLUDED, f"site {charger.site_id}", "not excluded")
        figures = self._figures
        if figures.takes_w(charger.standard) <= 0:
            usable = sorted(
                standard.value for standard in figures.connectors if figures.takes_w(standard) > 0
            )
            return _rejected(
                charger,
                RejectionRule.INCOMPATIBLE_CONNECTOR,
                charger.standard.value,
                " ".join(usable) or "none",
            )
        status = fresh_status(charger, self._request.now)
        if status in _DEAD:
            return _rejected(charger, RejectionRule.OUT_OF_ORDER, status.value, "in order")
        left_wh = figures.charge_wh - figures.used_p90_wh(there.metres)
        if left_wh < self._reserve_wh:
            return _rejected(
                charger,
                RejectionRule.UNREACHABLE,
                f"{figures.soc_percent(left_wh):.1f} % on arrival (P90, {there.metres / 1000:.1f} km)",
                f"{self._policy.reserve_soc_percent:.1f} %",
            )
        return None

    def _forbidden(self, charger: Charger, detour: Leg, chance_ppm: int) -> Rejection | None:
        """Usable, but against the policy."""
        policy = self._policy
        demanded = demanded_networks(policy, charger, self._request.contract)
        if demanded is not None and charger.network not in demanded:
            allowed = ", ".join(demanded) or "none"
            return _rejected(charger, RejectionRule.NETWORK_NOT_ALLOWED, charger.network, allowed)
        if charger.power_kw < policy.min_power_kw:
            return _rejected(
                charger,
                RejectionRule.POWER_TOO_LOW,
                f"{charger.power_kw:g} kW",
                f"{policy.min_power_kw:g} kW",
            )
        if detour.seconds > policy.max_detour_s or detour.metres > policy.max_detour_km * 1000:
            return _rejected(
                charger,
                RejectionRule.DETOUR_TOO_LONG,
                f"{detour.seconds / 60:.1f} min, {detour.metres / 1000:.1f} km",
                f"{policy.max_detour_s / 60:.1f} min, {policy.max_detour_km:.1f} km",
            )
        if chance_ppm < policy.min_confidence * 1_000_000:
            return _rejected(
                charger,
                RejectionRule.CONFIDENCE_TOO_LOW,
                f"{chance_ppm / 1_000_000:.3f}",
                f"{policy.min_confidence:.3f}",
            )
        return None

    def _detour(self, charger: Charger, there: Leg) -> tuple[Leg, Leg]:
        """The drive on from the charger, and what the stop adds to the direct drive. Without a destination
        the drive to the charger is all we know of."""
        destination = self._request.destination
        if destination is None:
            return _NOWHERE, there
        onward = self._travel.leg(charger.place, destination)
        return onward, Leg(
            metres=max(0, there.metres + onward.metres - self._direct.metres),
            seconds=max(0, there.seconds + onward.seconds - self._direct.seconds),
        )

    def _too_dear(self, cost: Money) -> bool:
        # Another currency cannot be shown to be under the ceiling, nor ranked: we never convert silently.
        if cost.currency != self._policy.currency:
            return True
        ceiling = self._policy.cost_ceiling
        return ceiling is not None and cost.amount > ceiling


def _rejected(charger: Charger, rule: RejectionRule, observed: str, limit: str) -> Rejection:
    return Rejection(charger_id=charger.charger_id, rule=rule, observed=observed, limit=limit)
