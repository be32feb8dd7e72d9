"""Several vehicles at once: who goes where, as a min-cost flow.

Alone, every vehicle takes its own best charger; together that sends most of a clustered fleet to one site
(3-19 times the optimum). The flow is exact: vehicle -> connector costs that vehicle's own generalized cost,
and each further vehicle at a connector waits for one more session, so queue costs grow arc by arc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import ortools
from ortools.graph.python import min_cost_flow

from planning.waiting import MEAN_DC_SESSION_S

SOLVER = f"ortools-{ortools.__version__}/SimpleMinCostFlow"
MICROS_PER_UNIT = 100
"""The flow counts in ten-thousandths of the currency: the solver multiplies costs by the number of nodes,
and micros of a large fleet would leave its 64 bits."""

_MOST_UNITS = 1_000_000_000
"""100,000 currency units: a dearer arc is as good as never."""
_QUEUE_PLACES = 8
"""Vehicles of ours per connector at most; the eighth in a row would wait for hours."""


class FlowError(RuntimeError):
    """The solver did not prove an optimum. The caller keeps the individual plans and says so."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One charger that one vehicle could use, and what that costs it without a queue of colleagues."""

    charger_id: str
    cost_micros: int
    queue_step_micros: int
    """What one more session ahead of it costs: mean session x value of time."""


@dataclass(frozen=True, slots=True)
class Seeker:
    """One stop that needs a charger now. `unassigned_micros` is the named price of leaving it without."""

    stop_id: str
    choices: tuple[Choice, ...]
    unassigned_micros: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who goes where; None for a stop that is better left to a person. `cost_micros` is the proven least."""

    charger_by_stop: dict[str, str | None]
    cost_micros: int


def queue_step_micros(value_of_time_per_hour: Decimal, session_s: int = MEAN_DC_SESSION_S) -> int:
    """What one session of waiting costs a vehicle."""
    return int(value_of_time_per_hour * 1_000_000) * session_s // 3600


def assign(seekers: Sequence[Seeker], places: Mapping[str, int] | None = None) -> Assignment:
    """The cheapest assignment of all stops together. The order of `seekers` and choices does not matter.

    `places`: charger id -> how many vehicles may be sent there (default: a queue of a few). Among equally
    cheap assignments the one wins in which more vehicles get a charger that stands high in their own ranking.
    Raises ValueError for a stop named twice, FlowError without a proven optimum.
    """
    ordered = sorted(seekers, key=lambda s: s.stop_id)
    if len({s.stop_id for s in ordered}) != len(ordered):
        raise ValueError("a stop is named twice")
    if not ordered:
        return Assignment({}, 0)
    network = _Network(ordered, places or {})
    return network.solve()


class _Network:
    """Nodes: 0 = sink, then stops, then chargers. Built in id order: equal inputs, equal bytes."""

    def __init__(self, seekers: Sequence[Seeker], places: Mapping[str, int]) -> None:
        self._seekers = seekers
        steps: dict[str, int] = {}
        for seeker in seekers:
            for choice in seeker.choices:
                steps[choice.charger_id] = max(steps.get(choice.charger_id, 0), choice.queue_step_micros)
        self._chargers = sorted(steps)
        self._tails: list[int] = []
        self._heads: list[int] = []
        self._units: list[int] = []
        self._ties: list[int] = []
        self._choices: list[tuple[str, str | None]] = []
        node_of = {charger_id: 1 + len(seekers) + i for i, charger_id in enumerate(self._chargers)}
        for index, seeker in enumerate(seekers, start=1):
            ranked = sorted(seeker.choices, key=lambda c: (c.cost_micros, c.charger_id))
            for place, choice in enumerate(ranked):
                self._arc(index, node_of[choice.charger_id], choice.cost_micros, place)
                self._choices.append((seeker.stop_id, choice.charger_id))
            self._arc(index, 0, seeker.unassigned_micros, len(ranked))
            self._choices.append((seeker.stop_id, None))
        for charger_id in self._chargers:
            for position in range(min(places.get(charger_id, _QUEUE_PLACES), len(seekers))):
                self._arc(node_of[charger_id], 0, position * steps[charger_id], 0)

    def _arc(self, tail: int, head: int, micros: int, tie: int) -> None:
        self._tails.append(tail)
        self._heads.append(head)
        self._units.append(min(_MOST_UNITS, max(0, micros) // MICROS_PER_UNIT))
        self._ties.append(tie)

    def solve(self) -> Assignment:
        # The second stage is exact, not an epsilon: one unit of cost outweighs all ties together.
        scale = 1 + sum(len(s.choices) for s in self._seekers)
        flow = min_cost_flow.SimpleMinCostFlow()
        for tail, head, units, tie in zip(self._tails, self._heads, self._units, self._ties, strict=True):
            flow.add_arc_with_capacity_and_unit_cost(tail, head, 1, units * scale + tie)
        flow.set_node_supply(0, -len(self._seekers))
        for node in range(1, 1 + len(self._seekers)):
            flow.set_node_supply(node, 1)
        if flow.solve() != flow.OPTIMAL:
            raise FlowError(f"{SOLVER} did not reach an optimum")
        flows = [flow.flow(arc) for arc in range(len(self._units))]
        charger_by_stop = {
            stop_id: charger_id
            for (stop_id, charger_id), used in zip(self._choices, flows, strict=False)
            if used
        }
        total = sum(units for units, used in zip(self._units, flows, strict=True) if used)
        return Assignment(charger_by_stop, total * MICROS_PER_UNIT)
