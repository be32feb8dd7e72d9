"""Drives without a map service: beeline times the policy's road factor, at the policy's average speed."""

from __future__ import annotations

from dataclasses import dataclass

from models.place import Place
from models.policy import Policy


@dataclass(frozen=True, slots=True)
class Leg:
    """One drive."""

    metres: int
    seconds: int


class Travel:
    """Drives of one planning call, remembered: connectors of a site share their place."""

    def __init__(self, policy: Policy) -> None:
        self._road_factor = policy.road_factor
        self._metres_per_s = policy.average_speed_kmh / 3.6
        self._known: dict[tuple[float, float, float, float], Leg] = {}

    def leg(self, start: Place, end: Place) -> Leg:
        """The drive from `start` to `end`; whole metres and seconds, so that ties are ties everywhere."""
        key = (start.latitude, start.longitude, end.latitude, end.longitude)
        known = self._known.get(key)
        if known is None:
            metres = round(start.distance_m(end) * self._road_factor)
            known = Leg(metres=metres, seconds=round(metres / self._metres_per_s))
            self._known[key] = known
        return known
