"""Smart charging of the simulated device: which limit is in force, what is refused, what is reported."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from charge_point_bench import Bench

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
V2 = VERSIONS[1:]
every = pytest.mark.parametrize("version", VERSIONS)
every_2 = pytest.mark.parametrize("version", V2)


def reason(answer: dict[str, Any]) -> str:
    assert answer["status"] == "Rejected"
    return answer["statusInfo"]["reasonCode"]


@every
class TestLimitInForce:
    def test_without_profiles_nothing_limits(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin()
        assert bench.limit_a() is None

    def test_higher_stack_level_wins_and_falls_back_when_it_is_over(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin()
        bench.install(1, "default", 20, id=1, stack=0)
        bench.install(1, "default", 10, id=2, stack=3, schedule={"duration": 60})
        assert bench.limit_a() == 10
        bench.wait(59.5)
        assert bench.limit_a() == 10
        bench.wait(0.5)
        assert bench.limit_a() == 20

    def test_purposes_combine_by_minimum(self, version: Any) -> None:
        bench = Bench(version, (1,))
        bench.begin()
        bench.install(0, "max", 16, id=1)
        bench.install(1, "default", 10, id=2)
        assert bench.limit_a() == 10
        bench.install(1, "default", 25, id=2)
        assert bench.limit_a() == 16

    def test_tx_profile_overrules_the_default_and_goes_with_its_transaction(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin()
        bench.install(1, "default", 10, id=1)
        bench.install(1, "tx", 25, id=2, transaction="7")
        assert bench.limit_a() == 25
        bench.device.transaction_ended(1)
        bench.begin(1, "8")
        assert bench.limit_a() == 10

    def test_default_of_connector_zero_holds_for_all(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(0, "default", 12, id=1, stack=0)
        bench.install(2, "default", 8, id=2, stack=1)
        assert (bench.limit_a(1), bench.limit_a(2)) == (12, 8)

    def test_station_maximum_is_shared_by_running_transactions(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(0, "max", 32)
        bench.begin(1, "7")
        assert bench.limit_a(1) == 32
        bench.begin(2, "8")
        assert (bench.limit_a(1), bench.limit_a(2)) == (16, 16)

    def test_periods_relative_and_recurring(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", [(0, 6), (100, 16)], id=1, kind="Relative")
        daily = {"kind": "Recurring", "recurrencyKind": "Daily"}
        bench.install(2, "default", [(0, 8), (3600, 20)], id=2, **daily)
        bench.now += timedelta(days=3)
        bench.begin(1)
        assert (bench.limit_a(1), bench.limit_a(2)) == (6, 8)
        bench.now += timedelta(hours=1)
        assert (bench.limit_a(1), bench.limit_a(2)) == (16, 20)

    def test_validity_window(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 9, validFrom=bench.at(60), validTo=bench.at(120))
        seen = []
        for _ in range(3):
            seen.append(bench.limit_a())
            bench.now += timedelta(seconds=60)
        assert seen == [None, 9, None]

    def test_watt_is_the_total_and_phases_count(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 6900, unit="W")
        assert bench.device.limit_kw(1, bench.now, 3, 230) == pytest.approx(6.9)
        assert bench.device.limit_kw(1, bench.now, None, 400) == pytest.approx(6.9)
        bench.install(1, "default", 10, unit="A")
        assert bench.device.limit_kw(1, bench.now, 3, 230) == pytest.approx(6.9)
        assert bench.device.limit_kw(1, bench.now, 1, 230) == pytest.approx(2.3)
        one_phase = {"chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10, "numberPhases": 1}]}
        bench.install(1, "default", 10, schedule=one_phase)
        assert bench.device.limit_kw(1, bench.now, 3, 230) == pytest.approx(2.3)

    def test_limit_of_zero_is_a_limit(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 0)
        assert bench.limit_a() == 0
        assert not bench.device.ends_transaction(0.0)

    def test_remote_start_profile_binds_to_the_next_transaction(self, version: Any) -> None:
        bench = Bench(version)
        held = bench.profile("tx", 13, kind="Relative")
        assert bench.device.hold_for_start(1, held)
        assert bench.limit_a() is None
        bench.begin()
        assert bench.limit_a() == 13
        assert not bench.device.hold_for_start(1, bench.profile("default", 13))
        assert not bench.device.hold_for_start(9, held)


@every
class TestRefusals:
    @pytest.mark.parametrize(
        ("number", "purpose"), [(1, "max"), (9, "default"), (0, "tx"), (1, "tx"), (2, "tx")]
    )
    def test_wrong_place(self, version: Any, number: int, purpose: str) -> None:
        bench = Bench(version)
        bench.begin(2, "7")
        transaction = "99" if purpose == "tx" else None
        assert bench.install(number, purpose, 10, transaction=transaction)["status"] == "Rejected"
        assert bench.device.profiles.limits.profiles == []

    def test_wrong_rate_unit(self, version: Any) -> None:
        bench = Bench(version)
        only = "Current" if version == "ocpp1.6" else "A"
        bench.device.settings.preset("ChargingScheduleAllowedChargingRateUnit", only)
        answer = bench.install(1, "default", 5000, unit="W")
        assert answer["status"] == "Rejected"
        assert version == "ocpp1.6" or reason(answer) == "UnsupportedRateUnit"
        assert bench.install(1, "default", 10, unit="A")["status"] == "Accepted"

    @pytest.mark.parametrize(
        "steps", [[(5, 10)], [(0, 10), (0, 11)], [(0, 1), (9, 2), (5, 3)], [(n, 10) for n in range(25)]]
    )
    def test_broken_periods(self, version: Any, steps: list[tuple[int, float]]) -> None:
        assert Bench(version).install(1, "default", steps)["status"] == "Rejected"

    def test_stack_level_too_high(self, version: Any) -> None:
        bench = Bench(version)
        assert bench.install(1, "default", 10, stack=10)["status"] == "Rejected"
        assert bench.install(1, "default", 10, stack=9)["status"] == "Accepted"

    def test_store_is_full(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("MaxChargingProfilesInstalled", "2")
        said = [bench.install(1, "default", 10, id=n, stack=n)["status"] for n in range(3)]
        assert said == ["Accepted", "Accepted", "Rejected"]
        assert bench.install(1, "default", 11, id=1, stack=1)["status"] == "Accepted"


def test_16_same_purpose_and_stack_level_replaces() -> None:
    bench = Bench("ocpp1.6")
    bench.install(1, "default", 10, id=1)
    bench.install(1, "default", 12, id=2)
    assert bench.limit_a() == 12
    assert len(bench.device.profiles.limits.profiles) == 1


@every_2
class TestSecondGenerationRefusals:
    def test_same_id_replaces_and_another_id_is_a_duplicate(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 10, id=1)
        assert bench.install(1, "default", 12, id=1)["status"] == "Accepted"
        assert reason(bench.install(1, "default", 14, id=2)) == "DuplicateProfile"
        assert reason(bench.install(0, "default", 14, id=2)) == "DuplicateProfile"
        assert bench.limit_a() == 12
        assert bench.install(2, "default", 14, id=2)["status"] == "Accepted"
        assert bench.install(1, "default", 14, id=3, stack=1)["status"] == "Accepted"

    def test_no_duplicate_where_the_windows_do_not_meet(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(1, "default", 10, id=1, validTo=bench.at(60))
        said = bench.install(1, "default", 12, id=2, validFrom=bench.at(60))
        assert said["status"] == "Accepted"

    def test_transaction_and_kind(self, version: Any) -> None:
        bench = Bench(version)
        bench.begin(1, "7")
        assert reason(bench.install(1, "tx", 10)) == "MissingParam"
        assert reason(bench.install(1, "tx", 10, transaction="8")) == "TxNotFound"
        external = bench.install(0, "ChargingStationExternalConstraints", 10)
        assert reason(external) == "InvalidProfile"
        relative = bench.install(1, "default", 10, kind="Relative", schedule={"startSchedule": bench.at()})
        assert reason(relative) == "InvalidSchedule"

    def test_switched_off(self, version: Any) -> None:
        bench = Bench(version)
        bench.device.settings.preset("SmartChargingCtrlr.Enabled", "false")
        assert reason(bench.install(1, "default", 10)) == "NotEnabled"

    def test_report_and_clear(self, version: Any) -> None:
        bench = Bench(version)
        bench.install(0, "max", 30, id=1)
        bench.install(1, "default", 10, id=2)
        bench.install(2, "default", 12, id=3, stack=2)
        assert bench.status("GetChargingProfiles", requestId=5, chargingProfile={}) == "Accepted"
        parts = bench.heard("ReportChargingProfiles")
        assert [(p["evseId"], p["tbc"], [x["id"] for x in p["chargingProfile"]]) for p in parts] == [
            (0, True, [1]),
            (1, True, [2]),
            (2, False, [3]),
        ]
        wanted = {"chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 2}
        assert bench.status("GetChargingProfiles", requestId=6, chargingProfile=wanted) == "Accepted"
        assert bench.heard("ReportChargingProfiles")[-1]["evseId"] == 2
        none = {"chargingProfileId": [77]}
        assert bench.status("GetChargingProfiles", requestId=7, chargingProfile=none) == "NoProfiles"
        assert bench.status("ClearChargingProfile", chargingProfileCriteria=wanted) == "Accepted"
        assert bench.status("ClearChargingProfile", chargingProfileId=3) == "Unknown"
        assert bench.status("ClearChargingProfile", chargingProfileId=1) == "Accepted"
        assert [p.profile_id for p in bench.device.profiles.limits.profiles] == [2]


def test_16_clear_by_what_is_given() -> None:
    bench = Bench("ocpp1.6")
    bench.install(0, "max", 30, id=1)
    bench.install(1, "default", 10, id=2)
    bench.install(2, "default", 12, id=3, stack=2)
    assert bench.status("ClearChargingProfile", id=9) == "Unknown"
    assert bench.status("ClearChargingProfile", connectorId=1, stackLevel=2) == "Unknown"
    assert bench.status("ClearChargingProfile", chargingProfilePurpose="TxDefaultProfile") == "Accepted"
    assert [p.profile_id for p in bench.device.profiles.limits.profiles] == [1]
    assert bench.status("ClearChargingProfile") == "Accepted"
    assert bench.device.profiles.limits.profiles == []


@every
def test_profiles_survive_a_restart(version: Any) -> None:
    bench = Bench(version)
    bench.begin(1, "7")
    bench.install(0, "max", 16, id=1)
    bench.install(1, "tx", 10, id=2, transaction="7")
    bench.wait(5)
    bench.restart()
    assert bench.limit_a() == 10
    bench.device.transaction_ended(1)
    bench.device.rebooted()
    assert bench.limit_a() == (None if version == "ocpp1.6" else 16)


def test_21_priority_charging() -> None:
    bench = Bench("ocpp2.1")
    assert bench.status("UsePriorityCharging", transactionId="7", activate=True) == "Rejected"
    bench.begin(1, "7")
    assert bench.status("UsePriorityCharging", transactionId="7", activate=True) == "NoProfile"
    bench.install(1, "default", 8, id=1)
    bench.install(0, "PriorityCharging", 25, id=2)
    assert bench.limit_a() == 8
    assert bench.status("UsePriorityCharging", transactionId="7", activate=True) == "Accepted"
    assert bench.limit_a() == 25
    assert bench.status("UsePriorityCharging", transactionId="7", activate=False) == "Accepted"
    assert bench.limit_a() == 8


def test_21_dynamic_schedule() -> None:
    bench = Bench("ocpp2.1")
    bench.install(1, "default", 8, id=1, kind="Dynamic")
    bench.install(2, "default", 8, id=2)
    update = {"scheduleUpdate": {"limit": 14.5}}
    assert bench.status("UpdateDynamicSchedule", chargingProfileId=1, **update) == "Accepted"
    assert bench.status("UpdateDynamicSchedule", chargingProfileId=2, **update) == "Rejected"
    assert bench.status("UpdateDynamicSchedule", chargingProfileId=3, **update) == "Rejected"
    assert (bench.limit_a(1), bench.limit_a(2)) == (14.5, 8)
    assert bench.status("GetChargingProfiles", requestId=1, chargingProfile={}) == "Accepted"
