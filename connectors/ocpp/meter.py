"""Meter values as charge points really send them: strings, Wh and kWh mixed, fields missing."""

from __future__ import annotations

from typing import Any, cast

from connectors.ocpp.schemas import Json

_ENERGY = "Energy.Active.Import.Register"


def _number(value: Any) -> float | None:
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if -1e12 < number < 1e12 else None


def _unit(sample: Json) -> str:
    """2.0.1 puts the unit in an object, 1.6 beside the value; none means Wh for energy, W for power."""
    measure = cast(Json, sample.get("unitOfMeasure") or {})
    return str(sample.get("unit") or measure.get("unit") or "")


def _scaled(sample: Json) -> float | None:
    number = _number(sample.get("value"))
    if number is None:
        return None
    measure = cast(Json, sample.get("unitOfMeasure") or {})
    number *= 10.0 ** int(measure.get("multiplier") or 0)
    return number * 1000 if _unit(sample) in ("kWh", "kW") else number


def samples(meter_values: list[Json]) -> list[tuple[str, Json]]:
    """(timestamp, sample) of all meter values."""
    return [
        (str(value.get("timestamp", "")), cast(Json, sample))
        for value in meter_values
        for sample in cast("list[Any]", value.get("sampledValue") or [])
    ]


def energy_wh(meter_values: list[Json]) -> float | None:
    """The highest total of the energy register in Wh; phases are summed where no total is given."""
    totals: list[float] = []
    phases: dict[str, float] = {}
    for at, sample in samples(meter_values):
        if sample.get("measurand", _ENERGY) != _ENERGY:
            continue
        value = _scaled(sample)
        if value is None:
            continue
        if sample.get("phase") is None:
            totals.append(value)
        else:
            phases[at] = phases.get(at, 0.0) + value
    found = totals or list(phases.values())
    return max(found) if found else None


def power_kw(meter_values: list[Json]) -> float | None:
    """The newest active import power."""
    found = [
        value / 1000
        for _, sample in samples(meter_values)
        if sample.get("measurand") == "Power.Active.Import"
        and sample.get("phase") is None
        and (value := _scaled(sample)) is not None
    ]
    return found[-1] if found else None


def soc_percent(meter_values: list[Json]) -> float | None:
    found = [
        value
        for _, sample in samples(meter_values)
        if sample.get("measurand") == "SoC" and (value := _number(sample.get("value"))) is not None
    ]
    return found[-1] if found and 0 <= found[-1] <= 100 else None
