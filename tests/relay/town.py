"""Stops that hear: workflows without a worker, whose histories show every signal they were sent; and a client
that is slow or fails for some of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from temporalio.api.common.v1 import Payloads
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from models.activity_messages import KeptSession
from models.contract import keeper_workflow_id
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from models.stop import Attempt, SessionState, StopOutcome, StopPhase, StopView
from store.database import Store
from tests.store.store_samples import after, attempt, evidence, intent, record, view


@dataclass
class Trouble:
    """`slow`, `failing`: workflow ids. What was sent is counted in the histories, not here."""

    slow: set[str] = field(default_factory=set[str])
    failing: set[str] = field(default_factory=set[str])
    waiting: set[str] = field(default_factory=set[str])


class _Troubled(Interceptor):
    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _TroubledCalls(next, self._trouble)


class _TroubledCalls(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, trouble: Trouble) -> None:
        super().__init__(next)
        self._trouble = trouble

    async def _meet(self, workflow_id: str) -> None:
        if workflow_id in self._trouble.failing:
            raise RPCError("no luck today", RPCStatusCode.INTERNAL, b"")
        if workflow_id in self._trouble.slow:
            self._trouble.waiting.add(workflow_id)
            await asyncio.Event().wait()

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        await self._meet(input.id)
        await super().signal_workflow(input)

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        await self._meet(input.id)
        return await super().start_workflow(input)


def troubled(client: Client, trouble: Trouble) -> Client:
    config = client.config()
    config["interceptors"] = [_Troubled(trouble)]
    return Client(**config)


class Town:
    """One tenant's stops."""

    def __init__(self, store: Store, client: Client, database: Callable[[], psycopg.Connection[Any]]) -> None:
        self.store, self.client, self._database = store, client, database
        self.tenant = TenantId(f"t-{uuid.uuid4().hex[:12]}")

    async def stop(self, *, runs: bool = True, begun: bool = True, **changes: object) -> StopView:
        stop = view(self.tenant, **{"phase": StopPhase.EN_ROUTE, **changes})
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(record(stop, 1))
        if not begun:
            self.sql("UPDATE stop SET began_at = NULL WHERE stop_id = %s", stop.stop_id)
        if runs:
            await self.run(stop)
        return stop

    async def run(self, stop: StopView) -> None:
        await self.client.start_workflow(
            "Listener", id=stop.workflow_id, task_queue=f"nobody-{self.tenant}", task_timeout=None
        )

    async def close(self, stop: StopView) -> None:
        """The row says how it ended, and no workflow runs."""
        closed = stop.model_copy(
            update={"version": 9, "phase": StopPhase.CLOSED, "outcome": StopOutcome.CHARGED}
        )
        async with self.store.tenant(self.tenant) as unit:
            await unit.stops.record(record(closed, 9))

    async def try_at(
        self, stop: StopView, session: SessionState = SessionState.ALIVE, **booked: object
    ) -> Attempt:
        tried = attempt(stop.stop_id, session=session, charger_id=f"ch-{uuid.uuid4().hex[:6]}", **booked)
        async with self.store.tenant(self.tenant) as unit:
            named = {"vehicle_id": f"van-{uuid.uuid4().hex[:6]}"}
            await unit.attempts.open(intent(tried, stop.stop_id, **named))
        self.sql(
            "UPDATE attempt SET body = %s::jsonb WHERE attempt_id = %s",
            tried.model_dump_json(),
            tried.attempt_id,
        )
        return tried

    async def hear(self, stop: StopView, *items: Evidence) -> None:
        """Kept for the stop, as if matched."""
        async with self.store.tenant(self.tenant) as unit:
            await unit.evidence.append([(stop.stop_id, item) for item in items])

    def item(
        self,
        name: str,
        second: float = 0,
        kind: EvidenceKind = EvidenceKind.SUSPENDED_BY_VEHICLE,
        **more: object,
    ) -> Evidence:
        return evidence(name, **{"kind": kind, "observed_at": after(second), **more})

    async def signals(self, workflow_id: str) -> list[list[Evidence]]:
        """Every signal a workflow was sent; none where there is no such workflow."""
        try:
            history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND  # noqa: PT017
            return []
        sent = [
            event.workflow_execution_signaled_event_attributes
            for event in history.events
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
        assert {one.signal_name for one in sent} <= {"evidence"}
        return [await _decoded(one.input, list[Evidence]) for one in sent]

    async def told(self, stop: StopView) -> list[str]:
        return [item.event_id for signal in await self.signals(stop.workflow_id) for item in signal]

    async def kept(self, tried: Attempt) -> tuple[KeptSession | None, list[list[Evidence]]]:
        """What the attempt's keeper was started with, and told."""
        handle = self.client.get_workflow_handle(keeper_workflow_id(tried.attempt_id))
        signals = await self.signals(handle.id)
        if not signals:
            return None, []
        history = await handle.fetch_history()
        began = history.events[0].workflow_execution_started_event_attributes
        assert began.workflow_type.name == "SessionKeeper"
        assert began.task_queue.name == "backstop-stops"
        return await _decoded(began.input, KeptSession), signals

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Past every policy."""
        with self._database() as connection:
            found = connection.execute(statement.encode(), values)
            return found.fetchall() if found.description else []

    def waiting(self) -> int:
        return int(
            self.sql(
                "SELECT count(*) FROM evidence WHERE tenant_id = %s AND delivered_at IS NULL "
                "AND quarantined_at IS NULL",
                self.tenant,
            )[0][0]
        )

    def no_delay(self) -> None:
        """As if the back-off of all that waits were over."""
        self.sql("UPDATE evidence SET next_try_at = NULL WHERE tenant_id = %s", self.tenant)


async def _decoded(payloads: Payloads, kind: Any) -> Any:
    return (await pydantic_data_converter.decode(list(payloads.payloads), [kind]))[0]


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20.0) -> None:
    """Waits for the condition; raises TimeoutError when it does not come true."""
    async with asyncio.timeout(within_s):
        while True:
            held = condition()
            if held is True or (not isinstance(held, bool) and await held):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(relay: Any) -> AsyncGenerator[Any]:
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
