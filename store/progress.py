"""Progress of sessions: live figures from meters, and the turns that a stop is told of.

A stop's workflow hears turns, not meters. What is followed here (from the intent on) has its meters folded
into one row; a turn is made when energy begins to flow (again), at half of the goal, when the goal is
reached, and when no new energy came for the stop's patience. Turns are evidence with ids that follow from the
row: the same fold, done again, makes none twice. Patience is measured by our own clock, whatever a station's
clock says, and only while somebody listened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.activity_messages import SessionGoal
from models.base import Message, UtcDatetime
from models.charger import Protocol
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import TenantId
from store.evidence_rows import Heard, append_evidence
from store.json_text import json_text
from store.progress_sql import DUE_TENANTS, FOLD, FOLLOW, LIVE, SILENCES
from store.scope import TenantScope

FLOWS_KWH, FLOWS_KW = 0.01, 0.5
"""What counts as new energy, and as power that proves a flow where no energy is told."""

_SUSPENDED = (EvidenceKind.SUSPENDED_BY_VEHICLE, EvidenceKind.SUSPENDED_BY_CHARGER)
_ENDS = (EvidenceKind.SESSION_ENDED, EvidenceKind.SESSION_INVALID, EvidenceKind.CHARGE_RECORD)
FOLDED_KINDS = frozenset(
    {
        EvidenceKind.SESSION_STARTED,
        EvidenceKind.ENERGY_FLOWING,
        EvidenceKind.METER,
        EvidenceKind.STATION_ONLINE,
        *_SUSPENDED,
        *_ENDS,
    }
)
_GOAL = "goal"
_SOURCES = {
    Protocol.OCPP: EvidenceSource.OCPP,
    Protocol.OCPI: EvidenceSource.OCPI,
    Protocol.ENODE: EvidenceSource.TELEMATICS,
}


class LiveFigures(Message):
    """A session as its meters show it now. Energy since the session's start."""

    attempt_id: str
    energy_kwh: float
    soc_percent: float | None = None
    power_kw: float | None = None
    heard_at: UtcDatetime | None = None
    progress_at: UtcDatetime | None = None


class ProgressRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope

    async def follow(self, goal: SessionGoal) -> None:
        """From now on the attempt's meters are kept and folded, not delivered. Another goal for a session
        that is followed already makes `target reached` tellable again, and tells it where what was heard
        before reaches it."""
        found = await self._scope.connection.execute(
            text(FOLLOW),
            {
                "tenant": self._scope.tenant_id,
                "attempt_id": goal.attempt_id,
                "stop_id": goal.stop_id,
                "target_kwh": goal.target_kwh,
                "target_soc_percent": goal.target_soc_percent,
                "stall_s": goal.stall_s,
            },
        )
        if found.scalar_one_or_none():
            asked = {"attempt_id": goal.attempt_id, "stop_id": goal.stop_id, "kind": _GOAL}
            await append_evidence(self._scope, await self._fold([asked], []))

    async def fold(self, items: Sequence[Heard]) -> list[Heard]:
        """Fold what was heard of followed sessions, in one statement; returns the turns to tell, each with
        its stop. A vehicle's own meter without an attempt is about its stop's newest session that has not
        ended. What is not followed changes nothing."""
        heard = [item for item in items if item.evidence.kind in FOLDED_KINDS]
        samples = [
            _sample(item)
            for item in heard
            if item.evidence.attempt_id is not None or item.stop_id is not None
        ]
        return await self._fold(samples, heard) if samples else []

    async def _fold(self, samples: list[dict[str, Any]], heard: list[Heard]) -> list[Heard]:
        found = await self._scope.connection.execute(
            text(FOLD),
            {"tenant": self._scope.tenant_id, "samples": json_text(samples), "flows_kwh": FLOWS_KWH},
        )
        turns: list[Heard] = []
        for row in found.mappings():
            mine = [
                one.evidence
                for one in heard
                if one.evidence.attempt_id == row["attempt_id"]
                or (one.evidence.attempt_id is None and one.stop_id == row["stop_id"])
            ]
            mine.sort(key=lambda item: item.observed_at)
            turns += [Heard(turn, stop_id=str(row["stop_id"])) for turn in _turns(row, mine)]
        return turns

    async def silences(self, listened_s: float, limit: int = 200) -> list[Heard]:
        """SESSION_SILENT for each session without new energy (while suspended: without any word) for its
        patience, and not told for as long. `listened_s`: how long somebody has been listening without a
        break; silence of before is our own. Sessions that are booked as ended or unknown are given up: only
        what is heard of them counts from then on. What another process tells now is passed over."""
        found = await self._scope.connection.execute(
            text(SILENCES), {"tenant": self._scope.tenant_id, "listened_s": listened_s, "limit": limit}
        )
        silent = [row for row in found.mappings() if not row["given_up"]]
        return [Heard(_silence(row), stop_id=str(row["stop_id"])) for row in silent]

    async def live(self, attempt_ids: Sequence[str]) -> dict[str, LiveFigures]:
        """By attempt id; what was never heard of is missing."""
        if not attempt_ids:
            return {}
        found = await self._scope.connection.execute(
            text(LIVE), {"tenant": self._scope.tenant_id, "attempt_ids": list(attempt_ids)}
        )
        return {row["attempt_id"]: LiveFigures.model_validate(dict(row)) for row in found.mappings()}


class ProgressWatch:
    """What asks across tenants whose sessions are silent; who they are, only the tenant's own scope says."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def tenants_with_silence(self, listened_s: float) -> list[TenantId]:
        found = await self._connection.execute(text(DUE_TENANTS), {"listened_s": listened_s})
        return [TenantId(tenant_id) for tenant_id in found.scalars()]


def _sample(heard: Heard) -> dict[str, Any]:
    item = heard.evidence
    return {
        "attempt_id": item.attempt_id,
        "stop_id": heard.stop_id,
        "kind": item.kind,
        "at": item.observed_at,
        # A charge record's energy is settled by the stop, by rules of its own.
        "energy_kwh": None if item.kind is EvidenceKind.CHARGE_RECORD else item.energy_kwh,
        "soc_percent": item.soc_percent,
        "power_kw": item.power_kw,
        "shows_flow": _shows_flow(item),
    }


def _shows_flow(item: Evidence) -> bool:
    """Power proves a flow where the sender tells no energy (vehicles, bare power meters)."""
    by_power = item.source is EvidenceSource.TELEMATICS or item.energy_kwh is None
    return item.kind is EvidenceKind.METER and by_power and (item.power_kw or 0.0) > FLOWS_KW


def _turns(row: RowMapping, heard: list[Evidence]) -> list[Evidence]:
    """`heard`: what of this session was folded, oldest first."""
    told: list[Evidence] = []
    if row["tells_flow"]:
        least_kwh = float(row["flowed_from_kwh"]) + FLOWS_KWH
        first = _first(heard, lambda item: (item.energy_kwh or 0.0) > least_kwh or _shows_flow(item))
        told.append(_turn(row, EvidenceKind.ENERGY_FLOWING, f"flowing:{row['flows_told']}", first))
    if row["tells_half"]:
        least_kwh = float(row["halves_told"]) * float(row["target_kwh"]) / 2
        first = _first(heard, lambda item: (item.energy_kwh or 0.0) >= least_kwh)
        name = f"half:{row['goal_number']}:{row['halves_told']}"
        told.append(_turn(row, EvidenceKind.SESSION_PROGRESS, name, first))
    if row["tells_target"]:
        first = _first(heard, lambda item: _reaches(row, item))
        told.append(_turn(row, EvidenceKind.TARGET_REACHED, f"target:{row['goal_number']}", first))
    if row["tells_end"]:
        shown = _turn(row, EvidenceKind.SESSION_PROGRESS, "end", heard[-1] if heard else None)
        told.append(shown.model_copy(update={"energy_kwh": row["energy_kwh"]}))
    if row["tells_late"]:
        told.append(_late(row, heard))
    return told


def _reaches(row: RowMapping, item: Evidence) -> bool:
    return (item.energy_kwh or 0.0) >= row["target_kwh"] > 0 or (
        item.soc_percent is not None and item.soc_percent >= row["target_soc_percent"] > 0
    )


def _first(heard: list[Evidence], proves: Callable[[Evidence], bool]) -> Evidence | None:
    """The first that proves it; else the newest of all."""
    return next((item for item in heard if proves(item)), heard[-1] if heard else None)


def _late(row: RowMapping, heard: list[Evidence]) -> Evidence:
    """The session's end was told before with less energy than it gave: told again with all of it."""
    ends = [item for item in heard if item.kind is EvidenceKind.SESSION_ENDED]
    most = max(ends or heard, key=lambda item: item.energy_kwh or 0.0)
    kind = EvidenceKind.SESSION_ENDED if ends else EvidenceKind.SESSION_PROGRESS
    again = _turn(row, kind, f"late:{row['late_told']}", most)
    return again.model_copy(update={"reason": most.reason, "vendor_code": most.vendor_code})


def _turn(row: RowMapping, kind: EvidenceKind, name: str, sample: Evidence | None) -> Evidence:
    """Figures and instant of the sample that proves it, filled up from what is known of the session."""
    at = sample.observed_at if sample is not None else datetime.now(UTC)
    energy_kwh = sample.energy_kwh if sample is not None else None
    if energy_kwh is None and not (sample is not None and _is_another(sample, row)):
        energy_kwh = row["energy_kwh"]
    soc_percent = sample.soc_percent if sample is not None else None
    power_kw = sample.power_kw if sample is not None else None
    return Evidence(
        event_id=f"progress:{row['attempt_id']}:{name}",
        source=sample.source if sample is not None else _source(row),
        kind=kind,
        observed_at=at,
        attempt_id=row["attempt_id"],
        charger_id=(sample.charger_id if sample is not None else None) or row["charger_id"],
        session_ref=(sample.session_ref if sample is not None else None) or row["session_ref"],
        energy_kwh=energy_kwh,
        soc_percent=row["soc_percent"] if soc_percent is None else soc_percent,
        power_kw=row["power_kw"] if power_kw is None else power_kw,
    )


def _is_another(sample: Evidence, row: RowMapping) -> bool:
    """Of another transaction of the attempt than the one that is booked: what is known of the attempt is not
    known of it."""
    known = row["session_ref"]
    return bool(known and sample.session_ref) and str(known).casefold() != str(sample.session_ref).casefold()


def _silence(row: RowMapping) -> Evidence:
    return Evidence(
        event_id=f"progress:{row['attempt_id']}:silent:{row['silences_told']}",
        source=_source(row),
        kind=EvidenceKind.SESSION_SILENT,
        observed_at=row["silent_told_at"],
        heard_at=row["heard_at"],
        attempt_id=row["attempt_id"],
        charger_id=row["charger_id"],
        session_ref=row["session_ref"],
        energy_kwh=row["energy_kwh"],
        soc_percent=row["soc_percent"],
    )


def _source(row: RowMapping) -> EvidenceSource:
    """Who would have said it."""
    return _SOURCES.get(row["protocol"], EvidenceSource.OCPP)
