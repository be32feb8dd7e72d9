"""Ranking of the chargers that passed: generalized cost in money, one failure looked ahead.

A candidate's cost is its time, price and lateness if the start works, plus what a failed start would cost:
the lost attempt and the best of the fallbacks *from there, with the charge that is left*. Ranking without
that look-ahead costs more failed starts and more money (benchmarks/ranking.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from models.decision import PlanRequest, Profile
from planning.figures import VehicleFigures
from planning.filters import Passed
from planning.networks import UNRANKED
from planning.probability import after_failure
from planning.travel import Travel

FALLBACKS = 6
"""How many fallbacks are tried in thought; two failures in a row are priced as stranding (depth 2)."""
LOOKED_AHEAD = 50
"""How many candidates get a look-ahead; the rest cannot win and are dropped."""
PER_SITE = 2
"""Connectors of one site that are offered: siblings fail together, so more would only hide other sites."""
NETWORK_STEP_MICROS = 500_000
"""Price of one step down the list of preferred networks."""

_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Scored:
    """A charger with its place in the ranking. `total_micros` = `myopic_micros` + `failure_micros`."""

    passed: Passed
    myopic_micros: int
    failure_micros: int
    not_charged_ppm: int

    @property
    def charger_id(self) -> str:
        return self.passed.charger.charger_id

    @property
    def total_micros(self) -> int:
        return self.myopic_micros + self.failure_micros

    @property
    def at_destination_s(self) -> int:
        return self.passed.ready_s + self.passed.onward.seconds

    def risk(self) -> tuple[int, int]:
        """Chance of no charge in two attempts, to the tenth of a percent; then the chance of needing two."""
        return (self.not_charged_ppm // 1000, -self.passed.chance_ppm)

    def order(self) -> tuple[int, int, str]:
        """Ties: the liked network, then the id."""
        return (self.total_micros, self.passed.network_rank, self.charger_id)


class Ranking:
    """Scores of one planning call."""

    def __init__(self, request: PlanRequest, figures: VehicleFigures, travel: Travel) -> None:
        policy = request.policy
        self._figures = figures
        self._travel = travel
        self._micros_per_s = int(policy.value_of_time_per_hour * _PPM) / 3600
        self._attempt_micros = self._time(round(policy.failed_attempt_s))
        self._stranding_micros = int(policy.stranding_cost * _PPM)
        self._reserve_wh = round(figures.battery_wh * policy.reserve_soc_percent / 100)
        self._budget_s: int | None = None
        if request.latest_departure is not None:
            self._budget_s = round((request.latest_departure - request.now).total_seconds())

    def score(self, passed: Sequence[Passed], keep: str | None = None) -> list[Scored]:
        """The best `LOOKED_AHEAD` of them and the one to `keep` (asked for by name), best first. The order of
        `passed` does not matter."""
        if not passed:
            return []
        myopic = {p.charger.charger_id: self._myopic(p) for p in passed}
        cheapest = min(myopic.values())

        def rough(p: Passed) -> tuple[int, str]:
            lost = (_PPM - p.chance_ppm) * (self._attempt_micros + max(0, cheapest)) // _PPM
            return (myopic[p.charger.charger_id] + lost, p.charger.charger_id)

        ordered = sorted(passed, key=rough)
        pool = _fallbacks(ordered)
        shortlist = ordered[:LOOKED_AHEAD]
        shortlist += [p for p in ordered[LOOKED_AHEAD:] if p.charger.charger_id == keep]
        scored = [self._look_ahead(p, myopic[p.charger.charger_id], pool) for p in shortlist]
        return sorted(scored, key=Scored.order)

    def _myopic(self, p: Passed) -> int:
        """If the start works: detour, wait, charge, fees, network, lateness."""
        seconds = p.detour_s + p.wait_s + p.handling_s + p.charge_s
        return self._time(seconds) + self._aside(p) + self._lateness(p)

    def _look_ahead(self, p: Passed, myopic: int, pool: Sequence[Passed]) -> Scored:
        left_wh = self._figures.charge_wh - self._figures.used_p90_wh(p.there.metres)
        # Stranded, a vehicle still has to charge somehow: as here at best, and the stranding on top.
        stranded = self._stranding_micros + self._success(p)
        best = stranded
        best_chance = 0
        for other in pool:
            if other.charger.charger_id == p.charger.charger_id:
                continue
            leg = self._travel.leg(p.charger.place, other.charger.place)
            if left_wh - self._figures.used_p90_wh(leg.metres) < self._reserve_wh:
                continue
            chance = after_failure(other.chance_ppm, other.charger, p.charger)
            works = self._time(leg.seconds + other.wait_s + other.handling_s) + self._success(other)
            fails = self._time(leg.seconds + other.wait_s) + self._attempt_micros + stranded
            best = min(best, (chance * works + (_PPM - chance) * fails) // _PPM)
            best_chance = max(best_chance, chance)
        # A failure costs at least its attempt: nobody is sent to a bad charger for the charm of the next one.
        lost = max(self._attempt_micros, self._attempt_micros + best - self._success(p))
        return Scored(
            passed=p,
            myopic_micros=myopic,
            failure_micros=(_PPM - p.chance_ppm) * lost // _PPM,
            not_charged_ppm=self._not_charged(p, best_chance),
        )

    def _success(self, p: Passed) -> int:
        """From the start of energy to the destination."""
        return self._time(p.charge_s + p.onward.seconds) + self._aside(p)

    def _aside(self, p: Passed) -> int:
        steps = 0 if p.network_rank == UNRANKED else p.network_rank
        return int(p.cost.amount * _PPM) + steps * NETWORK_STEP_MICROS

    def _lateness(self, p: Passed) -> int:
        """Convex: the second hour late hurts more than the first."""
        if self._budget_s is None:
            return 0
        late_s = max(0, p.ready_s - self._budget_s)
        return self._time(late_s) + self._time(late_s) * late_s // 3600

    def _not_charged(self, p: Passed, fallback_ppm: int) -> int:
        """Chance of no charge at this one nor at its best fallback; late counts as not charged."""
        if self._budget_s is not None and p.ready_s > self._budget_s:
            return _PPM
        return (_PPM - p.chance_ppm) * (_PPM - fallback_ppm) // _PPM

    def _time(self, seconds: int) -> int:
        return round(seconds * self._micros_per_s)


def _fallbacks(ordered: Sequence[Passed]) -> list[Passed]:
    """The best fallbacks, from several sites: a pool of siblings would make their own site look hopeless."""
    pool: list[Passed] = []
    per_site: dict[str, int] = {}
    for passed in ordered:
        site = passed.charger.site_id
        if len(pool) < FALLBACKS and per_site.get(site, 0) < PER_SITE:
            per_site[site] = per_site.get(site, 0) + 1
            pool.append(passed)
    return pool


def select(scored: Sequence[Scored], limit: int, preferred: str | None = None) -> list[Scored]:
    """The candidates to publish, best first, the preferred one (if it passed) before all: the winner of each
    profile, then the best ones, not more than `PER_SITE` of a site."""
    chosen: list[Scored] = []
    per_site: dict[str, int] = {}
    winners = options_of(scored)
    by_id = {s.charger_id: s for s in scored}
    front: list[str] = [preferred] if preferred is not None and preferred in by_id else []
    front += [winners[profile] for profile in reversed(Profile) if profile in winners]
    for item in [*(by_id[charger_id] for charger_id in front), *scored]:
        site = item.passed.charger.site_id
        crowded = per_site.get(site, 0) >= PER_SITE and item.charger_id not in front
        if len(chosen) == limit or crowded or item in chosen:
            continue
        chosen.append(item)
        per_site[site] = per_site.get(site, 0) + 1
    return sorted(chosen, key=lambda s: (s.charger_id != preferred, *s.order()))


def options_of(scored: Sequence[Scored]) -> dict[Profile, str]:
    """The winner of each profile, as charger ids; ties by generalized cost, network, id."""
    if not scored:
        return {}

    def cost(s: Scored) -> Decimal:
        return s.passed.cost.amount

    return {
        Profile.CHEAPEST: min(scored, key=lambda s: (cost(s), *s.order())).charger_id,
        Profile.FASTEST: min(scored, key=lambda s: (s.at_destination_s, *s.order())).charger_id,
        Profile.LOWEST_RISK: min(scored, key=lambda s: (*s.risk(), *s.order())).charger_id,
        Profile.BALANCED: min(scored, key=Scored.order).charger_id,
    }
