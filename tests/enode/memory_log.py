"""A TelematicsStore in memory, for the properties of the algebra: thousands of logs, no database in between.
What the database does (locks, commits, tenants) is proved in test_webhook_sockets.py on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

from connectors.enode.fold import VehicleFold
from connectors.enode.ports import ActionNote, Approach, EnodeConnection, StopWatch
from connectors.ports import RoutedEvidence


class MemoryLog:
    def __init__(self, watch: StopWatch | None = None) -> None:
        self.raw: dict[str, bytes] = {}
        self.folds: dict[str, VehicleFold] = {}
        self.evidence: dict[str, RoutedEvidence] = {}
        self.quarantined: list[tuple[str, str]] = []
        self.notes: dict[str, ActionNote] = {}
        self.approaches: dict[str, Approach] = {}
        self.watched = watch

    @asynccontextmanager
    async def unit(self, connection: EnodeConnection) -> AsyncGenerator[MemoryLog]:
        yield self

    async def lock(self, name: str) -> None:
        return None

    async def keep_raw(self, key: str, event: str, raw: bytes, received_at: datetime) -> bool:
        if key in self.raw:
            return False
        self.raw[key] = raw
        return True

    async def load_fold(self, telematics_id: str) -> VehicleFold:
        return self.folds.get(telematics_id, VehicleFold())

    async def save_fold(self, telematics_id: str, fold: VehicleFold) -> None:
        self.folds[telematics_id] = fold

    async def watch(self, telematics_id: str) -> StopWatch | None:
        return self.watched

    async def load_approach(self, telematics_id: str) -> Approach | None:
        return self.approaches.get(telematics_id)

    async def save_approach(self, telematics_id: str, approach: Approach) -> None:
        self.approaches[telematics_id] = approach

    async def action(self, action_id: str) -> ActionNote | None:
        return self.notes.get(action_id)

    async def add_evidence(self, items: list[RoutedEvidence]) -> None:
        for item in items:
            self.evidence.setdefault(item.evidence.event_id, item)

    async def quarantine(self, reason: str, raw: bytes, detail: str) -> None:
        self.quarantined.append((reason, detail))

    async def remember_action(self, connection: EnodeConnection, action_id: str, note: ActionNote) -> None:
        self.notes[action_id] = note

    @property
    def kinds(self) -> list[str]:
        return [item.evidence.kind.value for item in self.evidence.values()]
