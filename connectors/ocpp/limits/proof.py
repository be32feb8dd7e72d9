"""Limits that only a schedule has shown: the first charge under them proves them, or finds them out.

Some stations report a profile and do not obey it. Where nothing charges, that cannot be seen when the limit
is set."""

from __future__ import annotations

from datetime import datetime

from connectors.ocpp.limits import profiles
from models.charging_limit import ChargingLimit, LimitPurpose, LimitReply, LimitState, ReadBack

Seen = tuple[float, ReadBack]
"""kW, and how they were seen."""

_STRIKES = 2
_TESTED = 0.8
"""A meter proves a limit only near it: a vehicle that takes little obeys any."""


class Proof:
    """Defaults of one station's connectors that wait for their first charge."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[ChargingLimit, LimitReply]] = {}
        self._strikes: dict[int, int] = {}

    def waits_at(self, number: int) -> bool:
        return number in self._waiting

    def limit_at(self, number: int) -> ChargingLimit:
        return self._waiting[number][0]

    def begin(self, limit: ChargingLimit, reply: LimitReply) -> None:
        """After each limit. A transaction's own limit may allow more than the default beneath it: then what
        flows says nothing about that."""
        number = limit.connector_number
        self.forget(number)
        shown_only = reply.state is LimitState.APPLIED and reply.read_back_by is ReadBack.COMPOSITE_SCHEDULE
        if shown_only and number > 0 and limit.purpose is LimitPurpose.DEFAULT:
            self._waiting[number] = (limit, reply)

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)
        self._strikes.pop(number, None)

    def heard(self, number: int, seen: Seen, now: datetime) -> tuple[ChargingLimit, LimitReply] | None:
        """What a charging connector shows; the limit's new reply once that is clear."""
        limit, reply = self._waiting[number]
        wanted_kw, (shown_kw, by) = profiles.limit_at(limit, now), seen
        if wanted_kw == float("inf"):
            self.forget(number)
            return None
        keeps = profiles.keeps(limit, wanted_kw, shown_kw)
        if keeps and by is ReadBack.METER and shown_kw < _TESTED * wanted_kw:
            return None
        self._strikes[number] = 0 if keeps else self._strikes.get(number, 0) + 1
        if not keeps and self._strikes[number] < _STRIKES:
            return None
        self.forget(number)
        news = {"read_back_kw": round(shown_kw, 3), "read_back_by": by}
        if not keeps:
            detail = f"asked for {wanted_kw:g} kW, its schedule agreed, and it shows {shown_kw:.4g} kW"
            return limit, reply.model_copy(update={**news, "state": LimitState.ACCEPTED, "detail": detail})
        return limit, reply.model_copy(update=news)
