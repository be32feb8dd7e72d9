"""Charging limits as OCPP profiles, and back: what to send, and what a station says it offers.

Pure: no I/O, no clock. OCPP 1.6 section 3.13, OCPP 2.0.1 part 2 K (2.1 takes the same payloads).

*The floor.* IEC 61851 cannot signal less than 6 A. An AC limit above 0 and below 6 A per phase is therefore
sent as 0, a pause: rounding up would draw more than was asked for. `pauses` tells beforehand, because some
stations end the transaction at 0.

*Truncation.* Limits are cut down to 0.1 A or 0.1 W, never rounded up: both versions take one decimal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from connectors.ocpp.truth.meter import scaled, unit_of
from connectors.ocpp.wire.schemas import Json, Version
from models.charging_limit import ChargingLimit, ChargingTraits, LimitPeriod, LimitPurpose, ReadBack

RateUnit = Literal["A", "W"]

FLOOR_A = 6.0
INSTALLED_REQUEST_ID = 1
"""requestId of `installed_request`: the station repeats it in its ReportChargingProfiles."""

_PURPOSE_V2X = {
    LimitPurpose.STATION: "ChargingStationMaxProfile",
    LimitPurpose.DEFAULT: "TxDefaultProfile",
    LimitPurpose.TRANSACTION: "TxProfile",
}
_PURPOSE_V16 = _PURPOSE_V2X | {LimitPurpose.STATION: "ChargePointMaxProfile"}

_STEP_KW = 0.07
"""0.1 A on three phases at 230 V: what truncation and a station's own rounding cost."""
_AC_TOLERANCE, _DC_TOLERANCE = 0.05, 0.01
_MOST_KW = 10_000.0
_LONGEST_S = 366 * 86_400
_SKEW_S = 300


def profile_id(station_id: str, connector_number: int, purpose: LimitPurpose) -> int:
    """A positive int32, the same for every limit of this place: a new limit REPLACES the old one. In 2.x
    another id at the same stack level, purpose and EVSE would be refused (DuplicateProfile)."""
    place = f"{station_id}#{connector_number}#{purpose.value}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "big") % 2_147_483_646 + 1


def rate_unit(limit: ChargingLimit, traits: ChargingTraits, unit: RateUnit | None) -> RateUnit:
    """W for DC; else what the traits say (stations lie about their unit), else `unit`, the station's own
    word, else A."""
    return "W" if limit.phases is None else traits.unit or unit or "A"


def pauses(limit: ChargingLimit) -> bool:
    """Whether a period of this limit is sent as 0, by wish or by the floor."""
    return any(_rate(period.limit_kw, limit, _native_unit(limit)) == 0 for period in limit.periods)


def limit_at(limit: ChargingLimit, now: datetime) -> float:
    """The kW wanted now, 0 where the floor makes it a pause; `math.inf` before the start and after the end,
    when this limit says nothing. Without `starts_at` the schedule is taken to start now: give a limit of
    several periods its start."""
    elapsed_s = (now - limit.starts_at).total_seconds() if limit.starts_at else 0.0
    if elapsed_s < 0 or (limit.duration_s is not None and elapsed_s >= limit.duration_s):
        return math.inf
    wanted_kw = [period.limit_kw for period in limit.periods if period.start_s <= elapsed_s][-1]
    return wanted_kw if _rate(wanted_kw, limit, _native_unit(limit)) else 0.0


def set_request(
    limit: ChargingLimit,
    traits: ChargingTraits,
    version: Version,
    now: datetime,
    unit: RateUnit | None,
) -> tuple[str, Json]:
    """SetChargingProfile. `unit` is what the station said it takes (None: not known), see `rate_unit`.

    A station of the Relative kind gets the lowest limit from now on, at once and without an end: for more,
    send it one period at a time. A limit whose start lies ahead would replace the one in force at once, and
    leave its place without a limit until then: limits.py refuses it. Raises ValueError for a limit that
    is already over (it would do the same for good) and for a 1.6 transaction id that is no number."""
    elapsed_s = (now - (limit.starts_at or now)).total_seconds()
    if limit.duration_s is not None and limit.duration_s <= elapsed_s:
        raise ValueError("the limit is already over")
    profile: Json = {
        "stackLevel": traits.stack_level,
        "chargingProfilePurpose": _purpose(limit.purpose, version),
    }
    # Relative is not allowed for a station limit (K01.FR.38): there is no transaction it could start from.
    if traits.kind == "relative" and limit.purpose is not LimitPurpose.STATION:
        profile["chargingProfileKind"] = "Relative"
        schedule = _relative_schedule(limit, rate_unit(limit, traits, unit), elapsed_s)
    else:
        profile["chargingProfileKind"] = "Absolute"
        schedule = _absolute_schedule(limit, rate_unit(limit, traits, unit), now, traits.backdate_s)
    number = profile_id(limit.station_id, limit.connector_number, limit.purpose)
    is_transaction = limit.purpose is LimitPurpose.TRANSACTION
    if version is Version.V16:
        profile |= {"chargingProfileId": number, "chargingSchedule": schedule}
        if is_transaction:
            profile["transactionId"] = int(limit.session_ref or "")
        return "SetChargingProfile", {"connectorId": limit.connector_number, "csChargingProfiles": profile}
    profile |= {"id": number, "chargingSchedule": [{"id": number} | schedule]}
    if is_transaction:
        profile["transactionId"] = limit.session_ref
    return "SetChargingProfile", {"evseId": limit.connector_number, "chargingProfile": profile}


def clear_request(
    purpose: LimitPurpose | None, connector_number: int, traits: ChargingTraits, version: Version
) -> tuple[str, Json]:
    """ClearChargingProfile for one purpose at our stack level; purpose None clears ALL profiles of that
    connector, its failsafe and other people's among them."""
    criteria: Json = {"connectorId" if version is Version.V16 else "evseId": connector_number}
    if purpose is not None:
        criteria["chargingProfilePurpose"] = _purpose(purpose, version)
        criteria["stackLevel"] = traits.stack_level
    body = criteria if version is Version.V16 else {"chargingProfileCriteria": criteria}
    return "ClearChargingProfile", body


def composite_request(
    connector_number: int, duration_s: int, version: Version, unit: RateUnit | None
) -> tuple[str, Json]:
    """GetCompositeSchedule; unit None lets the station choose."""
    place = "connectorId" if version is Version.V16 else "evseId"
    body: Json = {place: connector_number, "duration": duration_s}
    return "GetCompositeSchedule", body | ({"chargingRateUnit": unit} if unit else {})


def installed_request(version: Version) -> tuple[str, Json] | None:
    """GetChargingProfiles for everything installed, by whomever; 1.6 cannot tell (None)."""
    if version is Version.V16:
        return None
    # At least one criterion is required (K09.FR.03); all sources are none left out.
    criteria: Json = {"chargingLimitSource": ["CSO", "EMS", "SO", "Other"]}
    return "GetChargingProfiles", {"requestId": INSTALLED_REQUEST_ID, "chargingProfile": criteria}


def read_composite(
    reply: Json, version: Version, at: datetime, phases: int | None, voltage_v: float, now: datetime
) -> float | None:
    """The limit in kW in force at `at`, by a GetCompositeSchedule response; None where there is none or the
    reply cannot be believed (no periods, an absurd time or limit, amperes for DC). Never raises.

    Amperes are counted on the reply's numberPhases, else on `phases` (None: DC)."""
    outer = _object(reply)
    schedule = _object(outer.get("chargingSchedule" if version is Version.V16 else "schedule"))
    start = _instant(
        outer.get("scheduleStart") or schedule.get("scheduleStart") or schedule.get("startSchedule")
    )
    duration_s = _number(schedule.get("duration", _LONGEST_S), 1, _LONGEST_S)
    if outer.get("status") != "Accepted" or start is None or duration_s is None:
        return None
    if not -_SKEW_S <= (now - start).total_seconds() <= _LONGEST_S:
        return None
    elapsed_s = (at - start).total_seconds()
    if -_SKEW_S <= elapsed_s < 0:
        # The station's "from now on" is a moment after ours, and its clock may run ahead.
        elapsed_s = 0.0
    found, last_s = None, -1.0
    for period in _objects(schedule.get("chargingSchedulePeriod")):
        start_s = _number(period.get("startPeriod"), 0, _LONGEST_S)
        kw = _period_kw(period, schedule.get("chargingRateUnit"), phases, voltage_v)
        if kw is None or start_s is None or start_s <= last_s:
            return None
        last_s = start_s
        found = kw if start_s <= elapsed_s else found
    return found if 0 <= elapsed_s < duration_s else None


def is_obeyed(limit_kw: float, offered_kw: float, tolerance: float = _AC_TOLERANCE) -> bool:
    """Whether an offer keeps the limit: lower is obeyed too. `tolerance` is a share of the limit; 0.1 A
    worth (0.07 kW) is always allowed."""
    return offered_kw <= limit_kw + max(limit_kw * tolerance, _STEP_KW)


def keeps(limit: ChargingLimit, wanted_kw: float, shown_kw: float) -> bool:
    """`is_obeyed` with the tolerance of the kind: an AC pilot moves in steps, a DC station regulates finely,
    and 5 % of its hundreds of kW are a vehicle's worth."""
    return is_obeyed(wanted_kw, shown_kw, _DC_TOLERANCE if limit.phases is None else _AC_TOLERANCE)


def offered_kw(
    meter_values: list[Json], phases: int | None, voltage_v: float
) -> tuple[float, ReadBack] | None:
    """What the station says it offers now, in kW: the newest Current.Offered, else the newest
    Power.Offered; None where it says neither. `phases` None (DC) has no use for Current.Offered: nobody
    told the voltage of the battery.

    A current without a phase, or of one phase only, is the pilot's and holds for all `phases`; the
    currents of several phases, and powers, are summed."""
    for measurand, by in (
        ("Current.Offered", ReadBack.CURRENT_OFFERED),
        ("Power.Offered", ReadBack.POWER_OFFERED),
    ):
        found = _newest(meter_values, measurand, phases, voltage_v)
        if found is not None:
            return found, by
    return None


FAILSAFE = "failsafe:"
"""How the ids of failsafe limits begin."""


def failsafe(
    station_id: str,
    tenant_id: str,
    connectors: Sequence[int],
    failsafe_kw: float,
    phases: Literal[1, 2, 3] | None,
) -> list[ChargingLimit]:
    """What the connectors may draw when nobody tells them anything: an open-ended TxDefault for each, their
    sum within `failsafe_kw`. A station without one is unlimited while it is offline. It lies at the place of
    any other DEFAULT limit: install it again once such a limit is cleared. A share below the floor pauses
    (see `pauses`). Raises ValueError (pydantic's too) for a connector below 1 and a negative power."""
    numbers = sorted(set(connectors))
    if numbers and numbers[0] < 1:
        raise ValueError("a failsafe is for single connectors")
    share_kw = failsafe_kw / max(len(numbers), 1)
    return [
        ChargingLimit(
            limit_id=f"{FAILSAFE}{tenant_id}:{station_id}:{number}:{share_kw:.3f}",
            tenant_id=tenant_id,
            station_id=station_id,
            connector_number=number,
            purpose=LimitPurpose.DEFAULT,
            periods=(LimitPeriod(limit_kw=share_kw),),
            phases=phases,
        )
        for number in numbers
    ]


def _purpose(purpose: LimitPurpose, version: Version) -> str:
    return (_PURPOSE_V16 if version is Version.V16 else _PURPOSE_V2X)[purpose]


def _native_unit(limit: ChargingLimit) -> RateUnit:
    return "W" if limit.phases is None else "A"


def _truncated(value: float) -> float:
    # 4.14 kW / 690 V must stay 6.0 A and not become 5.9 A by float noise: a pause instead of a charge.
    return math.floor(value * 10 + 1e-6) / 10


def _rate(limit_kw: float, limit: ChargingLimit, unit: RateUnit) -> float:
    """A per phase or W in total, cut to one decimal, 0 below the floor."""
    if limit.phases is not None:
        limit_a = _truncated(limit_kw * 1000 / (limit.voltage_v * limit.phases))
        if limit_a < FLOOR_A or unit == "A":
            return limit_a if limit_a >= FLOOR_A else 0.0
    return _truncated(limit_kw * 1000)


def _period(start_s: int, limit_kw: float, limit: ChargingLimit, unit: RateUnit) -> Json:
    period: Json = {"startPeriod": start_s, "limit": _rate(limit_kw, limit, unit)}
    return period | ({"numberPhases": limit.phases} if limit.phases is not None else {})


def _relative_schedule(limit: ChargingLimit, unit: RateUnit, elapsed_s: float) -> Json:
    # Its clock starts with the transaction, which may be hours ago: periods and an end would come at the
    # wrong time. So the lowest limit from now on holds until the next request.
    ends_s = [*(period.start_s for period in limit.periods[1:]), math.inf]
    lowest_kw = min(p.limit_kw for p, end_s in zip(limit.periods, ends_s, strict=True) if end_s > elapsed_s)
    return {"chargingRateUnit": unit, "chargingSchedulePeriod": [_period(0, lowest_kw, limit, unit)]}


def _absolute_schedule(limit: ChargingLimit, unit: RateUnit, now: datetime, backdate_s: int) -> Json:
    wanted = limit.starts_at or now
    start = min(wanted, now - timedelta(seconds=backdate_s)) if wanted <= now else wanted
    start = start.astimezone(UTC).replace(microsecond=0)
    # Backdating moves the origin: all but the first period, and the end, must stay where they were in time.
    moved_s = int((wanted - start).total_seconds())
    schedule: Json = {
        "startSchedule": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [
            _period(period.start_s + moved_s if period.start_s else 0, period.limit_kw, limit, unit)
            for period in limit.periods
        ],
    }
    return schedule | ({"duration": limit.duration_s + moved_s} if limit.duration_s is not None else {})


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:
    """A list's items; what is no object is an empty one, which no check lets pass."""
    return [_object(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


def _number(value: Any, low: float, high: float) -> float | None:
    """A JSON number within its bounds. The comparison comes before the conversion, so NaN and integers
    beyond float are refused and do not raise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return float(value)


def _instant(text: Any) -> datetime | None:
    """Not session.instant: that puts the present where it cannot read, which here would be a lie."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _period_kw(period: Json, unit: Any, phases: int | None, voltage_v: float) -> float | None:
    limit = _number(period.get("limit"), 0, _MOST_KW * 1000)
    count = _number(period.get("numberPhases", phases), 1, 3)
    if limit is None or unit not in ("A", "W"):
        return None
    if unit == "W":
        return limit / 1000
    if phases is None or count is None:
        return None
    limit_kw = limit * voltage_v * count / 1000
    return limit_kw if limit_kw <= _MOST_KW else None


def _sample_value(sample: Json) -> float | None:
    """In A or W. An absurd power of ten is caught here: `scaled` would raise."""
    multiplier = _object(sample.get("unitOfMeasure")).get("multiplier") or 0
    value = None if _number(multiplier, -12, 12) is None else scaled(sample)
    return value if value is not None and value >= 0 else None


def _newest(meter_values: list[Json], measurand: str, phases: int | None, voltage_v: float) -> float | None:
    """kW, from the last meter value that holds this measurand."""
    default_unit = "A" if measurand == "Current.Offered" else "W"
    for meter_value in reversed(meter_values):
        amps: dict[str, float] = {}
        watts: dict[str, float] = {}
        for sample in _objects(meter_value.get("sampledValue")):
            phase = str(sample.get("phase") or "")[:2]
            value = _sample_value(sample) if sample.get("measurand") == measurand and phase != "N" else None
            if value is None:
                continue
            unit = unit_of(sample) or default_unit
            if unit == "A":
                amps[phase] = value
            elif unit in ("W", "kW"):
                watts[phase] = value
        kw = None
        if amps and phases is not None:
            pilots = phases if "" in amps or len(amps) == 1 else 1
            kw = amps.get("", sum(amps.values())) * pilots * voltage_v / 1000
        elif watts:
            kw = watts.get("", sum(watts.values())) / 1000
        if kw is not None and kw <= _MOST_KW:
            return kw
    return None
