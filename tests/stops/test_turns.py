"""How much of a connector that flaps stands in the log, and how much of a stop goes into its next run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle

from models.place import Place
from models.stop import ChargingStopInput, StopRequest
from models.vehicle import VehicleState
from stops.inbox import MOST, Said
from stops.judge import Pause
from stops.stop import Stop
from stops.turns import Turns

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
MOST_CARRIED_BYTES = 256 * 1024
"""An eighth of what Temporal takes: encryption and encoding come on top."""


def long_stop() -> Stop:
    vehicle = VehicleState(
        vehicle_id="v", soc_percent=30, position=Place(latitude=51, longitude=6), battery_usable_kwh=60
    )
    request = StopRequest(business_key="k", vehicle=vehicle, token_uid="t")
    return Stop.ordered(ChargingStopInput(tenant_id="t", request=request), "run", NOW)


def test_a_dozen_turns_are_told_at_once_and_then_one_in_ten_minutes() -> None:
    turns, told = Turns(), list[int]()
    for second, pause in zip(range(4 * 3600), cycle((Pause.PAUSED, Pause.NONE)), strict=False):
        if turns.turn(pause, NOW + timedelta(seconds=second)):
            told.append(second)
    assert told[:12] == list(range(12))
    assert len(told) <= 12 + 4 * 6
    assert (turns.count() or 0) >= 600, "and how many there were in between"


def test_what_was_not_told_is_told_once_it_may_be() -> None:
    turns = Turns()
    for second, pause in zip(range(13), cycle((Pause.PAUSED, Pause.NONE)), strict=False):
        turns.turn(pause, NOW + timedelta(seconds=second))
    assert (turns.does, turns.told) == (Pause.PAUSED, Pause.NONE)
    due = turns.next_at
    assert due is not None
    assert due <= NOW + timedelta(minutes=10)
    assert not turns.turn(Pause.PAUSED, due - timedelta(seconds=1))
    assert turns.turn(Pause.PAUSED, due)
    assert turns.next_at is None


def test_a_night_of_pauses_is_told_whole() -> None:
    turns = Turns()
    for quarter, pause in zip(range(48), cycle((Pause.PAUSED, Pause.NONE)), strict=False):
        assert turns.turn(pause, NOW + timedelta(minutes=15 * quarter))
        assert turns.count() is None


def test_a_stop_carries_little_into_its_next_run_however_long_it_was() -> None:
    """11,000 events, as many pieces of evidence with ids of 200 characters, thousands of words of people."""
    stop = long_stop()
    for turn in range(11_000):
        stop.inbox.hears(f"{turn}:".ljust(200, "x"))
        stop.inbox.remember(Said.PROBLEM, f"{turn}:".ljust(200, "x"))
        stop.note("charge.resumed", "c1 charges again", NOW + timedelta(seconds=turn), energy_kwh=1.5)
        stop.log.give()
    stop.note("charge.paused", "c1: paused", NOW + timedelta(hours=4))
    carried = stop.carried()["carried"]
    after = Stop.model_validate(carried)
    assert len(after.model_dump_json()) < MOST_CARRIED_BYTES
    assert after.log.events[-1].seq == after.log.last_seq == 11_001
    assert [event.seq for event in after.log.give()[0]] == [11_001], "what the store has not is carried"
    after.note("charge.resumed", "c1 charges again", NOW + timedelta(hours=5))
    assert [event.seq for event in after.log.give()[0]] == [11_002]
    assert not after.inbox.hears("10999:".ljust(200, "x"))
    assert after.inbox.is_known(Said.PROBLEM, "10999:".ljust(200, "x"))


def test_what_the_store_has_not_been_given_is_never_left_behind() -> None:
    stop = long_stop()
    for turn in range(200):
        stop.note("charge.resumed", "c1 charges again", NOW + timedelta(seconds=turn))
    stop.carried()
    assert [event.seq for event in stop.log.give()[0]] == list(range(1, 201))


def test_a_run_hears_no_more_words_than_are_remembered() -> None:
    stop = long_stop()
    for number in range(sum(MOST.values())):
        stop.inbox.remember(Said.ARRIVAL, str(number))
    assert stop.inbox.is_known(Said.ARRIVAL, "0")
