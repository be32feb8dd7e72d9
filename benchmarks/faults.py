"""From a charger's fault to the next command: how long a van stands without knowing what to do.

One charger starts and faults at once. Measured from the moment in which the fault is told: until the stop
names the next charger, and until that one gets its START, where the driver reports arrival as soon as it is
named (what he needs for the way is not ours). Alone, and with forty stops failing at once.

Run: make bench BENCH=faults
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path

from temporalio.client import Client

from benchmarks.calm_stop import CHARGERS, TENANT, request_of, say, servers, workers
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.contract import STOP_WORKFLOW, UPDATE_ARRIVED, UPDATE_CANCEL
from models.evidence import EvidenceKind
from models.ids import stop_id_for, workflow_id_for
from models.stop import (
    ArrivalReport,
    CancelRequest,
    ChargingStopInput,
    Receipt,
    StopResult,
)
from store.database import Store
from workers.evidence_relay import EvidenceRelay

ALONE, AT_ONCE = 20, 40
_LOOK_S = 0.02


class FaultyCharger:
    """The first connector of a stop faults as soon as it charges, the next charges on. `faulted_s`,
    `started_s`: by stop, on the clock of this process."""

    def __init__(self, relay: EvidenceRelay) -> None:
        self._relay = relay
        self._running: set[asyncio.Task[None]] = set()
        self.faulted_s: dict[str, float] = {}
        self.started_s: dict[str, float] = {}
        self.started: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def send(self, command: ChargerCommand) -> CommandReply:
        if command.kind is CommandKind.START:
            first = command.stop_id not in self.faulted_s
            if not first:
                self.started_s[command.stop_id] = time.perf_counter()
                self.started[command.stop_id].set()
            task = asyncio.create_task(self._session(command, faults=first))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            await say(self._relay, command, EvidenceKind.SESSION_ENDED, 1.0)
        return CommandReply(outcome=CommandOutcome.ACCEPTED)

    async def _session(self, command: ChargerCommand, *, faults: bool) -> None:
        await say(self._relay, command, EvidenceKind.SESSION_STARTED, 0.0)
        if not faults:
            return
        await asyncio.sleep(0.5)  # it charges, and the stop says so
        self.faulted_s[command.stop_id] = time.perf_counter()
        await say(self._relay, command, EvidenceKind.CONNECTOR_FAULTED, 1.0)
        await say(self._relay, command, EvidenceKind.SESSION_ENDED, 1.0)


class Feed:
    """Follows the tenant's event feed, as a fleet's backend does: which charger each stop names, in order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._named: dict[str, list[tuple[str, float]]] = defaultdict(list)
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        position = 0
        while True:
            async with self._store.tenant(TENANT) as unit:
                found = await unit.stops.events_after(position, 500)
            now_s = time.perf_counter()
            async with self._news:
                for _, event in found:
                    if event.type == "vehicle.en_route" and event.charger_id is not None:
                        self._named[event.stop_id].append((event.charger_id, now_s))
                position = found[-1][0] if found else position
                self._news.notify_all()
            await asyncio.sleep(_LOOK_S)

    async def named(self, stop_id: str, number: int) -> tuple[str, float]:
        """The number-th charger that a stop names, and when that was read."""
        async with self._news:
            await self._news.wait_for(lambda: len(self._named[stop_id]) >= number)
            return self._named[stop_id][number - 1]


async def one(
    client: Client, queue: str, charger: FaultyCharger, feed: Feed, chargers: tuple[str, str]
) -> tuple[float, float]:
    """Seconds from the fault to the next charger's name, and to its START."""
    key = f"fault-{uuid.uuid4().hex[:12]}"
    stop_id = stop_id_for(TENANT, key)
    handle = await client.start_workflow(
        STOP_WORKFLOW,
        ChargingStopInput(tenant_id=TENANT, request=request_of(key, chargers)),
        id=workflow_id_for(TENANT, key),
        task_queue=queue,
        result_type=StopResult,
    )
    for number in (1, 2):
        charger_id, named_s = await feed.named(stop_id, number)
        report = ArrivalReport(event_id=f"arrival-{number}", charger_id=charger_id)
        await handle.execute_update(UPDATE_ARRIVED, report, result_type=Receipt)
    await charger.started[stop_id].wait()
    await handle.execute_update(UPDATE_CANCEL, CancelRequest(event_id="done"), result_type=Receipt)
    await handle.result()
    fault_s = charger.faulted_s[stop_id]
    return named_s - fault_s, charger.started_s[stop_id] - fault_s


def _told(what: str, found: list[float]) -> str:
    cuts = statistics.quantiles(found, n=20)
    return f"{what}: p50 {statistics.median(found) * 1000:5.0f} ms, p95 {cuts[18] * 1000:5.0f} ms"


async def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        async with servers(Path(state)) as (client, store), workers(client, store, FaultyCharger) as made:
            queue, charger = made
            pairs = itertools.cycle((f"c{n:03}", f"c{n + CHARGERS // 2:03}") for n in range(CHARGERS // 2))
            feed = Feed(store)
            following = asyncio.create_task(feed.follow())

            async def fail() -> tuple[float, float]:
                return await one(client, queue, charger, feed, next(pairs))

            await fail()
            alone = [await fail() for _ in range(ALONE)]
            crowd = await asyncio.gather(*(fail() for _ in range(AT_ONCE)))
            following.cancel()
            for name, found in (("alone", alone), (f"{AT_ONCE} at once", crowd)):
                print(f"{name}: {_told('next charger named', [named for named, _ in found])}")
                print(f"{name}: {_told('START at the next charger', [start for _, start in found])}")


if __name__ == "__main__":
    asyncio.run(main())
