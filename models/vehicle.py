"""Vehicles as planning sees them. Units: kWh, kW, percent, km."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, StrictMessage, VendorWord
from models.ids import ExternalId
from models.place import Place


class ConnectorStandard(StrEnum):
    """Connector standards under OCPI 2.2.1's names (ConnectorType, section 8.4.5), the ones fleets meet."""

    TYPE_1 = "IEC_62196_T1"
    TYPE_2 = "IEC_62196_T2"
    CCS_1 = "IEC_62196_T1_COMBO"
    CCS_2 = "IEC_62196_T2_COMBO"
    CHADEMO = "CHADEMO"
    TESLA = "TESLA_R"
    SCHUKO = "DOMESTIC_F"
    OTHER = "OTHER"


DC_STANDARDS = frozenset(
    {ConnectorStandard.CCS_1, ConnectorStandard.CCS_2, ConnectorStandard.CHADEMO, ConnectorStandard.TESLA}
)


PowerKw = Annotated[float, Field(ge=0, le=5_000)]
BatteryKwh = Annotated[float, Field(ge=0.1, le=2_000)]
ConsumptionKwh = Annotated[float, Field(ge=0.1, le=500)]
"""Per 100 km. Its least, as the battery's, keeps ranges and shares finite."""


class CurvePoint(Message):
    """One point of a DC charging curve: power the vehicle takes at a state of charge."""

    soc_percent: Annotated[float, Field(ge=0, le=100)]
    power_kw: PowerKw


class VehicleModel(Message):
    """What a vehicle model can do; imported from files or given with the request."""

    model_id: ExternalId
    name: VendorWord
    battery_usable_kwh: BatteryKwh
    connectors: Annotated[tuple[ConnectorStandard, ...], Field(max_length=50)]
    ac_max_power_kw: PowerKw = 0.0
    dc_max_power_kw: PowerKw = 0.0
    dc_curve: Annotated[tuple[CurvePoint, ...], Field(max_length=1_000)] = ()
    consumption_kwh_per_100_km: ConsumptionKwh = 25.0


class VehicleState(StrictMessage):
    """The vehicle of one stop: its model (by id or written out), charge and place."""

    vehicle_id: Annotated[ExternalId, Field(description="Opaque id; no VIN, no plate.", examples=["van-017"])]
    model_id: Annotated[ExternalId | None, Field(description="A model imported before.")] = None
    battery_usable_kwh: Annotated[BatteryKwh | None, Field(examples=[60.0])] = None
    connectors: Annotated[
        tuple[ConnectorStandard, ...], Field(max_length=50, examples=[["IEC_62196_T2_COMBO"]])
    ] = ()
    ac_max_power_kw: Annotated[PowerKw | None, Field(examples=[11.0])] = None
    dc_max_power_kw: Annotated[PowerKw | None, Field(examples=[100.0])] = None
    consumption_kwh_per_100_km: Annotated[ConsumptionKwh | None, Field(examples=[26.0])] = None
    soc_percent: Annotated[float, Field(ge=0, le=100, examples=[24.0])]
    position: Place
    telematics_id: Annotated[
        ExternalId | None, Field(description="The vehicle's id at the telematics vendor, if linked.")
    ] = None


def filled(vehicle: VehicleState, model: VehicleModel | None) -> VehicleState:
    """The request's own figures win; the model fills what the request leaves open."""
    if model is None:
        return vehicle
    return vehicle.model_copy(
        update={
            "battery_usable_kwh": vehicle.battery_usable_kwh or model.battery_usable_kwh,
            "connectors": vehicle.connectors or model.connectors,
            "ac_max_power_kw": _either(vehicle.ac_max_power_kw, model.ac_max_power_kw),
            "dc_max_power_kw": _either(vehicle.dc_max_power_kw, model.dc_max_power_kw),
            "consumption_kwh_per_100_km": vehicle.consumption_kwh_per_100_km
            or model.consumption_kwh_per_100_km,
        }
    )


def _either(own: float | None, modelled: float) -> float:
    return modelled if own is None else own


def unplannable(vehicle: VehicleState, model: VehicleModel | None) -> tuple[str, str] | None:
    """The field without which no plan can be made, and the sentence for whoever asked; None where all is
    known. `model`: what `model_id` names, if there is one."""
    if vehicle.model_id is not None and model is None:
        return "model_id", f"No vehicle model {vehicle.model_id} is known here."
    known = filled(vehicle, model)
    for field, value in (("battery_usable_kwh", known.battery_usable_kwh), ("connectors", known.connectors)):
        if not value:
            return field, f"Name a model of the vehicle (vehicle.model_id), or give vehicle.{field}."
    return None
