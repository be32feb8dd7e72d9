"""What a step of a vehicle's state proves about its stop. Pure: no I/O, no clock.

Event ids come from the vehicle and the device time, not from the delivery: the same step seen again, by
webhook or by a pull after an outage, is the same event.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from connectors.enode.approach import on_the_way, plug_distance_km
from connectors.enode.fold import Signal, VehicleFold
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode

if TYPE_CHECKING:
    from connectors.enode.ports import ActionNote, Approach, StopWatch
    from connectors.enode.wire import Action

METER_INTERVAL_S = 30
"""At most one METER per this many seconds of device time, unless the SOC moved by a percent."""
_ENDED_BY_VEHICLE = frozenset({"PLUGGED_IN:COMPLETE", "PLUGGED_IN:STOPPED"})


def _evidence(
    vehicle_key: str,
    kind: EvidenceKind,
    at: datetime,
    state: VehicleFold,
    vendor_code: str = "",
    distance_km: float | None = None,
) -> Evidence:
    return Evidence(
        event_id=f"enode:{vehicle_key}:{kind}:{at.isoformat()}",
        source=EvidenceSource.TELEMATICS,
        kind=kind,
        observed_at=at,
        power_kw=state.power_kw,
        soc_percent=state.number(Signal.SOC_PERCENT),
        distance_km=distance_km,
        vendor_code=vendor_code,
    )


def derive(
    vehicle_key: str,
    before: VehicleFold,
    after: VehicleFold,
    watch: StopWatch | None,
    approach: Approach | None,
) -> tuple[list[Evidence], Approach | None]:
    """Evidence of the step from `before` to `after`, oldest first, and the approach after it. METER, ARRIVED
    and progress on the way only for a live stop. `vehicle_key` names the vehicle among all connections."""
    found: list[Evidence] = []
    if watch is not None:
        found, approach = on_the_way(before, after, watch, approach)
    charging_at = after.at(Signal.CHARGING)
    delivery = after.text(Signal.DELIVERY)
    plugged_at = after.at(Signal.PLUGGED_IN)
    was_plugged, is_plugged = before.flag(Signal.PLUGGED_IN), after.flag(Signal.PLUGGED_IN)

    if plugged_at is not None and is_plugged is True and was_plugged is not True:
        km = plug_distance_km(after, watch, plugged_at)
        found.append(_evidence(vehicle_key, EvidenceKind.PLUGGED_IN, plugged_at, after, delivery, km))
    if charging_at is not None and after.energy_flows:
        if not before.energy_flows:
            found.append(_evidence(vehicle_key, EvidenceKind.ENERGY_FLOWING, charging_at, after, delivery))
        elif watch is not None and _meter_due(before, after):
            at = after.at(Signal.SOC_PERCENT) or charging_at
            found.append(_evidence(vehicle_key, EvidenceKind.METER, at, after, delivery))
    was_charging = (
        before.flag(Signal.CHARGING) is True or before.text(Signal.DELIVERY) == "PLUGGED_IN:CHARGING"
    )
    ended_at = after.at(Signal.DELIVERY)
    if (
        ended_at is not None
        and was_charging
        and delivery in _ENDED_BY_VEHICLE
        and before.text(Signal.DELIVERY) not in _ENDED_BY_VEHICLE
    ):
        found.append(_evidence(vehicle_key, EvidenceKind.SUSPENDED_BY_VEHICLE, ended_at, after, delivery))
    if plugged_at is not None and is_plugged is False and was_plugged is True:
        km = plug_distance_km(after, watch, plugged_at)
        found.append(_evidence(vehicle_key, EvidenceKind.UNPLUGGED, plugged_at, after, delivery, km))
    return found, approach


def _meter_due(before: VehicleFold, after: VehicleFold) -> bool:
    was_at, is_at = before.at(Signal.SOC_PERCENT), after.at(Signal.SOC_PERCENT)
    was, now = before.number(Signal.SOC_PERCENT), after.number(Signal.SOC_PERCENT)
    if is_at is None or now is None:
        return False
    if was_at is None or was is None:
        return True
    crossed = int(was_at.timestamp() // METER_INTERVAL_S) != int(is_at.timestamp() // METER_INTERVAL_S)
    return crossed or int(was) != int(now)


def of_action(action: Action, note: ActionNote | None, said_at: datetime) -> Evidence | None:
    """An action's last word as evidence; None while it is pending or in a state we do not know, and where no
    attempt of ours asked for it: a vehicle may be commanded by its driver's app while a charger's session of
    ours runs, and nothing of that may fail an attempt.

    A failed STOP carries `stop.rejected`, a failed START `start.vehicle_refused`."""
    if note is None:
        return None
    if action.state == "CONFIRMED":
        kind, reason = EvidenceKind.COMMAND_ACCEPTED, None
    elif action.state in ("FAILED", "CANCELLED"):
        kind = EvidenceKind.COMMAND_FAILED
        reason = ReasonCode.STOP_REJECTED if action.kind == "STOP" else ReasonCode.START_VEHICLE_REFUSED
    else:
        return None
    cause = action.failure_reason.type if action.failure_reason else ""
    return Evidence(
        event_id=f"enode:action:{action.id}:{action.state}",
        source=EvidenceSource.TELEMATICS,
        kind=kind,
        observed_at=action.updated_at or said_at,
        attempt_id=note.attempt_id,
        charger_id=note.charger_id,
        reason=reason,
        vendor_code=":".join(part for part in (action.kind or "", action.state, cause) if part),
        detail=f"vendor action {action.id}",
    )
