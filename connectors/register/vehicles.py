"""Vehicle models with charging curves, in the shape of the open EV data set (chargeprice/open-ev-data)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from connectors.register.reading import (
    ImportResult,
    Rejected,
    RejectionReason,
    UnknownFormat,
    faults_of,
    parse_json,
    rejected,
)
from models.vehicle import ConnectorStandard, CurvePoint, VehicleModel

_PORTS = {
    "type1": ConnectorStandard.TYPE_1,
    "type2": ConnectorStandard.TYPE_2,
    "ccs": ConnectorStandard.CCS_2,
    "chademo": ConnectorStandard.CHADEMO,
    "tesla_suc": ConnectorStandard.TESLA,
    "tesla_ccs": ConnectorStandard.CCS_2,
}


class _Point(BaseModel):
    percentage: float
    power: float


class _Side(BaseModel):
    ports: list[str] = []
    max_power: float = 0.0
    charging_curve: list[_Point] = []


class _Consumption(BaseModel):
    average_consumption: float | None = None


class _Vehicle(BaseModel):
    id: str
    brand: str
    model: str
    variant: str | None = None
    release_year: int | None = None
    usable_battery_size: float | None = None
    ac_charger: _Side | None = None
    dc_charger: _Side | None = None
    energy_consumption: _Consumption | None = None


def read_vehicle_models(raw: bytes) -> ImportResult[VehicleModel]:
    """Models of a file. Raises UnknownFormat where it is none we know."""
    content = parse_json(raw)
    records = cast("dict[str, Any]", content).get("data") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise UnknownFormat("expected {data: [vehicles]} or a list of vehicle models")
    kept: dict[str, VehicleModel] = {}
    aside: list[Rejected] = []
    for record in cast("list[Any]", records):
        result = _model(record)
        if isinstance(result, Rejected):
            aside.append(result)
        elif result.model_id in kept:
            aside.append(rejected(RejectionReason.DUPLICATE, record, result.model_id))
        else:
            kept[result.model_id] = result
    return ImportResult[VehicleModel](kept=tuple(kept.values()), rejected=tuple(aside))


def _model(record: Any) -> VehicleModel | Rejected:
    try:
        if isinstance(record, dict) and "model_id" in record:
            return VehicleModel.model_validate(record)
        vehicle = _Vehicle.model_validate(record)
    except ValidationError as error:
        return rejected(RejectionReason.UNREADABLE, record, faults_of(error))
    if not vehicle.usable_battery_size or vehicle.usable_battery_size <= 0:
        return rejected(RejectionReason.NO_BATTERY, record, vehicle.model)
    ac, dc = vehicle.ac_charger or _Side(), vehicle.dc_charger or _Side()
    ports = [*ac.ports, *dc.ports]
    unknown = [port for port in ports if port not in _PORTS]
    if unknown or not ports:
        reason = RejectionReason.UNKNOWN_PLUG if unknown else RejectionReason.NO_PLUGS
        return rejected(reason, record, ", ".join(unknown))
    curve = [(point.percentage, point.power) for point in dc.charging_curve]
    rising = all(a[0] < b[0] for a, b in pairwise(curve))
    if any(not 0 <= soc <= 100 or power < 0 for soc, power in curve) or not rising:
        return rejected(RejectionReason.IMPOSSIBLE_CURVE, record, vehicle.model)
    name = " ".join(part for part in (vehicle.brand, vehicle.model, vehicle.variant) if part)
    used = vehicle.energy_consumption.average_consumption if vehicle.energy_consumption else None
    try:
        return VehicleModel(
            model_id=vehicle.id,
            name=f"{name} ({vehicle.release_year})" if vehicle.release_year else name,
            battery_usable_kwh=vehicle.usable_battery_size,
            connectors=tuple(dict.fromkeys(_PORTS[port] for port in ports)),
            ac_max_power_kw=ac.max_power,
            dc_max_power_kw=dc.max_power,
            dc_curve=tuple(CurvePoint(soc_percent=soc, power_kw=power) for soc, power in curve),
            **({"consumption_kwh_per_100_km": used} if used else {}),
        )
    except ValidationError as error:
        return rejected(RejectionReason.UNREADABLE, record, faults_of(error))
