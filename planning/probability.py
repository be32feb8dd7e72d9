"""The chance that a start at a charger works: its own history, shrunk to its operator's, and the live status.

Raw success ratios are worse than a constant; a beta-binomial with a strong prior is not. Uptime claims are
not used: operators claim 95-98 % where 72-85 % of starts work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from models.charger import Charger, ConnectorStatus
from planning.status import fresh_status, is_flapping

GLOBAL_START_PPM = 850_000
"""Share of visits that end with a charge in public surveys (14 % fail in 2025)."""
OPERATOR_PRIOR_STARTS = 20
CHARGER_PRIOR_STARTS = 6
LIVE_START_PPM = 950_000
LIVE_WEIGHT_PERCENT = 30
SITE_FAILED_PERCENT = 50
"""Failures at one site go together (power, uplink, backend): what is left of a sibling's chance."""
OPERATOR_FAILED_PERCENT = 85
FLAPPING_PERCENT = 80
"""What is left of the chance of a connector that turns between usable and not all the time."""

_PPM = 1_000_000
_WORKING = frozenset({ConnectorStatus.AVAILABLE, ConnectorStatus.OCCUPIED, ConnectorStatus.RESERVED})


class StartChances:
    """Start probabilities over one snapshot of chargers, in millionths."""

    def __init__(self, chargers: Iterable[Charger], failed_site_ids: Collection[str], now: datetime) -> None:
        self._now = now
        self._failed_sites = frozenset(failed_site_ids)
        self._totals: dict[str, tuple[int, int]] = {}
        failed_operators: set[str] = set()
        for charger in chargers:
            successes, starts = self._totals.get(charger.operator, (0, 0))
            own_successes, own_starts = _history(charger)
            self._totals[charger.operator] = (successes + own_successes, starts + own_starts)
            if charger.site_id in self._failed_sites:
                failed_operators.add(charger.operator)
        self._failed_operators = frozenset(failed_operators)

    def of(self, charger: Charger) -> int:
        """Chance in millionths, with this stop's own failures counted in."""
        successes, starts = _history(charger)
        # The operator's other chargers only: counting its own history twice would undo the shrinking.
        pooled_successes, pooled_starts = self._totals.get(charger.operator, (successes, starts))
        prior = _shrunk(
            pooled_successes - successes, pooled_starts - starts, GLOBAL_START_PPM, OPERATOR_PRIOR_STARTS
        )
        chance = _shrunk(successes, starts, prior, CHARGER_PRIOR_STARTS)
        if fresh_status(charger, self._now) in _WORKING:
            # "Available" is also what a charger says that accepts and never starts: the more starts of its
            # own we have seen, the less its word counts.
            trust = LIVE_WEIGHT_PERCENT * CHARGER_PRIOR_STARTS
            chance += (LIVE_START_PPM - chance) * trust // (100 * (CHARGER_PRIOR_STARTS + starts))
        if is_flapping(charger, self._now):
            chance = chance * FLAPPING_PERCENT // 100
        if charger.site_id in self._failed_sites:
            return chance * SITE_FAILED_PERCENT // 100
        if charger.operator in self._failed_operators:
            return chance * OPERATOR_FAILED_PERCENT // 100
        return chance


def after_failure(chance_ppm: int, charger: Charger, failed: Charger) -> int:
    """The chance of `charger` once `failed` has failed: its site suffers, its operator a little."""
    if charger.site_id == failed.site_id:
        return chance_ppm * SITE_FAILED_PERCENT // 100
    if charger.operator == failed.operator:
        return chance_ppm * OPERATOR_FAILED_PERCENT // 100
    return chance_ppm


def _history(charger: Charger) -> tuple[int, int]:
    successes, failures = max(0, charger.start_successes), max(0, charger.start_failures)
    return successes, successes + failures


def _shrunk(successes: int, starts: int, prior_ppm: int, prior_starts: int) -> int:
    return (successes * _PPM + prior_starts * prior_ppm) // (starts + prior_starts)
