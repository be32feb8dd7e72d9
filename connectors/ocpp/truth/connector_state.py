"""The state of a connector, for both generations: nine words (1.6) or five (2.x) become one machine.

    UNKNOWN -> FREE <-> OCCUPIED -> CHARGING <-> PAUSED -> FINISHING -> FREE
    any -> RESERVED, FAULTED, OUT_OF_SERVICE and back

A status report moves it; in 2.x the transaction's chargingState does what 1.6 says in the status. Reports are
taken in event time: what is older than the last one taken is history and changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from models.charger import ConnectorStatus

FLAP_WINDOW = timedelta(hours=1)


class ConnectorState(StrEnum):
    UNKNOWN = "unknown"
    FREE = "free"
    OCCUPIED = "occupied"
    CHARGING = "charging"
    PAUSED_BY_VEHICLE = "paused_by_vehicle"
    PAUSED_BY_STATION = "paused_by_station"
    FINISHING = "finishing"
    RESERVED = "reserved"
    FAULTED = "faulted"
    OUT_OF_SERVICE = "out_of_service"


_BY_WORD = {
    # OCPP 1.6 ChargePointStatus, 7.7
    "Available": ConnectorState.FREE,
    "Preparing": ConnectorState.OCCUPIED,
    "Charging": ConnectorState.CHARGING,
    "SuspendedEV": ConnectorState.PAUSED_BY_VEHICLE,
    "SuspendedEVSE": ConnectorState.PAUSED_BY_STATION,
    "Finishing": ConnectorState.FINISHING,
    "Reserved": ConnectorState.RESERVED,
    "Faulted": ConnectorState.FAULTED,
    "Unavailable": ConnectorState.OUT_OF_SERVICE,
    # OCPP 2.x ConnectorStatusEnumType has Occupied in place of five of them
    "Occupied": ConnectorState.OCCUPIED,
}
_BY_CHARGING_STATE = {
    "EVConnected": ConnectorState.OCCUPIED,
    "Charging": ConnectorState.CHARGING,
    "SuspendedEV": ConnectorState.PAUSED_BY_VEHICLE,
    "SuspendedEVSE": ConnectorState.PAUSED_BY_STATION,
}
_STATUS = {
    ConnectorState.UNKNOWN: ConnectorStatus.UNKNOWN,
    ConnectorState.FREE: ConnectorStatus.AVAILABLE,
    ConnectorState.RESERVED: ConnectorStatus.RESERVED,
    ConnectorState.FAULTED: ConnectorStatus.FAULTED,
    ConnectorState.OUT_OF_SERVICE: ConnectorStatus.FAULTED,
}
_USABLE = frozenset(ConnectorState) - {
    ConnectorState.UNKNOWN,
    ConnectorState.FAULTED,
    ConnectorState.OUT_OF_SERVICE,
}
_OUT = frozenset({ConnectorState.FAULTED, ConnectorState.OUT_OF_SERVICE})


_BY_STATUS = {
    ConnectorStatus.AVAILABLE: ConnectorState.FREE,
    ConnectorStatus.OCCUPIED: ConnectorState.OCCUPIED,
    ConnectorStatus.RESERVED: ConnectorState.RESERVED,
    ConnectorStatus.FAULTED: ConnectorState.FAULTED,
}
_MOST_TURNS = 120


class Seen(Protocol):
    """A connector as it stood when its line was held last."""

    @property
    def status(self) -> ConnectorStatus: ...
    @property
    def status_at(self) -> datetime | None: ...
    @property
    def state_since(self) -> datetime | None: ...
    @property
    def changes_last_hour(self) -> int: ...
    @property
    def fault_code(self) -> str: ...


class ConnectorTrack:
    """One connector's state, since when, and how often it turned between usable and not within an hour."""

    __slots__ = ("_turns", "at", "fault_code", "since", "state")

    def __init__(self, seen: Seen | None = None) -> None:
        """`seen`: what is known of it from before."""
        self.state = _BY_STATUS.get(seen.status, ConnectorState.UNKNOWN) if seen else ConnectorState.UNKNOWN
        self.since: datetime | None = seen.state_since if seen else None
        self.at: datetime | None = seen.status_at if seen else None
        self.fault_code = seen.fault_code if seen else ""
        self._turns: list[datetime] = []
        if seen is not None and self.since is not None:
            # When each of them was, nobody wrote down: all count from the last.
            self._turns += [self.since] * min(seen.changes_last_hour, _MOST_TURNS)

    @property
    def status(self) -> ConnectorStatus:
        """As planning wants it."""
        return _STATUS.get(self.state, ConnectorStatus.OCCUPIED)

    def changes_last_hour(self, now: datetime) -> int:
        while self._turns and self._turns[0] < now - FLAP_WINDOW:
            del self._turns[0]
        return len(self._turns)

    def report(self, word: str, at: datetime, fault_code: str = "") -> bool:
        """A StatusNotification. False where it is older than what is known, or no word of OCPP: nothing has
        changed."""
        state = _BY_WORD.get(word)
        if state is None:
            return False
        if word == "Occupied" and self.state in _BY_CHARGING_STATE.values():
            state = self.state  # the transaction knows it better
        return self._move(state, at, fault_code)

    def charging_state(self, word: str, at: datetime) -> bool:
        """A transaction's chargingState (2.x). A fault stands until a status report ends it."""
        state = _BY_CHARGING_STATE.get(word)
        if state is None or self.state in _OUT:
            return False
        return self._move(state, at, "")

    def _move(self, state: ConnectorState, at: datetime, fault_code: str) -> bool:
        if self.at is not None and at < self.at:
            return False
        if self.state is not ConnectorState.UNKNOWN and (self.state in _USABLE) != (state in _USABLE):
            self._turns = [*self._turns[1 - _MOST_TURNS :], at]
        if state is not self.state or self.since is None:
            self.state, self.since = state, at
        self.at = at
        self.fault_code = fault_code if state in _OUT else ""
        return True
