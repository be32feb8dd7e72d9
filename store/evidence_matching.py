"""Whom evidence concerns: told, by attempt, by vehicle, or by who is at (or on the way to) that connector.

A vehicle may have several open stops: its news is for the one that charges now, then for the one it is at,
then for the next it drives to. A plug says nothing of whose it is: it goes to the one stop that it can belong
to, or to nobody (and is kept: store.evidence_around). What befell a charger concerns all who head for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text

from models.evidence import Evidence, EvidenceKind
from models.stop import StopPhase
from store.evidence_rows import Heard
from store.scope import TenantScope

AT_CHARGER = frozenset(
    {
        EvidenceKind.PLUGGED_IN,
        EvidenceKind.CONNECTOR_FAULTED,
        EvidenceKind.CONNECTOR_AVAILABLE,
        EvidenceKind.CONNECTOR_OCCUPIED,
        EvidenceKind.CHARGER_REMOVED,
        EvidenceKind.STATION_OFFLINE,
        EvidenceKind.STATION_ONLINE,
    }
)
_BEFELL_ALL = frozenset(
    {
        EvidenceKind.CONNECTOR_FAULTED,
        EvidenceKind.CHARGER_REMOVED,
        EvidenceKind.STATION_OFFLINE,
        EvidenceKind.STATION_ONLINE,
    }
)
"""Heard within one stop's session, it is news for the others who are on their way there."""
_HEADING = frozenset({StopPhase.PLANNING, StopPhase.EN_ROUTE, StopPhase.ARRIVED})
_THERE = frozenset({StopPhase.ARRIVED, StopPhase.STARTING, StopPhase.CONFIRMING, StopPhase.CHARGING})
_FAR_FUTURE = datetime.max.replace(tzinfo=UTC)
_VEHICLE_CLOCK_SLACK = timedelta(seconds=5)
_STATION_CLOCK_SLACK = timedelta(minutes=10)
_SAME_PLUG = timedelta(minutes=15)
"""A vehicle's word and its charger's about one plug are not further apart."""
_LINGERS = timedelta(minutes=10)
"""Who was refused at a charger may plug in all the same, until he has read where to go."""

_OF_ATTEMPTS = text(
    """
    SELECT attempt_id, stop_id FROM attempt
    WHERE tenant_id = :tenant AND attempt_id = ANY(CAST(:attempt_ids AS text[]))
    """
)
_COLUMNS = """
    s.stop_id, s.phase, s.charger_id, s.telematics_id, s.created_at, s.view->>'arrive_by' AS arrive_by,
    EXISTS (SELECT FROM attempt AS a WHERE a.tenant_id = s.tenant_id AND a.stop_id = s.stop_id
        AND a.holds_vehicle) AS is_trying
"""
_OPEN = text(
    f"""
    SELECT {_COLUMNS} FROM stop AS s
    WHERE s.tenant_id = :tenant AND s.outcome IS NULL AND (s.charger_id = ANY(CAST(:charger_ids AS text[]))
        OR s.telematics_id = ANY(CAST(:telematics_ids AS text[])))
    """  # noqa: S608  our own words
)
_NEXT_DOOR = text(
    f"""
    SELECT {_COLUMNS} FROM charger AS c
    JOIN charger AS n ON n.tenant_id = c.tenant_id AND n.charger_id <> c.charger_id
        AND (n.site_id = c.site_id OR n.station_id = c.station_id AND n.station_id <> '')
    JOIN stop AS s ON s.tenant_id = n.tenant_id AND s.charger_id = n.charger_id AND s.outcome IS NULL
    WHERE c.tenant_id = :tenant AND c.charger_id = :charger_id
    """  # noqa: S608  our own words
)
_LEFT_THERE = text(
    """
    SELECT DISTINCT s.stop_id FROM stop AS s
    JOIN attempt AS a ON a.tenant_id = s.tenant_id AND a.stop_id = s.stop_id
    WHERE s.tenant_id = :tenant AND s.outcome IS NULL AND a.charger_id = :charger_id AND a.state = 'guarded'
    """
)
# It was not heard to plug in, and nobody has left since it came: the next plug may be its own.
_TRIED_THERE = text(
    """
    SELECT EXISTS (
        SELECT FROM attempt AS a
        WHERE a.tenant_id = :tenant AND a.charger_id = :charger_id AND a.stop_id <> :stop_id
            AND a.opened_at BETWEEN :since AND :until AND NOT EXISTS (
                SELECT FROM evidence AS e
                WHERE e.tenant_id = :tenant AND e.charger_id = :charger_id AND e.kind <> 'meter'
                    AND e.observed_at >= a.opened_at - CAST(:same_plug AS interval)
                    AND e.observed_at < :until
                    AND (e.stop_id = a.stop_id AND e.kind IN ('plugged_in', 'session_started')
                        OR e.kind = 'connector_available' AND e.observed_at >= a.opened_at)))
    """
)
_PLUGGED_VEHICLES = text(
    """
    SELECT telematics_id FROM (
        SELECT DISTINCT ON (telematics_id) telematics_id, kind FROM evidence
        WHERE tenant_id = :tenant AND telematics_id = ANY(CAST(:telematics_ids AS text[]))
            AND kind IN ('plugged_in', 'unplugged') AND kind <> 'meter'
            AND observed_at BETWEEN :since AND :until
        ORDER BY telematics_id, observed_at DESC, position DESC
    ) AS last WHERE kind = 'plugged_in'
    """
)


_LEFT_TO_VEHICLES = text(
    """
    SELECT s.telematics_id, a.stop_id, a.attempt_id FROM attempt AS a
    JOIN stop AS s ON s.tenant_id = a.tenant_id AND s.stop_id = a.stop_id
    WHERE a.tenant_id = :tenant AND a.holds_charger AND a.session_ref IS NULL AND s.outcome IS NOT NULL
        AND s.telematics_id = ANY(CAST(:telematics_ids AS text[]))
    ORDER BY a.attempt_id
    """
)


class OpenStop(NamedTuple):
    stop_id: str
    phase: str
    charger_id: str | None
    telematics_id: str | None
    created_at: datetime
    arrive_by: datetime | None
    is_trying: bool


class EvidenceMatching:
    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope

    async def match(self, items: Sequence[Heard]) -> list[Heard]:
        """Each with its stop; with several stops, several; with none, as it came. What another stop hears of
        a session that is not its own says nothing of that session."""
        if all(item.stop_id is not None and item.evidence.kind not in _BEFELL_ALL for item in items):
            return list(items)
        lost = [item for item in items if item.stop_id is None]
        of_attempt = await self._of_attempts({item.evidence.attempt_id for item in lost})
        stops = await self._open(
            {item.telematics_id for item in lost if item.evidence.attempt_id is None},
            {item.evidence.charger_id for item in items if item.evidence.kind in AT_CHARGER},
        )
        found = await self._left_to_vehicles(lost)
        for item in items:
            told = item.stop_id or of_attempt.get(item.evidence.attempt_id or "")
            if told is not None:
                found.append(Heard(item.evidence, told, item.telematics_id))
                found += _for_others(item, told, stops)
            else:
                found += [
                    Heard(item.evidence, stop_id, item.telematics_id)
                    for stop_id in await self._concerned(item, stops) or [None]
                ]
        return found

    async def _left_to_vehicles(self, lost: list[Heard]) -> list[Heard]:
        """A session that has outlived its stop, and that no charger speaks for, ends when its vehicle is
        unplugged; wherever that vehicle is going by now."""
        vehicles = {
            item.telematics_id: item.evidence
            for item in lost
            if item.evidence.kind is EvidenceKind.UNPLUGGED and item.evidence.attempt_id is None
        }
        names = sorted(name for name in vehicles if name is not None)
        if not names:
            return []
        found = await self._scope.connection.execute(
            _LEFT_TO_VEHICLES, {"tenant": self._scope.tenant_id, "telematics_ids": names}
        )
        return [
            Heard(
                vehicles[row.telematics_id].model_copy(update={"attempt_id": row.attempt_id}),
                str(row.stop_id),
                row.telematics_id,
            )
            for row in found
        ]

    async def stop_of_vehicle(self, telematics_id: str) -> str | None:
        """The open stop that a vehicle's news is for."""
        stop = _of_vehicle(telematics_id, await self._open({telematics_id}, set()))
        return stop.stop_id if stop is not None else None

    async def _concerned(self, item: Heard, stops: list[OpenStop]) -> list[str]:
        evidence = item.evidence
        if evidence.attempt_id is not None:
            return []  # of an attempt that is not ours
        if item.telematics_id is not None:
            living = [s for s in stops if s.created_at <= evidence.observed_at + _VEHICLE_CLOCK_SLACK]
            stop = _of_vehicle(item.telematics_id, living, evidence.kind)
            return [stop.stop_id] if stop is not None else []
        if evidence.charger_id is None or evidence.kind not in AT_CHARGER:
            return []
        there = _at(evidence, stops)
        if evidence.kind is not EvidenceKind.PLUGGED_IN:
            told = [stop.stop_id for stop in there]
            if evidence.kind is EvidenceKind.CONNECTOR_AVAILABLE:
                told += [stop_id for stop_id in await self._left_there(evidence) if stop_id not in told]
            return told
        mine = [stop for stop in there if stop.phase in _HEADING] or there
        if not mine:
            mine = [stop for stop in await self._next_door(evidence) if stop.phase in _HEADING]
        if len(mine) > 1 or (len(mine) == 1 and await self._may_be_of_who_tried(evidence, mine[0])):
            mine = await self._plugged(mine, evidence.observed_at)
        return [stop.stop_id for stop in mine] if len(mine) == 1 else []

    async def _of_attempts(self, attempt_ids: set[str | None]) -> dict[str, str]:
        asked = sorted(one for one in attempt_ids if one is not None)
        if not asked:
            return {}
        found = await self._scope.connection.execute(
            _OF_ATTEMPTS, {"tenant": self._scope.tenant_id, "attempt_ids": asked}
        )
        return {str(row.attempt_id): str(row.stop_id) for row in found}

    async def _open(self, telematics_ids: set[str | None], charger_ids: set[str | None]) -> list[OpenStop]:
        vehicles = sorted(one for one in telematics_ids if one is not None)
        chargers = sorted(one for one in charger_ids if one is not None)
        if not vehicles and not chargers:
            return []
        found = await self._scope.connection.execute(
            _OPEN,
            {"tenant": self._scope.tenant_id, "charger_ids": chargers, "telematics_ids": vehicles},
        )
        return _stops(found)

    async def _left_there(self, freed: Evidence) -> list[str]:
        """Whose start was given up there, and may come alive: under another's car, once it was freed."""
        found = await self._scope.connection.execute(
            _LEFT_THERE, {"tenant": self._scope.tenant_id, "charger_id": freed.charger_id}
        )
        return sorted(str(stop_id) for stop_id in found.scalars())

    async def _next_door(self, plug: Evidence) -> list[OpenStop]:
        """Who heads for another connector of the station or site."""
        found = await self._scope.connection.execute(
            _NEXT_DOOR, {"tenant": self._scope.tenant_id, "charger_id": plug.charger_id}
        )
        return [stop for stop in _stops(found) if _is_of_its_time(stop, plug)]

    async def _may_be_of_who_tried(self, plug: Evidence, coming: OpenStop) -> bool:
        """Another stop of ours has just been at this charger, and was not seen to plug in."""
        if coming.phase not in (StopPhase.PLANNING, StopPhase.EN_ROUTE):
            return False
        found = await self._scope.connection.execute(
            _TRIED_THERE,
            {
                "tenant": self._scope.tenant_id,
                "charger_id": plug.charger_id,
                "stop_id": coming.stop_id,
                "since": plug.observed_at - _LINGERS,
                "until": plug.observed_at,
                "same_plug": _SAME_PLUG,
            },
        )
        return bool(found.scalar_one())

    async def _plugged(self, stops: list[OpenStop], at: datetime) -> list[OpenStop]:
        """Those whose own vehicle says that it was plugged in about then."""
        vehicles = sorted({stop.telematics_id for stop in stops if stop.telematics_id is not None})
        if not vehicles:
            return []
        found = await self._scope.connection.execute(
            _PLUGGED_VEHICLES,
            {
                "tenant": self._scope.tenant_id,
                "telematics_ids": vehicles,
                "since": at - _SAME_PLUG,
                "until": at + _SAME_PLUG,
            },
        )
        plugged = set(found.scalars())
        return [stop for stop in stops if stop.telematics_id in plugged]


def _stops(rows: Iterable[Any]) -> list[OpenStop]:
    found = {row.stop_id: row for row in rows}
    return [
        OpenStop(
            stop_id=str(row.stop_id),
            phase=str(row.phase),
            charger_id=row.charger_id,
            telematics_id=row.telematics_id,
            created_at=row.created_at,
            arrive_by=_instant(row.arrive_by),
            is_trying=bool(row.is_trying),
        )
        for row in sorted(found.values(), key=lambda row: (row.created_at, row.stop_id))
    ]


def _instant(words: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(words) if words else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


def _of_vehicle(
    telematics_id: str, stops: list[OpenStop], kind: EvidenceKind | None = None
) -> OpenStop | None:
    def place(stop: OpenStop) -> tuple[int, datetime, datetime]:
        settling = StopPhase.SETTLING
        if stop.is_trying:
            rank = 0
        elif stop.phase in _THERE or (kind is EvidenceKind.UNPLUGGED and stop.phase == settling):
            rank = 1
        elif stop.phase == StopPhase.EN_ROUTE:
            rank = 2
        else:
            rank = 4 if stop.phase == settling else 3
        arrive_by = stop.arrive_by if rank == 2 else None
        return rank, arrive_by or _FAR_FUTURE, stop.created_at

    mine = [stop for stop in stops if stop.telematics_id == telematics_id]
    return min(mine, key=place, default=None)


def _is_of_its_time(stop: OpenStop, evidence: Evidence) -> bool:
    """What was long over before the stop began is not for it; stations' clocks may be wrong by a little."""
    return stop.created_at <= evidence.observed_at + _STATION_CLOCK_SLACK


def _at(evidence: Evidence, stops: list[OpenStop]) -> list[OpenStop]:
    return [
        stop
        for stop in stops
        if stop.charger_id == evidence.charger_id
        and stop.phase in _HEADING | _THERE
        and _is_of_its_time(stop, evidence)
    ]


def _for_others(item: Heard, told: str, stops: list[OpenStop]) -> list[Heard]:
    if item.evidence.kind not in _BEFELL_ALL or item.evidence.charger_id is None:
        return []
    alien = {"attempt_id": None, "session_ref": None, "energy_kwh": None, "soc_percent": None}
    news = item.evidence.model_copy(update=alien)
    return [
        Heard(news, stop.stop_id, item.telematics_id)
        for stop in _at(item.evidence, stops)
        if stop.stop_id != told and stop.phase in _HEADING
    ]
