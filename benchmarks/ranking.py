"""Planning in figures: `python -m benchmarks.ranking`. Synthetic and seeded; ratios within one run.

Times depend on the machine; the ratios, costs and strandings do not.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from math import cos, pi, radians, sin

from models.charger import Charger, ConnectorStatus, Protocol, TariffTerms
from models.decision import Candidate, PlanRequest
from models.place import Place
from models.policy import Policy
from models.vehicle import ConnectorStandard, VehicleState
from planning.batch import plan_many
from planning.planner import plan
from planning.waiting import MEAN_DC_SESSION_S

NOW = datetime(2025, 11, 3, 8, tzinfo=UTC)
VAN_CONNECTORS = (ConnectorStandard.CCS_2, ConnectorStandard.TYPE_2)


def place(east_km: float, north_km: float) -> Place:
    return Place(latitude=51.2 + north_km / 111.2, longitude=6.8 + east_km / (111.2 * cos(radians(51.2))))


def region(count: int, dice: random.Random, radius_km: float = 18.0) -> list[Charger]:
    """Chargers over a disc, one per site, with histories drawn from their true chance to start."""
    chargers: list[Charger] = []
    for i in range(count):
        distance, angle = radius_km * dice.random() ** 0.5, 2 * pi * dice.random()
        chance, starts = true_chance(f"c{i:04}"), dice.randrange(0, 30)
        successes = sum(dice.random() < chance for _ in range(starts))
        chargers.append(
            Charger(
                charger_id=f"c{i:04}",
                site_id=f"s{i:04}",
                operator=f"op{i % 7}",
                network=f"net{i % 3}",
                place=place(distance * cos(angle), distance * sin(angle)),
                protocol=Protocol.OCPP,
                standard=ConnectorStandard.CCS_2,
                power_kw=dice.choice([50.0, 150.0, 300.0]),
                tariff=TariffTerms(energy_per_kwh=Decimal(dice.randrange(39, 79)) / 100),
                status=ConnectorStatus.AVAILABLE,
                start_successes=successes,
                start_failures=starts - successes,
            )
        )
    return chargers


def true_chance(charger_id: str) -> float:
    """The hidden truth of a charger: most are good, one in five is bad."""
    dice = random.Random(charger_id)
    return dice.uniform(0.15, 0.6) if dice.random() < 0.2 else dice.uniform(0.85, 0.98)


def request(stop_id: str, where: Place, soc_percent: float, **fields: object) -> PlanRequest:
    van = VehicleState(
        vehicle_id=stop_id,
        battery_usable_kwh=60,
        connectors=VAN_CONNECTORS,
        dc_max_power_kw=120,
        consumption_kwh_per_100_km=26,
        soc_percent=soc_percent,
        position=where,
    )
    base: dict[str, object] = {
        "stop_id": stop_id,
        "tenant_id": "bench",
        "vehicle": van,
        "target_soc_percent": 80,
        "now": NOW,
        "policy": Policy(max_candidates=50, min_confidence=0.0, max_detour_s=7200, max_detour_km=100),
    }
    return PlanRequest.model_validate(base | fields)


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of each run, sorted."""
    spent: list[float] = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begin) * 1000)
    return sorted(spent)


def speed() -> None:
    print(
        "One plan (all rejections written out, receipt hashed); unit = sorting the same chargers by distance"
    )
    for count in (60, 400, 1000):
        chargers = region(count, random.Random(1))
        asked = request("stop_0", place(0, 0), 30.0)
        where = asked.vehicle.position
        unit = statistics.median(
            timed(lambda c=chargers, w=where: sorted(c, key=lambda x: w.distance_m(x.place)), 50)
        )
        spent = timed(lambda c=chargers, a=asked: plan(a, c, None), 200)
        p50, p99 = spent[100], spent[197]
        print(f"  {count:5} chargers  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  = {p50 / unit:5.1f} x the unit")


def fleet() -> None:
    print("Vans that fall back at the same time, clustered; cost with queues, assigned together = 1.00")
    for count in (10, 30, 100):
        dice = random.Random(2)
        chargers = region(60, dice)
        asked = [
            request(f"stop_{i:03}", place(dice.gauss(0, 1), dice.gauss(0, 1)), dice.uniform(25, 50))
            for i in range(count)
        ]
        begin = time.perf_counter()
        alone = [plan(a, chargers, None) for a in asked]
        alone_ms = (time.perf_counter() - begin) * 1000
        begin = time.perf_counter()
        together = plan_many(asked, chargers)
        together_ms = (time.perf_counter() - begin) * 1000
        in_turn: list[Candidate] = []
        taken: Counter[str] = Counter()
        for a in asked:
            first = plan(a, chargers, None, taken).candidates[0]
            taken[first.charger.charger_id] += 1
            in_turn.append(first)
        best = queued_cost([d.candidates[0] for d in together])
        print(
            f"  {count:4} vans  each for itself {queued_cost([d.candidates[0] for d in alone]) / best:5.2f}"
            f"  one after the other {queued_cost(in_turn) / best:5.2f}"
            f"  time {together_ms / alone_ms:4.2f} x the single plans ({together_ms:.0f} ms)"
        )


def queued_cost(firsts: list[Candidate]) -> float:
    """What the fleet pays: own costs without any queue, and a session of waiting per colleague ahead."""
    per_session = 36.0 * MEAN_DC_SESSION_S / 3600
    counts = Counter(c.charger.charger_id for c in firsts)
    own = sum(float(c.generalized_cost) - 36.0 * c.wait_s / 3600 for c in firsts)
    return (
        own
        + 36.0 * sum(_known_wait_s(c) for c in firsts) / 3600
        + per_session * sum(n * (n - 1) / 2 for n in counts.values())
    )


def _known_wait_s(candidate: Candidate) -> float:
    """The wait for strangers: what is not a whole session of a colleague."""
    return candidate.wait_s % MEAN_DC_SESSION_S


def look_ahead() -> None:
    print("1000 stops over 60 sites at 10-25 % charge; a failed start costs 8 min, stranding EUR 250")
    chargers = region(60, random.Random(3))
    policies: dict[str, Callable[[Candidate], tuple[float, str]]] = {
        "nearest": lambda c: (c.drive_s, c.charger.charger_id),
        "no look-ahead": lambda c: (float(c.generalized_cost - c.failure_term), c.charger.charger_id),
        "look-ahead": lambda c: (float(c.generalized_cost), c.charger.charger_id),
    }
    reference: float | None = None
    for name, key in policies.items():
        results = [one_stop(number, chargers, key) for number in range(1000)]
        cost = statistics.fmean(r[0] for r in results)
        reference = reference or cost
        failed = statistics.fmean(r[1] for r in results)
        stranded = statistics.fmean(r[2] for r in results)
        print(
            f"  {name:14} cost {cost / reference:5.3f}  failed/stop {failed:5.3f}  stranded {stranded:6.1%}"
        )


def one_stop(
    number: int, chargers: list[Charger], key: Callable[[Candidate], tuple[float, str]]
) -> tuple[float, int, bool]:
    """Drive, try, fall back until charged or stranded: (cost, failed attempts, stranded)."""
    dice = random.Random(number)
    where, soc = place(dice.uniform(-15, 15), dice.uniform(-15, 15)), dice.uniform(10, 25)
    tried: list[str] = []
    sites: list[str] = []
    cost = 0.0
    while True:
        decision = plan(
            request(
                f"stop_{number}",
                where,
                soc,
                excluded_charger_ids=tuple(tried),
                failed_site_ids=tuple(sites),
            ),
            chargers,
            None,
        )
        if not decision.candidates:
            return cost + 250, len(tried), True
        best = min(decision.candidates, key=key)
        charger = best.charger
        cost += 36 * (best.drive_s + best.wait_s) / 3600
        # One draw per stop and charger, the same under every policy: the comparison is paired.
        if random.Random(f"{number}/{charger.charger_id}").random() < true_chance(charger.charger_id):
            return cost + 36 * best.charge_s / 3600 + float(best.cost.amount), len(tried), False
        cost += 36 * 480 / 3600
        where, soc = charger.place, best.arrival_soc_percent
        tried.append(charger.charger_id)
        sites.append(charger.site_id)


if __name__ == "__main__":
    speed()
    fleet()
    look_ahead()
