"""How much a simulated charge point may draw: installed charging profiles and what they add up to.

OCPP 1.6 section 3.13, OCPP 2.0.1 part 2 K: the highest stack level in force wins inside a purpose; a
TxProfile in force overrules the TxDefaultProfile of its transaction; the result is the minimum of that and
the station's maximum. Pure: no clock, no messages. Power in kW.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simulators.charge_point.device_state import Json, Wiring, objects, read_time, stamp

STATION_MAX = "ChargingStationMaxProfile"
TX_DEFAULT = "TxDefaultProfile"
TX = "TxProfile"
PRIORITY = "PriorityCharging"
RAMP_KW_PER_S = 10.0
_RECURRENCE = {"Daily": timedelta(days=1), "Weekly": timedelta(weeks=1)}


def ramp(current_kw: float, limit_kw: float, seconds: float) -> float:
    """Power moves at most 10 kW/s towards the limit, up or down."""
    step_kw = RAMP_KW_PER_S * max(0.0, seconds)
    return max(current_kw - step_kw, min(current_kw + step_kw, limit_kw))


def to_kw(limit: float, unit: str, phases: int | None, voltage_v: float) -> float:
    """A is per phase, W the total of all phases."""
    return limit / 1000 if unit == "W" else limit * voltage_v * (phases or 1) / 1000


def from_kw(power_kw: float, unit: str, phases: int | None, voltage_v: float) -> float:
    return power_kw * 1000 if unit == "W" else power_kw * 1000 / (voltage_v * (phases or 1))


@dataclass
class InstalledProfile:
    """`scope` 0: the whole station. `body`: as it came (a 1.6 schedule is an object, a 2.x one a list)."""

    scope: int
    body: Json
    received_at: datetime

    @property
    def profile_id(self) -> int:
        return int(self.body["chargingProfileId"] if "chargingProfileId" in self.body else self.body["id"])

    @property
    def purpose(self) -> str:
        word = str(self.body["chargingProfilePurpose"])
        return STATION_MAX if word == "ChargePointMaxProfile" else word

    @property
    def stack_level(self) -> int:
        return int(self.body["stackLevel"])

    @property
    def kind(self) -> str:
        return str(self.body["chargingProfileKind"])

    @property
    def schedule(self) -> Json:
        found = self.body["chargingSchedule"]
        return objects(found)[0] if isinstance(found, list) else found

    @property
    def periods(self) -> list[Json]:
        return objects(self.schedule["chargingSchedulePeriod"])

    @property
    def valid_from(self) -> datetime | None:
        return read_time(self.body["validFrom"]) if "validFrom" in self.body else None

    @property
    def valid_to(self) -> datetime | None:
        return read_time(self.body["validTo"]) if "validTo" in self.body else None

    def is_valid(self, at: datetime) -> bool:
        start, end = self.valid_from, self.valid_to
        return (start is None or start <= at) and (end is None or at < end)

    def overlaps(self, other: InstalledProfile) -> bool:
        def before(end: datetime | None, start: datetime | None) -> bool:
            return end is not None and start is not None and end <= start

        return not before(self.valid_to, other.valid_from) and not before(other.valid_to, self.valid_from)

    def started_at(self, at: datetime, anchor: datetime) -> datetime:
        """When the schedule (a recurring one's present round) began; `anchor`: the transaction's start."""
        if self.kind == "Relative":
            return anchor
        start = read_time(self.schedule["startSchedule"]) if "startSchedule" in self.schedule else None
        if start is None:
            return self.received_at
        if self.kind == "Recurring" and at > start:
            return at - (at - start) % _RECURRENCE[str(self.body["recurrencyKind"])]
        return start

    def period_at(self, at: datetime, anchor: datetime) -> Json | None:
        """The period in force; None: this profile says nothing then."""
        elapsed_s = (at - self.started_at(at, anchor)).total_seconds()
        duration_s = self.schedule.get("duration")
        if not self.is_valid(at) or elapsed_s < 0 or (duration_s is not None and elapsed_s >= duration_s):
            return None
        in_force = [p for p in self.periods if p["startPeriod"] <= elapsed_s]
        return in_force[-1] if in_force and "limit" in in_force[-1] else None

    def edges(self, start: datetime, end: datetime, anchor: datetime) -> Iterator[datetime]:
        """Every moment in (start, end) at which this profile may change its mind."""
        yield from (at for at in (self.valid_from, self.valid_to) if at is not None)
        offsets = [float(p["startPeriod"]) for p in self.periods]
        if "duration" in self.schedule:
            offsets.append(float(self.schedule["duration"]))
        turn = self.started_at(start, anchor)
        every = _RECURRENCE[str(self.body["recurrencyKind"])] if self.kind == "Recurring" else None
        while turn < end:
            yield turn
            yield from (turn + timedelta(seconds=s) for s in offsets)
            if every is None:
                return
            turn += every

    def snapshot(self) -> Json:
        return {"scope": self.scope, "body": self.body, "received_at": stamp(self.received_at)}

    @staticmethod
    def restored(kept: Json) -> InstalledProfile:
        return InstalledProfile(int(kept["scope"]), kept["body"], read_time(kept["received_at"]))


@dataclass
class PowerLimits:
    """`reads_watt_as_ampere`: the quirk of stations that take every number for amperes."""

    profiles: list[InstalledProfile] = field(default_factory=list[InstalledProfile])
    reads_watt_as_ampere: bool = False

    def leading_kw(
        self, purpose: str, number: int, at: datetime, anchor: datetime, wiring: Wiring
    ) -> float | None:
        """Limit of the highest stack level in force; on a tie a connector's own goes before the station's."""
        candidates = [p for p in self.profiles if p.purpose == purpose and p.scope in (0, number)]
        for profile in sorted(candidates, key=lambda p: (p.stack_level, p.scope), reverse=True):
            period = profile.period_at(at, anchor)
            if period is None:
                continue
            unit = "A" if self.reads_watt_as_ampere else str(profile.schedule["chargingRateUnit"])
            phases = wiring.phases
            if phases is not None and "numberPhases" in period:
                phases = min(phases, int(period["numberPhases"]))
            return max(0.0, to_kw(float(period["limit"]), unit, phases, wiring.voltage_v))
        return None

    def connector_kw(
        self, number: int, at: datetime, anchor: datetime, wiring: Wiring, has_priority: bool
    ) -> float | None:
        """What the connector's own purposes allow: priority, else its transaction's, else the default."""
        for purpose in (PRIORITY, TX, TX_DEFAULT):
            if purpose == PRIORITY and not has_priority:
                continue
            limit_kw = self.leading_kw(purpose, number, at, anchor, wiring)
            if limit_kw is not None:
                return limit_kw
        return None

    def edges(self, number: int | None, start: datetime, end: datetime, anchor: datetime) -> list[datetime]:
        """`start`, and every later moment before `end` at which a limit of this connector may change."""
        found = {start}
        for profile in self.profiles:
            if number is None or profile.scope in (0, number):
                found.update(at for at in profile.edges(start, end, anchor) if start < at < end)
        return sorted(found)
