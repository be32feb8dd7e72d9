"""What still holds around a stop that turns to a charger: plugs made before, faults not healed, and what its
own vehicle said last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import text

from models.activity_messages import LookAround
from models.charger import ConnectorStatus
from models.evidence import Evidence, EvidenceKind
from store.evidence_matching import AT_CHARGER
from store.scope import TenantScope

_PLACES = text(
    """
    SELECT n.charger_id, n.status, n.status_at, EXISTS (SELECT FROM attempt AS a
        WHERE a.tenant_id = :tenant AND a.charger_id = n.charger_id AND a.holds_charger
            AND a.stop_id <> :stop_id) AS is_taken
    FROM charger AS n WHERE n.tenant_id = :tenant AND (n.site_id = :site_id OR n.charger_id = :charger_id
        OR n.station_id IN (SELECT c.station_id FROM charger AS c
            WHERE c.tenant_id = :tenant AND c.charger_id = :charger_id AND c.station_id <> ''))
    """
)
_AT_PLACES = text(
    """
    SELECT DISTINCT ON (charger_id, kind) charger_id, kind, CAST(body AS text) AS body FROM evidence
    WHERE tenant_id = :tenant AND charger_id = ANY(CAST(:charger_ids AS text[])) AND kind <> 'meter'
        AND kind = ANY(CAST(:kinds AS text[])) AND observed_at >= :since AND telematics_id IS NULL
    ORDER BY charger_id, kind, observed_at DESC, position DESC
    """
)
_OF_VEHICLE = text(
    """
    SELECT DISTINCT ON (kind) kind, CAST(body AS text) AS body FROM evidence
    WHERE tenant_id = :tenant AND telematics_id = :telematics_id AND kind <> 'meter'
        AND kind = ANY(CAST(:kinds AS text[])) AND observed_at >= :since
    ORDER BY kind, observed_at DESC, position DESC
    """
)
_VEHICLE_KINDS = (
    EvidenceKind.ARRIVED,
    EvidenceKind.PLUGGED_IN,
    EvidenceKind.UNPLUGGED,
    EvidenceKind.ENERGY_FLOWING,
    EvidenceKind.VEHICLE_PROGRESS,
)
_AWAY_KM = 1.0
_FREED = (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.UNPLUGGED)
_LEFT = (EvidenceKind.UNPLUGGED, EvidenceKind.VEHICLE_PROGRESS)
_STANDS = (EvidenceKind.ARRIVED, EvidenceKind.PLUGGED_IN, EvidenceKind.ENERGY_FLOWING)
_HEALERS = {
    EvidenceKind.CONNECTOR_FAULTED: (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.PLUGGED_IN),
    EvidenceKind.CONNECTOR_OCCUPIED: (EvidenceKind.CONNECTOR_AVAILABLE,),
    EvidenceKind.CHARGER_REMOVED: (EvidenceKind.CONNECTOR_AVAILABLE, EvidenceKind.PLUGGED_IN),
    EvidenceKind.STATION_OFFLINE: (
        EvidenceKind.STATION_ONLINE,
        EvidenceKind.CONNECTOR_AVAILABLE,
        EvidenceKind.PLUGGED_IN,
    ),
}
_WELL = frozenset({ConnectorStatus.AVAILABLE, ConnectorStatus.OCCUPIED, ConnectorStatus.RESERVED})
_FREE = frozenset({ConnectorStatus.AVAILABLE})
_HEALED_BY_STATUS = {
    EvidenceKind.PLUGGED_IN: _FREE,
    EvidenceKind.CONNECTOR_FAULTED: _WELL,
    EvidenceKind.CONNECTOR_OCCUPIED: _FREE,
    EvidenceKind.STATION_OFFLINE: _WELL,
}
"""A connector's status, as planning reads it, may be newer than any evidence."""

_Newest = dict[EvidenceKind, Evidence]


class EvidenceAround:
    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope

    async def look(self, asked: LookAround) -> list[Evidence]:
        """Oldest first. A plug at a neighbour carries the neighbour's charger id; a connector that another
        stop of ours holds has no plug for this one."""
        found = await self._scope.connection.execute(
            _PLACES,
            {
                "tenant": self._scope.tenant_id,
                "stop_id": asked.stop_id,
                "site_id": asked.site_id,
                "charger_id": asked.charger_id,
            },
        )
        places = {str(row.charger_id): row for row in found}
        charger_ids = sorted({asked.charger_id, *places})
        heard = await self._at_places(charger_ids, asked.since)
        holds: list[Evidence] = []
        for charger_id in charger_ids:
            place, newest = places.get(charger_id), heard[charger_id]
            plug = newest.get(EvidenceKind.PLUGGED_IN)
            taken = place is not None and place.is_taken
            if plug is not None and not taken and _still_holds(plug, newest, _FREED, place):
                holds.append(plug)
            if charger_id == asked.charger_id:
                holds += [
                    newest[kind]
                    for kind, healers in _HEALERS.items()
                    if kind in newest and _still_holds(newest[kind], newest, healers, place)
                ]
        if asked.telematics_id is not None:
            holds += await self._of_vehicle(asked.telematics_id, asked.since, charger_ids)
        holds.sort(key=lambda item: (item.observed_at, item.event_id))
        return [_without_session(item) for item in holds]

    async def _at_places(self, charger_ids: list[str], since: datetime) -> dict[str, _Newest]:
        kinds = sorted({*AT_CHARGER, *_FREED})
        found = await self._scope.connection.execute(
            _AT_PLACES,
            {
                "tenant": self._scope.tenant_id,
                "charger_ids": charger_ids,
                "kinds": [str(kind) for kind in kinds],
                "since": since,
            },
        )
        newest: defaultdict[str, _Newest] = defaultdict(dict)
        for row in found:
            item = _read(row.body)
            if item is not None:
                newest[str(row.charger_id)][item.kind] = item
        return newest

    async def _of_vehicle(
        self, telematics_id: str, since: datetime, charger_ids: list[str]
    ) -> list[Evidence]:
        found = await self._scope.connection.execute(
            _OF_VEHICLE,
            {
                "tenant": self._scope.tenant_id,
                "telematics_id": telematics_id,
                "kinds": [str(kind) for kind in _VEHICLE_KINDS],
                "since": since,
            },
        )
        newest = {item.kind: item for item in map(_read, found.scalars(1)) if item is not None}
        arrived = newest.get(EvidenceKind.ARRIVED)
        if arrived is not None and arrived.charger_id not in (None, *charger_ids):
            del newest[EvidenceKind.ARRIVED]
        unplugged, on_the_way = (newest.get(kind) for kind in _LEFT)
        for left in (unplugged, on_the_way if _is_away(on_the_way, arrived) else None):
            for kind in _STANDS:
                if left and kind in newest and newest[kind].observed_at <= left.observed_at:
                    del newest[kind]
        if EvidenceKind.PLUGGED_IN in newest:
            newest.pop(EvidenceKind.UNPLUGGED, None)
        newest.pop(EvidenceKind.VEHICLE_PROGRESS, None)  # of another way than the one that begins
        return list(newest.values())


def _is_away(progress: Evidence | None, arrived: Evidence | None) -> bool:
    """It was on its way again; the way to another charger says nothing of how far this one is."""
    if progress is None or (progress.distance_km or 0.0) <= _AWAY_KM:
        return False
    return progress.charger_id is None or arrived is None or progress.charger_id == arrived.charger_id


def _still_holds(item: Evidence, newest: _Newest, healers: Iterable[EvidenceKind], place: Any) -> bool:
    if any(kind in newest and newest[kind].observed_at >= item.observed_at for kind in healers):
        return False
    if place is None or place.status_at is None or place.status_at <= item.observed_at:
        return True
    return place.status not in _HEALED_BY_STATUS.get(item.kind, frozenset())


def _without_session(item: Evidence) -> Evidence:
    """It may have been heard within another stop's session; of that, it says nothing here."""
    return item.model_copy(update={"attempt_id": None, "session_ref": None, "energy_kwh": None})


def _read(body: str) -> Evidence | None:
    """None for what cannot be read: those who deliver set it aside."""
    try:
        return Evidence.model_validate_json(body)
    except ValidationError:
        return None
