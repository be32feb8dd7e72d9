"""Takes evidence from connectors, makes it durable, and brings it to the stop it concerns.

Durable first: `accept` returns once the rows are committed, so a peer is answered only after that. Delivery
to the workflow follows in the background, at least once; the workflow removes repeats by event id. What a
dead process left behind, any living one delivers. The same loop tells the silence of sessions.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

import structlog
from temporalio.client import Client

from connectors.ports import RoutedEvidence
from models.ids import TenantId
from store.database import Store, TenantUnit
from store.errors import is_bad_data
from store.evidence_rows import Heard
from store.json_text import json_text
from workers import evidence_counts as counts
from workers.evidence_delivery import CLAIM_ROWS, EvidenceCourier

_log = structlog.get_logger(__name__)

_GATHER_S = 0.05
_SWEEP_S = 2.0
_WATCH_S = 5.0
_MOST_UNDER_WAY = 128
_FINISH_S = 6.0


def heard(items: Sequence[RoutedEvidence]) -> list[Heard]:
    """As the store takes it."""
    return [Heard(item.evidence, item.stop_id, item.vehicle_telematics_id) for item in items]


class EvidenceRelay:
    """The EvidenceSink of every process that hears from the outside world."""

    def __init__(self, store: Store, client: Client, quiet_s: float = 0.0) -> None:
        self._store = store
        self._courier = EvidenceCourier(store, client, quiet_s, on_free=self.wake)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listens_since = time.monotonic()
        self._watched_at = 0.0

    # --- taking -------------------------------------------------------------------------------------------

    async def accept(self, items: list[RoutedEvidence]) -> None:
        """Commit the evidence; raises what the database raises, and then nothing must be answered. An item
        that no database would take goes to quarantine, alone."""
        by_tenant: defaultdict[str, list[RoutedEvidence]] = defaultdict(list)
        for item in items:
            by_tenant[item.tenant_id].append(item)
        for tenant_id, routed in by_tenant.items():
            try:
                await self._commit(tenant_id, routed)
            except Exception as error:
                if not is_bad_data(error):
                    raise
                for one in routed:
                    await self._commit_alone(one)
        self.wake()

    async def _commit(self, tenant_id: str, items: list[RoutedEvidence]) -> None:
        async with self._store.tenant(TenantId(tenant_id)) as unit:
            await self.write(unit, items)

    async def _commit_alone(self, item: RoutedEvidence) -> None:
        try:
            await self._commit(item.tenant_id, [item])
        except Exception as error:
            if not is_bad_data(error):
                raise
            async with self._store.tenant(TenantId(item.tenant_id)) as unit:
                raw = json_text(item).encode()
                await unit.quarantine.keep("evidence", "unstorable", raw, type(error).__name__)
            counts.QUARANTINED.labels("unstorable").inc()
            _log.warning("evidence set aside", reason="unstorable", error=type(error).__name__)

    async def write(self, unit: TenantUnit, items: list[RoutedEvidence]) -> None:
        """Put evidence into somebody's transaction; `wake` once that is committed."""
        await unit.evidence.take(heard(items))

    # --- delivery -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Somebody committed evidence in a transaction of his own: deliver it now, not at the next sweep."""
        self._news.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="evidence-relay")

    async def stop(self) -> None:
        """Finish what is under way, then end. What is left, another process delivers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._courier.finish(_FINISH_S)

    async def deliver(self) -> int:
        """One round: claim, signal, settle. Returns how many rows were claimed."""
        claimed, tasks = await self._courier.begin()
        await asyncio.gather(*tasks)
        return claimed

    async def watch(self) -> None:
        """Tell the silence of sessions, and measure what waits. A tenant whose turn fails is passed over."""
        listened_s = time.monotonic() - self._listens_since
        async with self._store.platform() as unit:
            backlog = await unit.evidence.backlog()
            tenants = await unit.progress.tenants_with_silence(listened_s)
        counts.WAITING_ROWS.set(backlog.rows)
        counts.WAITING_OLDEST_S.set(backlog.oldest.total_seconds())
        for tenant_id in tenants:
            try:
                async with self._store.tenant(tenant_id) as unit:
                    told = await unit.evidence.tell_silences(listened_s)
            except Exception as error:
                if not is_bad_data(error):
                    raise
                _log.warning("silence not told", tenant=tenant_id, error=type(error).__name__)
                continue
            if told:
                self.wake()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await self._news.wait()
                await asyncio.sleep(_GATHER_S)  # one signal for what comes together saves history events
            except TimeoutError:
                pass
            self._news.clear()
            try:
                while await self._begin() == CLAIM_ROWS:
                    pass
                if time.monotonic() - self._watched_at >= _WATCH_S:
                    self._watched_at = time.monotonic()
                    await self.watch()
            except Exception as error:  # noqa: BLE001  the relay must outlive any outage of store or server
                _log.warning("evidence relay waits", error=type(error).__name__)
                self._listens_since = time.monotonic()  # an outage of ours is no silence of theirs
                await asyncio.sleep(0.5)

    async def _begin(self) -> int:
        """A slow stop is waited for by nobody: what is due begins, and the loop goes on."""
        while self._courier.under_way >= _MOST_UNDER_WAY:
            await self._courier.some_done()
        claimed, _ = await self._courier.begin()
        return claimed
