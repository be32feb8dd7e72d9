"""Charging limits as OCPP profiles."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_samples import (
    DEFAULT,
    NOW,
    START,
    STATION,
    TRAITS,
    TRANSACTION,
    V16,
    composite,
    every_2x,
    every_version,
    limited,
    limits,
    limits_of,
    phases_of,
    purposes,
    seconds_of,
    sent,
    traits_of,
    units,
    watts_of,
)
from pydantic import ValidationError

from connectors.ocpp.limits.profiles import (
    FLOOR_A,
    clear_request,
    composite_request,
    failsafe,
    installed_request,
    limit_at,
    pauses,
    profile_id,
    rate_unit,
    read_composite,
    set_request,
)
from connectors.ocpp.wire.schemas import Invalid, Version, schemas_of
from models.charging_limit import ChargingLimit, ChargingTraits, LimitPurpose


class TestWhatIsSent:
    @given(limit=limits(), traits=traits_of, unit=units, version=st.sampled_from(list(Version)))
    def test_never_more_than_asked_and_in_order(
        self, limit: ChargingLimit, traits: ChargingTraits, unit: Any, version: Version
    ) -> None:
        profile, schedule = sent(limit, version, traits, unit)
        periods, rate = schedule["chargingSchedulePeriod"], schedule["chargingRateUnit"]
        seconds = seconds_of(schedule)
        assert seconds[0] == 0
        assert seconds == sorted(set(seconds))
        assert all(("numberPhases" in period) == (limit.phases is not None) for period in periods)
        assert rate == "W" or limit.phases is not None
        if profile["chargingProfileKind"] == "Relative":
            ago_s = (NOW - (limit.starts_at or NOW)).total_seconds()
            later = [*(period.start_s for period in limit.periods[1:]), math.inf]
            left = zip(limit.periods, later, strict=True)
            asked = [min(period.limit_kw for period, end_s in left if end_s > ago_s)]
        else:
            asked = [period.limit_kw for period in limit.periods]
        for wanted_kw, period in zip(asked, periods, strict=True):
            got_w = watts_of(period, rate, limit.voltage_v)
            assert got_w <= wanted_kw * 1000 + 0.001
            ampere_w = limit.voltage_v * (limit.phases or 0)
            if got_w:
                assert got_w > wanted_kw * 1000 - (0.1 * ampere_w if rate == "A" else 0.1) - 0.001
                assert limit.phases is None or got_w >= (FLOOR_A - 1e-6) * ampere_w
            elif limit.phases is not None:
                assert wanted_kw * 1000 < FLOOR_A * ampere_w
            else:
                assert wanted_kw * 1000 < 0.1

    @given(
        tenths=st.integers(60, 8000),
        phases=st.sampled_from([1, 2, 3]),
        voltage_v=st.floats(100, 1000),
        version=st.sampled_from(list(Version)),
    )
    def test_amperes_come_back_unchanged(
        self, tenths: int, phases: int, voltage_v: float, version: Version
    ) -> None:
        """A planner that thinks in amperes gets its amperes, not a tenth less by float noise."""
        kw = tenths / 10 * phases * voltage_v / 1000
        _, schedule = sent(limited(kw, phases=phases, voltage_v=voltage_v), version)
        assert limits_of(schedule) == [tenths / 10]
        reply = composite(schedule["chargingSchedulePeriod"], version, chargingRateUnit="A")
        assert read_composite(reply, version, NOW, phases, voltage_v, NOW) == pytest.approx(kw)

    @pytest.mark.parametrize(
        ("kw", "phases", "unit", "limit"),
        [
            (11.04, 3, "A", 16.0),
            (11.0, 3, "A", 15.9),
            (4.14, 3, "A", 6.0),
            (4.139, 3, "A", 0.0),
            (4.139, 3, "W", 0.0),
            (1.38, 1, "A", 6.0),
            (7.4, 1, "W", 7400.0),
            (22.00019, 3, "W", 22000.1),
            (0.0, 3, "A", 0.0),
            (0.5, None, "A", 500.0),
            (150.0, None, "A", 150_000.0),
        ],
    )
    @every_version
    def test_figures(self, version: Version, kw: float, phases: Any, unit: Any, limit: float) -> None:
        asked = limited(kw, phases=phases)
        _, schedule = sent(asked, version, unit=unit)
        assert limits_of(schedule) == [limit]
        assert schedule["chargingRateUnit"] == ("W" if phases is None else unit)
        assert pauses(asked) == (limit == 0)

    def test_the_traits_know_the_unit_better_than_the_station(self) -> None:
        amps = ChargingTraits(unit="A")
        assert rate_unit(limited(11), amps, "W") == "A"
        assert rate_unit(limited(11), TRAITS, "W") == "W"
        assert rate_unit(limited(11), TRAITS, None) == "A"
        assert rate_unit(limited(50, phases=None), amps, "A") == "W"

    @pytest.mark.parametrize(
        ("purpose", "v16", "v2x"),
        [
            (STATION, "ChargePointMaxProfile", "ChargingStationMaxProfile"),
            (DEFAULT, "TxDefaultProfile", "TxDefaultProfile"),
            (TRANSACTION, "TxProfile", "TxProfile"),
        ],
    )
    @every_version
    def test_purposes(self, version: Version, purpose: LimitPurpose, v16: str, v2x: str) -> None:
        profile, _ = sent(limited(11, purpose=purpose), version)
        assert profile["chargingProfilePurpose"] == (v16 if version is V16 else v2x)
        transaction = (4711 if version is V16 else "4711") if purpose is TRANSACTION else None
        assert profile.get("transactionId") == transaction
        assert type(profile.get("transactionId")) is type(transaction)

    def test_a_transaction_id_of_1_6_is_a_number(self) -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            set_request(limited(11, purpose=TRANSACTION, session_ref="a1b2"), TRAITS, V16, NOW, None)

    @every_version
    def test_a_new_limit_replaces_the_old(self, version: Version) -> None:
        key = "chargingProfileId" if version is V16 else "id"
        first, second = sent(limited(11), version), sent(limited(7.4), version, now=NOW + timedelta(hours=1))
        assert first[0][key] == second[0][key] == profile_id("CP-1", 2, DEFAULT)
        assert first[0]["stackLevel"] == second[0]["stackLevel"]

    @given(station=st.text(max_size=40), number=st.integers(0, 99), purpose=purposes)
    def test_ids_are_positive_int32(self, station: str, number: int, purpose: LimitPurpose) -> None:
        assert 0 < profile_id(station, number, purpose) < 2**31

    def test_every_place_has_its_own_id(self) -> None:
        places = {
            profile_id(s, n, p) for s in ("CP-1", "CP-11", "CP-2") for n in range(20) for p in LimitPurpose
        }
        assert len(places) == 3 * 20 * 3

    @every_version
    def test_stack_level_is_the_stations(self, version: Version) -> None:
        assert sent(limited(11), version, ChargingTraits(stack_level=8))[0]["stackLevel"] == 8


class TestWhen:
    @every_version
    def test_backdating_leaves_the_periods_where_they_were(self, version: Version) -> None:
        limit = limited(11, 22, 7, duration_s=3600)
        profile, schedule = sent(limit, version, ChargingTraits(backdate_s=60))
        assert profile["chargingProfileKind"] == "Absolute"
        assert schedule["startSchedule"] == "2026-03-04T11:59:30Z"
        assert seconds_of(schedule) == [0, 660, 1260]
        assert schedule["duration"] == 3660

    def test_a_start_long_ago_is_not_moved(self) -> None:
        _, schedule = sent(limited(11, 22, starts_at=START - timedelta(minutes=5), duration_s=3600))
        assert schedule["startSchedule"] == "2026-03-04T11:55:30Z"
        assert seconds_of(schedule) == [0, 600]
        assert schedule["duration"] == 3600

    def test_a_start_a_moment_ago_is_backdated_by_the_rest(self) -> None:
        _, schedule = sent(limited(11, 22, starts_at=START - timedelta(seconds=20)))
        assert schedule["startSchedule"] == "2026-03-04T11:59:30Z"
        assert seconds_of(schedule) == [0, 640]
        assert "duration" not in schedule

    def test_a_start_ahead_stays_ahead(self) -> None:
        _, schedule = sent(limited(11, 22, starts_at=START + timedelta(hours=1)))
        assert schedule["startSchedule"] == "2026-03-04T13:00:30Z"
        assert seconds_of(schedule) == [0, 600]

    def test_any_zone_is_sent_as_utc(self) -> None:
        zone = datetime.fromisoformat("2026-03-04T13:00:30+01:00")
        assert sent(limited(11), now=zone)[1]["startSchedule"] == "2026-03-04T11:59:30Z"

    def test_a_limit_that_is_over_is_not_sent(self) -> None:
        over = limited(11, starts_at=NOW - timedelta(hours=1), duration_s=3600)
        with pytest.raises(ValueError, match="over"):
            set_request(over, TRAITS, V16, NOW, None)

    @every_version
    def test_relative_holds_the_lowest_for_good(self, version: Version) -> None:
        """Its clock is the transaction's: nothing of ours may hang on it."""
        relative = ChargingTraits(kind="relative")
        profile, schedule = sent(limited(22, 7, 11, duration_s=3600), version, relative)
        assert profile["chargingProfileKind"] == "Relative"
        assert "startSchedule" not in schedule
        assert "duration" not in schedule
        assert seconds_of(schedule) == [0]
        assert limits_of(schedule) == [10.1]
        second = limited(7, 22, 11, starts_at=NOW - timedelta(minutes=10))
        assert limits_of(sent(second, version, relative)[1]) == [15.9], "what is past does not count"

    @every_version
    def test_a_station_limit_is_never_relative(self, version: Version) -> None:
        profile, schedule = sent(limited(11, purpose=STATION), version, ChargingTraits(kind="relative"))
        assert profile["chargingProfileKind"] == "Absolute"
        assert "startSchedule" in schedule

    def test_what_is_wanted_now(self) -> None:
        limit = limited(11, 1, 22, starts_at=NOW, duration_s=1800)
        wanted = [limit_at(limit, NOW + timedelta(seconds=s)) for s in (0, 599, 600, 1200, 1799)]
        assert wanted == [11, 11, 0, 22, 22]
        assert limit_at(limit, NOW - timedelta(seconds=1)) == math.inf
        assert limit_at(limit, NOW + timedelta(seconds=1800)) == math.inf
        assert limit_at(limited(11, 22), NOW) == 11
        assert limit_at(limited(1, phases=None), NOW) == 1
        assert pauses(limit)
        assert not pauses(limited(11, 22))

    @given(limit=limits(), traits=traits_of, version=st.sampled_from(list(Version)), s=st.integers(0, 9_000))
    def test_the_station_would_do_what_is_wanted(
        self, limit: ChargingLimit, traits: ChargingTraits, version: Version, s: int
    ) -> None:
        """At any later time the sent schedule, read as a station reads it, is within what is wanted then."""
        if limit.starts_at is None:
            limit = limit.model_copy(update={"starts_at": NOW})
        later = NOW + timedelta(seconds=s)
        _, schedule = sent(limit, version, traits)
        start = schedule.get("startSchedule", NOW.isoformat())
        periods, rate = schedule["chargingSchedulePeriod"], schedule["chargingRateUnit"]
        reply = composite(periods, version, start=start, chargingRateUnit=rate)
        got = read_composite(reply, version, later, limit.phases, limit.voltage_v, NOW)
        wanted = limit_at(limit, later)
        boundary = any(
            abs((limit.starts_at + timedelta(seconds=p.start_s) - later).total_seconds()) <= 1
            for p in limit.periods
        )
        assert got is None or boundary or got <= wanted + 0.000_01
        assert got is not None or wanted == math.inf or boundary


class TestOtherRequests:
    @every_version
    @pytest.mark.parametrize("purpose", [None, *LimitPurpose])
    def test_clear(self, version: Version, purpose: LimitPurpose | None) -> None:
        number = 0 if purpose is STATION else 2
        action, payload = clear_request(purpose, number, ChargingTraits(stack_level=3), version)
        schemas_of(version).check(action, payload)
        criteria = payload if version is V16 else payload["chargingProfileCriteria"]
        assert action == "ClearChargingProfile"
        assert criteria["connectorId" if version is V16 else "evseId"] == number
        if purpose is None:
            assert len(criteria) == 1
        else:
            # What is cleared is what was set.
            profile, _ = sent(limited(11, purpose=purpose), version, ChargingTraits(stack_level=3))
            assert {key: profile[key] for key in criteria.keys() & profile.keys()} == {
                "chargingProfilePurpose": profile["chargingProfilePurpose"],
                "stackLevel": 3,
            }

    @every_version
    def test_composite(self, version: Version) -> None:
        action, payload = composite_request(1, 300, version, "A")
        schemas_of(version).check(action, payload)
        place = "connectorId" if version is V16 else "evseId"
        assert payload == {place: 1, "duration": 300, "chargingRateUnit": "A"}
        assert composite_request(0, 300, version, None)[1] == {place: 0, "duration": 300}

    @every_2x
    def test_installed(self, version: Version) -> None:
        request = installed_request(version)
        assert request is not None
        schemas_of(version).check(*request)
        assert request[0] == "GetChargingProfiles"
        assert request[1]["chargingProfile"], "at least one criterion (K09.FR.03)"

    def test_1_6_cannot_list(self) -> None:
        assert installed_request(V16) is None


class TestFailsafe:
    @given(
        kw=st.floats(0, 1000),
        connectors=st.sets(st.integers(1, 50), max_size=20),
        phases=phases_of,
        version=st.sampled_from(list(Version)),
    )
    def test_the_sum_stays_within(
        self, kw: float, connectors: set[int], phases: Any, version: Version
    ) -> None:
        safe = failsafe("CP-1", "demo", list(connectors), kw, phases)
        assert {limit.connector_number for limit in safe} == connectors
        assert len({limit.limit_id for limit in safe}) == len(connectors)
        total_w = 0.0
        for limit in safe:
            assert limit.purpose is DEFAULT
            assert limit.duration_s is None
            _, schedule = sent(limit, version)
            total_w += watts_of(schedule["chargingSchedulePeriod"][0], schedule["chargingRateUnit"], 230)
        assert total_w <= kw * 1000 + 0.01

    def test_a_share_below_the_floor_pauses(self) -> None:
        assert [pauses(limit) for limit in failsafe("CP-1", "demo", [1, 2, 3], 11.04, 3)] == [True] * 3
        assert [pauses(limit) for limit in failsafe("CP-1", "demo", [1, 2], 11.04, 3)] == [False] * 2

    def test_another_power_is_another_limit(self) -> None:
        ids = [failsafe("CP-1", "demo", [1], kw, 3)[0].limit_id for kw in (11.0, 11.0, 7.4)]
        assert ids[0] == ids[1] != ids[2]

    def test_what_is_no_failsafe(self) -> None:
        with pytest.raises(ValueError, match="single"):
            failsafe("CP-1", "demo", [0, 1], 11, 3)
        with pytest.raises(ValidationError):
            failsafe("CP-1", "demo", [1], -1, 3)
        assert failsafe("CP-1", "demo", [], 11, 3) == []


@every_2x
def test_a_transaction_id_too_long_is_refused_by_the_schema(version: Version) -> None:
    action, payload = set_request(
        limited(11, purpose=TRANSACTION, session_ref="x" * 37), TRAITS, version, NOW, None
    )
    with pytest.raises(Invalid):
        schemas_of(version).check(action, payload)
