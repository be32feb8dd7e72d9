"""What may be said to a stop, and when; and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.place import Place
from models.stop import (
    ArrivalReport,
    CancelRequest,
    ChargingStopInput,
    ChooseCharger,
    ProblemKind,
    ProblemReport,
    StopPhase,
    StopRequest,
)
from models.vehicle import VehicleState
from stops.inbox import MOST, MOST_JUDGED, Inbox, Said, content_of
from stops.may import Refused, is_repeat, may_arrive, may_cancel, may_choose, may_report, may_speak
from stops.stop import Stop
from tests.stops.test_session import T0


def a_stop() -> Stop:
    vehicle = VehicleState(vehicle_id="van", soc_percent=20, position=Place(latitude=51, longitude=6))
    request = StopRequest(business_key="key", vehicle=vehicle, token_uid="T")
    return Stop.ordered(ChargingStopInput(tenant_id="demo", request=request), "run", T0)


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    return refused.value.code


def test_one_id_names_an_arrival_and_a_problem() -> None:
    inbox = Inbox()
    inbox.remember(Said.ARRIVAL, "1")
    assert inbox.is_known(Said.ARRIVAL, "1")
    assert not inbox.is_known(Said.PROBLEM, "1")


def test_many_arrivals_leave_room_for_a_cancel() -> None:
    stop = a_stop()
    for _ in range(MOST[Said.ARRIVAL]):
        may_speak(stop, Said.ARRIVAL)
        stop.inbox.count(Said.ARRIVAL)
    with pytest.raises(Refused) as refused:
        may_arrive(stop, ArrivalReport(event_id="2"))
    assert code_of(refused) == "stop.too_many_messages"
    may_cancel(stop, CancelRequest(event_id="1"))
    assert sum(MOST.values()) < 2000


def test_a_repeat_of_what_took_effect_is_let_through_at_any_time() -> None:
    stop = a_stop()
    stop.inbox.remember(Said.CANCEL, "1")
    stop.phase = StopPhase.SETTLING
    may_cancel(stop, CancelRequest(event_id="1"))
    with pytest.raises(Refused) as refused:
        may_cancel(stop, CancelRequest(event_id="2"))
    assert code_of(refused) == "cancel.too_late"


def test_arrived_without_a_place_is_refused_once_the_stop_has_moved() -> None:
    stop = a_stop()
    may_arrive(stop, ArrivalReport(event_id="1"))
    stop.plan.moves, stop.plan.planned_at = 2, T0
    with pytest.raises(Refused) as refused:
        may_arrive(stop, ArrivalReport(event_id="1", at=T0 - timedelta(hours=1)))
    assert code_of(refused) == "arrival.place_needed"


def test_a_problem_at_another_charger_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        may_report(a_stop(), ProblemReport(event_id="1", kind=ProblemKind.CABLE, charger_id="DE*SIM*E7"))
    assert code_of(refused) == "charger.not_current"


def test_an_id_with_other_content_is_no_repeat() -> None:
    """Neither when it was said nor a note beside it makes it another word."""
    stop, there = a_stop(), ArrivalReport(event_id="1", charger_id="c1")
    stop.inbox.remember(Said.ARRIVAL, "1", content_of(there))
    assert is_repeat(stop, Said.ARRIVAL, there)
    assert is_repeat(stop, Said.ARRIVAL, there.model_copy(update={"at": T0}))
    with pytest.raises(Refused) as refused:
        may_arrive(stop, there.model_copy(update={"charger_id": "c2"}))
    assert code_of(refused) == "message.conflicting_id"


def test_what_a_run_before_has_remembered_without_content_is_a_repeat() -> None:
    stop = a_stop()
    stop.inbox.remember(Said.ARRIVAL, "1")
    assert is_repeat(stop, Said.ARRIVAL, ArrivalReport(event_id="1", charger_id="c1"))


def test_words_are_refused_once_nothing_can_come_of_them() -> None:
    stop = a_stop()
    stop.is_ending = True
    with pytest.raises(Refused) as refused:
        may_cancel(stop, CancelRequest(event_id="1"))
    assert code_of(refused) == "cancel.too_late"
    stop.wishes.cancel = CancelRequest(event_id="0")
    may_cancel(stop, CancelRequest(event_id="1"))
    with pytest.raises(Refused) as refused:
        may_choose(stop, ChooseCharger(event_id="1", charger_id="c1"))
    assert code_of(refused) == "choice.too_late"


def test_two_choices_are_judged_at_a_time() -> None:
    stop = a_stop()
    stop.inbox.judging = MOST_JUDGED
    with pytest.raises(Refused) as refused:
        may_choose(stop, ChooseCharger(event_id="1", charger_id="c1"))
    assert code_of(refused) == "choice.busy"


def test_a_problem_before_the_plan_must_name_its_charger() -> None:
    stop = a_stop()
    with pytest.raises(Refused) as refused:
        may_report(stop, ProblemReport(event_id="1", kind=ProblemKind.CABLE))
    assert code_of(refused) == "charger.not_current"


def test_evidence_is_heard_once_and_memory_is_bounded() -> None:
    inbox = Inbox()
    assert inbox.hears("1")
    assert not inbox.hears("1")
    for number in range(5000):
        inbox.hears(f"event-{number}")
    assert len(inbox.heard) <= 4000
