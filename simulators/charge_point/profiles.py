"""Smart charging messages of a simulated charge point, for all versions: what it installs, refuses, reports.

OCPP 1.6 section 5.16-5.17, 5.7; OCPP 2.0.1 part 2 K01 (K01.FR.03-53), K08-K10; 2.1 K21 (priority), K28.
"""

from __future__ import annotations

import math
from copy import deepcopy
from datetime import datetime, timedelta
from itertools import pairwise

from simulators.charge_point.device_state import DeviceState, Handler, Json, Wiring, objects, stamp
from simulators.charge_point.power import PRIORITY, STATION_MAX, TX, TX_DEFAULT, InstalledProfile, PowerLimits
from simulators.charge_point.power import from_kw as in_unit
from simulators.charge_point.settings import Settings

_ABSURD_DURATION_S = 8_600_000_000_000
_LIMIT_SOURCE = "CSO"


class ChargingProfiles:
    def __init__(self, state: DeviceState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self.limits = PowerLimits(reads_watt_as_ampere="says_watt_means_ampere" in state.quirks)
        self._priority: set[int] = set()
        self._for_next_start: dict[int, InstalledProfile] = {}

    def handlers(self) -> dict[str, Handler]:
        if "no_smart_charging" in self._state.quirks:
            return (
                {"SetChargingProfile": lambda body: {"status": "NotSupported"}} if self._state.is_16 else {}
            )
        found: dict[str, Handler] = {
            "SetChargingProfile": self._set,
            "ClearChargingProfile": self._clear,
            "GetCompositeSchedule": self._composite,
        }
        if not self._state.is_16:
            found["GetChargingProfiles"] = self._report
        if self._state.version == "ocpp2.1":
            found |= {"UsePriorityCharging": self._use_priority, "UpdateDynamicSchedule": self._update}
        return found

    # --- what is in force -------------------------------------------------------------------------------

    def limit_kw(self, number: int, at: datetime, wiring: Wiring) -> float | None:
        """None: nothing limits it. The station's maximum is shared equally by the running transactions."""
        if "accepts_and_ignores" in self._state.quirks:
            return None
        return self._in_force_kw(number, at, at, wiring)

    def _in_force_kw(self, number: int, at: datetime, asked_at: datetime, wiring: Wiring) -> float | None:
        own_kw = self._own_kw(number, at, asked_at, wiring)
        station_kw = self.limits.leading_kw(STATION_MAX, 0, at, asked_at, wiring)
        if station_kw is not None:
            station_kw /= len(self._state.transactions.keys() | {number})
        known = [kw for kw in (own_kw, station_kw) if kw is not None]
        return min(known) if known else None

    def _own_kw(self, number: int, at: datetime, asked_at: datetime, wiring: Wiring) -> float | None:
        """Without the station's maximum."""
        running = self._state.transactions.get(number)
        anchor = running.began_at if running is not None else asked_at
        return self.limits.connector_kw(number, at, anchor, wiring, number in self._priority)

    # --- transactions -----------------------------------------------------------------------------------

    def hold_for_start(self, number: int, profile: Json | None) -> bool:
        """The TxProfile of a remote start; None forgets the last. False: refuse the start."""
        self._for_next_start.pop(number, None)
        if profile is None:
            return True
        held = InstalledProfile(number, profile, self._state.now())
        if held.purpose != TX or "transactionId" in profile or self._refusal(held) is not None:
            return False
        self._for_next_start[number] = held
        return True

    def transaction_began(self, number: int) -> None:
        held = self._for_next_start.pop(number, None)
        if held is not None:
            self._install(held)

    def transaction_ended(self, number: int) -> None:
        """TxProfiles vanish with their transaction."""
        self._priority.discard(number)
        profiles = self.limits.profiles
        self.limits.profiles = [p for p in profiles if not (p.purpose == TX and p.scope == number)]

    def rebooted(self) -> None:
        """2.x profiles are persistent; 1.6 leaves it open, and here they are lost: the harder case."""
        if self._state.is_16:
            self.limits.profiles = []

    # --- SetChargingProfile -----------------------------------------------------------------------------

    def _set(self, body: Json) -> Json:
        if self._state.is_16:
            profile = InstalledProfile(
                int(body["connectorId"]), body["csChargingProfiles"], self._state.now()
            )
        else:
            profile = InstalledProfile(int(body["evseId"]), body["chargingProfile"], self._state.now())
        profile.body = deepcopy(profile.body)  # a Dynamic one is changed later
        reason = self._refusal(profile) or self._transaction_refusal(profile)
        if reason is not None:
            return self._state.reply("Rejected", reason)
        self._install(profile)
        return self._state.reply("Accepted")

    def _install(self, profile: InstalledProfile) -> None:
        self.limits.profiles = [p for p in self.limits.profiles if not self._is_replaced(p, profile)]
        self.limits.profiles.append(profile)

    def _is_replaced(self, old: InstalledProfile, new: InstalledProfile) -> bool:
        """Same id; in 1.6 also same purpose and stack level on the same connector."""
        same_place = (old.purpose, old.stack_level, old.scope) == (new.purpose, new.stack_level, new.scope)
        return old.profile_id == new.profile_id or (self._state.is_16 and same_place)

    def _refusal(self, profile: InstalledProfile) -> str | None:
        """A 2.x reason code; None: nothing wrong with it, its transaction aside."""
        scope, purpose = profile.scope, profile.purpose
        if not self._state.is_16 and not self._settings.is_on("SmartChargingCtrlr.Enabled"):
            return "NotEnabled"
        if scope != 0 and not self._state.knows(scope):
            return "UnknownEvse"
        purposes = (STATION_MAX, TX_DEFAULT, TX)
        if purpose not in purposes and (purpose, self._state.version) != (PRIORITY, "ocpp2.1"):
            return "InvalidProfile"  # K01.FR.22: ChargingStationExternalConstraints is not the CSMS's to set
        if (purpose == STATION_MAX and scope != 0) or (purpose == TX and scope == 0):
            return "InvalidProfile"
        if profile.stack_level > self._settings.number("ChargeProfileMaxStackLevel"):
            return "InvalidStackLevel"
        if str(profile.schedule["chargingRateUnit"]) not in self.allowed_units():
            return "UnsupportedRateUnit"
        replaced = any(self._is_replaced(p, profile) for p in self.limits.profiles)
        room = self._settings.number("MaxChargingProfilesInstalled")
        if not replaced and len(self.limits.profiles) >= room:
            return "OutOfStorage"
        return self._schedule_refusal(profile) or (None if self._state.is_16 else self._duplicate(profile))

    def _schedule_refusal(self, profile: InstalledProfile) -> str | None:
        starts = [int(p["startPeriod"]) for p in profile.periods]
        if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            return "InvalidSchedule"
        if len(starts) > self._settings.number("ChargingScheduleMaxPeriods"):
            return "InvalidSchedule"
        if any(not 0 <= float(p.get("limit", 0)) < math.inf for p in profile.periods):
            return "InvalidSchedule"
        if profile.kind == "Recurring" and (
            "recurrencyKind" not in profile.body or not self._starts(profile)
        ):
            return "InvalidProfile"
        if not self._state.is_16:  # K01.FR.40, K01.FR.41
            if profile.kind == "Absolute" and not self._starts(profile):
                return "InvalidSchedule"
            if profile.kind == "Relative" and self._starts(profile):
                return "InvalidSchedule"
            if len(profile.body["chargingSchedule"]) != 1:
                return "InvalidSchedule"
        return None

    @staticmethod
    def _starts(profile: InstalledProfile) -> bool:
        return "startSchedule" in profile.schedule

    def _duplicate(self, profile: InstalledProfile) -> str | None:
        """K01.FR.06, K01.FR.39; K01.FR.52-53: a default of the station and one of an EVSE are duplicates."""
        for other in self.limits.profiles:
            same = (other.purpose, other.stack_level) == (profile.purpose, profile.stack_level)
            meets = other.scope == profile.scope or (
                profile.purpose == TX_DEFAULT and 0 in (other.scope, profile.scope)
            )
            if same and meets and other.profile_id != profile.profile_id and other.overlaps(profile):
                return "DuplicateProfile"
        return None

    def _transaction_refusal(self, profile: InstalledProfile) -> str | None:
        if profile.purpose != TX:
            return None
        running = self._state.transactions.get(profile.scope)
        named = profile.body.get("transactionId")
        if named is None and not self._state.is_16:
            return "MissingParam"
        if running is None or (named is not None and str(named) != running.transaction_id):
            return "TxNotFound"
        return None

    def allowed_units(self) -> set[str]:
        named = self._settings.text("ChargingScheduleAllowedChargingRateUnit").split(",")
        words = {"Current": "A", "Power": "W"}
        units = {words.get(name.strip(), name.strip()) for name in named}
        return units | ({"A"} if "says_watt_means_ampere" in self._state.quirks else set())

    # --- ClearChargingProfile, GetChargingProfiles ------------------------------------------------------

    def _clear(self, body: Json) -> Json:
        if self._state.is_16:
            profile_id, scope, wanted = body.get("id"), body.get("connectorId"), body
        else:
            wanted = body.get("chargingProfileCriteria", {})
            profile_id, scope = body.get("chargingProfileId"), wanted.get("evseId")
        matched = [
            p
            for p in self.limits.profiles
            if (p.profile_id == profile_id if profile_id is not None else _fits(p, scope, wanted))
        ]
        self.limits.profiles = [p for p in self.limits.profiles if p not in matched]
        return self._state.reply("Accepted" if matched else "Unknown")

    def _report(self, body: Json) -> Json:
        wanted: Json = body["chargingProfile"]
        ids, sources = wanted.get("chargingProfileId"), wanted.get("chargingLimitSource", [_LIMIT_SOURCE])
        matched = [
            p
            for p in self.limits.profiles
            if _fits(p, body.get("evseId"), wanted)
            and (ids is None or p.profile_id in ids)
            and _LIMIT_SOURCE in sources
        ]
        scopes = sorted({p.scope for p in matched})
        for scope in scopes:
            self._state.tell(
                "ReportChargingProfiles",
                {
                    "requestId": body["requestId"],
                    "chargingLimitSource": _LIMIT_SOURCE,
                    "evseId": scope,
                    "chargingProfile": [p.body for p in matched if p.scope == scope],
                    "tbc": scope != scopes[-1],
                },
            )
        return self._state.reply("Accepted" if matched else "NoProfiles")

    # --- GetCompositeSchedule ---------------------------------------------------------------------------

    def _composite(self, body: Json) -> Json:
        number = int(body["connectorId"] if self._state.is_16 else body["evseId"])
        wiring = self._state.wiring.get(number) or next(iter(self._state.wiring.values()))
        unit = str(body.get("chargingRateUnit") or ("A" if wiring.phases else "W"))
        if number != 0 and not self._state.knows(number):
            return self._state.reply("Rejected", "UnknownEvse")
        if "chargingRateUnit" in body and unit not in self.allowed_units():
            return self._state.reply("Rejected", "UnsupportedRateUnit")
        start, duration_s = self._state.now().replace(microsecond=0), int(body["duration"])
        periods = self._composite_periods(number, start, duration_s, unit, wiring)
        if "empty_composite" in self._state.quirks:
            periods, duration_s = [], _ABSURD_DURATION_S
        schedule: Json = {
            "duration": duration_s,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": periods,
        }
        if self._state.is_16:
            schedule["startSchedule"] = stamp(start)
            about: Json = {"connectorId": number, "scheduleStart": stamp(start)}
            return {"status": "Accepted", **about, "chargingSchedule": schedule}
        return {
            "status": "Accepted",
            "schedule": {**schedule, "evseId": number, "scheduleStart": stamp(start)},
        }

    def _composite_periods(
        self, number: int, start: datetime, duration_s: int, unit: str, wiring: Wiring
    ) -> list[Json]:
        running = self._state.transactions.get(number)
        anchor = running.began_at if running is not None else start
        end = start + timedelta(seconds=duration_s)
        periods: list[Json] = []
        for at in self.limits.edges(number or None, start, end, anchor):
            power_kw = self._offered_kw(number, at, start)
            shown = "A" if self.limits.reads_watt_as_ampere else unit
            # One decimal is all 1.6 allows; downwards, so that nobody is promised more than there is.
            limit = math.floor(in_unit(power_kw, shown, wiring.phases, wiring.voltage_v) * 10 + 1e-6) / 10
            if periods and periods[-1]["limit"] == limit:
                continue
            start_s = math.ceil((at - start).total_seconds())
            if periods and periods[-1]["startPeriod"] == start_s:
                periods.pop()
            period: Json = {"startPeriod": start_s, "limit": limit}
            if wiring.phases:
                period["numberPhases"] = wiring.phases
            periods.append(period)
        return periods

    def _offered_kw(self, number: int, at: datetime, asked_at: datetime) -> float:
        """Connector 0: the sum of all connectors."""
        if number:
            wiring = self._state.wiring[number]
            limit_kw = self._in_force_kw(number, at, asked_at, wiring)
            return wiring.max_power_kw if limit_kw is None else min(limit_kw, wiring.max_power_kw)
        total_kw = 0.0
        for each, wiring in self._state.wiring.items():
            own_kw = self._own_kw(each, at, asked_at, wiring)
            total_kw += wiring.max_power_kw if own_kw is None else min(own_kw, wiring.max_power_kw)
        wiring = next(iter(self._state.wiring.values()))
        station_kw = self.limits.leading_kw(STATION_MAX, 0, at, asked_at, wiring)
        return total_kw if station_kw is None else min(total_kw, station_kw)

    # --- OCPP 2.1 ---------------------------------------------------------------------------------------

    def _use_priority(self, body: Json) -> Json:
        number = self._state.transaction_of(str(body["transactionId"]))
        if number is None:
            return self._state.reply("Rejected", "TxNotFound")
        if not any(p.purpose == PRIORITY and p.scope in (0, number) for p in self.limits.profiles):
            return self._state.reply("NoProfile")
        if body["activate"]:
            self._priority.add(number)
        else:
            self._priority.discard(number)
        return self._state.reply("Accepted")

    def _update(self, body: Json) -> Json:
        """A Dynamic profile has one period, and takes over the numbers given."""
        wanted = (p for p in self.limits.profiles if p.profile_id == body["chargingProfileId"])
        profile = next(wanted, None)
        if profile is None or profile.kind != "Dynamic":
            return self._state.reply("Rejected", "InvalidProfile")
        profile.periods[0].update(body["scheduleUpdate"])
        profile.body["dynUpdateTime"] = stamp(self._state.now())
        return self._state.reply("Accepted")

    # --- restart ----------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        return {
            "profiles": [p.snapshot() for p in self.limits.profiles],
            "priority": sorted(self._priority),
        }

    def restore(self, kept: Json) -> None:
        self.limits.profiles = [InstalledProfile.restored(p) for p in objects(kept["profiles"])]
        self._priority = set(kept["priority"])


def _fits(profile: InstalledProfile, scope: int | None, wanted: Json) -> bool:
    """Criteria of ClearChargingProfile and GetChargingProfiles: what is absent matches all."""
    purpose = wanted.get("chargingProfilePurpose")
    if purpose is not None and purpose != profile.body["chargingProfilePurpose"]:
        return False
    if scope is not None and scope != profile.scope:
        return False
    return wanted.get("stackLevel") in (None, profile.stack_level)
