"""Meter values as charge points really send them: strings, Wh and kWh mixed, signed, fields missing."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, NamedTuple, cast

from connectors.ocpp.truth.clock import instant
from connectors.ocpp.wire.schemas import Json

ENERGY = "Energy.Active.Import.Register"
_READ = frozenset({ENERGY, "Power.Active.Import", "SoC"})
_LINE_PHASES = ("L1", "L2", "L3", "L1-N", "L2-N", "L3-N")
_ELSEWHERE = ("Inlet", "EV", "Upstream")
"""Locations beside the outlet: the whole station's supply, the vehicle's own meter."""
_MOST_WH = 1e12
_MOST_DIGITS = 9


class Sample(NamedTuple):
    """One MeterValue: everything a connector measured at one moment. None: not said."""

    at: datetime
    register_wh: float | None
    power_kw: float | None
    soc_percent: float | None
    unit_known: bool = True
    signed: Json | None = None


def number(value: Any) -> float | None:
    """A finite number out of what may be a padded string; None where there is none."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) < _MOST_WH else None


def unit_of(sample: Json) -> str:
    """2.x puts the unit in an object, 1.6 beside the value; none means Wh for energy, W for power."""
    measure = cast(Json, sample.get("unitOfMeasure") or {})
    return str(sample.get("unit") or measure.get("unit") or "")


def scaled(sample: Json) -> float | None:
    """The value in Wh, W, A or percent."""
    found = number(sample.get("value"))
    if found is None:
        return None
    if "unitOfMeasure" in sample:
        measure = cast(Json, sample["unitOfMeasure"] or {})
        multiplier = int(measure.get("multiplier") or 0)
        if abs(multiplier) > _MOST_DIGITS:
            return None
        found *= 10.0**multiplier
    return found * 1000 if unit_of(sample) in ("kWh", "kW") else found


def samples_of(meter_values: list[Json], now: datetime) -> list[Sample]:
    """One Sample for each MeterValue, in the order given."""
    return [_sample(value, now) for value in meter_values]


def _sample(value: Json, now: datetime) -> Sample:
    register = power = soc = None
    phases_wh: dict[str, float] = {}
    phases_w: dict[str, float] = {}
    unit_known, signed = True, None
    for item in cast("list[Json]", value.get("sampledValue") or []):
        if item.get("location") in _ELSEWHERE:
            continue
        measurand, phase = item.get("measurand", ENERGY), item.get("phase")
        if item.get("format") == "SignedData" or "signedMeterValue" in item:
            signed = item
            if item.get("format") == "SignedData":
                if measurand == ENERGY and register is None:
                    register = signed_register_wh(str(item.get("value", "")))
                continue
        found = scaled(item) if measurand in _READ else None
        if found is None:
            continue
        if measurand == ENERGY:
            if phase is None:
                register, unit_known = found, bool(unit_of(item))
            elif phase in _LINE_PHASES:
                phases_wh[str(phase)] = found
        elif measurand == "Power.Active.Import":
            if phase is None:
                power = found / 1000
            elif phase in _LINE_PHASES:
                phases_w[str(phase)] = found
        elif measurand == "SoC" and 0 <= found <= 100:
            soc = found
    if register is None and phases_wh:
        register = sum(phases_wh.values())  # per phase without a total: summed, as the phases are one energy
    if power is None and phases_w:
        power = sum(phases_w.values()) / 1000
    if register is not None and register < 0:
        register = None  # an import register never is; some stations say -1 for "none"
    return Sample(instant(value.get("timestamp"), now), register, power, soc, unit_known, signed)


def signed_register_wh(text: str) -> float | None:
    """The newest register value in signed data that can be read without its key: OCMF (its second part is
    JSON with readings RD, value RV, unit RU). Other formats are kept as they are, and tell us nothing."""
    if not text.startswith("OCMF|"):
        return None
    try:
        readings: list[Json] = json.loads(text.split("|")[1]).get("RD") or []
        last = readings[-1]
        value, unit = number(last.get("RV")), str(last.get("RU", "kWh"))
    except (ValueError, IndexError, AttributeError, KeyError):
        return None
    if value is None:
        return None
    return value * 1000 if unit == "kWh" else value
