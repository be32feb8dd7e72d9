"""Vehicles and actions of the simulated telematics vendor: the state behind its API and webhooks."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models.place import Place
from simulators.telematics.faults import FaultPlan, VendorFault
from simulators.twin import Ledger, TwinPace, VehicleTwin

API_VERSION = "2024-10-01"
_DEFAULT_POWER_KW = 11.0
_DEFAULT_BATTERY_KWH = 60.0


def stamp(at: datetime) -> str:
    """The vendor's time format: ISO 8601, UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Car:
    """One vehicle. `session_kwh` is set while a charge started by our own action runs."""

    telematics_id: str
    vehicle_id: str = ""
    soc_percent: float | None = None
    battery_kwh: float = _DEFAULT_BATTERY_KWH
    plugged: bool = False
    charging: bool = False
    power_kw: float | None = None
    place: Place | None = None
    refuses_commands: bool = False
    ended_as: str = "PLUGGED_IN:INITIALIZING"
    session_kwh: float | None = None
    charge_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    place_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def delivery_state(self) -> str:
        if not self.plugged:
            return "UNPLUGGED"
        return "PLUGGED_IN:CHARGING" if self.charging else self.ended_as

    def stop_charging(self) -> None:
        if self.charging:
            full = self.soc_percent is not None and self.soc_percent >= 100
            self.ended_as = "PLUGGED_IN:COMPLETE" if full else "PLUGGED_IN:STOPPED"
        self.charging = False
        self.power_kw = 0.0


@dataclass
class Action:
    action_id: str
    target_id: str
    kind: str
    state: str
    created_at: datetime
    updated_at: datetime
    failure: str = ""

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.action_id,
            "userId": "user-1",
            "createdAt": stamp(self.created_at),
            "updatedAt": stamp(self.updated_at),
            "completedAt": None if self.state == "PENDING" else stamp(self.updated_at),
            "state": self.state,
            "targetId": self.target_id,
            "targetType": "vehicle",
            "kind": self.kind,
            "failureReason": {"type": self.failure, "detail": self.failure} if self.failure else None,
        }


class Fleet:
    """All vehicles; `emit` takes each webhook event. Single-threaded: one event loop owns it."""

    def __init__(
        self, pace: TwinPace, faults: Callable[[], FaultPlan], emit: Callable[[dict[str, Any]], None]
    ) -> None:
        self.cars: dict[str, Car] = {}
        self.ledger = Ledger()
        self._pace = pace
        self._faults = faults
        self._emit = emit
        self._active: dict[str, Action] = {}
        self._random = random.Random(pace.seed)

    def put(self, telematics_id: str, twin: VehicleTwin) -> Car:
        """Sets what the body gives, keeps the rest, and pushes the change."""
        known = telematics_id in self.cars
        car = self.cars.setdefault(telematics_id, Car(telematics_id))
        given = twin.model_fields_set
        if "vehicle_id" in given:
            car.vehicle_id = twin.vehicle_id
        if "refuses_commands" in given:
            car.refuses_commands = twin.refuses_commands
        if "battery_kwh" in given and twin.battery_kwh is not None:
            car.battery_kwh = twin.battery_kwh
        if "soc_percent" in given:
            car.soc_percent = twin.soc_percent
        if "power_kw" in given:
            car.power_kw = twin.power_kw
        if twin.is_plugged_in is not None:
            if twin.is_plugged_in and not car.plugged:
                car.ended_as = "PLUGGED_IN:INITIALIZING"
            car.plugged = twin.is_plugged_in
        if twin.is_charging is not None and twin.is_charging != car.charging:
            if twin.is_charging:
                car.charging = True
            else:
                car.stop_charging()
        if not car.plugged:
            car.stop_charging()
            self._end_session(car)
        if given & {"soc_percent", "battery_kwh", "is_plugged_in", "is_charging", "power_kw"}:
            self._touch(car)
        if "place" in given and twin.place is not None:
            car.place = twin.place
            car.place_at = max(datetime.now(UTC), car.place_at + timedelta(milliseconds=1))
        self.push(car, "updated" if known else "discovered")
        return car

    def remove(self, telematics_id: str) -> bool:
        car = self.cars.pop(telematics_id, None)
        if car is not None:
            self.push(car, "deleted")
        return car is not None

    def push(self, car: Car, what: str = "updated") -> None:
        self._emit(
            {
                "event": f"user:vehicle:{what}",
                "createdAt": stamp(datetime.now(UTC)),
                "version": API_VERSION,
                "user": {"id": "user-1"},
                "vehicle": self.wire(car),
                "updatedFields": [],
            }
        )

    def wire(self, car: Car) -> dict[str, Any]:
        """The vehicle as GET and webhooks show it, with the data faults that are on."""
        faults = self._faults()
        charge: dict[str, Any] = {
            "batteryLevel": None if car.soc_percent is None else round(car.soc_percent, 1),
            "range": None,
            "isPluggedIn": car.plugged,
            "isCharging": car.charging,
            "isFullyCharged": car.soc_percent is not None and car.soc_percent >= 100,
            "batteryCapacity": car.battery_kwh,
            "chargeLimit": 100,
            "chargeRate": car.power_kw if car.charging else None,
            "chargeTimeRemaining": None,
            "maxCurrent": None,
            "powerDeliveryState": car.delivery_state,
            "pluggedInChargerId": None,
            "lastUpdated": stamp(car.charge_at),
        }
        location: dict[str, Any] = {
            "latitude": car.place.latitude if car.place else None,
            "longitude": car.place.longitude if car.place else None,
            "lastUpdated": stamp(car.place_at) if car.place else None,
        }
        if faults.strikes(VendorFault.NULL_VALUES):
            charge = {key: value if key == "lastUpdated" else None for key, value in charge.items()}
            location = {key: value if key == "lastUpdated" else None for key, value in location.items()}
        if faults.strikes(VendorFault.MISSING_SOC):
            charge["batteryLevel"] = None
        if faults.strikes(VendorFault.SOC_OUT_OF_RANGE):
            charge["batteryLevel"] = 6500
        if faults.strikes(VendorFault.FUTURE_CLOCK):
            charge["lastUpdated"] = stamp(car.charge_at + timedelta(days=1))
        return {
            "id": car.telematics_id,
            "userId": "user-1",
            "vendor": "TWIN",
            "isReachable": True,
            "lastSeen": stamp(max(car.charge_at, car.place_at)),
            "information": {"brand": "Twin", "model": "Van", "year": 2025, "vin": None, "displayName": None},
            "chargeState": charge,
            "location": location,
            "odometer": {"distance": None, "lastUpdated": None},
            "capabilities": {
                name: {"isCapable": not car.refuses_commands, "interventionIds": []}
                for name in ("startCharging", "stopCharging")
            },
        }

    def command(self, car: Car, kind: str) -> Action:
        """Takes an action: cancelled at once where a precondition is missing, else pending. It supersedes
        the live one of the same vehicle."""
        now = datetime.now(UTC)
        action_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        action = Action(action_id, car.telematics_id, kind, "PENDING", now, now)
        before = self._active.pop(car.telematics_id, None)
        if before is not None and before.state == "PENDING":
            self._finish(before, "CANCELLED", "SUPERSEDED")
        if self._faults().strikes(VendorFault.CANCELLED_IN_REPLY) or car.refuses_commands:
            action.state, action.failure = "CANCELLED", "REFUSED"
        elif kind == "START" and not car.plugged:
            action.state, action.failure = "CANCELLED", "NOT_PLUGGED_IN"
        else:
            self._active[car.telematics_id] = action
        self.ledger.add(
            "command_start" if kind == "START" else "command_stop",
            car.telematics_id,
            key=action.action_id,
            result=action.state,
            vehicle_id=car.vehicle_id or None,
        )
        return action

    def carry_out(self, action: Action) -> None:
        """The vehicle does it (unless the action was superseded meanwhile), and the vendor confirms."""
        car = self.cars.get(action.target_id)
        if car is None or action.state != "PENDING":
            return
        if self._faults().strikes(VendorFault.ACTION_FAILS) or (action.kind == "START" and not car.plugged):
            self._finish(action, "FAILED", "NO_RESPONSE")
            return
        if action.kind == "START" and not car.charging:
            car.charging, car.session_kwh = True, 0.0
            car.power_kw = car.power_kw or _DEFAULT_POWER_KW
            self.ledger.add(
                "session_started",
                car.telematics_id,
                key=action.action_id,
                vehicle_id=car.vehicle_id or None,
                session_ref=action.action_id,
            )
        elif action.kind == "STOP":
            car.stop_charging()
            self._end_session(car)
        self._touch(car)
        self.push(car)
        self._finish(action, "CONFIRMED")

    def advance(self, real_s: float) -> None:
        """Charges every vehicle whose charge we started by so many real seconds at the twin's pace."""
        for car in list(self.cars.values()):
            if car.session_kwh is None or not car.charging or not car.power_kw:
                continue
            gained_kwh = car.power_kw * real_s * self._pace.speed / 3600
            car.session_kwh += gained_kwh
            car.soc_percent = min(100.0, (car.soc_percent or 0.0) + gained_kwh / car.battery_kwh * 100)
            if car.soc_percent >= 100:
                car.stop_charging()
                self._end_session(car)
            self._touch(car)
            self.push(car)

    def _end_session(self, car: Car) -> None:
        if car.session_kwh is None:
            return
        self.ledger.add(
            "session_ended",
            car.telematics_id,
            vehicle_id=car.vehicle_id or None,
            energy_kwh=round(car.session_kwh, 3),
        )
        car.session_kwh = None

    def _finish(self, action: Action, state: str, failure: str = "") -> None:
        action.state, action.failure, action.updated_at = state, failure, datetime.now(UTC)
        self._emit(
            {
                "event": "user:vendor-action:updated",
                "createdAt": stamp(action.updated_at),
                "version": API_VERSION,
                "user": {"id": "user-1"},
                "action": action.wire(),
                "updatedFields": ["state"],
            }
        )

    @staticmethod
    def _touch(car: Car) -> None:
        # Strictly later than the last change: two changes in one millisecond must not tie.
        car.charge_at = max(datetime.now(UTC), car.charge_at + timedelta(milliseconds=1))
