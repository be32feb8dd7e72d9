"""The oracle stays silent over a truthful morning, and each promise that is broken on purpose is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from morning_sample import CP, FIRST, SECOND, STOP_ID, amend, at, morning
from negative_controls import (
    COMMANDS,
    CONTROLS,
    EVIDENCE,
    FEED,
    HOLDS,
    LOG,
    OWNER,
    RESULT,
    WANTED,
    Spoil,
    a_vehicle_charges_at_two_places_at_once,
    evidence_is_in_quarantine,
    evidence_is_not_delivered,
    never_ends,
)

from models.commands import CommandKind, CommandOutcome, CommandReply
from models.ids import attempt_id_for
from models.reason_codes import ReasonCode
from models.stop import SessionState, StopPhase
from workers.oracle import PROMISES, KeptEvidence, Limits, check_invariants


def test_a_truthful_morning_breaks_nothing() -> None:
    assert morning().violations() == []


@pytest.mark.parametrize(("promises", "spoil"), [c[1:] for c in CONTROLS], ids=[c[0] for c in CONTROLS])
def test_what_is_spoilt_is_told(promises: set[str], spoil: Spoil) -> None:
    day = morning()
    spoil(day)
    assert day.broken() == promises, [str(violation) for violation in day.violations()]


def test_every_promise_has_a_negative_control() -> None:
    assert {name for _, promises, _ in CONTROLS for name in promises} == set(PROMISES)


def test_books_that_nobody_gave_are_not_judged() -> None:
    """From outside there are the ledgers and the API: the rest needs the house's own keys."""
    day = morning()
    day.workflow_events, day.feed = [], []
    day.commands, day.holds = [], {SECOND: (True, True)}
    evidence_is_not_delivered(day)
    assert day.broken() == {LOG, FEED, COMMANDS, HOLDS, EVIDENCE}
    books = day.books()
    outside = replace(books, workflows=None, feed=None, holds=None, commands=None, evidence=None)
    assert check_invariants(outside) == []


def test_a_session_that_is_being_stopped_may_overlap_with_the_wanted_one() -> None:
    day = morning()
    a_vehicle_charges_at_two_places_at_once(day)
    day.entry(24, "command_stop", CP, key="1001", result="accepted")
    assert day.broken() == set()


def test_a_stop_that_cannot_reach_its_charger_counts_from_when_it_was_written_down() -> None:
    day = morning()
    a_vehicle_charges_at_two_places_at_once(day)
    stop = day.commands[2].model_copy(update={"command_id": "x", "attempt_id": FIRST, "begun_at": at(13)})
    day.commands.append(stop)
    assert day.broken() == set()
    day.commands[-1] = stop.model_copy(update={"begun_at": at(28)})
    assert day.broken() == {WANTED}


def test_a_stop_that_is_not_obeyed_counts_from_when_that_was_told() -> None:
    day = morning()
    a_vehicle_charges_at_two_places_at_once(day)
    day.change_event("fallback.chosen", type="stop.unconfirmed", at=at(13), data={"attempt_id": FIRST})
    assert day.broken() == set()
    day.change_event("stop.unconfirmed", data={"attempt_id": "of another"})
    assert day.broken() == {WANTED}


def test_two_attempts_at_one_charger_may_start_twice_and_a_refused_start_does_not_count() -> None:
    day = morning()
    third = attempt_id_for(STOP_ID, 3)
    again = day.attempts[0].model_copy(
        update={
            "attempt_id": third,
            "number": 3,
            "opened_at": at(14),
            "energy_kwh": 0.0,
            "session_ref": None,
            "session": SessionState.NEVER_BEGAN,
        }
    )
    day.attempts.append(again)
    for kind in (CommandKind.START, CommandKind.STOP):
        reply = CommandReply(outcome=CommandOutcome.UNCERTAIN)
        made = day.commands[0].model_copy(
            update={"command_id": f"{third}:{kind}", "attempt_id": third, "kind": kind, "reply": reply}
        )
        day.commands.append(made)
    day.entry(15, "command_start", CP, key="FLEET001", result="Rejected")
    day.entry(15.5, "command_start", CP, key="FLEET001", result="Accepted")
    assert day.broken() == set()


def test_a_session_that_outlives_its_stop_is_told_once_its_keeper_had_its_time() -> None:
    day = morning()
    never_ends(day, SessionState.ALIVE, holds=True)
    day.now = at(60) + Limits().guard - timedelta(seconds=1)
    assert day.broken() == set()
    day.now = at(60) + Limits().guard + timedelta(seconds=1)
    assert day.broken() == {OWNER}


@pytest.mark.parametrize("session", [SessionState.STOPPING, SessionState.UNKNOWN])
def test_a_session_that_will_not_end_is_stopped_or_unknown_and_held(session: SessionState) -> None:
    day = morning()
    never_ends(day, session, holds=True)
    assert day.broken() == set()


def test_what_a_keeper_amends_is_the_stores_alone() -> None:
    day = morning()
    day.ledger[2] = day.ledger[2].model_copy(update={"energy_kwh": 3.5})
    amend(day, energy_kwh=3.5)
    assert day.violations() == []


def test_a_reset_stop_goes_on_in_its_log_under_other_numbers() -> None:
    """The run remembers seven events and has told one since; its former self had told two more."""
    day = morning()
    day.event("stop.reset", StopPhase.CHARGING)
    day.event("stop.closed", StopPhase.CLOSED)
    own = [*day.events[:7], day.events[10].model_copy(update={"seq": 8})]
    day.workflow_events = list(own)
    assert day.broken() == set()
    day.workflow_events[7] = own[7].model_copy(update={"text": "otherwise"})
    assert day.broken() == {LOG}
    day.workflow_events = [*own[:3], own[3].model_copy(update={"text": "otherwise"}), *own[4:]]
    assert day.broken() == {LOG}
    day.workflow_events = own[:7]
    assert day.broken() == {LOG}


def test_the_run_of_a_long_stop_tells_the_end_of_its_log() -> None:
    day = morning()
    day.view_changes = {"continued_from_run_id": "run-before"}
    day.workflow_events = day.events[2:]
    assert day.broken() == set()


def test_a_terminated_stop_is_closed_by_another_hand() -> None:
    day = morning()
    day.workflow_events = day.events[:6]
    day.workflow_changes = {"status": "terminated", "result": None}
    assert day.broken() == {LOG, RESULT}
    lost = ReasonCode.STOP_WORKFLOW_LOST
    day.change_event("stop.closed", reason=lost)
    day.view_changes = {"reason": lost}
    assert day.broken() == set()
    day.workflow_events[2] = day.workflow_events[2].model_copy(update={"text": "otherwise"})
    assert day.broken() == {LOG}


def test_who_is_asked_while_the_stop_ends_has_no_deadline() -> None:
    """Nobody knows whether it charges: the stop ends, and its session stays held until somebody looks."""
    day = morning()
    day.change_event("charge.ended", type="human.requested", reason=ReasonCode.SUSTAIN_CONTACT_LOST)
    assert day.broken() == set()


def test_evidence_has_a_moment_to_arrive_and_concerns_a_stop() -> None:
    day = morning()
    row = KeptEvidence(event_id="e2", stop_id=STOP_ID, kind="meter", received_at=at(90))
    day.evidence.append(row)
    day.evidence.append(row.model_copy(update={"stop_id": None, "received_at": at(1)}))
    assert day.broken() == set()


def test_what_a_test_has_spoilt_may_lie_in_quarantine() -> None:
    day = morning()
    evidence_is_in_quarantine(day)
    day.limits = Limits(quarantine=frozenset({"e1"}))
    assert day.broken() == set()
