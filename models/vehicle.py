"""Vehicles as planning sees them. Units: kWh, kW, percent, km."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.base import Message, StrictMessage
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


class CurvePoint(Message):
    """One point of a DC charging curve: power the vehicle takes at a state of charge."""

    soc_percent: Annotated[float, Field(ge=0, le=100)]
    power_kw: Annotated[float, Field(ge=0)]


class VehicleModel(Message):
    """What a vehicle model can do; imported from files or given with the request."""

    model_id: ExternalId
    name: str
    battery_usable_kwh: Annotated[float, Field(gt=0, le=2000)]
    connectors: tuple[ConnectorStandard, ...]
    ac_max_power_kw: Annotated[float, Field(ge=0)] = 0.0
    dc_max_power_kw: Annotated[float, Field(ge=0)] = 0.0
    dc_curve: tuple[CurvePoint, ...] = ()
    consumption_kwh_per_100_km: Annotated[float, Field(gt=0, le=500)] = 25.0


class VehicleState(StrictMessage):
    """The vehicle of one stop: its model (by id or written out), charge and place."""

    vehicle_id: Annotated[ExternalId, Field(description="Opaque id; no VIN, no plate.", examples=["van-017"])]
    model_id: Annotated[ExternalId | None, Field(description="A model imported before.")] = None
    battery_usable_kwh: Annotated[float | None, Field(gt=0, le=2000, examples=[60.0])] = None
    connectors: Annotated[tuple[ConnectorStandard, ...], Field(examples=[["IEC_62196_T2_COMBO"]])] = ()
    ac_max_power_kw: Annotated[float | None, Field(ge=0, examples=[11.0])] = None
    dc_max_power_kw: Annotated[float | None, Field(ge=0, examples=[100.0])] = None
    consumption_kwh_per_100_km: Annotated[float | None, Field(gt=0, le=500, examples=[26.0])] = None
    soc_percent: Annotated[float, Field(ge=0, le=100, examples=[24.0])]
    position: Place
    telematics_id: Annotated[
        ExternalId | None, Field(description="The vehicle's id at the telematics vendor, if linked.")
    ] = None
