"""What is spoilt on purpose, and which promises must go red for it."""

from __future__ import annotations

from collections.abc import Callable

from morning_sample import CP, EVSE, FIRST, SECOND, STOP_ID, Morning, amend, at

from models.ids import attempt_id_for, remote_start_id_for
from models.reason_codes import NextStep, ReasonCode
from models.stop import AttemptState, SessionState, StopOutcome, StopPhase

LOG = "the stored log is the workflow's log"
GAPS = "the event log has no gaps"
FEED = "the feed gives a stop's events in order"
OUTCOME = "exactly one outcome per stop"
AMENDED = "what is amended follows the close"
VIEW = "the view is the last event"
RESULT = "the result is the workflow's result"
SUM = "the result is the sum of its attempts"
WANTED = "one wanted session per vehicle and stop"
TWICE = "a start is never effective twice"
INTENT = "no start without an intent"
COMMANDS = "our command ledger is the charger's"
ACCOUNTED = "every session is accounted for"
ENERGY = "booked energy is delivered energy"
ENDED = "ended is booked as ended, and nothing else"
OWNER = "no session runs without an owner"
HOLDS = "holds follow the sessions"
REASON = "no fallback without a reason"
PERSON = "a person has a deadline"
EVIDENCE = "evidence arrives"

Spoil = Callable[[Morning], None]
CONTROLS: list[tuple[str, set[str], Spoil]] = []


def control(*promises: str) -> Callable[[Spoil], Spoil]:
    """A negative control: what it spoils turns exactly these promises red."""

    def keep(spoil: Spoil) -> Spoil:
        CONTROLS.append((spoil.__name__, set(promises), spoil))
        return spoil

    return keep


# --- the record ---------------------------------------------------------------------------------------------


@control(LOG)
def the_workflow_closed_otherwise_than_the_store(day: Morning) -> None:
    """The worst that was seen: no_show in the store, charged in the workflow."""
    told = day.events[-1].model_copy(update={"text": "No show", "reason": ReasonCode.REACH_NO_SHOW})
    day.workflow_events = [*day.events[:-1], told]


@control(LOG)
def a_detail_of_an_event_differs(day: Morning) -> None:
    told = day.events[3].model_copy(update={"data": {"minutes": 2}})
    day.workflow_events = [*day.events[:3], told, *day.events[4:]]


@control(LOG)
def the_workflow_knows_more_than_the_store(day: Morning) -> None:
    more = day.events[-1].model_copy(update={"seq": 10, "type": "vehicle.left"})
    day.workflow_events = [*day.events, more]


@control(LOG)
def the_workflow_has_forgotten_how_it_began(day: Morning) -> None:
    day.workflow_events = day.events[2:]


@control(LOG)
def the_end_that_a_long_stop_tells_is_another(day: Morning) -> None:
    day.view_changes = {"continued_from_run_id": "run-before"}
    day.workflow_events = [*day.events[2:4], *day.events[5:]]


@control(LOG)
def the_store_knows_more_than_the_workflow(day: Morning) -> None:
    day.workflow_events = day.events[:-1]


@control(GAPS, FEED, LOG)
def an_event_is_missing_in_the_store(day: Morning) -> None:
    day.workflow_events = list(day.events)
    day.feed = [(e.seq, e) for e in day.events]
    del day.events[2]


@control(GAPS)
def an_event_stands_there_twice(day: Morning) -> None:
    day.workflow_events = [*day.events[:4], *day.events[3:]]
    day.events.insert(3, day.events[3])


@control(FEED)
def the_feed_passed_an_event(day: Morning) -> None:
    day.feed = [(e.seq, e) for e in day.events if e.seq != 4]


@control(FEED)
def the_feed_tells_the_second_before_the_first(day: Morning) -> None:
    places = {1: 2, 2: 1}
    day.feed = [(places.get(e.seq, e.seq), e) for e in day.events]


@control(OUTCOME, AMENDED)
def a_stop_closes_twice(day: Morning) -> None:
    day.event("stop.closed", StopPhase.CLOSED, attempt_number=2)


@control(OUTCOME, VIEW)
def the_log_closes_and_the_view_does_not(day: Morning) -> None:
    day.outcome = None


@control(AMENDED, VIEW)
def something_is_said_after_the_close(day: Morning) -> None:
    day.event("vehicle.left", StopPhase.CLOSED)


@control(AMENDED)
def an_open_stop_is_amended(day: Morning) -> None:
    day.change_event("charge.confirmed", data={"amendment_id": "a1"})


@control(AMENDED)
def the_same_is_amended_twice(day: Morning) -> None:
    amend(day)
    day.event("session.ended", StopPhase.CLOSED, attempt_number=1, data=day.events[-1].data)


@control(VIEW)
def the_view_gives_another_reason(day: Morning) -> None:
    day.view_changes = {"reason": ReasonCode.SUSTAIN_STALLED}


@control(VIEW)
def the_view_stands_in_another_phase(day: Morning) -> None:
    day.view_changes = {"phase": StopPhase.CHARGING}


@control(VIEW, RESULT)
def the_result_closed_at_another_time(day: Morning) -> None:
    day.result_changes = {"closed_at": at(61)}


@control(RESULT)
def the_workflow_returned_something_else(day: Morning) -> None:
    day.workflow_result_changes = {"outcome": StopOutcome.NO_SHOW}


@control(RESULT)
def the_workflow_runs_on(day: Morning) -> None:
    day.workflow_changes = {"status": "running"}


@control(RESULT)
def an_attempt_changes_and_no_amendment_says_so(day: Morning) -> None:
    amend(day)
    day.change_attempt(1, detail="other")


@control(SUM, RESULT)
def the_result_is_not_the_sum(day: Morning) -> None:
    day.result_changes = {"energy_kwh": 20.0}


@control(SUM, RESULT)
def the_result_has_other_attempts_than_the_view(day: Morning) -> None:
    changed = day.attempts[1].model_copy(update={"energy_kwh": 19.0})
    day.result_changes = {"attempts": (day.attempts[0], changed), "energy_kwh": 22.0}


# --- sessions -----------------------------------------------------------------------------------------------


@control(WANTED)
def a_vehicle_charges_at_two_places_at_once(day: Morning) -> None:
    day.ledger = [
        e.model_copy(update={"at": at(30)}) if e.what == "session_ended" and e.charger_id == CP else e
        for e in day.ledger
    ]


@control(WANTED)
def it_is_stopped_too_late(day: Morning) -> None:
    a_vehicle_charges_at_two_places_at_once(day)
    day.entry(28, "command_stop", CP, key="1001", result="accepted")


@control(WANTED)
def a_stop_has_two_sessions_of_vehicles_that_nobody_names(day: Morning) -> None:
    a_vehicle_charges_at_two_places_at_once(day)
    day.ledger = [e.model_copy(update={"vehicle_id": None}) for e in day.ledger]


@control(TWICE, COMMANDS)
def an_ocpi_intent_starts_twice(day: Morning) -> None:
    day.entry(23, "command_start", EVSE, key=SECOND, result="ACCEPTED")


@control(TWICE, COMMANDS)
def an_ocpp16_attempt_starts_twice(day: Morning) -> None:
    day.entry(8, "command_start", CP, key="FLEET001", result="Accepted")


@control(TWICE, COMMANDS)
def a_remote_start_id_is_obeyed_twice(day: Morning) -> None:
    key = str(remote_start_id_for(FIRST))
    day.ledger = [e.model_copy(update={"key": key}) if e.key == "FLEET001" else e for e in day.ledger]
    assert day.broken() == set()
    day.entry(8, "command_start", CP, key=key, result="Accepted")


@control(TWICE)
def one_command_written_twice_and_obeyed_twice(day: Morning) -> None:
    day.entry(8, "command_start", CP, key="FLEET001", result="Accepted")
    day.commands.append(day.commands[0].model_copy(update={"command_id": "another"}))


@control(INTENT)
def a_start_that_nobody_asked_for(day: Morning) -> None:
    day.entry(8, "command_start", "CP99:1", key="FLEET001", result="Accepted")


@control(COMMANDS)
def a_start_was_sent_without_being_written_down(day: Morning) -> None:
    day.commands = day.commands[1:]


@control(COMMANDS)
def a_start_is_noted_as_accepted_that_was_refused(day: Morning) -> None:
    day.ledger[0] = day.ledger[0].model_copy(update={"result": "Rejected"})


@control(ACCOUNTED)
def a_session_that_no_attempt_knows(day: Morning) -> None:
    day.entry(70, "session_started", "CP99:1", session_ref="x", vehicle_id="van-001")
    day.entry(71, "session_ended", "CP99:1", session_ref="x", vehicle_id="van-001", energy_kwh=0.0)


@control(ACCOUNTED)
def a_session_of_a_stranger(day: Morning) -> None:
    day.entry(70, "session_started", CP, session_ref="x", vehicle_id="van-777")
    day.entry(71, "session_ended", CP, session_ref="x", vehicle_id="van-777", energy_kwh=0.0)


@control(ACCOUNTED)
def an_attempt_is_open_though_its_stop_ended(day: Morning) -> None:
    day.change_attempt(0, state=AttemptState.OPEN)


@control(ENERGY)
def energy_differs(day: Morning) -> None:
    day.change_attempt(1, energy_kwh=20.31)


@control(ENERGY)
def energy_is_booked_at_the_wrong_charger(day: Morning) -> None:
    """The stop's sum is right; green for the checker as it was."""
    day.change_attempt(0, energy_kwh=0.0)
    day.change_attempt(1, energy_kwh=23.0)


@control(ENDED)
def a_session_ended_and_nobody_wrote_it_down(day: Morning) -> None:
    day.change_attempt(1, session=SessionState.UNKNOWN)


@control(ENDED)
def a_session_that_lived_is_said_never_to_have_begun(day: Morning) -> None:
    day.change_attempt(0, session=SessionState.NEVER_BEGAN)


@control(ENDED)
def a_session_is_unknown_where_nothing_runs(day: Morning) -> None:
    _give_up_a_third(day)
    assert day.broken() == set(), "a start that never lived may stay guarded"
    day.change_attempt(2, session=SessionState.OUT_OF_CONTACT)


@control(OWNER, ENDED, HOLDS)
def a_session_is_called_ended_and_runs(day: Morning) -> None:
    day.ledger = [e for e in day.ledger if not (e.what == "session_ended" and e.charger_id == EVSE)]


def never_ends(day: Morning, session: SessionState, holds: bool) -> None:
    """The second session outlives the stop."""
    day.ledger = [e for e in day.ledger if not (e.what == "session_ended" and e.charger_id == EVSE)]
    day.change_attempt(1, session=session, holds_charger=holds)


@control(OWNER, HOLDS)
def a_session_runs_and_its_hold_is_gone(day: Morning) -> None:
    never_ends(day, SessionState.UNKNOWN, holds=False)


@control(OWNER)
def a_session_runs_unwanted_and_nobody_stops_it(day: Morning) -> None:
    never_ends(day, SessionState.ALIVE, holds=True)


# --- rows ---------------------------------------------------------------------------------------------------


@control(HOLDS)
def a_vehicle_is_held_though_its_stop_has_closed(day: Morning) -> None:
    day.change_attempt(1, holds_vehicle=True)


@control(HOLDS)
def a_connector_is_held_though_its_session_has_ended(day: Morning) -> None:
    day.change_attempt(0, holds_charger=True)


@control(HOLDS)
def a_connector_is_held_for_a_start_that_was_given_up_and_never_lived(day: Morning) -> None:
    _give_up_a_third(day, holds_charger=True)


def _give_up_a_third(day: Morning, **more: object) -> None:
    """Accepted, never alive: it stays guarded."""
    third = day.attempts[0].model_copy(
        update={
            "attempt_id": attempt_id_for(STOP_ID, 3),
            "number": 3,
            "charger_id": "CP02:1",
            "energy_kwh": 0.0,
            "session_ref": None,
            "session": SessionState.ACCEPTED,
            **more,
        }
    )
    day.attempts.append(third)


@control(HOLDS)
def the_row_holds_what_the_view_has_released(day: Morning) -> None:
    day.holds = {SECOND: (False, True)}


@control(EVIDENCE)
def evidence_is_not_delivered(day: Morning) -> None:
    day.evidence[0] = day.evidence[0].model_copy(update={"delivered_at": None})


@control(EVIDENCE)
def evidence_is_in_quarantine(day: Morning) -> None:
    day.evidence[0] = day.evidence[0].model_copy(update={"quarantined": "unreadable"})


# --- explanations -------------------------------------------------------------------------------------------


@control(REASON)
def a_fallback_without_a_reason(day: Morning) -> None:
    day.change_event("attempt.failed", type="vehicle.arrived", reason=None)
    assert day.broken() == set(), "the event's own reason is enough"
    day.change_event("fallback.chosen", reason=None)


@control(REASON)
def an_attempt_failed_without_a_reason(day: Morning) -> None:
    day.change_attempt(0, reason=None)


@control(PERSON)
def a_person_is_asked_without_a_deadline(day: Morning) -> None:
    day.change_event(
        "plan.decided",
        type="human.requested",
        reason=ReasonCode.PLAN_UNREACHABLE,
        next_step=NextStep.HUMAN,
    )


@control(PERSON)
def a_person_is_asked_without_a_reason(day: Morning) -> None:
    day.change_event("plan.decided", type="human.requested", data={"deadline": at(30).isoformat()})


@control(PERSON)
def a_deadline_passed_and_nothing_happened(day: Morning) -> None:
    day.view_changes = {"awaiting_human_until": at(20)}
