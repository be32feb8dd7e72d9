"""What may be said to a stop, and when; and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.place import Place
from models.stop import (
    ArrivalReport,
    CancelRequest,
    ChargingStopInput,
    ProblemKind,
    ProblemReport,
    StopPhase,
    StopRequest,
)
from models.vehicle import VehicleState
from stops.inbox import MOST, Inbox, Said
from stops.may import Refused, may_arrive, may_cancel, may_report, may_speak
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


def test_evidence_is_heard_once_and_memory_is_bounded() -> None:
    inbox = Inbox()
    assert inbox.hears("1")
    assert not inbox.hears("1")
    for number in range(5000):
        inbox.hears(f"event-{number}")
    assert len(inbox.heard) <= 4000
