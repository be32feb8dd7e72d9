"""Stops whose workflow is somebody else's: a stand-in of the same name, on a queue of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from api.engine import begin_workflow, first_view
from models.activity_messages import KeptSession
from models.contract import (
    KEEPER_WORKFLOW,
    QUERY_STATUS,
    QUERY_TIMELINE,
    STOP_WORKFLOW,
    UPDATE_CANCEL,
    UPDATE_RELEASE_SESSION,
)
from models.ids import TenantId
from models.stop import (
    CancelRequest,
    ChargingStopInput,
    Receipt,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopRecord,
    StopRequest,
    StopResult,
    StopView,
)
from store.database import Store
from tests.store.store_samples import request
from workers.stop_reconciler import Patience, StopReconciler


@workflow.defn(name=STOP_WORKFLOW)
class StandIn:
    """Runs until it is called off, and then closes."""

    @workflow.init
    def __init__(self, order: ChargingStopInput) -> None:
        self.cancels: list[str] = []
        view = first_view(order.tenant_id, order.request)
        self.view = view.model_copy(update={"run_id": workflow.info().run_id, "version": 1})
        self.events: list[StopEvent] = []
        self._say("stop.planned")

    def _say(self, type_: str) -> None:
        event = StopEvent(
            stop_id=self.view.stop_id,
            seq=len(self.events) + 1,
            at=workflow.now(),
            type=type_,
            phase=self.view.phase,
            text="It moved.",
        )
        self.events.append(event)

    @workflow.run
    async def run(self, order: ChargingStopInput) -> StopResult:
        await workflow.wait_condition(lambda: bool(self.cancels))
        result = StopResult(
            stop_id=self.view.stop_id, tenant_id=order.tenant_id, outcome=StopOutcome.CANCELLED
        )
        self._say("stop.closed")
        self.view = self.view.model_copy(
            update={"phase": StopPhase.CLOSED, "outcome": StopOutcome.CANCELLED, "result": result}
        )
        return result

    @workflow.update(name=UPDATE_CANCEL)
    async def cancel(self, wish: CancelRequest) -> Receipt:
        self.cancels.append(wish.event_id)
        return Receipt(stop_id=self.view.stop_id, phase=self.view.phase)

    @workflow.query(name=QUERY_STATUS)
    def status(self) -> StopView:
        return self.view

    @workflow.query(name=QUERY_TIMELINE)
    def timeline(self) -> list[StopEvent]:
        return self.events


@workflow.defn(name=KEEPER_WORKFLOW)
class KeeperStandIn:
    def __init__(self) -> None:
        self.energy_kwh: float | None = None

    @workflow.run
    async def run(self, session: KeptSession) -> float:
        await workflow.wait_condition(lambda: self.energy_kwh is not None)
        return self.energy_kwh or 0.0

    @workflow.update(name=UPDATE_RELEASE_SESSION)
    async def release(self, seen: dict[str, Any]) -> None:
        self.energy_kwh = float(seen["energy_kwh"])


@dataclass
class Lost:
    """A tenant of its own, a queue of its own, and a reconciler without patience."""

    store: Store
    client: Client
    tenant: TenantId
    queue: str
    reconciler: StopReconciler

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[None]:
        async with Worker(
            self.client,
            task_queue=self.queue,
            workflows=[StandIn, KeeperStandIn],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            yield

    async def accept(self, key: str | None = None) -> tuple[StopView, StopRequest]:
        """Row only, as a process leaves it that dies at once."""
        wish = request(key or f"tour-{uuid.uuid4().hex[:8]}")
        view = first_view(self.tenant, wish)
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.intake.accept(view, wish)
        return view, wish

    async def begun(self) -> StopView:
        """Row and workflow, and the first record of it."""
        view, wish = await self.accept()
        run_id = await begin_workflow(self.client, self.tenant, wish, self.queue, 5)
        return await self.recorded(view.model_copy(update={"run_id": run_id, "version": 1}))

    async def recorded(self, view: StopView, *events: StopEvent) -> StopView:
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(StopRecord(view=view, events=events))
        return view

    async def view(self, stop_id: str) -> StopView:
        async with self.store.tenant(self.tenant) as unit:
            found = await unit.stops.get(stop_id)
        assert found is not None
        return found

    async def log(self, stop_id: str) -> list[tuple[int, str]]:
        async with self.store.tenant(self.tenant) as unit:
            return [(event.seq, event.type) for event in await unit.stops.timeline(stop_id)]

    async def round_until(self, stop_id: str, ready: Callable[[StopView], bool]) -> StopView:
        async with asyncio.timeout(30):
            while not ready(await self.view(stop_id)):
                await self.reconciler.round()
                await asyncio.sleep(0.05)
        return await self.view(stop_id)


def lost(store: Store, client: Client) -> Lost:
    mark = uuid.uuid4().hex[:10]
    queue = f"lost-{mark}"
    none = Patience(start_s=0, cancel_s=0, check_s=0, closed_s=0, rpc_s=8, most=200)
    return Lost(
        store,
        client,
        TenantId(f"t-{mark}"),
        queue,
        StopReconciler(store, client, task_queue=queue, patience=none),
    )
