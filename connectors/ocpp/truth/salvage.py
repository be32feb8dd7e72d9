"""What can be read of a transaction message that does not fit its schema.

Such a message is answered, never refused: a refusal burns one of the station's few attempts, and then its
energy is lost for good. Each function makes a payload that fits, or raises KeyError, TypeError or ValueError
where not even the essentials are there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from connectors.ocpp.truth.clock import now_text
from connectors.ocpp.truth.meter import number
from connectors.ocpp.wire.schemas import Invalid, Json, Version, schemas_of

_UNITS = {unit.lower(): unit for unit in ("Wh", "kWh", "W", "kW", "A", "V", "Percent")}
_ABSENT = -1
_NEVER = "1970-01-01T00:00:00Z"


def integer(value: Any) -> int:
    """Raises ValueError, TypeError."""
    found = number(value)
    if found is None or abs(found) > 2**53:
        raise ValueError("no number")
    return round(found)


def whole(value: Any) -> int | None:
    """An int32, or None."""
    try:
        found = integer(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < 2**31 else None


def register(value: Any) -> int:
    """A register in whole Wh; -1 where it is not said."""
    try:
        return integer(value)
    except (TypeError, ValueError):
        return _ABSENT


def nothing(version: Version) -> list[Json]:
    """Meter values that say nothing, where nothing could be read and the message is answered all the same."""
    sample: Json = {"value": "" if version is Version.V16 else 0, "measurand": "Frequency"}
    return [{"timestamp": now_text(), "sampledValue": [sample]}]


def timestamp(value: Any) -> str:
    """As it came, or a time that connectors.ocpp.truth.clock takes for none."""
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return _NEVER
    return str(value)


def meter_values(value: Any, version: Version) -> list[Json]:
    """The samples that fit; one that does not, takes no other with it."""
    found: list[Json] = []
    for item in cast("list[Any]", value) if isinstance(value, list) else []:
        if not isinstance(item, dict):
            continue
        entry = cast(Json, item)
        sampled = entry.get("sampledValue")
        good = [
            sample
            for raw in (cast("list[Any]", sampled) if isinstance(sampled, list) else [])
            if isinstance(raw, dict) and (sample := _sample(cast(Json, raw), version)) is not None
        ]
        if good:
            found.append({"timestamp": timestamp(entry.get("timestamp")), "sampledValue": good})
    return found


def _sample(raw: Json, version: Version) -> Json | None:
    sample = {key: value for key, value in raw.items() if value is not None}
    if version is Version.V16:
        sample["value"] = str(raw.get("value", ""))
        if "unit" in sample:
            sample["unit"] = _UNITS.get(str(sample["unit"]).lower(), sample["unit"])
        probe: Json = {"connectorId": 1, "meterValue": [_probe(sample)]}
    else:
        value = number(raw.get("value"))
        if value is None:
            return None
        sample["value"] = value
        probe = {"evseId": 1, "meterValue": [_probe(sample)]}
    schemas = schemas_of(version)
    for optional in ("context", "location", "format"):
        if _fits(schemas.read, probe):
            break
        sample.pop(optional, None)
    return sample if _fits(schemas.read, probe) else None


def _probe(sample: Json) -> Json:
    return {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [sample]}


def _fits(read: Any, probe: Json) -> bool:
    try:
        read("MeterValues", probe)
    except Invalid:
        return False
    return True
