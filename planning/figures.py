"""What a vehicle can do, from the request and its model: the request's own figures win."""

from __future__ import annotations

from dataclasses import dataclass

from models.vehicle import DC_STANDARDS, ConnectorStandard, CurvePoint, VehicleModel, VehicleState

ASSUMED_DC_POWER_KW = 50.0
ASSUMED_AC_POWER_KW = 11.0
ASSUMED_CONSUMPTION_KWH_PER_100_KM = 25.0
P90_ENERGY_MARGIN = 1.15
"""90 of 100 drives need less than this many times the average consumption (wind, cold, load, detours)."""


@dataclass(frozen=True, slots=True)
class VehicleFigures:
    """A vehicle in planning's units. `consumption_wh_per_km` is the average, not the P90."""

    battery_wh: int
    charge_wh: int
    target_wh: int
    connectors: frozenset[ConnectorStandard]
    ac_max_w: int
    dc_max_w: int
    dc_curve: tuple[CurvePoint, ...]
    consumption_wh_per_km: float

    def used_wh(self, metres: int) -> int:
        """Energy of a drive, average."""
        return round(self.consumption_wh_per_km * metres / 1000)

    def used_p90_wh(self, metres: int) -> int:
        """Energy of a drive that 9 of 10 drives do not exceed; reachability is judged by it."""
        return round(self.consumption_wh_per_km * P90_ENERGY_MARGIN * metres / 1000)

    def soc_percent(self, charge_wh: int) -> float:
        return round(100 * charge_wh / self.battery_wh, 2)

    def takes_w(self, standard: ConnectorStandard) -> int:
        """The most power it takes by this connector; 0 when it cannot charge there at all."""
        if standard not in self.connectors:
            return 0
        return self.dc_max_w if standard in DC_STANDARDS else self.ac_max_w


def figures_of(
    state: VehicleState, model: VehicleModel | None, target_soc_percent: float
) -> VehicleFigures | None:
    """None when battery or connectors are unknown: such a vehicle cannot be planned for."""
    battery_kwh = state.battery_usable_kwh or (model.battery_usable_kwh if model else None)
    connectors = state.connectors or (model.connectors if model else ())
    if not battery_kwh or not connectors:
        return None
    battery_wh = max(1, round(battery_kwh * 1000))
    ac_kw = _known(state.ac_max_power_kw, model.ac_max_power_kw if model else None, ASSUMED_AC_POWER_KW)
    dc_kw = _known(state.dc_max_power_kw, model.dc_max_power_kw if model else None, ASSUMED_DC_POWER_KW)
    consumption = _known(
        state.consumption_kwh_per_100_km,
        model.consumption_kwh_per_100_km if model else None,
        ASSUMED_CONSUMPTION_KWH_PER_100_KM,
    )
    return VehicleFigures(
        battery_wh=battery_wh,
        charge_wh=round(battery_wh * state.soc_percent / 100),
        target_wh=round(battery_wh * target_soc_percent / 100),
        connectors=frozenset(connectors),
        ac_max_w=_watts(ac_kw),
        dc_max_w=_watts(dc_kw),
        dc_curve=model.dc_curve if model else (),
        consumption_wh_per_km=consumption * 10,
    )


def _known(own: float | None, modelled: float | None, assumed: float) -> float:
    if own is not None:
        return own
    return assumed if modelled is None else modelled


def _watts(kilowatts: float) -> int:
    # No road vehicle takes 10 MW: the bound only keeps an absurd import from overflowing the integers.
    return round(min(kilowatts, 10_000.0) * 1000)
