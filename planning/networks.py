"""Which networks a policy prefers or demands for a charger.

Precedence (CH-028): contract and region > contract > region > everywhere; among equals, the first written.
The most specific preference that matches gives the order; the most specific one with `only` gives the limit,
so that a regional preference never lifts a demand made for everywhere.
"""

from __future__ import annotations

from models.charger import Charger
from models.policy import NetworkPreference, Policy

UNRANKED = 99
"""No preference matches: the networks are all alike."""


def network_rank(policy: Policy, charger: Charger, contract: str) -> int:
    """0 for the network liked best; one past the last for one not named; `UNRANKED` without preference."""
    preference = _decisive(policy, charger, contract, only=False)
    if preference is None:
        return UNRANKED
    named = preference.networks
    return named.index(charger.network) if charger.network in named else len(named)


def demanded_networks(policy: Policy, charger: Charger, contract: str) -> tuple[str, ...] | None:
    """The networks that are allowed here, or None when all are."""
    preference = _decisive(policy, charger, contract, only=True)
    return preference.networks if preference else None


def _decisive(policy: Policy, charger: Charger, contract: str, *, only: bool) -> NetworkPreference | None:
    best: NetworkPreference | None = None
    best_weight = -1
    for preference in policy.preferred_networks:
        if only and not preference.only:
            continue
        if preference.region and preference.region != charger.region:
            continue
        if preference.contract and preference.contract != contract:
            continue
        weight = 2 * bool(preference.contract) + bool(preference.region)
        if weight > best_weight:
            best, best_weight = preference, weight
    return best
