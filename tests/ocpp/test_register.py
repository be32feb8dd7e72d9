"""What a session took, from a register that repeats, jumps, resets, rolls over or changes its unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ocpp.truth.register import Reading, Register, folded

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
STEP = timedelta(minutes=15)
MOST_IN_A_STEP_WH = 200_000
ROLLS_AT = 2**31
NOTHING: set[str] = set()

starts_wh = st.integers(0, 10**9)
gains_wh = st.lists(st.integers(0, MOST_IN_A_STEP_WH), min_size=1, max_size=30)


def readings_of(values: list[float], *, unit_known: bool = True) -> list[Reading]:
    """One each quarter of an hour, from the start on."""
    return [Reading(START + number * STEP, value, unit_known) for number, value in enumerate(values)]


def rising(start_wh: int, gains: list[int]) -> list[float]:
    return [float(value) for value in accumulate(gains, initial=start_wh)]


@given(starts_wh, gains_wh, st.data(), st.booleans())
def test_a_monotone_register_gives_last_less_first_in_any_order_and_with_repeats(
    start_wh: int, gains: list[int], data: st.DataObject, unit_known: bool
) -> None:
    values = rising(start_wh, gains)
    told = readings_of(values, unit_known=unit_known)
    repeats = data.draw(st.lists(st.sampled_from(told), max_size=5))
    shuffled = data.draw(st.permutations([*told, *repeats]))
    for start in (start_wh, None):
        register = folded(start, START, shuffled)
        assert register.taken_wh == values[-1] - values[0]
        assert register.findings == ({"meter_start_missing"} if start is None else set())
    live = Register(start_wh, START)
    for reading in shuffled:
        live.read(reading)
    assert live.taken_wh == values[-1] - values[0], "arrival order changes nothing when nothing fell"


@given(starts_wh, gains_wh, st.data())
def test_chunks_of_a_register_add_up(start_wh: int, gains: list[int], data: st.DataObject) -> None:
    """What a restart of the gateway folds anew from the journal, and then hears live."""
    told = readings_of(rising(start_wh, gains))
    cut = data.draw(st.integers(0, len(told)))
    register = folded(start_wh, START, told[:cut])
    for reading in told[cut:]:
        register.read(reading)
    assert register.taken_wh == folded(start_wh, START, told).taken_wh == sum(gains)


@given(st.integers(100_000, 10**9), gains_wh, st.integers(0, 90_000), gains_wh)
def test_a_reset_loses_nothing_that_was_shown_and_doubles_nothing(
    start_wh: int, before: list[int], shown_after: int, after: list[int]
) -> None:
    values = rising(start_wh, before) + rising(shown_after, after)
    register = folded(start_wh, START, readings_of(values))
    assert register.taken_wh == sum(before) + shown_after + sum(after)
    assert register.findings == {"register_reset"}


@given(st.integers(0, 9), gains_wh, st.integers(0, 1_000), gains_wh)
def test_a_register_that_starts_at_0_with_each_session_may_fall_to_0_again(
    start_wh: int, before: list[int], shown_after: int, after: list[int]
) -> None:
    values = rising(start_wh, before) + rising(shown_after, after)
    register = folded(start_wh, START, readings_of(values))
    fell_from = values[len(before)]
    fell = fell_from - shown_after
    if fell > 0 and (shown_after <= 10 or fell > max(10, fell_from * 0.05)):
        assert register.taken_wh == sum(before) + shown_after + sum(after)
    else:  # so little that it may be noise: nothing tells that it fell
        assert register.taken_wh == max(fell_from, values[-1]) - start_wh


@given(st.integers(1, 40_000_000), gains_wh)
def test_an_int32_register_rolls_over_exactly(below: int, gains: list[int]) -> None:
    start_wh = ROLLS_AT - below
    values = [value % ROLLS_AT for value in rising(start_wh, gains)]
    register = folded(start_wh, START, readings_of(values))
    assert register.taken_wh == sum(gains)
    assert register.findings == ({"register_rolled_over"} if sum(gains) >= below else set())


@given(st.integers(50_000, 10**9), gains_wh, st.data())
def test_kwh_without_a_unit_among_wh(start_wh: int, gains: list[int], data: st.DataObject) -> None:
    """The total is right to the resolution of what was said in kWh; the last reading is in Wh."""
    values = rising(start_wh, gains)
    in_kwh = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    digits = data.draw(st.sampled_from([0, 1, 3]))
    told = [
        reading._replace(register_wh=round(reading.register_wh / 1000, digits)) if kwh else reading
        for reading, kwh in zip(readings_of(values, unit_known=False), [*in_kwh[:-1], False], strict=True)
    ]
    register = folded(start_wh, START, told)
    assert register.taken_wh == pytest.approx(sum(gains), abs=0.5 * 10 ** (3 - digits) + 1e-3)
    assert "register_reset" not in register.findings


@given(st.integers(20_000, 10**9), gains_wh, st.data())
def test_noise_neither_adds_nor_takes(start_wh: int, gains: list[int], data: st.DataObject) -> None:
    values = rising(start_wh, gains)
    shaken = [value - data.draw(st.integers(0, 1_000)) for value in values[:-1]]
    register = folded(start_wh, START, readings_of([*shaken, values[-1]]))
    assert register.taken_wh == sum(gains)
    assert register.findings <= {"register_noise"}


def folded_in_minutes(start_wh: float | None, *values: float, **stop: Any) -> Register:
    told = [Reading(START + timedelta(minutes=number + 1), value) for number, value in enumerate(values)]
    end = Reading(START + stop.get("after", timedelta(hours=1)), stop["wh"]) if "wh" in stop else None
    return folded(start_wh, START, told, end)


def test_a_jump_is_noted_and_counted() -> None:
    """No plug gives 200 kWh in a minute; what the register shows stands all the same."""
    register = folded_in_minutes(5_000, 205_000)
    assert (register.taken_wh, register.findings) == (200_000, {"register_jumped"})


def test_another_meter_gives_nothing_for_the_gap() -> None:
    register = folded_in_minutes(9_000_000, 9_001_000, 4_000_000, 4_002_000)
    assert (register.taken_wh, register.findings) == (3_000, {"register_replaced"})


@pytest.mark.parametrize(
    ("stop_wh", "taken_wh", "findings"),
    [
        (106_000, 6_000, NOTHING),
        (105_000, 5_400, {"register_noise"}),  # in whole kWh
        (0, 5_400, {"register_reset"}),  # "none", to some stations
        (60_000, 5_400, {"register_replaced"}),
    ],
)
def test_a_stop_value_below_the_last_sample(stop_wh: float, taken_wh: float, findings: set[str]) -> None:
    register = folded_in_minutes(100_000, 102_000, 105_400, wh=stop_wh, after=timedelta(minutes=3))
    assert (register.taken_wh, register.findings) == (taken_wh, findings)


def test_a_stop_whose_clock_is_behind_the_samples_is_still_the_last() -> None:
    register = folded_in_minutes(100_000, 102_000, 104_000, wh=105_000, after=timedelta(hours=-3))
    assert (register.taken_wh, register.findings) == (5_000, set())


def test_a_clock_set_back_does_not_stop_the_count() -> None:
    register = Register(100_000, START)
    minutes = ((30, 105_000), (29, 104_900), (-20, 106_000), (-10, 107_000), (0, 900_000))
    for minute, wh in minutes:
        register.read(Reading(START + timedelta(minutes=minute), wh))
    assert (register.taken_wh, register.findings) == (7_000, set()), "the last makes no sense"


def test_an_unknown_start_is_what_the_register_shows_first() -> None:
    register = folded_in_minutes(None, 102_000, 104_000, wh=105_000)
    assert (register.taken_wh, register.start_wh) == (3_000, 102_000)
    assert register.findings == {"meter_start_missing"}


def test_nothing_shown_is_nothing_known() -> None:
    assert folded_in_minutes(None).taken_kwh is None
    assert folded_in_minutes(5_000).taken_kwh == 0.0


def test_readings_of_one_moment_keep_their_order() -> None:
    """A station with a wrong clock: all of a replay counts as told now, in the order in which it came."""
    values = (100_000, 101_000, 500, 1_500)
    register = folded(99_000, START, [Reading(START, value) for value in values])
    assert (register.taken_wh, register.findings) == (3_500, {"register_reset"})
