"""The simulated partner's objects in OCPI 2.2.1 form."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from simulators.roaming.config import PartyConfig
from simulators.twin import TwinConnector, TwinLocation

DC_STANDARDS = ("IEC_62196_T1_COMBO", "IEC_62196_T2_COMBO", "CHADEMO", "TESLA_R")


def stamp(at: datetime | None = None) -> str:
    """RFC 3339 in UTC with milliseconds: states within one second must be told apart."""
    return (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reply(data: Any = None, status_code: int = 1000, message: str | None = None) -> dict[str, Any]:
    """The envelope of every answer."""
    body: dict[str, Any] = {"status_code": status_code, "timestamp": stamp()}
    if data is not None:
        body["data"] = data
    if message is not None:
        body["status_message"] = message
    return body


def evse_uid_of(location: TwinLocation, connector: TwinConnector) -> str:
    return connector.evse_uid or f"{location.location_id}-E{connector.number}"


def evse(location: TwinLocation, connector: TwinConnector, status: str, changed: str) -> dict[str, Any]:
    direct = str(connector.standard) in DC_STANDARDS
    voltage = 400 if direct else 230
    phases = 1 if direct else 3
    return {
        "uid": evse_uid_of(location, connector),
        "status": status,
        "capabilities": ["REMOTE_START_STOP_CAPABLE", "RFID_READER"],
        "connectors": [
            {
                "id": str(connector.number),
                "standard": str(connector.standard),
                "format": "CABLE",
                "power_type": "DC" if direct else "AC_3_PHASE",
                "max_voltage": voltage,
                "max_amperage": max(1, round(connector.power_kw * 1000 / voltage / phases)),
                "max_electric_power": round(connector.power_kw * 1000),
                "tariff_ids": [tariff_id_of(location)],
                "last_updated": changed,
            }
        ],
        "last_updated": changed,
    }


def location(
    party: PartyConfig, twin: TwinLocation, evses: list[dict[str, Any]], since: str
) -> dict[str, Any]:
    return {
        "country_code": party.country_code,
        "party_id": party.party_id,
        "id": twin.location_id,
        "publish": True,
        "name": twin.name,
        "address": "Ladeweg 1",
        "city": twin.city,
        "country": "DEU",
        "coordinates": {"latitude": f"{twin.place.latitude:.6f}", "longitude": f"{twin.place.longitude:.6f}"},
        "evses": evses,
        "operator": {"name": party.name},
        "time_zone": "Europe/Berlin",
        "opening_times": {"twentyfourseven": True},
        "last_updated": max([since, *(item["last_updated"] for item in evses)]),
    }


def tariff_id_of(location: TwinLocation) -> str:
    return f"T-{location.location_id}"[:36]


def tariff(party: PartyConfig, twin: TwinLocation, since: str) -> dict[str, Any]:
    terms = twin.tariff
    priced = (
        ("ENERGY", terms.energy_per_kwh, 1),
        ("FLAT", terms.session_fee, 1),
        ("PARKING_TIME", terms.occupation_per_hour, 60),
    )
    components = [
        {"type": kind, "price": float(price), "step_size": step} for kind, price, step in priced if price
    ]
    return {
        "country_code": party.country_code,
        "party_id": party.party_id,
        "id": tariff_id_of(twin),
        "currency": terms.currency,
        "elements": [{"price_components": components or [{"type": "ENERGY", "price": 0.0, "step_size": 1}]}],
        "last_updated": since,
    }


def cost_of(twin: TwinLocation, energy_kwh: float) -> dict[str, float]:
    """Price of a session without idle time, excl. and incl. 19 % VAT, to four decimals."""
    net = twin.tariff.energy_per_kwh * Decimal(str(round(energy_kwh, 4))) + twin.tariff.session_fee
    return {"excl_vat": float(round(net, 4)), "incl_vat": float(round(net * Decimal("1.19"), 4))}


def since_of(text: str | None) -> datetime | None:
    """A query's date_from or date_to. Raises ValueError."""
    if text is None:
        return None
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def charge_record(
    twin: TwinLocation,
    connector: TwinConnector,
    session: dict[str, Any],
    simulated_s: float,
    cost: dict[str, float],
) -> dict[str, Any]:
    """The record of a session that has ended now; `simulated_s`: how long it lasted."""
    now, hours, uid = stamp(), round(simulated_s / 3600, 4), evse_uid_of(twin, connector)
    copied = ("country_code", "party_id", "start_date_time", "cdr_token", "auth_method", "currency")
    return {
        **{name: session[name] for name in copied},
        "authorization_reference": session["authorization_reference"],
        "id": f"C-{str(session['id'])[2:]}",
        "end_date_time": now,
        "session_id": session["id"],
        "cdr_location": {
            "id": twin.location_id,
            "address": "Ladeweg 1",
            "city": twin.city,
            "country": "DEU",
            "coordinates": {
                "latitude": f"{twin.place.latitude:.6f}",
                "longitude": f"{twin.place.longitude:.6f}",
            },
            "evse_uid": uid,
            "evse_id": uid,
            "connector_id": session["connector_id"],
            "connector_standard": str(connector.standard),
            "connector_format": "CABLE",
            "connector_power_type": "DC",
        },
        "charging_periods": [
            {
                "start_date_time": session["start_date_time"],
                "dimensions": [
                    {"type": "ENERGY", "volume": session["kwh"]},
                    {"type": "TIME", "volume": hours},
                ],
            }
        ],
        "total_cost": cost,
        "total_energy": session["kwh"],
        "total_time": hours,
        "total_parking_time": 0,
        "last_updated": now,
    }
