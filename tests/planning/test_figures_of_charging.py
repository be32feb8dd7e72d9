"""Charge time, price, wait and start chance: each against a calculation done another way."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_world import CCS, NOW, TYPE_2, a_charger, a_van, steady

from models.charger import Charger, ConnectorStatus, TariffTerms
from models.vehicle import CurvePoint, VehicleModel
from planning.figures import VehicleFigures, figures_of
from planning.power import charge_time_s
from planning.price import ASSUMED_DC, price_session, tariff_of
from planning.probability import StartChances, after_failure
from planning.waiting import MEAN_DC_SESSION_S, expected_wait_s


def figures(*curve: tuple[float, float]) -> VehicleFigures:
    model = VehicleModel(
        model_id="m",
        name="m",
        battery_usable_kwh=60,
        connectors=(CCS, TYPE_2),
        dc_curve=tuple(CurvePoint(soc_percent=soc, power_kw=kw) for soc, kw in curve),
    )
    known = figures_of(a_van(), model, 80)
    assert known is not None
    return known


def stepped_s(vehicle: VehicleFigures, charger_kw: float, from_wh: int, to_wh: int) -> float:
    """The same charge in 1 Wh steps over the curve, as one would by hand."""
    points = [(p.soc_percent, p.power_kw) for p in vehicle.dc_curve]
    seconds = 0.0
    for wh in range(from_wh, to_wh):
        soc = 100 * (wh + 0.5) / vehicle.battery_wh
        kw = points[0][1] if soc <= points[0][0] else points[-1][1]
        for (s0, k0), (s1, k1) in pairwise(points):
            if s0 <= soc <= s1:
                kw = k0 + (k1 - k0) * (soc - s0) / (s1 - s0)
        seconds += 3.6 / min(max(kw, 1.0), charger_kw, vehicle.dc_max_w / 1000)
    return seconds


@pytest.mark.parametrize("charger_kw", [20.0, 50.0, 75.0, 300.0])
def test_the_closed_form_agrees_with_small_steps(charger_kw: float) -> None:
    vehicle = figures((0, 95), (18, 90), (40, 90), (80, 50), (100, 6.6))
    exact = charge_time_s(vehicle, CCS, charger_kw, 6_000, 57_000)
    assert exact == pytest.approx(stepped_s(vehicle, charger_kw, 6_000, 57_000), abs=2)


def test_without_a_curve_the_typical_shares_are_used() -> None:
    vehicle = figures()
    # 100 kW peak: 10-50 % at 100 kW, 50-80 % at 75 kW.
    assert charge_time_s(vehicle, CCS, 300, 6_000, 48_000) == round(24 / 100 * 3600 + 18 / 75 * 3600)


def test_ac_is_the_lesser_of_both_limits() -> None:
    assert charge_time_s(figures(), TYPE_2, 22, 0, 11_000) == 3600
    assert charge_time_s(figures(), TYPE_2, 3.7, 0, 3_700) == 3600


@steady
@given(
    kw=st.floats(3, 400),
    low=st.integers(0, 60_000),
    high=st.integers(0, 60_000),
    curve=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 300)), max_size=8),
)
def test_any_curve_gives_a_finite_time_and_more_power_never_takes_longer(
    kw: float, low: int, high: int, curve: list[tuple[float, float]]
) -> None:
    vehicle = figures(*curve)
    slow = charge_time_s(vehicle, CCS, kw, low, high)
    fast = charge_time_s(vehicle, CCS, kw * 2, low, high)
    assert 0 <= fast <= slow <= 61 * 3600
    assert (slow == 0) or high > low


def test_price_is_rounded_once_at_the_end_half_up() -> None:
    tariff = TariffTerms(
        energy_per_kwh=Decimal("0.333"), session_fee=Decimal("0.10"), occupation_per_hour=Decimal("1.2")
    )
    # 0.10 + 3.33 + 0.005 = 3.435
    assert price_session(tariff, 10, 15).amount == Decimal("3.44")
    assert price_session(tariff, -1, -1).amount == Decimal("0.10")
    assert price_session(tariff.model_copy(update={"currency": "JPY"}), 10, 15).amount == Decimal("3")


def test_a_charger_without_tariff_is_estimated_in_the_policys_currency() -> None:
    unknown = a_charger("x", tariff=None)
    assert tariff_of(unknown, "EUR") is ASSUMED_DC
    assert tariff_of(unknown, "CHF").currency == "CHF"


def test_wait_is_none_at_a_free_charger_and_fades_with_the_drive_at_a_taken_one() -> None:
    free = a_charger("x")
    taken = a_charger("x", status=ConnectorStatus.OCCUPIED)
    assert expected_wait_s(free, NOW, 600) == 0
    assert expected_wait_s(taken, NOW, 0) == MEAN_DC_SESSION_S
    assert 0 < expected_wait_s(taken, NOW, 1800) < expected_wait_s(taken, NOW, 600)
    assert expected_wait_s(free, NOW, 0, ahead=2) == 2 * MEAN_DC_SESSION_S
    stale = a_charger("x", status_at=NOW - timedelta(minutes=30))
    assert 0 < expected_wait_s(stale, NOW, 0) < expected_wait_s(taken, NOW, 0)


def test_start_chance_is_shrunk_to_its_operator_and_lifted_by_live_status() -> None:
    silent = {"status": ConnectorStatus.UNKNOWN, "status_at": None, "operator": "acme"}
    new = a_charger("new", **silent)
    good = a_charger("good", start_successes=100, **silent)
    bad = a_charger("bad", start_failures=100, **silent)
    once = a_charger("once", start_failures=1, **silent)

    def chance(of: str, *among: Charger) -> int:
        return StartChances(among, (), NOW).of(next(c for c in among if c.charger_id == of))

    assert chance("new", new) == 850_000
    assert chance("new", new, bad) < 850_000 < chance("new", new, good)
    assert chance("bad", new, bad) < 100_000
    assert chance("once", once) > 700_000
    live = new.model_copy(update={"status": ConnectorStatus.AVAILABLE, "status_at": NOW})
    assert chance("new", live) > chance("new", new)


def test_a_charger_that_says_available_and_never_starts_is_not_believed() -> None:
    liar = a_charger("liar", start_failures=40)
    assert StartChances([liar], (), NOW).of(liar) < 200_000


def test_failures_at_a_site_and_of_an_operator_lower_the_chance() -> None:
    failed = a_charger("a", site_id="s", operator="acme")
    sibling = a_charger("b", site_id="s", operator="acme")
    cousin = a_charger("c", operator="acme")
    other = a_charger("d")
    chances = StartChances([failed, sibling, cousin, other], ("s",), NOW)
    assert chances.of(sibling) < chances.of(cousin) < chances.of(other)
    assert after_failure(800_000, sibling, failed) == 400_000
    assert after_failure(800_000, cousin, failed) == 680_000
    assert after_failure(800_000, other, failed) == 800_000
