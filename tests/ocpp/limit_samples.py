"""Limits, the requests made of them, and what stations answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import strategies as st

from connectors.ocpp.limits.profiles import set_request
from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from models.charging_limit import ChargingLimit, ChargingTraits, LimitPeriod, LimitPurpose

NOW = datetime(2026, 3, 4, 12, 0, 30, 250_000, tzinfo=UTC)
START = NOW.replace(microsecond=0)
TRAITS = ChargingTraits()
V16 = Version.V16
V2X = [version for version in Version if version is not V16]
A_YEAR_S = 366 * 86_400
DEFAULT, STATION, TRANSACTION = LimitPurpose.DEFAULT, LimitPurpose.STATION, LimitPurpose.TRANSACTION
every_version = pytest.mark.parametrize("version", list(Version))
every_2x = pytest.mark.parametrize("version", V2X)
phases_of = st.sampled_from([None, 1, 2, 3])
purposes = st.sampled_from(list(LimitPurpose))
units = st.sampled_from(["A", "W", None])


def limited(*kw: float, every_s: int = 600, purpose: LimitPurpose = DEFAULT, **given: Any) -> ChargingLimit:
    """Periods of `every_s` seconds each."""
    place: Json = {"connector_number": 0 if purpose is STATION else 2}
    if purpose is TRANSACTION:
        place["session_ref"] = "4711"
    return ChargingLimit(
        limit_id="limit-1",
        tenant_id="demo",
        station_id="CP-1",
        purpose=purpose,
        periods=tuple(LimitPeriod(start_s=n * every_s, limit_kw=x) for n, x in enumerate(kw)),
        **({"phases": 3} | place | given),
    )


def sent(
    limit: ChargingLimit,
    version: Version = V16,
    traits: ChargingTraits = TRAITS,
    unit: Literal["A", "W"] | None = None,
    now: datetime = NOW,
) -> tuple[Json, Json]:
    """(profile, its schedule) of a request that fits its schema."""
    action, payload = set_request(limit, traits, version, now, unit)
    assert action == "SetChargingProfile"
    schemas_of(version).check(action, payload)
    assert payload["connectorId" if version is V16 else "evseId"] == limit.connector_number
    profile = payload["csChargingProfiles" if version is V16 else "chargingProfile"]
    schedule = profile["chargingSchedule"]
    if version is not V16:
        (schedule,) = schedule
    return profile, schedule


def seconds_of(schedule: Json) -> list[int]:
    return [period["startPeriod"] for period in schedule["chargingSchedulePeriod"]]


def limits_of(schedule: Json) -> list[float]:
    return [period["limit"] for period in schedule["chargingSchedulePeriod"]]


def watts_of(period: Json, unit: str, voltage_v: float) -> float:
    return period["limit"] * (voltage_v * period["numberPhases"] if unit == "A" else 1)


@st.composite
def limits(draw: st.DrawFn) -> ChargingLimit:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 86_400), max_size=6)))]
    powers = draw(st.lists(st.floats(0, 400), min_size=len(starts), max_size=len(starts)))
    purpose = draw(purposes)
    return ChargingLimit(
        limit_id="limit-1",
        tenant_id="demo",
        station_id=draw(st.text(min_size=1, max_size=20)),
        connector_number=0 if purpose is STATION else draw(st.integers(1, 9)),
        purpose=purpose,
        periods=tuple(LimitPeriod(start_s=s, limit_kw=kw) for s, kw in zip(starts, powers, strict=True)),
        phases=draw(phases_of),
        voltage_v=draw(st.floats(100, 1000)),
        starts_at=NOW - timedelta(seconds=ago) if (ago := draw(st.none() | st.integers(-9, 9999))) else None,
        duration_s=draw(st.none() | st.integers(10_000, 200_000)),
        session_ref=str(draw(st.integers(0, 2**31 - 1))) if purpose is TRANSACTION else None,
    )


traits_of = st.builds(
    ChargingTraits,
    unit=units,
    stack_level=st.integers(0, 100),
    kind=st.sampled_from(["absolute", "relative"]),
    backdate_s=st.integers(0, 3600),
)


def composite(periods: Any, version: Version, start: Any = None, **given: Any) -> Json:
    """A GetCompositeSchedule response as stations send it; `given` overrides fields of the schedule."""
    start = NOW.isoformat() if start is None else start
    schedule = {"duration": A_YEAR_S, "chargingRateUnit": "W", "chargingSchedulePeriod": periods} | given
    if version is V16:
        return {
            "status": "Accepted",
            "connectorId": 1,
            "scheduleStart": start,
            "chargingSchedule": schedule,
        }
    return {"status": "Accepted", "schedule": schedule | {"evseId": 1, "scheduleStart": start}}


def period(limit: Any, start_s: Any = 0, **more: Any) -> Json:
    return {"startPeriod": start_s, "limit": limit} | more
