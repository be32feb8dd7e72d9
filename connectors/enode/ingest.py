"""From the vendor's events to folded state and evidence, in one transaction per delivery.

Both doors (webhook, pull after an outage) end here. Each event is kept raw under its idempotency key,
then it is applied, or put into quarantine with a reason; nothing is dropped.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import structlog
from pydantic import ValidationError

from connectors.enode import counts
from connectors.enode.evidence import derive, of_action
from connectors.enode.fold import Observed, Signal, latest_device_time, observe
from connectors.enode.ports import EnodeConnection, StopWatch, TelematicsStore, TelematicsUnit
from connectors.enode.wire import Action, Event, Vehicle
from connectors.ports import RoutedEvidence
from models.evidence import Evidence

_log = structlog.stdlib.get_logger("backstop.enode")

FUTURE_TOLERANCE: Final = timedelta(minutes=5)
"""A device clock further ahead than this is refused: by the fold's order it would freeze the state."""
_VEHICLE_EVENTS: Final = frozenset(
    {"user:vehicle:discovered", "user:vehicle:updated", "user:vehicle:deleted"}
)
_ACTION_EVENTS: Final = frozenset({"user:vendor-action:updated", "user:charge-action:updated"})


@dataclass(frozen=True)
class Entry:
    """One event of the log, read as far as it can be. `problem` set: it goes to quarantine."""

    key: str
    name: str
    raw: bytes
    at: datetime
    telematics_id: str | None = None
    observations: dict[Signal, Observed] | None = None
    action: Action | None = None
    pending_events: int | None = None
    problem: str = ""
    detail: str = ""


@dataclass
class Report:
    """What became of a delivery's events, counted."""

    applied: int = 0
    duplicate: int = 0
    kept: int = 0
    quarantined: int = 0
    evidence: int = 0
    pending_events: int | None = None
    heartbeat: bool = False


def _faults_of(error: ValidationError) -> str:
    """Where and what kind of fault, never the value: values may be personal data."""
    parts = [f"{'.'.join(str(p) for p in e['loc'])[:80]}: {e['type']}" for e in error.errors()[:5]]
    return "; ".join(parts).encode("ascii", "replace").decode()


def read_entry(delivery_id: str, index: int, item: Any, received_at: datetime) -> Entry:
    """Reads one entry of a delivery. Never raises: what cannot be read comes back with its problem."""
    raw = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    entry = Entry(
        key=f"{delivery_id}:{index}:{hashlib.sha256(raw).hexdigest()[:32]}",
        name="unreadable",
        raw=raw,
        at=received_at,
    )
    try:
        event = Event.model_validate(item)
        entry = replace(entry, name=event.event, at=event.created_at)
        if event.event in _VEHICLE_EVENTS:
            vehicle = Vehicle.model_validate(event.vehicle)
            present = event.event != "user:vehicle:deleted"
            entry = replace(
                entry, telematics_id=vehicle.id, observations=observe(vehicle, entry.at, present=present)
            )
        elif event.event in _ACTION_EVENTS:
            action = Action.model_validate(event.action or event.vendor_action)
            entry = replace(entry, telematics_id=action.target_id, action=action)
        elif event.event == "system:heartbeat" and isinstance(event.pending_events, int):
            entry = replace(entry, pending_events=event.pending_events)
    except ValidationError as error:
        return replace(entry, problem="schema", detail=_faults_of(error))
    return _not_ahead(entry, received_at)


def read_pulled(item: dict[str, Any], fetched_at: datetime) -> Entry:
    """Reads one vehicle of a pull. The key is the content: an unchanged vehicle is a duplicate."""
    raw = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    entry = Entry(key=f"pull:{hashlib.sha256(raw).hexdigest()}", name="pull", raw=raw, at=fetched_at)
    try:
        vehicle = Vehicle.model_validate(item)
    except ValidationError as error:
        return replace(entry, problem="schema", detail=_faults_of(error))
    said_at = vehicle.last_seen or fetched_at
    entry = replace(entry, at=said_at, telematics_id=vehicle.id, observations=observe(vehicle, said_at))
    return _not_ahead(entry, fetched_at)


def _not_ahead(entry: Entry, received_at: datetime) -> Entry:
    newest = max(entry.at, latest_device_time(entry.observations)) if entry.observations else entry.at
    if newest > received_at + FUTURE_TOLERANCE:
        return replace(entry, problem="future_clock", detail=newest.isoformat())
    return entry


def _route(
    connection: EnodeConnection, telematics_id: str | None, watch: StopWatch | None, item: Evidence
) -> RoutedEvidence:
    ours = watch is not None and item.observed_at >= watch.since
    return RoutedEvidence(
        tenant_id=connection.tenant_id,
        evidence=item,
        stop_id=watch.stop_id if watch is not None and ours else None,
        vehicle_telematics_id=telematics_id,
    )


class Ingest:
    """Applies deliveries and pulls to the log of a connection."""

    def __init__(self, store: TelematicsStore) -> None:
        self._store = store

    async def deliver(
        self, connection: EnodeConnection, delivery_id: str, items: list[Any], received_at: datetime
    ) -> Report:
        """Stores and applies one webhook delivery. When this returns, everything is durable; when it raises,
        nothing is, and the vendor's retry does it all again."""
        entries = [read_entry(delivery_id, index, item, received_at) for index, item in enumerate(items)]
        return await self._apply(connection, f"delivery:{delivery_id}", entries, received_at)

    async def pulled(self, connection: EnodeConnection, vehicles: list[dict[str, Any]]) -> Report:
        """Stores and applies one page of vehicles read from the vendor."""
        fetched_at = datetime.now(UTC)
        entries = [read_pulled(item, fetched_at) for item in vehicles]
        return await self._apply(connection, "pull", entries, fetched_at)

    async def refuse(self, connection: EnodeConnection, reason: str, raw: bytes, detail: str = "") -> None:
        """Puts a whole body into quarantine."""
        async with self._store.unit(connection) as unit:
            await unit.quarantine(reason, raw, detail)

    async def _apply(
        self, connection: EnodeConnection, lock: str, entries: list[Entry], received_at: datetime
    ) -> Report:
        report = Report()
        results: list[tuple[str, str]] = []
        by_vehicle: dict[str, list[Entry]] = defaultdict(list)
        async with self._store.unit(connection) as unit:
            await unit.lock(lock)
            for entry in entries:
                if not await unit.keep_raw(entry.key, entry.name, entry.raw, received_at):
                    report.duplicate += 1
                    results.append((entry.name, "duplicate"))
                elif entry.problem:
                    await unit.quarantine(entry.problem, entry.raw, entry.detail)
                    report.quarantined += 1
                    results.append((entry.name, "quarantined"))
                elif entry.observations is not None and entry.telematics_id is not None:
                    by_vehicle[entry.telematics_id].append(entry)
                    report.applied += 1
                    results.append((entry.name, "applied"))
                elif entry.action is not None:
                    report.evidence += await self._apply_action(unit, connection, entry, entry.action)
                    report.applied += 1
                    results.append((entry.name, "applied"))
                else:
                    if entry.name == "system:heartbeat":
                        report.heartbeat, report.pending_events = True, entry.pending_events
                    report.kept += 1
                    results.append((entry.name, "kept"))
            # One order of locks for all writers: two deliveries about the same vehicles must not deadlock.
            for telematics_id in sorted(by_vehicle):
                report.evidence += await self._fold(
                    unit, connection, telematics_id, by_vehicle[telematics_id]
                )
        for name, result in results:
            counts.EVENTS.labels(counts.event_label(name), result).inc()
        if report.quarantined:
            _log.warning(
                "enode events quarantined", connection=connection.connection_id, count=report.quarantined
            )
        return report

    async def _fold(
        self, unit: TelematicsUnit, connection: EnodeConnection, telematics_id: str, entries: list[Entry]
    ) -> int:
        await unit.lock(f"vehicle:{telematics_id}")
        before = await unit.load_fold(telematics_id)
        watch = await unit.watch(telematics_id)
        known = approach = await unit.load_approach(telematics_id) if watch is not None else None
        start, found = before, list[Evidence]()
        # Within a batch the steps are taken in device order: a reordered batch tells the same story.
        for entry in sorted(entries, key=lambda e: (latest_device_time(e.observations or {}), e.at, e.key)):
            after = before.merge(entry.observations or {})
            key = f"{connection.connection_id}:{telematics_id}"
            news, approach = derive(key, before, after, watch, approach)
            found.extend(news)
            before = after
        if before != start:
            await unit.save_fold(telematics_id, before)
        if approach is not None and approach != known:
            await unit.save_approach(telematics_id, approach)
        if found:
            await unit.add_evidence([_route(connection, telematics_id, watch, item) for item in found])
        return len(found)

    async def _apply_action(
        self, unit: TelematicsUnit, connection: EnodeConnection, entry: Entry, action: Action
    ) -> int:
        # The webhook may overtake the reply to our own POST; then the note is missing, and what the vehicle
        # does says it: a confirmed start charges, and a failed one does not.
        note = await unit.action(action.id)
        item = of_action(action, note, entry.at)
        if item is None or note is None:
            return 0
        watch = await unit.watch(entry.telematics_id) if entry.telematics_id else None
        routed = _route(connection, entry.telematics_id, watch, item)
        await unit.add_evidence([routed.model_copy(update={"stop_id": note.stop_id})])
        return 1
