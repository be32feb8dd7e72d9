"""What stations say of their charging limits: believed, doubted, compared."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_samples import NOW, V16, composite, every_version, limits, period, phases_of, sent, units, watts_of

from connectors.ocpp.limits.profiles import (
    is_obeyed,
    offered_kw,
    read_composite,
)
from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from models.charging_limit import ChargingLimit, ReadBack

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 8.6e12, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


class TestReadComposite:
    @every_version
    def test_the_period_in_force(self, version: Version) -> None:
        periods = [period(16.0), period(0.0, 600), period(10, 1200, numberPhases=1)]
        reply = composite(periods, version, chargingRateUnit="A", duration=3600)
        schemas_of(version).check("GetCompositeSchedule", reply, response=True)
        seen = {
            s: read_composite(reply, version, NOW + timedelta(seconds=s), 3, 230.0, NOW)
            for s in (-10, 0, 599, 600, 1200, 3599, 3600, -301)
        }
        assert seen == {
            -10: 11.04, 0: 11.04, 599: 11.04, 600: 0, 1200: 2.3, 3599: 2.3, 3600: None, -301: None
        }  # fmt: skip

    @every_version
    def test_watts_need_no_phases(self, version: Version) -> None:
        assert read_composite(composite([period(50_000)], version), version, NOW, None, 230, NOW) == 50

    @every_version
    def test_amperes_of_direct_current_mean_nothing(self, version: Version) -> None:
        reply = composite([period(100, numberPhases=3)], version, chargingRateUnit="A")
        assert read_composite(reply, version, NOW, None, 230, NOW) is None

    @every_version
    def test_amperes_of_a_power_station(self, version: Version) -> None:
        reply = composite([period(32_767)], version, chargingRateUnit="A")
        assert read_composite(reply, version, NOW, 3, 230, NOW) is None

    def test_1_6_puts_its_start_in_either_place(self) -> None:
        reply = composite([period(11_000)], V16, startSchedule=NOW.isoformat())
        del reply["scheduleStart"]
        assert read_composite(reply, V16, NOW, 3, 230, NOW) == 11
        del reply["chargingSchedule"]["startSchedule"]
        assert read_composite(reply, V16, NOW, 3, 230, NOW) is None

    def test_1_6_may_leave_the_end_open(self) -> None:
        reply = composite([period(11_000)], V16)
        del reply["chargingSchedule"]["duration"]
        assert read_composite(reply, V16, NOW + timedelta(days=3), 3, 230, NOW) == 11

    @every_version
    @pytest.mark.parametrize("status", ["Rejected", "", None])
    def test_a_refusal(self, version: Version, status: Any) -> None:
        reply = composite([period(11_000)], version) | {"status": status}
        assert read_composite(reply, version, NOW, 3, 230, NOW) is None
        assert read_composite({"status": "Accepted"}, version, NOW, 3, 230, NOW) is None

    @every_version
    @pytest.mark.parametrize(
        "periods",
        [
            [],
            None,
            {},
            ["11000"],
            [period(-1)],
            [period(math.nan)],
            [period(math.inf)],
            [period(10**400)],
            [period(20_000_000)],
            [period("11000")],
            [period(True)],
            [period(11_000, 60)],
            [period(11_000, -1)],
            [period(11_000), period(7_000, 0)],
            [period(11_000), period(7_000, 600), period(7_000, 300)],
            [period(11_000), period(-7_000, 600)],
            [period(11_000), {"startPeriod": 600}],
        ],
    )
    def test_unbelievable_periods(self, version: Version, periods: Any) -> None:
        reply = composite([], version, chargingSchedulePeriod=periods, chargingRateUnit="W")
        assert read_composite(reply, version, NOW, 3, 230, NOW) is None

    @every_version
    @pytest.mark.parametrize(
        "given",
        [
            {"duration": 8.6e12},
            {"duration": 0},
            {"duration": -5},
            {"duration": math.nan},
            {"duration": "60"},
            {"chargingRateUnit": "kW"},
            {"chargingRateUnit": None},
            {"start": ""},
            {"start": "yesterday"},
            {"start": 1_700_000_000},
            {"start": "1970-01-01T00:00:00Z"},
            {"start": "0001-01-01T00:00:00+14:00"},
            {"start": "2026-03-05T12:00:00Z"},
        ],
    )
    def test_unbelievable_frames(self, version: Version, given: Json) -> None:
        reply = composite([period(11_000)], version, **given)
        assert read_composite(reply, version, NOW, 3, 230, NOW) is None

    @given(
        version=st.sampled_from(list(Version)),
        junk=st.dictionaries(
            st.sampled_from(["chargingSchedulePeriod", "duration", "chargingRateUnit", "startSchedule"]),
            json_like,
        ),
        item=st.dictionaries(st.sampled_from(["startPeriod", "limit", "numberPhases"]), json_like),
        whole=json_like,
        start=json_like,
        phases=phases_of,
    )
    def test_nothing_raises(
        self, version: Version, junk: Json, item: Json, whole: Any, start: Any, phases: int | None
    ) -> None:
        replies: list[Any] = [
            whole,
            {"status": "Accepted", "schedule": whole, "chargingSchedule": whole, "scheduleStart": start},
            composite([], version, start) | {"status": "Accepted"},
            composite([], version, **junk),
            composite([period(1.0) | item], version, chargingRateUnit="A"),
        ]
        for reply in replies:
            read = read_composite(reply, version, NOW, phases, 230, NOW)
            assert read is None or 0 <= read <= 10_000


class TestOffered:
    @staticmethod
    def values(*samples: Json) -> list[Json]:
        return [{"timestamp": NOW.isoformat(), "sampledValue": list(samples)}]

    @staticmethod
    def amps(value: Any, **more: Any) -> Json:
        return {"value": value, "measurand": "Current.Offered"} | more

    @staticmethod
    def power(value: Any, **more: Any) -> Json:
        return {"value": value, "measurand": "Power.Offered"} | more

    def test_current_first_then_power(self) -> None:
        both = self.values(self.power("7000", unit="W"), self.amps("16.0", unit="A"))
        assert offered_kw(both, 3, 230) == (pytest.approx(11.04), ReadBack.CURRENT_OFFERED)
        assert offered_kw(both, None, 230) == (7, ReadBack.POWER_OFFERED)
        assert offered_kw(self.values(self.amps("?"), self.power("7")), 3, 230) == (
            0.007,
            ReadBack.POWER_OFFERED,
        )

    @pytest.mark.parametrize(
        ("sample", "kw"),
        [
            ({"value": "22", "unit": "kW"}, 22),
            ({"value": "22000"}, 22),
            ({"value": 22, "unitOfMeasure": {"unit": "W", "multiplier": 3}}, 22),
            ({"value": 22000, "unitOfMeasure": {"unit": "kW", "multiplier": -3}}, 22),
            ({"value": 2200, "unitOfMeasure": {"multiplier": 1}}, 22),
            ({"value": 0.0, "unitOfMeasure": None}, 0),
            ({"value": "10", "unit": "A"}, 6.9),
            ({"value": "10", "unit": "Percent"}, None),
            ({"value": "-10"}, None),
            ({"value": "nan"}, None),
            ({"value": "inf"}, None),
            ({"value": None}, None),
            ({"value": 10**400}, None),
            ({"value": 1, "unitOfMeasure": {"multiplier": 400}}, None),
            ({"value": "1e12"}, None),
        ],
    )
    def test_units(self, sample: Json, kw: float | None) -> None:
        found = offered_kw(self.values(self.power(**sample)), 3, 230)
        assert found == (None if kw is None else (pytest.approx(kw), ReadBack.POWER_OFFERED))

    def test_phases(self) -> None:
        each = [self.amps("16", phase=phase) for phase in ("L1-N", "L2-N", "L3-N")]
        assert offered_kw(self.values(*each, self.amps("3", phase="N")), 3, 230) == (
            pytest.approx(11.04),
            ReadBack.CURRENT_OFFERED,
        )
        for pilot in ([self.amps("16", phase="L1")], [self.amps("16")], [self.amps("16"), *each[:2]]):
            found = offered_kw(self.values(*pilot), 3, 230)
            assert found is not None
            assert found[0] == pytest.approx(11.04)
        unequal = self.values(self.amps("16", phase="L1"), self.amps("0", phase="L2"))
        assert offered_kw(unequal, 3, 230) == (pytest.approx(3.68), ReadBack.CURRENT_OFFERED)
        powers = self.values(*(self.power("2", unit="kW", phase=phase) for phase in ("L1", "L2", "L3")))
        assert offered_kw(powers, 3, 230) == (6, ReadBack.POWER_OFFERED)

    def test_the_newest_counts(self) -> None:
        found = offered_kw(self.values(self.amps("16")) + self.values(self.amps("0")), 1, 230)
        assert found == (0, ReadBack.CURRENT_OFFERED)
        silent_since = self.values(self.amps("16")) + self.values({"value": "5"})
        assert offered_kw(silent_since, 1, 230) == (pytest.approx(3.68), ReadBack.CURRENT_OFFERED)

    def test_nothing_is_offered(self) -> None:
        import_only = self.values({"value": "16", "measurand": "Current.Import", "unit": "A"})
        assert offered_kw(import_only, 3, 230) is None
        assert offered_kw([], 3, 230) is None
        assert offered_kw([{}], 3, 230) is None


class TestObeyed:
    @given(limit_kw=st.floats(0, 1000), share=st.floats(0, 1))
    def test_lower_is_obeyed(self, limit_kw: float, share: float) -> None:
        assert is_obeyed(limit_kw, limit_kw * share)
        assert is_obeyed(limit_kw, limit_kw)

    def test_a_little_more_is_tolerated(self) -> None:
        assert is_obeyed(11.0, 11.5)
        assert not is_obeyed(11.0, 11.6)
        assert not is_obeyed(11.0, 11.5, tolerance=0.01)
        assert is_obeyed(0.0, 0.05), "0.1 A worth of noise is a pause"
        assert not is_obeyed(0.0, 1.38), "6 A is no pause"
        assert not is_obeyed(11.0, math.nan)
        assert is_obeyed(math.inf, 22.0)

    @given(limit=limits(), unit=units, version=st.sampled_from(list(Version)))
    def test_what_was_sent_is_obeyed_when_done(
        self, limit: ChargingLimit, unit: Any, version: Version
    ) -> None:
        _, schedule = sent(limit, version, unit=unit)
        first = schedule["chargingSchedulePeriod"][0]
        offered = watts_of(first, schedule["chargingRateUnit"], limit.voltage_v) / 1000
        assert is_obeyed(limit.periods[0].limit_kw, offered)
