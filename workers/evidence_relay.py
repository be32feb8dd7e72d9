"""Takes evidence from connectors, makes it durable, and brings it to the stop it concerns.

Durable first: `accept` returns once the rows are committed, so a peer is answered only after that. Delivery
to the workflow follows in the background, at least once; the workflow removes repeats by event id. What a
dead process left behind, any living one delivers (rows are claimed with SKIP LOCKED).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from connectors.ports import RoutedEvidence
from models.activity_messages import LateSession
from models.contract import LATE_START_WORKFLOW, SIGNAL_EVIDENCE, STOP_QUEUE, late_start_workflow_id
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from store.database import Store, TenantUnit
from store.evidence import StoredEvidence

_log = structlog.get_logger(__name__)

_BATCH = 200
_GATHER_S = 0.05
_SWEEP_S = 2.0
_AT_CONNECTOR = (EvidenceKind.PLUGGED_IN, EvidenceKind.CONNECTOR_FAULTED)
_GIVES_LIFE = (EvidenceKind.SESSION_STARTED, EvidenceKind.ENERGY_FLOWING)


class EvidenceRelay:
    """The EvidenceSink of every process that hears from the outside world."""

    def __init__(self, store: Store, client: Client, quiet_s: float = 0.0) -> None:
        self._store = store
        self._client = client
        self._quiet_s = quiet_s
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def accept(self, items: list[RoutedEvidence]) -> None:
        """Commit the evidence; raises what the database raises, and then nothing must be answered."""
        by_tenant: defaultdict[str, list[RoutedEvidence]] = defaultdict(list)
        for item in items:
            by_tenant[item.tenant_id].append(item)
        for tenant_id, routed in by_tenant.items():
            async with self._store.tenant(TenantId(tenant_id)) as unit:
                await self.write(unit, routed)
        self.wake()

    async def write(self, unit: TenantUnit, items: list[RoutedEvidence]) -> None:
        """Put evidence into somebody's transaction; `wake` once that is committed."""
        if items:
            rows = [(await self._stop_of(unit, item), item.evidence) for item in items]
            await unit.evidence.append(rows)

    async def _stop_of(self, unit: TenantUnit, item: RoutedEvidence) -> str | None:
        """Whom it concerns: told, by attempt, by vehicle, or by who is on the way to that connector."""
        if item.stop_id is not None:
            return item.stop_id
        evidence = item.evidence
        if evidence.attempt_id is not None:
            match = await unit.attempts.find(evidence.attempt_id)
            return match.stop_id if match else None
        if item.vehicle_telematics_id is not None:
            view = await unit.stops.live_for_telematics(item.vehicle_telematics_id)
            return view.stop_id if view else None
        if evidence.charger_id is not None and evidence.kind in _AT_CONNECTOR:
            view = await unit.stops.live_for_charger(evidence.charger_id)
            return view.stop_id if view else None
        return None

    # --- delivery ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Somebody committed evidence in a transaction of his own: deliver it now, not at the next sweep."""
        self._news.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="evidence-relay")

    async def stop(self) -> None:
        """Deliver what is there, then end. What is left, another process delivers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), _SWEEP_S)
                await asyncio.sleep(_GATHER_S)  # one signal for what comes together saves history events
            except TimeoutError:
                pass
            self._news.clear()
            try:
                while await self.deliver() == _BATCH:
                    pass
            except Exception as error:  # noqa: BLE001  the relay must outlive any outage of store or server
                _log.warning("evidence relay waits", error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def deliver(self) -> int:
        """One round: claim, signal, mark, in one transaction. Returns how many rows were claimed."""
        async with self._store.platform() as unit:
            rows = await unit.undelivered(_BATCH, self._quiet_s)
            by_stop: defaultdict[str, list[StoredEvidence]] = defaultdict(list)
            for row in rows:
                by_stop[row.workflow_id].append(row)
            done = await asyncio.gather(*(self._tell(stop, news) for stop, news in by_stop.items()))
            await unit.mark_delivered([row for delivered in done for row in delivered])
        return len(rows)

    async def _tell(self, workflow_id: str, rows: list[StoredEvidence]) -> list[StoredEvidence]:
        """Signal one stop. Returns what needs no further delivery."""
        items = sorted((row.evidence for row in rows), key=lambda item: item.observed_at)
        try:
            await self._client.get_workflow_handle(workflow_id).signal(SIGNAL_EVIDENCE, items)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                _log.warning("evidence not delivered", workflow_id=workflow_id, status=error.status.name)
                return []
            await self._guard_late_start(rows)
        return rows

    async def _guard_late_start(self, rows: list[StoredEvidence]) -> None:
        """The stop has closed. A session that lives all the same must be ended and booked."""
        by_attempt: defaultdict[str, list[StoredEvidence]] = defaultdict(list)
        for row in rows:
            if row.evidence.attempt_id is not None:
                by_attempt[row.evidence.attempt_id].append(row)
        for attempt_id, news in by_attempt.items():
            items = [row.evidence for row in news]
            if any(item.kind in _GIVES_LIFE for item in items):
                await self._start_guard(attempt_id, news[0], items)
            else:
                await self._signal_guard(attempt_id, items)

    async def _start_guard(self, attempt_id: str, row: StoredEvidence, items: list[Evidence]) -> None:
        if row.stop_id is None:
            return
        await self._client.start_workflow(
            LATE_START_WORKFLOW,
            LateSession(tenant_id=row.tenant_id, stop_id=row.stop_id, attempt_id=attempt_id),
            id=late_start_workflow_id(attempt_id),
            task_queue=STOP_QUEUE,
            start_signal=SIGNAL_EVIDENCE,
            start_signal_args=[items],
            static_summary="Session that came alive after its stop had closed",
        )

    async def _signal_guard(self, attempt_id: str, items: list[Evidence]) -> None:
        handle = self._client.get_workflow_handle(late_start_workflow_id(attempt_id))
        try:
            await handle.signal(SIGNAL_EVIDENCE, items)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # No guard, so nothing lives: the last words of a session that the stop has already booked.
