"""The store of one simulated stop, in memory, by the rules of store/stop_record.py, stop_changes.py and
attempts.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.activity_messages import Amendment
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import Attempt, StopEvent, StopRecord, StopRequest, StopView
from store.evidence import BookedSession
from store.stop_changes import summed


@dataclass
class Hold:
    """An attempt's row: what it holds."""

    attempt: Attempt
    vehicle: bool
    charger: bool


class StillOpen(Exception):
    """The stop has yet to close: its workflow numbers the events."""


@dataclass
class SimulatedStore:
    """One stop's rows. `strangers`: chargers that another stop holds; `vehicle_taken`: another stop holds the
    vehicle."""

    view: StopView | None = None
    request: StopRequest | None = None
    version: int = -1
    run_id: str = ""
    events: dict[int, StopEvent] = field(default_factory=lambda: {})
    seen_at: dict[int, datetime] = field(default_factory=lambda: {})
    attempts: dict[str, Hold] = field(default_factory=lambda: {})
    strangers: set[str] = field(default_factory=lambda: set())
    vehicle_taken: bool = False
    dropped: int = 0
    closes: int = 0

    def record(self, record: StopRecord, now: datetime) -> bool:
        """True where the row now says what the record says. An older one only adds what is missing."""
        view = record.view
        follows = self.run_id in ("", *view.former_run_ids) and self.run_id != view.run_id
        newest = self.version < view.version if self.run_id == view.run_id else follows
        if self.run_id not in ("", view.run_id) and not follows:
            self.dropped += 1
            return False
        for event in record.events:
            if event.seq not in self.events:
                self.events[event.seq], self.seen_at[event.seq] = event, now
                self.closes += event.type == "stop.closed"
        if not newest:
            return self.version == view.version
        self.view, self.version, self.run_id = view, view.version, view.run_id
        self.request = self.request or record.request
        for attempt in view.attempts:
            row = self.attempts.get(attempt.attempt_id)
            if row is not None:
                row.attempt = attempt
                row.vehicle = row.vehicle and attempt.holds_vehicle
                row.charger = row.charger and attempt.holds_charger
        self._hold_what_lives()
        return True

    def _hold_what_lives(self) -> None:
        for row in self.attempts.values():
            one = row.attempt
            if not one.holds_charger or one.holds_vehicle or row.charger:
                continue
            others = [other for other in self.attempts.values() if other.charger]
            row.charger = one.charger_id not in self.strangers | {o.attempt.charger_id for o in others}

    @property
    def is_open(self) -> bool:
        return self.view is not None and self.view.outcome is None

    def open(self, attempt: Attempt) -> ReasonCode | None:
        """Hold vehicle and connector; the reason where another stop holds one of them."""
        if attempt.attempt_id in self.attempts:
            return None
        busy = self._busy(attempt.charger_id)
        if busy is not None:
            return busy
        for row in self.attempts.values():
            if row.attempt.number < attempt.number:
                row.vehicle = False
                row.charger = row.charger and row.attempt.charger_id != attempt.charger_id
        self.attempts[attempt.attempt_id] = Hold(attempt, vehicle=True, charger=True)
        return None

    def take_back(self, attempt_id: str) -> ReasonCode | None:
        row = self.attempts[attempt_id]
        busy = self._busy(row.attempt.charger_id)
        if busy is not None:
            return busy
        for other in self.attempts.values():
            other.vehicle = False
            other.charger = other.charger and other.attempt.charger_id != row.attempt.charger_id
        row.vehicle = row.charger = True
        return None

    def _busy(self, charger_id: str) -> ReasonCode | None:
        if self.vehicle_taken:
            return ReasonCode.START_VEHICLE_BUSY
        return ReasonCode.START_CONNECTOR_BUSY if charger_id in self.strangers else None

    def amend(self, amendment: Amendment, now: datetime) -> None:
        """One more event about a closed stop, once. Raises StillOpen."""
        if any(e.data.get("amendment_id") == amendment.amendment_id for e in self.events.values()):
            return
        view, late = self.view, amendment.attempt
        if view is None:
            return
        if view.outcome is None or view.result is None:
            raise StillOpen(view.stop_id)
        attempts = tuple(late if one.attempt_id == late.attempt_id else one for one in view.attempts)
        result = summed(view.result, attempts)
        seq = max(self.events) + 1
        self.events[seq] = StopEvent(
            stop_id=view.stop_id,
            seq=seq,
            at=amendment.at,
            type=amendment.type,
            phase=view.phase,
            text=amendment.text,
            attempt_number=late.number,
            charger_id=late.charger_id,
            reason=amendment.reason,
            next_step=amendment.next_step,
            data={**amendment.data, "amendment_id": amendment.amendment_id},
        )
        self.seen_at[seq] = now
        self.version += 1
        changes = {"attempts": attempts, "result": result, "energy_kwh": result.energy_kwh}
        self.view = view.model_copy(update={**changes, "version": self.version, "updated_at": amendment.at})
        row = self.attempts.get(late.attempt_id)
        if row is not None:
            row.attempt = late
            row.vehicle = row.vehicle and late.holds_vehicle
            row.charger = row.charger and late.holds_charger

    def attempt(self, attempt_id: str) -> Attempt | None:
        attempts = self.view.attempts if self.view else ()
        return next((one for one in attempts if one.attempt_id == attempt_id), None)

    def booked(self, attempt_id: str) -> BookedSession | None:
        """As the relay asks for it (only what was opened has a row)."""
        row = self.attempts.get(attempt_id)
        if row is None or self.view is None:
            return None
        one = row.attempt
        return BookedSession(
            attempt_id=attempt_id,
            stop_id=self.view.stop_id,
            session=one.session,
            energy_kwh=one.energy_kwh,
            ended_at=one.ended_at,
        )


TENANT = TenantId("demo")
