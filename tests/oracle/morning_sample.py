"""One stop's morning as every book tells it: it failed at an OCPP 1.6 charger (key: id tag), fell back to a
roaming one, and charged. Tests spoil one book and see which promise goes red."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from models.commands import CommandKind, CommandOutcome, CommandReply
from models.ids import attempt_id_for, stop_id_for, workflow_id_for
from models.reason_codes import ReasonCode
from models.stop import (
    Attempt,
    AttemptState,
    SessionState,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopResult,
    StopView,
)
from simulators.twin import LedgerEntry
from workers.oracle import (
    Books,
    HeldAttempt,
    KeptEvidence,
    Limits,
    SentCommand,
    Violation,
    WorkflowBook,
    check_invariants,
)

T0 = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
STOP_ID = stop_id_for("demo", "k1")
FIRST, SECOND = attempt_id_for(STOP_ID, 1), attempt_id_for(STOP_ID, 2)
CP, EVSE = "CP01:1", "DE*TWN*E1*1"
CLOSED_S = 60
What = Literal["command_start", "command_stop", "session_started", "session_ended", "other"]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass
class Morning:
    """Every list may be changed; what is not, stays true to the others."""

    ledger: list[LedgerEntry] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    events: list[StopEvent] = field(default_factory=list)
    commands: list[SentCommand] = field(default_factory=list)
    evidence: list[KeptEvidence] = field(default_factory=list)
    holds: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    outcome: StopOutcome | None = StopOutcome.CHARGED
    view_changes: dict[str, Any] = field(default_factory=dict)
    result_changes: dict[str, Any] = field(default_factory=dict)
    workflow_changes: dict[str, Any] = field(default_factory=dict)
    workflow_result_changes: dict[str, Any] = field(default_factory=dict)
    workflow_events: list[StopEvent] | None = None
    workflow_attempts: list[Attempt] | None = None
    feed: list[tuple[int, StopEvent]] | None = None
    now: datetime = T0 + timedelta(seconds=100)
    limits: Limits | None = None

    def entry(self, second: float, what: What, charger_id: str, **more: object) -> None:
        self.ledger.append(
            LedgerEntry.model_validate({"at": at(second), "what": what, "charger_id": charger_id, **more})
        )

    def event(self, type_: str, phase: StopPhase, reason: ReasonCode | None = None, **more: Any) -> StopEvent:
        made = StopEvent(
            stop_id=STOP_ID,
            seq=len(self.events) + 1,
            at=at(CLOSED_S if type_ == "stop.closed" else len(self.events)),
            type=type_,
            phase=phase,
            text=type_,
            reason=reason,
            **more,
        )
        self.events.append(made)
        return made

    def change_event(self, type_: str, **changes: Any) -> None:
        self.events = [e.model_copy(update=changes) if e.type == type_ else e for e in self.events]

    def change_attempt(self, index: int, **changes: Any) -> None:
        self.attempts[index] = self.attempts[index].model_copy(update=changes)

    def result(self, attempts: list[Attempt]) -> StopResult | None:
        if self.outcome is None:
            return None
        return StopResult(
            stop_id=STOP_ID,
            tenant_id="demo",
            outcome=self.outcome,
            energy_kwh=sum(a.energy_kwh for a in attempts),
            attempts=tuple(attempts),
            closed_at=at(CLOSED_S),
        )

    def view(self) -> StopView:
        result = self.result(self.attempts)
        made = StopView(
            stop_id=STOP_ID,
            tenant_id="demo",
            business_key="k1",
            workflow_id=workflow_id_for("demo", "k1"),
            vehicle_id="van-001",
            phase=StopPhase.CLOSED if self.outcome else StopPhase.CHARGING,
            outcome=self.outcome,
            result=result.model_copy(update=self.result_changes) if result else None,
            attempts=tuple(self.attempts),
            created_at=T0,
            updated_at=at(CLOSED_S),
        )
        return made.model_copy(update=self.view_changes)

    def workflow(self) -> WorkflowBook:
        own = [e for e in self.events if "amendment_id" not in e.data]
        told = self.result(self.attempts if self.workflow_attempts is None else self.workflow_attempts)
        made = WorkflowBook(
            workflow_id=workflow_id_for("demo", "k1"),
            status="completed" if self.outcome else "running",
            timeline=tuple(own if self.workflow_events is None else self.workflow_events),
            result=told.model_copy(update=self.workflow_result_changes) if told else None,
        )
        return made.model_copy(update=self.workflow_changes)

    def books(self) -> Books:
        rows = [
            HeldAttempt(
                attempt_id=attempt.attempt_id,
                stop_id=STOP_ID,
                vehicle_id="van-001",
                charger_id=attempt.charger_id,
                holds_vehicle=self.holds.get(attempt.attempt_id, (attempt.holds_vehicle, False))[0],
                holds_charger=self.holds.get(attempt.attempt_id, (False, attempt.holds_charger))[1],
            )
            for attempt in self.attempts
        ]
        return Books(
            ledgers=self.ledger,
            views=[self.view()],
            timelines={STOP_ID: self.events},
            now=self.now,
            workflows={STOP_ID: self.workflow()},
            feed=[(10 + e.seq, e) for e in self.events] if self.feed is None else self.feed,
            holds=rows,
            commands=self.commands,
            evidence=self.evidence,
        )

    def violations(self) -> list[Violation]:
        return check_invariants(self.books(), self.limits)

    def broken(self) -> set[str]:
        return {violation.invariant for violation in self.violations()}


def _attempt(number: int, charger_id: str, **more: Any) -> Attempt:
    return Attempt.model_validate(
        {
            "attempt_id": attempt_id_for(STOP_ID, number),
            "number": number,
            "charger_id": charger_id,
            "site_id": "hub",
            "operator": "A",
            "protocol": "ocpp" if charger_id == CP else "ocpi",
            "session": SessionState.ENDED,
            "holds_vehicle": False,
            "holds_charger": False,
            **more,
        }
    )


def morning() -> Morning:
    day = Morning()
    day.attempts = [
        _attempt(
            1,
            CP,
            state=AttemptState.FAILED,
            opened_at=at(5),
            ended_at=at(12),
            session_ref="1001",
            energy_kwh=3.0,
            reason=ReasonCode.SUSTAIN_EVSE_FAULT,
        ),
        _attempt(
            2,
            EVSE,
            state=AttemptState.CHARGED,
            opened_at=at(20),
            ended_at=at(50),
            session_ref="S-1",
            energy_kwh=20.0,
        ),
    ]
    van = {"vehicle_id": "van-001"}
    day.entry(6, "command_start", CP, key="FLEET001", result="Accepted")
    day.entry(7, "session_started", CP, key="FLEET001", session_ref="1001", **van)
    day.entry(12, "session_ended", CP, session_ref="1001", energy_kwh=3.0, **van)
    day.entry(21, "command_start", EVSE, key=SECOND, result="ACCEPTED")
    day.entry(22, "session_started", EVSE, key=SECOND, session_ref="S-1", **van)
    day.entry(49, "command_stop", EVSE, key="S-1", session_ref="S-1", result="ACCEPTED")
    day.entry(50, "session_ended", EVSE, key=SECOND, session_ref="S-1", energy_kwh=20.1, **van)
    day.event("stop.requested", StopPhase.PLANNING)
    day.event("plan.decided", StopPhase.PLANNING)
    day.event("attempt.opened", StopPhase.STARTING, attempt_number=1)
    fault = ReasonCode.SUSTAIN_EVSE_FAULT
    day.event("attempt.failed", StopPhase.CHARGING, fault, attempt_number=1)
    day.event("fallback.chosen", StopPhase.PLANNING, fault, attempt_number=1)
    day.event("attempt.opened", StopPhase.STARTING, attempt_number=2)
    day.event("charge.confirmed", StopPhase.CHARGING, attempt_number=2)
    day.event("charge.ended", StopPhase.CHARGING, attempt_number=2)
    day.event("stop.closed", StopPhase.CLOSED, attempt_number=2)
    reply = CommandReply(outcome=CommandOutcome.ACCEPTED)
    day.commands = [
        SentCommand(
            command_id=f"{attempt_id}:{kind}",
            attempt_id=attempt_id,
            kind=kind,
            begun_at=at(second),
            reply=reply,
        )
        for attempt_id, kind, second in (
            (FIRST, CommandKind.START, 5),
            (SECOND, CommandKind.START, 20),
            (SECOND, CommandKind.STOP, 48),
        )
    ]
    day.evidence = [
        KeptEvidence(
            event_id="e1",
            stop_id=STOP_ID,
            kind="session_started",
            received_at=at(7),
            delivered_at=at(8),
        )
    ]
    return day


def amend(day: Morning, **changes: Any) -> None:
    """A keeper amends the first attempt after the close, as it should be."""
    day.workflow_attempts = list(day.attempts)
    day.change_attempt(0, **changes)
    day.event(
        "session.ended",
        StopPhase.CLOSED,
        attempt_number=1,
        data={"amendment_id": f"{FIRST}:ended", "attempt_id": FIRST},
    )
