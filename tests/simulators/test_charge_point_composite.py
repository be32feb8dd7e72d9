"""What the simulated device reports of its limits, what its vendor quirks do, and how power follows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from charge_point_bench import START, Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.charge_point.device import DeviceTwin
from simulators.charge_point.device_state import Wiring
from simulators.charge_point.power import RAMP_KW_PER_S, InstalledProfile, ramp

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
every = pytest.mark.parametrize("version", VERSIONS)


def composite(bench: Bench, number: int, duration: int, unit: str | None = None) -> tuple[str, list[Any]]:
    asked = {"duration": duration} | ({"chargingRateUnit": unit} if unit else {})
    place = "connectorId" if bench.version == "ocpp1.6" else "evseId"
    answer = bench.ask("GetCompositeSchedule", **{place: number}, **asked)
    if answer["status"] != "Accepted":
        return answer["status"], []
    schedule = answer["chargingSchedule" if bench.version == "ocpp1.6" else "schedule"]
    return schedule["chargingRateUnit"], [
        (p["startPeriod"], p["limit"]) for p in schedule["chargingSchedulePeriod"]
    ]


@every
class TestComposite:
    def test_merges_and_falls_back_to_what_the_connector_can_do(self, version: Any) -> None:
        bench = Bench(version, (1,), wiring={1: Wiring(3, 230, 22.08)})
        bench.install(0, "max", [(0, 20), (50, 12)], id=1)
        bench.install(1, "default", 16, id=2, schedule={"duration": 100})
        assert composite(bench, 1, 300) == ("A", [(0, 16), (50, 12)])
        assert composite(bench, 1, 300, "W") == ("W", [(0, 11040), (50, 8280)])
        bench.device.profiles.limits.profiles.pop(0)
        assert composite(bench, 1, 300) == ("A", [(0, 16), (100, 32)])

    def test_connector_zero_is_the_sum(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(0, "default", 10, id=1)
        assert composite(bench, 0, 60)[1] == [(0, 20)]
        bench.install(0, "max", 15, id=2)
        assert composite(bench, 0, 60)[1] == [(0, 15)]

    def test_changes_within_one_second_are_one_period(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 10, id=1, start=bench.at(5.2))
        bench.install(1, "default", 8, id=2, stack=1, start=bench.at(5.7))
        assert composite(bench, 1, 60)[1][1:] == [(6, 8)]

    def test_refused(self, version: Any) -> None:
        bench = Bench(version)
        assert composite(bench, 9, 60)[0] == "Rejected"
        only = "Current" if version == "ocpp1.6" else "A"
        bench.device.settings.preset("ChargingScheduleAllowedChargingRateUnit", only)
        assert composite(bench, 1, 60, "W")[0] == "Rejected"

    def test_direct_current_speaks_watt(self, version: Any) -> None:
        bench = Bench(version, (1,), wiring={1: Wiring(None, 800, 150)})
        bench.install(1, "default", 40_000, unit="W")
        assert composite(bench, 1, 60) == ("W", [(0, 40_000)])


@every
class TestQuirks:
    def test_ends_at_zero(self, version: Any) -> None:
        device = Bench(version, quirks=frozenset({"ends_at_zero"})).device
        assert device.ends_transaction(0.0)
        assert not device.ends_transaction(None)
        assert not device.ends_transaction(0.1)

    def test_says_watt_means_ampere(self, version: Any) -> None:
        bench = Bench(version, quirks=frozenset({"says_watt_means_ampere"}))
        said = bench.device.settings.text("ChargingScheduleAllowedChargingRateUnit")
        assert said == ("Power" if version == "ocpp1.6" else "W")
        assert bench.install(1, "default", 6900, unit="W")["status"] == "Accepted"
        assert bench.limit_a() == 6900
        assert bench.install(1, "default", 10, unit="A")["status"] == "Accepted"
        assert bench.limit_a() == 10

    def test_accepts_and_ignores(self, version: Any) -> None:
        bench = Bench(version, quirks=frozenset({"accepts_and_ignores"}))
        assert bench.install(1, "default", 10)["status"] == "Accepted"
        assert bench.limit_a() is None
        assert composite(bench, 1, 60)[1] == [(0, 10)]

    def test_empty_composite(self, version: Any) -> None:
        bench = Bench(version, quirks=frozenset({"empty_composite"}))
        bench.strict = version == "ocpp1.6"
        assert composite(bench, 1, 60) == ("A", [])

    def test_no_smart_charging(self, version: Any) -> None:
        bench = Bench(version, quirks=frozenset({"no_smart_charging"}))
        assert bench.device.answer("GetCompositeSchedule", {}) is None
        if version == "ocpp1.6":
            assert bench.install(1, "default", 10)["status"] == "NotSupported"
            assert "SmartCharging" not in bench.device.settings.text("SupportedFeatureProfiles")
        else:
            assert bench.device.answer("SetChargingProfile", {}) is None

    def test_unknown_quirk(self, version: Any) -> None:
        with pytest.raises(ValueError, match="no such quirk"):
            Bench(version, quirks=frozenset({"sings"}))


powers = st.floats(0, 400, allow_nan=False)


@given(current=powers, limit=powers, seconds=st.floats(0, 100))
def test_ramp_never_jumps_and_never_passes_the_limit(current: float, limit: float, seconds: float) -> None:
    after = ramp(current, limit, seconds)
    assert abs(after - current) <= RAMP_KW_PER_S * seconds + 1e-9
    assert min(current, limit) - 1e-9 <= after <= max(current, limit) + 1e-9
    assert DeviceTwin.ramp(current, limit, 1000) == limit


def by_the_book(profiles: list[InstalledProfile], at: datetime) -> float | None:
    """The same rule by brute force, for Absolute profiles in amperes: every profile is read afresh."""
    best: dict[str, tuple[tuple[int, int], float]] = {}
    for profile in profiles:
        schedule = profile.body["chargingSchedule"]
        schedule = schedule if isinstance(schedule, dict) else schedule[0]
        elapsed_s = (at - datetime.fromisoformat(schedule["startSchedule"])).total_seconds()
        if not 0 <= elapsed_s < schedule.get("duration", 10**9):
            continue
        limits = [p["limit"] for p in schedule["chargingSchedulePeriod"] if p["startPeriod"] <= elapsed_s]
        rank = (profile.body["stackLevel"], profile.scope)
        purpose = profile.body["chargingProfilePurpose"].replace("ChargePoint", "ChargingStation")
        if purpose not in best or best[purpose][0] < rank:
            best[purpose] = (rank, limits[-1])
    own = best.get("TxProfile", best.get("TxDefaultProfile"))
    known = [found[1] for found in (own, best.get("ChargingStationMaxProfile")) if found is not None]
    return min(known) if known else None


rows = st.lists(
    st.tuples(
        st.sampled_from([(0, "max"), (0, "default"), (1, "default"), (1, "tx")]),
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(1, 500), st.integers(0, 320)), max_size=3, unique_by=lambda p: p[0]),
        st.integers(-300, 300),
        st.none() | st.integers(1, 600),
    ),
    max_size=6,
)


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=60, deadline=None)
@given(rows=rows, probes=st.lists(st.integers(0, 599), min_size=1, max_size=8))
def test_composite_schedule_tells_the_truth(version: Any, rows: list[Any], probes: list[int]) -> None:
    """What is reported for a moment is what is obeyed then, and what the rules say."""
    bench = Bench(version, (1,), wiring={1: Wiring(3, 230, 22.08)})
    bench.begin(1, "7")
    for number, ((scope, purpose), stack, later, starts_s, duration) in enumerate(rows):
        steps = [(0, 16.0), *((s, deci / 10) for s, deci in sorted(later))]
        bench.install(
            scope,
            purpose,
            steps,
            id=number + 1,
            stack=stack,
            start=bench.at(starts_s),
            schedule={} if duration is None else {"duration": duration},
            transaction="7" if purpose == "tx" else None,
        )
    _, periods = composite(bench, 1, 600)
    assert periods[0][0] == 0
    assert [s for s, _ in periods] == sorted({s for s, _ in periods})
    for probe in probes:
        bench.now = START + timedelta(seconds=probe)
        reported_a = [limit for start, limit in periods if start <= probe][-1]
        limit_a = bench.limit_a()
        assert reported_a == pytest.approx(32 if limit_a is None else min(limit_a, 32), abs=0.1)
        assert limit_a == pytest.approx(by_the_book(bench.device.profiles.limits.profiles, bench.now))
