"""A vehicle on its way to the charger of its stop: how it gets on, and when it has arrived. Pure.

Of where it is, only the distance to the planned charger is said, never a position: charger connectors can
read evidence, and must not see tracks (FG-323).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from connectors.enode.fold import Signal, VehicleFold
from connectors.enode.ports import Approach, StopWatch
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.stop import StopPhase

SOC_STEP_PERCENT: Final = 2
FARTHER_KM: Final = 2.0
_PROGRESS_EVERY: Final = timedelta(minutes=1)
DWELL: Final = timedelta(seconds=30)
"""Between two fixes inside the geofence, so that driving by is no arrival: no vendor tells a speed."""
_FIX_BEFORE_PLUG: Final = timedelta(minutes=2)


def distance_km(state: VehicleFold, watch: StopWatch) -> float | None:
    """From the vehicle to the planned charger; None where it is not known since the stop began."""
    position, at = state.position, state.at(Signal.POSITION)
    if position is None or at is None or at < watch.since or watch.charger_place is None:
        return None
    return round(position.distance_m(watch.charger_place) / 1000, 2)


def plug_distance_km(state: VehicleFold, watch: StopWatch | None, plugged_at: datetime) -> float | None:
    """How far from the planned charger the vehicle was plugged in or out. None where the last fix is older
    and outside: the vehicle has driven on since."""
    if watch is None:
        return None
    fix_at = state.at(Signal.POSITION)
    is_fresh = fix_at is not None and fix_at >= plugged_at - _FIX_BEFORE_PLUG
    return distance_km(state, watch) if is_fresh or _is_inside(state, watch) else None


def _is_inside(state: VehicleFold, watch: StopWatch) -> bool:
    position, at = state.position, state.at(Signal.POSITION)
    if position is None or at is None or at < watch.since or watch.charger_place is None:
        return False
    return position.distance_m(watch.charger_place) <= watch.geofence_m


def on_the_way(
    before: VehicleFold, after: VehicleFold, watch: StopWatch, approach: Approach | None
) -> tuple[list[Evidence], Approach]:
    """Evidence of one step of a vehicle whose stop is en route, and the approach after it."""
    if approach is None or (approach.stop_id, approach.charger_id) != (watch.stop_id, watch.charger_id):
        approach = Approach(stop_id=watch.stop_id, charger_id=watch.charger_id)
    if watch.phase is not StopPhase.EN_ROUTE:
        return [], approach
    found: list[Evidence] = []
    step = _soc_step(before, after, watch)
    if step is not None:
        found.append(step)
    if after.at(Signal.POSITION) != before.at(Signal.POSITION):
        farther, approach = _moved(after, watch, approach)
        found += farther
    arrival, approach = _arrival(after, watch, approach)
    return found + arrival, approach


def _progress(watch: StopWatch, state: VehicleFold, at: datetime, mark: str) -> Evidence:
    return Evidence(
        event_id=f"enode:{watch.stop_id}:{watch.charger_id or ''}:{EvidenceKind.VEHICLE_PROGRESS}:{mark}",
        source=EvidenceSource.TELEMATICS,
        kind=EvidenceKind.VEHICLE_PROGRESS,
        observed_at=at,
        charger_id=watch.charger_id,
        soc_percent=state.number(Signal.SOC_PERCENT),
        distance_km=distance_km(state, watch),
    )


def _soc_step(before: VehicleFold, after: VehicleFold, watch: StopWatch) -> Evidence | None:
    """The SOC has fallen by a whole step; each step is told once (by its event id)."""
    was, now = before.number(Signal.SOC_PERCENT), after.number(Signal.SOC_PERCENT)
    at = after.at(Signal.SOC_PERCENT)
    if was is None or now is None or at is None or at < watch.since:
        return None
    step = int(now // SOC_STEP_PERCENT)
    if step >= int(was // SOC_STEP_PERCENT):
        return None
    return _progress(watch, after, at, f"soc:{step}")


def _moved(after: VehicleFold, watch: StopWatch, approach: Approach) -> tuple[list[Evidence], Approach]:
    """A new fix: the vehicle has come nearer, or has gone farther away than it was."""
    now_km, at = distance_km(after, watch), after.at(Signal.POSITION)
    if now_km is None or at is None:
        return [], approach
    nearest_km = now_km if approach.nearest_km is None else min(approach.nearest_km, now_km)
    approach = approach.model_copy(update={"nearest_km": nearest_km})
    if now_km <= nearest_km:
        return [], approach.model_copy(update={"told_km": None})
    told_km = approach.told_km if approach.told_km is not None else nearest_km
    is_due = approach.told_at is None or at >= approach.told_at + _PROGRESS_EVERY
    if now_km <= max(nearest_km, told_km) + FARTHER_KM or not is_due:
        return [], approach
    told = {"told_km": now_km, "told_at": at}
    return [_progress(watch, after, at, at.isoformat())], approach.model_copy(update=told)


def _arrival(after: VehicleFold, watch: StopWatch, approach: Approach) -> tuple[list[Evidence], Approach]:
    """ARRIVED, once for each stay inside the geofence: two fixes some time apart, or a plug."""
    at = after.at(Signal.POSITION)
    if at is None or at < watch.since:
        return [], approach
    if not _is_inside(after, watch):
        return [], approach.model_copy(update={"inside_since": None, "has_arrived": False})
    inside_since = approach.inside_since or at
    plugged_at = after.at(Signal.PLUGGED_IN)
    is_plugged = after.flag(Signal.PLUGGED_IN) is True
    plugged_here_at = plugged_at if is_plugged and plugged_at and plugged_at >= watch.since else None
    arrived_at = at if at >= inside_since + DWELL else plugged_here_at
    approach = approach.model_copy(update={"inside_since": inside_since})
    if arrived_at is None or approach.has_arrived:
        return [], approach
    evidence = Evidence(
        event_id=f"enode:{watch.stop_id}:arrived:{watch.charger_id or ''}:{inside_since.isoformat()}",
        source=EvidenceSource.TELEMATICS,
        kind=EvidenceKind.ARRIVED,
        observed_at=max(arrived_at, inside_since),
        charger_id=watch.charger_id,
        soc_percent=after.number(Signal.SOC_PERCENT),
        distance_km=distance_km(after, watch),
        detail="plugged in inside the geofence" if at < inside_since + DWELL else "stays inside the geofence",
    )
    return [evidence], approach.model_copy(update={"has_arrived": True})
