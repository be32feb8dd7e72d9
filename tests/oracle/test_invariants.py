"""The oracle stays silent over a truthful morning, and each promise that is broken on purpose is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from models.ids import attempt_id_for, remote_start_id_for, stop_id_for, workflow_id_for
from models.reason_codes import ReasonCode
from models.stop import Attempt, AttemptState, StopEvent, StopOutcome, StopPhase, StopResult, StopView
from simulators.twin import LedgerEntry
from workers.oracle import GUARD_TIME, Violation, check_invariants

T0 = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


What = Literal["command_start", "command_stop", "session_started", "session_ended", "other"]


@dataclass
class Morning:
    """One stop that failed at an OCPP 1.6 charger (key: id tag), fell back to a roaming one, and charged."""

    ledger: list[LedgerEntry] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    events: list[StopEvent] = field(default_factory=list)
    outcome: StopOutcome | None = StopOutcome.CHARGED
    now: datetime = T0 + timedelta(seconds=100)

    stop_id = stop_id_for("demo", "k1")

    def entry(self, second: float, what: What, charger_id: str, **more: object) -> None:
        self.ledger.append(
            LedgerEntry.model_validate({"at": at(second), "what": what, "charger_id": charger_id, **more})
        )

    def event(self, type_: str, reason: ReasonCode | None = None) -> None:
        self.events.append(
            StopEvent(
                stop_id=self.stop_id,
                seq=len(self.events) + 1,
                at=at(len(self.events)),
                type=type_,
                phase=StopPhase.CLOSED,
                text=type_,
                reason=reason,
            )
        )

    def view(self) -> StopView:
        energy = sum(a.energy_kwh for a in self.attempts)
        result = (
            StopResult(
                stop_id=self.stop_id,
                tenant_id="demo",
                outcome=self.outcome,
                energy_kwh=energy,
                attempts=tuple(self.attempts),
                closed_at=at(60),
            )
            if self.outcome
            else None
        )
        return StopView(
            stop_id=self.stop_id,
            tenant_id="demo",
            business_key="k1",
            workflow_id=workflow_id_for("demo", "k1"),
            vehicle_id="van-001",
            phase=StopPhase.CLOSED if self.outcome else StopPhase.CHARGING,
            outcome=self.outcome,
            result=result,
            attempts=tuple(self.attempts),
            created_at=T0,
            updated_at=at(60),
        )

    def violations(self) -> list[Violation]:
        return check_invariants(self.ledger, [self.view()], {self.stop_id: self.events}, self.now)

    def broken(self) -> set[str]:
        return {violation.invariant for violation in self.violations()}


def morning() -> Morning:
    day = Morning()
    first, second = attempt_id_for(day.stop_id, 1), attempt_id_for(day.stop_id, 2)
    day.attempts = [
        Attempt(
            attempt_id=first,
            number=1,
            charger_id="CP01:1",
            site_id="hub",
            operator="A",
            protocol="ocpp",
            state=AttemptState.FAILED,
            opened_at=at(5),
            ended_at=at(12),
            session_ref="1001",
            energy_kwh=3.0,
            reason=ReasonCode.SUSTAIN_EVSE_FAULT,
        ),
        Attempt(
            attempt_id=second,
            number=2,
            charger_id="DE*TWN*E1*1",
            site_id="loc",
            operator="B",
            protocol="ocpi",
            state=AttemptState.CHARGED,
            opened_at=at(20),
            ended_at=at(50),
            session_ref="S-1",
            energy_kwh=20.0,
        ),
    ]
    van = {"vehicle_id": "van-001"}
    day.entry(6, "command_start", "CP01:1", key="FLEET001", result="Accepted")
    day.entry(7, "session_started", "CP01:1", key="FLEET001", session_ref="1001", **van)
    day.entry(12, "session_ended", "CP01:1", session_ref="1001", energy_kwh=3.0, **van)
    day.entry(21, "command_start", "DE*TWN*E1*1", key=second, result="ACCEPTED")
    day.entry(22, "session_started", "DE*TWN*E1*1", key=second, session_ref="S-1", **van)
    day.entry(49, "command_stop", "DE*TWN*E1*1", key="S-1", result="ACCEPTED")
    day.entry(50, "session_ended", "DE*TWN*E1*1", key=second, session_ref="S-1", energy_kwh=20.1, **van)
    for type_ in ("stop.requested", "plan.decided", "attempt.opened"):
        day.event(type_)
    day.event("attempt.failed", ReasonCode.SUSTAIN_EVSE_FAULT)
    day.event("fallback.chosen", ReasonCode.SUSTAIN_EVSE_FAULT)
    for type_ in ("attempt.opened", "charge.confirmed", "charge.ended", "stop.closed"):
        day.event(type_)
    return day


def test_a_truthful_morning_breaks_nothing() -> None:
    assert morning().violations() == []


def test_a_vehicle_that_charges_at_two_places_at_once_is_told() -> None:
    day = morning()
    day.ledger = [
        e.model_copy(update={"at": at(30)}) if e.what == "session_ended" and e.charger_id == "CP01:1" else e
        for e in day.ledger
    ]
    assert day.broken() == {"one live session per vehicle"}


def test_a_session_that_never_ended_overlaps_with_every_later_one() -> None:
    day = morning()
    day.ledger = [e for e in day.ledger if not (e.what == "session_ended" and e.charger_id == "CP01:1")]
    assert "one live session per vehicle" in day.broken()


def test_two_accepted_starts_of_one_ocpi_intent_are_told() -> None:
    day = morning()
    day.entry(23, "command_start", "DE*TWN*E1*1", key=day.attempts[1].attempt_id, result="ACCEPTED")
    assert day.broken() == {"a start is never effective twice"}


def test_two_accepted_starts_of_one_ocpp16_attempt_are_told() -> None:
    day = morning()
    day.entry(8, "command_start", "CP01:1", key="FLEET001", result="Accepted")
    assert day.broken() == {"a start is never effective twice"}


def test_two_accepted_starts_of_one_remote_start_id_are_told() -> None:
    day = morning()
    key = str(remote_start_id_for(day.attempts[0].attempt_id))
    day.ledger = [e.model_copy(update={"key": key}) if e.key == "FLEET001" else e for e in day.ledger]
    assert day.broken() == set()
    day.entry(8, "command_start", "CP01:1", key=key, result="Accepted")
    assert day.broken() == {"a start is never effective twice"}


def test_two_attempts_at_one_charger_may_start_twice_and_a_refused_start_does_not_count() -> None:
    day = morning()
    again = day.attempts[0].model_copy(
        update={
            "attempt_id": attempt_id_for(day.stop_id, 3),
            "number": 3,
            "opened_at": at(14),
            "energy_kwh": 0.0,
        }
    )
    day.attempts.append(again.model_copy(update={"session_ref": None}))
    day.entry(15, "command_start", "CP01:1", key="FLEET001", result="Rejected")
    day.entry(15.5, "command_start", "CP01:1", key="FLEET001", result="Accepted")
    assert day.broken() == set()


def test_a_start_that_nobody_asked_for_is_told() -> None:
    day = morning()
    day.entry(8, "command_start", "CP99:1", key="FLEET001", result="Accepted")
    assert day.broken() == {"no start without an intent"}


def test_a_session_that_no_attempt_knows_is_told() -> None:
    day = morning()
    day.entry(70, "session_started", "CP99:1", session_ref="x", vehicle_id="van-001")
    day.entry(71, "session_ended", "CP99:1", session_ref="x", vehicle_id="van-001", energy_kwh=0.0)
    assert day.broken() == {"every session is accounted for"}


def test_a_stranger_at_our_charger_is_no_session_of_ours() -> None:
    day = morning()
    day.entry(70, "session_started", "CP01:1", session_ref="x", vehicle_id="van-777")
    day.entry(71, "session_ended", "CP01:1", session_ref="x", vehicle_id="van-777", energy_kwh=0.0)
    assert day.broken() == {"every session is accounted for"}


def test_an_open_attempt_of_an_ended_stop_is_told() -> None:
    day = morning()
    day.attempts[0] = day.attempts[0].model_copy(update={"state": AttemptState.OPEN})
    assert day.broken() == {"every session is accounted for"}


def test_a_session_that_outlives_its_stop_is_told_once_the_guard_had_its_time() -> None:
    day = morning()
    day.ledger = [e for e in day.ledger if not (e.what == "session_ended" and e.session_ref == "S-1")]
    day.now = at(60) + GUARD_TIME - timedelta(seconds=1)
    assert day.broken() == set()
    day.now = at(60) + GUARD_TIME + timedelta(seconds=1)
    assert day.broken() == {"no session outlives its stop"}


def test_no_outcome_and_two_closings_are_told() -> None:
    day = morning()
    day.event("stop.closed")
    assert day.broken() == {"exactly one outcome per stop"}
    day = morning()
    day.outcome = None
    assert "exactly one outcome per stop" in day.broken()


def test_a_fallback_without_a_reason_is_told() -> None:
    day = morning()
    day.events = [
        e.model_copy(update={"type": "vehicle.arrived", "reason": None}) if e.type == "attempt.failed" else e
        for e in day.events
    ]
    assert day.broken() == set(), "the event's own reason is enough"
    day.events = [e.model_copy(update={"reason": None}) for e in day.events]
    assert day.broken() == {"no fallback without a reason"}


def test_energy_that_differs_is_told() -> None:
    day = morning()
    day.attempts[1] = day.attempts[1].model_copy(update={"energy_kwh": 20.31})
    assert day.broken() == {"booked energy is delivered energy"}


def test_energy_that_was_never_booked_is_told() -> None:
    day = morning()
    day.attempts[0] = day.attempts[0].model_copy(update={"energy_kwh": 0.0})
    assert day.broken() == {"booked energy is delivered energy"}


def test_gaps_repeats_and_silence_in_the_log_are_told() -> None:
    day = morning()
    del day.events[2]
    assert day.broken() == {"the event log has no gaps"}
    day = morning()
    day.events.insert(3, day.events[2])
    assert day.broken() == {"the event log has no gaps"}
    day = morning()
    day.events = []
    assert "the event log has no gaps" in day.broken()
