"""A small world to plan in: one city, kilometres to the east, chargers as one writes them in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from math import cos, radians
from typing import Any

from hypothesis import HealthCheck, settings

from models.charger import Charger, ConnectorStatus, Protocol, TariffTerms
from models.decision import Decision, PlanRequest, Rejection
from models.place import Place
from models.policy import Policy
from models.vehicle import ConnectorStandard, VehicleState

NOW = datetime(2025, 11, 3, 8, 0, tzinfo=UTC)
CCS = ConnectorStandard.CCS_2
TYPE_2 = ConnectorStandard.TYPE_2
_LATITUDE = 51.2

steady = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""The same examples in every run, however busy the machine is."""


def at_km(east: float, north: float = 0.0) -> Place:
    """A place so many beeline kilometres from the vehicle."""
    per_degree = 111.195
    return Place(
        latitude=_LATITUDE + north / per_degree,
        longitude=6.8 + east / (per_degree * cos(radians(_LATITUDE))),
    )


def a_charger(charger_id: str, east_km: float = 2.0, north_km: float = 0.0, **fields: Any) -> Charger:
    base: dict[str, Any] = {
        "charger_id": charger_id,
        "site_id": f"site-{charger_id}",
        "operator": f"operator-{charger_id}",
        "network": "green",
        "place": at_km(east_km, north_km),
        "protocol": Protocol.OCPP,
        "station_id": charger_id,
        "standard": CCS,
        "power_kw": 150.0,
        "tariff": TariffTerms(energy_per_kwh=Decimal("0.50")),
        "status": ConnectorStatus.AVAILABLE,
        "status_at": NOW,
    }
    return Charger.model_validate(base | fields)


def a_van(**fields: Any) -> VehicleState:
    base: dict[str, Any] = {
        "vehicle_id": "van-1",
        "battery_usable_kwh": 60.0,
        "connectors": (CCS, TYPE_2),
        "ac_max_power_kw": 11.0,
        "dc_max_power_kw": 100.0,
        "consumption_kwh_per_100_km": 25.0,
        "soc_percent": 30.0,
        "position": at_km(0),
    }
    return VehicleState.model_validate(base | fields)


def a_request(policy: Policy | None = None, **fields: Any) -> PlanRequest:
    base: dict[str, Any] = {
        "stop_id": "stop_1",
        "tenant_id": "demo",
        "vehicle": a_van(),
        "target_soc_percent": 80.0,
        "now": NOW,
        "policy": policy or Policy(),
    }
    return PlanRequest.model_validate(base | fields)


def ids(decision: Decision) -> list[str]:
    return [candidate.charger.charger_id for candidate in decision.candidates]


def rejection_of(decision: Decision, charger_id: str) -> Rejection:
    return next(r for r in decision.rejections if r.charger_id == charger_id)
