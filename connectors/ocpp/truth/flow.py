"""Whether energy flows in a transaction, as its stop has been told: only turns are news.

A station says it in words (chargingState, or the connector's status in 1.6), or only shows it in its meter.
What is older than the last turn is history and turns nothing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

_FLOWS_WH, _FLOWS_KW = 10.0, 0.1


class FlowState(StrEnum):
    UNKNOWN = "unknown"
    """Not begun yet, or said to an earlier connection."""
    FLOWING = "flowing"
    PAUSED_BY_VEHICLE = "paused_by_vehicle"
    PAUSED_BY_STATION = "paused_by_station"


class Flow:
    """`taken_wh`: what the transaction had taken when this connection learned of it."""

    __slots__ = ("_base_wh", "_turned_at", "has_flowed", "state")

    def __init__(self, taken_wh: float = 0.0) -> None:
        self.state = FlowState.UNKNOWN
        self.has_flowed = taken_wh > _FLOWS_WH
        self._base_wh: float | None = taken_wh
        self._turned_at: datetime | None = None

    def pauses(self, state: FlowState, at: datetime) -> bool:
        """The station says whose pause it is. True where that is news."""
        if self._is_past(at) or state is self.state:
            return False
        self._turn(state, at)
        return True

    def charges(self, at: datetime) -> bool:
        """The station says that it charges. True where that is news: before any energy was seen it is no
        proof, and the meter's word is waited for."""
        if self._is_past(at) or self.state is FlowState.FLOWING:
            return False
        self._turn(FlowState.FLOWING if self.has_flowed else FlowState.UNKNOWN, at)
        return self.has_flowed

    def shows(self, at: datetime, taken_wh: float, power_kw: float | None) -> bool:
        """The meter shows so much. True where that shows that energy flows (again). What it gained up to its
        first reading in a pause may have flowed before."""
        if self.state is FlowState.FLOWING:
            return False
        is_paused = self.state is not FlowState.UNKNOWN
        if is_paused and self._turned_at is not None and at <= self._turned_at:
            return False
        base_wh = self._base_wh
        if base_wh is None:
            base_wh = self._base_wh = taken_wh
        flows = taken_wh - base_wh > _FLOWS_WH or (power_kw or 0.0) > _FLOWS_KW
        if flows:
            self.has_flowed = True
            self._turn(FlowState.FLOWING, at)
        return flows

    def _turn(self, state: FlowState, at: datetime) -> None:
        paused = state in (FlowState.PAUSED_BY_VEHICLE, FlowState.PAUSED_BY_STATION)
        self.state, self._turned_at = state, at
        if paused and self.has_flowed:
            self._base_wh = None

    def _is_past(self, at: datetime) -> bool:
        return self._turned_at is not None and at < self._turned_at
