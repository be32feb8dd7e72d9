"""What the store knows around a charger that the stop turns to, from all that a simulated world has heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.activity_messages import LookAround, Surroundings
from models.evidence import Evidence, EvidenceKind, EvidenceSource

if TYPE_CHECKING:
    from tests.stops.simulated_world import World


def look_around(world: World, asked: LookAround) -> Surroundings:
    found: list[Evidence] = []
    for charger in world.yard.chargers.values():
        here = [e for e in world.heard if e.charger_id == charger.charger_id]
        plugs = [
            e for e in here if e.kind is EvidenceKind.PLUGGED_IN and e.source is not EvidenceSource.TELEMATICS
        ]
        if charger.site_id == asked.site_id and plugs and charger.charger_id in world.yard.plugged:
            found.append(plugs[-1])
        if charger.charger_id == asked.charger_id:
            faults = [e for e in here if e.kind is EvidenceKind.CONNECTOR_FAULTED]
            lost = [e for e in here if e.kind is EvidenceKind.STATION_OFFLINE]
            found += [e for e in faults[-1:] if not plugs or plugs[-1].observed_at < e.observed_at]
            found += lost[-1:] if charger.charger_id in world.yard.offline else []
    if world.has_feed and world.yard.place_of_vehicle() is not None:
        own = [e for e in world.heard if e.source is EvidenceSource.TELEMATICS]
        found += [e for e in own if e.kind is EvidenceKind.PLUGGED_IN][-1:]
    alien = {"attempt_id": None, "session_ref": None, "energy_kwh": None}
    found.sort(key=lambda e: (e.observed_at, e.event_id))
    return Surroundings(evidence=tuple(e.model_copy(update=alien) for e in found))
