"""How long a charge takes: the vehicle's curve under the charger's limit, integrated in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log

from models.vehicle import DC_STANDARDS, ConnectorStandard, CurvePoint
from planning.figures import VehicleFigures

TYPICAL_DC_SHARES: tuple[tuple[float, float, float], ...] = (
    (0.0, 10.0, 0.50),
    (10.0, 50.0, 1.00),
    (50.0, 80.0, 0.75),
    (80.0, 90.0, 0.35),
    (90.0, 100.0, 0.20),
)
"""SOC from, SOC to, share of peak power: a published typical default where the model has no curve of its own.
Its publisher warns of errors of 50 %."""

_LEAST_KW = 1.0
"""Curves end at 0 kW at 100 %: without a floor the last percent would take forever."""


def charge_time_s(
    figures: VehicleFigures, standard: ConnectorStandard, charger_kw: float, from_wh: int, to_wh: int
) -> int:
    """Seconds to bring the battery from `from_wh` to `to_wh`. 0 when it is there already.

    Raises ValueError when the vehicle cannot charge by this connector (the filters ask before).
    """
    if to_wh <= from_wh:
        return 0
    limit_kw = min(figures.takes_w(standard) / 1000, charger_kw)
    if limit_kw <= 0:
        raise ValueError(f"the vehicle cannot charge by {standard.value}")
    battery_kwh = figures.battery_wh / 1000
    if standard not in DC_STANDARDS:
        return round((to_wh - from_wh) / 1000 / limit_kw * 3600)
    start, end = 100 * from_wh / figures.battery_wh, 100 * to_wh / figures.battery_wh
    hours = 0.0
    for soc_0, kw_0, soc_1, kw_1 in _pieces(figures):
        low, high = max(start, soc_0), min(end, soc_1)
        if high > low:
            slope = (kw_1 - kw_0) / (soc_1 - soc_0)
            hours += _piece_hours(
                battery_kwh * (high - low) / 100,
                kw_0 + slope * (low - soc_0),
                kw_0 + slope * (high - soc_0),
                limit_kw,
            )
    return round(hours * 3600)


def _piece_hours(kwh: float, kw_low: float, kw_high: float, limit_kw: float) -> float:
    """Hours for `kwh` while the vehicle's power goes linearly from `kw_low` to `kw_high`, capped."""
    floor_kw = min(_LEAST_KW, limit_kw)
    a, b = max(kw_low, floor_kw), max(kw_high, floor_kw)
    if a >= limit_kw and b >= limit_kw:
        return kwh / limit_kw
    if a > limit_kw or b > limit_kw:
        # The line crosses the cap inside the piece: split there, flat on one side, sloped on the other.
        capped_share = (max(a, b) - limit_kw) / abs(a - b)
        flat = kwh * capped_share / limit_kw
        return flat + _piece_hours(kwh * (1 - capped_share), min(a, b), limit_kw, limit_kw)
    if abs(a - b) < 1e-9:
        return kwh / a
    return kwh * log(b / a) / (b - a)


def _pieces(figures: VehicleFigures) -> Sequence[tuple[float, float, float, float]]:
    """(SOC, kW, SOC, kW) from 0 to 100 %; flat beyond the curve's first and last point."""
    curve: list[CurvePoint] = sorted(figures.dc_curve, key=lambda point: point.soc_percent)
    if not curve:
        peak_kw = figures.dc_max_w / 1000
        return [(low, share * peak_kw, high, share * peak_kw) for low, high, share in TYPICAL_DC_SHARES]
    points = [(0.0, curve[0].power_kw), *((p.soc_percent, p.power_kw) for p in curve)]
    points.append((100.0, curve[-1].power_kw))
    return [(soc_0, kw_0, soc_1, kw_1) for (soc_0, kw_0), (soc_1, kw_1) in pairwise(points) if soc_1 > soc_0]
