"""What operators and schedulers do at stations: where it is held, the doing, and the line in its log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from temporalio import activity

from connectors.ports import StationPort
from models.contract import ACTIVITY_DO_AT_STATION, ACTIVITY_FIND_STATION, ACTIVITY_NOTE_AT_STATION
from models.ids import TenantId
from models.station import StationEvent, StationEventKind
from models.station_commands import StationReply, StationRoute, StationTask, StationTaskDone
from store.database import Store

_HEARTBEAT_S = 2.0


class StationBooks:
    """On our own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=ACTIVITY_FIND_STATION)
    async def find_station(self, task: StationTask) -> StationRoute:
        """The gateway of one of the tenant's own stations; of another's nothing is said."""
        async with self._store.tenant(TenantId(task.tenant_id)) as unit:
            queue = await unit.stations.queue_of(task.station_id)
        return StationRoute(task_queue=queue)

    @activity.defn(name=ACTIVITY_NOTE_AT_STATION)
    async def note_at_station(self, done: StationTaskDone) -> None:
        """Who did what, and what came of it. Values stay in the workflow's history: they may hold tokens."""
        task, reply = done.task, done.reply
        event = StationEvent(
            kind=StationEventKind.COMMAND,
            observed_at=datetime.now(UTC),
            body={
                "command_id": task.command_id,
                "kind": str(task.kind),
                "action": task.action,
                "actor": task.actor,
                "outcome": str(reply.outcome),
                "status": _plain((reply.payload or {}).get("status", "")),
                "error_code": _plain(reply.error_code),
            },
        )
        async with self._store.tenant(TenantId(task.tenant_id)) as unit:
            await unit.stations.note([(task.station_id, event)])


class StationCommands:
    """Runs in the gateway that holds the station's socket."""

    def __init__(self, port: StationPort) -> None:
        self._port = port

    @activity.defn(name=ACTIVITY_DO_AT_STATION)
    async def do_at_station(self, task: StationTask) -> StationReply:
        """Once: this activity is never retried, what it sent may have worked."""
        beating = asyncio.create_task(_beat())
        try:
            return await self._port.do(task)
        finally:
            beating.cancel()


def _plain(word: object) -> str:
    """A station's word, as PostgreSQL keeps it: no NUL, no half of a surrogate pair."""
    return str(word).replace("\0", "").encode(errors="replace").decode()[:100]


async def _beat() -> None:
    """So that the death of this process is noticed in seconds."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(_HEARTBEAT_S)
