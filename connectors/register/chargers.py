"""Charging stations from a regulator's register, or from our own plain form.

The register is that of Germany's Bundesnetzagentur (operator, place, plugs, kW, opening hours as people wrote
them). What is odd is kept out, per connector, with a reason; the rest of the station is taken.
"""

from __future__ import annotations

import csv
import io
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
from models.charger import Charger, Protocol
from models.place import Place
from models.vehicle import ConnectorStandard

_PLUGS = {
    "AC Typ 2 Steckdose": ConnectorStandard.TYPE_2,
    "AC Typ 2 Fahrzeugkupplung": ConnectorStandard.TYPE_2,
    "AC Typ 1 Steckdose": ConnectorStandard.TYPE_1,
    "AC Typ 1 Fahrzeugkupplung": ConnectorStandard.TYPE_1,
    "AC Schuko": ConnectorStandard.SCHUKO,
    "DC Fahrzeugkupplung Typ Combo 2 (CCS)": ConnectorStandard.CCS_2,
    "DC CHAdeMO": ConnectorStandard.CHADEMO,
    "DC Tesla Fahrzeugkupplung (Typ 2)": ConnectorStandard.TESLA,
}
# Highest power that the plug itself can carry (IEC 62196, DIN 49441): more is a slip of the pen.
_MOST_KW = {
    ConnectorStandard.TYPE_1: 7.4,
    ConnectorStandard.TYPE_2: 43.5,
    ConnectorStandard.SCHUKO: 3.7,
    ConnectorStandard.CHADEMO: 400.0,
    ConnectorStandard.CCS_2: 1000.0,
    ConnectorStandard.TESLA: 250.0,
}
_SCHUKO_KW = 3.7
_IN_SERVICE = "In Betrieb"


class _Station(BaseModel):
    station: int | str
    operator: str
    city: str = ""
    postal_code: str = ""
    lat: float
    lon: float
    opening: str | None = None
    status: str | None = None
    evses: list[list[tuple[str | None, float | None]]]


def read_chargers(raw: bytes) -> ImportResult[Charger]:
    """Chargers of a file, by its shape. Raises UnknownFormat where it is none we know."""
    text = raw.lstrip()
    if not text.startswith((b"[", b"{")):
        return _read_csv(raw)
    records = parse_json(raw)
    if not isinstance(records, list):
        raise UnknownFormat("expected a list of stations or chargers")
    kept: dict[str, Charger] = {}
    aside: list[Rejected] = []
    for record in cast("list[Any]", records):
        read = _register_station if isinstance(record, dict) and "evses" in record else _own_charger
        for result in read(record):
            if isinstance(result, Rejected):
                aside.append(result)
            elif result.charger_id in kept:
                aside.append(rejected(RejectionReason.DUPLICATE, record, result.charger_id))
            else:
                kept[result.charger_id] = result
    return ImportResult[Charger](kept=tuple(kept.values()), rejected=tuple(aside))


def _own_charger(record: Any) -> list[Charger | Rejected]:
    try:
        return [Charger.model_validate(record)]
    except ValidationError as error:
        return [rejected(RejectionReason.UNREADABLE, record, faults_of(error))]


def _register_station(record: Any) -> list[Charger | Rejected]:
    try:
        station = _Station.model_validate(record)
        place = Place(latitude=station.lat, longitude=station.lon)
    except ValidationError as error:
        return [rejected(RejectionReason.UNREADABLE, record, faults_of(error))]
    if abs(station.lat) < 0.01 and abs(station.lon) < 0.01:
        return [rejected(RejectionReason.IMPOSSIBLE_PLACE, record, "0, 0 is in the sea")]
    plugs = [
        (evse_number, plug_number, name, power_kw)
        for evse_number, evse in enumerate(station.evses, 1)
        for plug_number, (name, power_kw) in enumerate(evse, 1)
    ]
    if not plugs:
        return [rejected(RejectionReason.NO_PLUGS, record, "no plugs listed")]
    return [_connector(station, place, *plug) for plug in plugs]


def _connector(
    station: _Station,
    place: Place,
    evse_number: int,
    plug_number: int,
    name: str | None,
    power_kw: float | None,
) -> Charger | Rejected:
    raw = {"station": station.station, "evse": evse_number, "plug": plug_number, "name": name, "kw": power_kw}
    standard = _PLUGS.get((name or "").strip())
    if standard is None:
        return rejected(RejectionReason.UNKNOWN_PLUG, raw, name or "no name")
    if power_kw is None:
        return rejected(RejectionReason.IMPLAUSIBLE_POWER, raw, f"{name} without power")
    if standard is ConnectorStandard.SCHUKO:
        power_kw = min(
            power_kw, _SCHUKO_KW
        )  # the register gives the station's power for its household socket
    if not 0 < power_kw <= _MOST_KW[standard]:
        return rejected(RejectionReason.IMPLAUSIBLE_POWER, raw, f"{name} with {power_kw} kW")
    return Charger(
        charger_id=f"reg-{station.station}-{evse_number}-{plug_number}",
        site_id=f"reg-{station.station}",
        operator=station.operator,
        network=station.operator,
        region=f"DE-{station.postal_code[:2]}" if station.postal_code else "DE",
        place=place,
        protocol=Protocol.NONE,
        station_id=str(station.station),
        evse_uid=str(evse_number),
        connector_number=plug_number,
        standard=standard,
        power_kw=power_kw,
        open_always=True if station.opening == "247" else None,
        plannable=station.status in (None, _IN_SERVICE),
    )


def _read_csv(raw: bytes) -> ImportResult[Charger]:
    """Columns are the fields of a charger; latitude and longitude stand for its place."""
    try:
        rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnknownFormat(f"neither JSON nor CSV: {error}") from error
    if not rows or "charger_id" not in rows[0]:
        raise UnknownFormat("expected JSON, or CSV with a charger_id column")
    kept: dict[str, Charger] = {}
    aside: list[Rejected] = []
    for row in rows:
        filled: dict[str, Any] = {key: value for key, value in row.items() if value not in (None, "")}
        filled["place"] = {
            "latitude": filled.pop("latitude", None),
            "longitude": filled.pop("longitude", None),
        }
        for result in _own_charger(filled):
            if isinstance(result, Rejected):
                aside.append(result)
            elif result.charger_id in kept:
                aside.append(rejected(RejectionReason.DUPLICATE, row, result.charger_id))
            else:
                kept[result.charger_id] = result
    return ImportResult[Charger](kept=tuple(kept.values()), rejected=tuple(aside))
