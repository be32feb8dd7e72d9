"""The state of one vehicle as a fold of its log: per signal, the value observed last.

The merge is a join of a semilattice (maximum by observation time, then by the value's canonical JSON), so any
order and any repetition of the same events gives the same state, byte for byte (bar T1). Null means "not
known" and never erases a value.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from connectors.enode.wire import Vehicle, first_known
from connectors.ports import VehicleSnapshot
from models.base import Message, UtcDatetime
from models.ids import canonical_json
from models.place import Place

Value = bool | float | str | tuple[float, float]


class Signal(StrEnum):
    """Signals under COVESA VSS 6.0 names where VSS has one. SOC in percent, power in kW (positive = into the
    battery), position as latitude and longitude in degrees."""

    PRESENT = "present"
    REACHABLE = "reachable"
    SOC_PERCENT = "TractionBattery.StateOfCharge.Current"
    CAPACITY_KWH = "TractionBattery.NetCapacity"
    PLUGGED_IN = "TractionBattery.Charging.IsChargingCableConnected"
    CHARGING = "TractionBattery.Charging.IsCharging"
    POWER_KW = "TractionBattery.CurrentPower"
    DELIVERY = "power_delivery_state"
    POSITION = "CurrentLocation"


class Observed(Message):
    """A value and when the device saw it. The age of each signal travels with it."""

    at: UtcDatetime
    value: Value

    @property
    def order(self) -> tuple[datetime, bytes]:
        return self.at, canonical_json(self.model_dump(mode="json")["value"])


class VehicleFold(Message):
    """All signals of one vehicle."""

    signals: dict[Signal, Observed] = Field(default_factory=dict[Signal, Observed])

    def merge(self, observations: dict[Signal, Observed]) -> VehicleFold:
        """The state after these observations too."""
        merged = dict(self.signals)
        for signal, seen in observations.items():
            known = merged.get(signal)
            if known is None or seen.order > known.order:
                merged[signal] = seen
        return VehicleFold(signals=merged)

    def to_bytes(self) -> bytes:
        """The one byte form of this state."""
        return canonical_json(self.model_dump(mode="json"))

    def at(self, signal: Signal) -> datetime | None:
        seen = self.signals.get(signal)
        return seen.at if seen else None

    def flag(self, signal: Signal) -> bool | None:
        seen = self.signals.get(signal)
        return seen.value if seen and isinstance(seen.value, bool) else None

    def number(self, signal: Signal) -> float | None:
        seen = self.signals.get(signal)
        return seen.value if seen and isinstance(seen.value, float) else None

    def text(self, signal: Signal) -> str:
        seen = self.signals.get(signal)
        return seen.value if seen and isinstance(seen.value, str) else ""

    @property
    def position(self) -> Place | None:
        seen = self.signals.get(Signal.POSITION)
        if seen is None or not isinstance(seen.value, tuple):
            return None
        return Place(latitude=seen.value[0], longitude=seen.value[1])

    @property
    def power_kw(self) -> float | None:
        """Power, only where it was seen together with the present charging flag: a rate kept over a later
        null belongs to an earlier charge and proves nothing."""
        return self.number(Signal.POWER_KW) if self.at(Signal.POWER_KW) == self.at(Signal.CHARGING) else None

    @property
    def energy_flows(self) -> bool:
        return self.flag(Signal.CHARGING) is True and (self.power_kw or 0.0) > 0

    def snapshot(self, telematics_id: str) -> VehicleSnapshot:
        """This state as planning sees it."""
        return VehicleSnapshot(
            telematics_id=telematics_id,
            observed_at=self.at(Signal.SOC_PERCENT) or self.at(Signal.CHARGING) or self.at(Signal.POSITION),
            soc_percent=self.number(Signal.SOC_PERCENT),
            is_plugged_in=self.flag(Signal.PLUGGED_IN),
            is_charging=self.flag(Signal.CHARGING),
            power_kw=self.power_kw,
            position=self.position,
            reachable=self.flag(Signal.REACHABLE),
        )


def observe(vehicle: Vehicle, said_at: datetime, *, present: bool = True) -> dict[Signal, Observed]:
    """What one vehicle object says. `said_at` (event's or fetch's time) is used only where the vendor gives
    no device time."""
    seen: dict[Signal, Observed] = {Signal.PRESENT: Observed(at=said_at, value=present)}
    contact_at = first_known(vehicle.last_seen, said_at) or said_at
    if vehicle.is_reachable is not None:
        seen[Signal.REACHABLE] = Observed(at=said_at, value=vehicle.is_reachable)
    charge = vehicle.charge_state
    if charge is not None:
        charge_at = charge.last_updated or contact_at
        values: dict[Signal, Value | None] = {
            Signal.SOC_PERCENT: charge.battery_level,
            Signal.CAPACITY_KWH: charge.battery_capacity,
            Signal.PLUGGED_IN: charge.is_plugged_in,
            Signal.CHARGING: charge.is_charging,
            Signal.POWER_KW: charge.charge_rate,
            Signal.DELIVERY: charge.power_delivery_state,
        }
        for signal, value in values.items():
            if value is not None:
                seen[signal] = Observed(at=charge_at, value=value)
    place = vehicle.location
    if place is not None and place.latitude is not None and place.longitude is not None:
        seen[Signal.POSITION] = Observed(
            at=place.last_updated or contact_at, value=(place.latitude, place.longitude)
        )
    return seen


def latest_device_time(observations: dict[Signal, Observed]) -> datetime:
    """The newest instant in these observations: a clock ahead of ours would freeze the fold."""
    return max(seen.at for seen in observations.values())
