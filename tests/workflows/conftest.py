"""A stop's surroundings for workflow tests: real server, real store, real planner, a scripted charger."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

from activities.charger_commands import ChargerCommands
from activities.planner import Planner
from activities.stop_records import StopRecords
from models.charger import Charger, ConnectorStatus, Protocol, TariffTerms
from models.commands import ChargerCommand
from models.contract import PLANNER_QUEUE, QUERY_STATUS, STOP_QUEUE, STOP_WORKFLOW
from models.ids import TenantId, stop_id_for, workflow_id_for
from models.place import Place
from models.policy import Policy
from models.stop import ChargingStopInput, StopEvent, StopRequest, StopResult, StopView
from models.vehicle import ConnectorStandard, VehicleState
from store.database import Store
from tests.workflows.scripted_charger import ScriptedCharger
from workers.bootstrap import record_activities, sandbox
from workers.evidence_relay import EvidenceRelay
from workflows.charging_stop import ChargingStop
from workflows.session_keeper import SessionKeeper

HOME = Place(latitude=51.2200, longitude=6.7700)


def charger(name: str, site: str, north_km: float, **changes: object) -> Charger:
    fields: dict[str, object] = {
        "charger_id": name,
        "site_id": site,
        "operator": f"Operator {site}",
        "network": "net-a",
        "place": Place(latitude=HOME.latitude + north_km / 111.2, longitude=HOME.longitude),
        "protocol": Protocol.OCPP,
        "station_id": f"st-{site}",
        "standard": ConnectorStandard.CCS_2,
        "power_kw": 50.0,
        "status": ConnectorStatus.AVAILABLE,
        "tariff": TariffTerms(energy_per_kwh="0.50"),  # pyright: ignore[reportArgumentType]
    }
    return Charger.model_validate({**fields, **changes})


@dataclass
class Surroundings:
    """One tenant with chargers c1 (nearest), c2 (same site), c3 and c4 (other sites)."""

    tenant_id: str
    client: Client
    store: Store
    charger: ScriptedCharger
    relay: EvidenceRelay
    queue: str
    workers: list[Worker]

    def request(self, **changes: object) -> StopRequest:
        vehicle = VehicleState(
            vehicle_id=f"van-{uuid.uuid4().hex[:6]}",
            battery_usable_kwh=60.0,
            connectors=(ConnectorStandard.CCS_2,),
            dc_max_power_kw=100.0,
            soc_percent=30.0,
            position=HOME,
        )
        fields: dict[str, object] = {
            "business_key": f"tour-{uuid.uuid4().hex[:8]}",
            "vehicle": vehicle,
            "target_soc_percent": 80.0,
            "token_uid": f"T{uuid.uuid4().hex[:10]}",
        }
        return StopRequest.model_validate({**fields, **changes})

    async def delivered(self) -> None:
        """Until no evidence of this tenant waits for its stop."""
        waiting = text("SELECT count(*) FROM evidence WHERE delivered_at IS NULL AND stop_id IS NOT NULL")
        async with asyncio.timeout(30):
            while True:
                async with self.store.tenant(TenantId(self.tenant_id)) as unit:
                    if (await unit.connection.execute(waiting)).scalar_one() == 0:
                        return
                await asyncio.sleep(0.05)

    async def holds(self, attempt_id: str) -> tuple[bool, bool]:
        """Whether an attempt holds (vehicle, connector) in the store."""
        async with self.store.tenant(TenantId(self.tenant_id)) as unit:
            found = await unit.attempts.find(attempt_id)
        assert found is not None
        return found.holds_vehicle, found.holds_charger

    async def start(self, request: StopRequest | None = None, client: Client | None = None) -> StopHandle:
        request = request or self.request()
        handle: WorkflowHandle[object, StopResult] = await (client or self.client).start_workflow(
            STOP_WORKFLOW,
            ChargingStopInput(tenant_id=self.tenant_id, request=request),
            id=workflow_id_for(self.tenant_id, request.business_key),
            task_queue=self.queue,
            result_type=StopResult,
            search_attributes=_attributes(self.tenant_id, request),
        )
        return StopHandle(handle, self)


def _attributes(tenant_id: str, request: StopRequest) -> TypedSearchAttributes:
    """As the API sets them."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(SearchAttributeKey.for_keyword("BackstopTenant"), tenant_id),
            SearchAttributePair(SearchAttributeKey.for_keyword("StopPhase"), "planning"),
            SearchAttributePair(SearchAttributeKey.for_keyword("VehicleId"), request.vehicle.vehicle_id),
        ]
    )


@dataclass
class StopHandle:
    """A running stop, with waits on conditions in place of sleeps."""

    handle: WorkflowHandle[object, StopResult]
    around: Surroundings

    async def view(self) -> StopView:
        return await self.handle.query(QUERY_STATUS, result_type=StopView)

    async def until(self, ready: Callable[[StopView], bool], seconds: float = 30.0) -> StopView:
        """Poll the status until it satisfies `ready`."""
        async with asyncio.timeout(seconds):
            while True:
                view = await self.view()
                if ready(view):
                    return view
                await asyncio.sleep(0.02)

    async def result(self) -> StopResult:
        async with asyncio.timeout(60):
            return await self.handle.result()

    async def command(self, number: int = 1) -> ChargerCommand:
        """The number-th start command that the charger received for this stop."""
        stop_id = (await self.view()).stop_id
        async with asyncio.timeout(30):
            while True:
                starts = [c for c in self.around.charger.starts() if c.stop_id == stop_id]
                if len(starts) >= number:
                    return starts[number - 1]
                await asyncio.sleep(0.02)

    async def until_pending(self, activity: str) -> None:
        """Until the stop waits for this activity."""
        async with asyncio.timeout(30):
            while True:
                pending = (await self.handle.describe()).raw_description.pending_activities
                if any(one.activity_type.name == activity for one in pending):
                    return
                await asyncio.sleep(0.02)

    async def stored_events(self, ready: Callable[[list[StopEvent]], bool]) -> list[StopEvent]:
        """The stored log, once it satisfies `ready`."""
        stop_id = stop_id_for(self.around.tenant_id, self.handle.id.split(":", 2)[2])
        async with asyncio.timeout(30):
            while True:
                async with self.around.store.tenant(TenantId(self.around.tenant_id)) as unit:
                    events = await unit.stops.timeline(stop_id)
                if events and ready(events):
                    return events
                await asyncio.sleep(0.02)

    async def stored(self, ready: Callable[[StopView], bool]) -> StopView:
        """The read model's view, once it satisfies `ready`."""
        stop_id = (await self.view()).stop_id
        async with asyncio.timeout(30):
            while True:
                async with self.around.store.tenant(TenantId(self.around.tenant_id)) as unit:
                    view = await unit.stops.get(stop_id)
                if view is not None and ready(view):
                    return view
                await asyncio.sleep(0.02)


@asynccontextmanager
async def surroundings(
    client: Client,
    store: Store,
    *,
    policy: Policy | None = None,
    cache: int = 1000,
    planner: bool = True,
    commands: bool = True,
    protocol: str = "ocpp",
    **charger_fields: object,
) -> AsyncIterator[Surroundings]:
    tenant_id = f"t{uuid.uuid4().hex[:10]}"
    queue = f"stops-{tenant_id}"
    async with store.platform() as unit:
        await unit.ensure_tenant(TenantId(tenant_id))
    async with store.tenant(TenantId(tenant_id)) as unit:
        await unit.chargers.upsert(
            [
                charger("c1", "s1", 1.0, protocol=protocol, **charger_fields),
                charger("c2", "s1", 1.0, connector_number=2, protocol=protocol, **charger_fields),
                charger("c3", "s2", 3.0, protocol=protocol, **charger_fields),
                charger("c4", "s3", 5.0, protocol=protocol, **charger_fields),
            ]
        )
        if policy is not None:
            await unit.policies.put(policy)
    relay = EvidenceRelay(store, client)
    scripted = ScriptedCharger(relay=relay, tenant_id=tenant_id)
    commands_queue = f"commands-{tenant_id}"
    records = StopRecords(
        store, {Protocol.OCPP: commands_queue, Protocol.OCPI: commands_queue, Protocol.ENODE: commands_queue}
    )
    port = ChargerCommands(
        store, {Protocol.OCPP: scripted, Protocol.OCPI: scripted, Protocol.ENODE: scripted}
    )
    workers = [
        Worker(
            client,
            task_queue=queue,
            workflows=[ChargingStop, SessionKeeper],
            activities=record_activities(records),
            workflow_runner=sandbox(),
            max_cached_workflows=cache,
        ),
        # The keeper of a session that comes alive late runs where the product runs it.
        Worker(
            client,
            task_queue=STOP_QUEUE,
            workflows=[SessionKeeper],
            workflow_runner=sandbox(),
            activities=record_activities(records),
        ),
    ]
    if commands:
        workers.append(Worker(client, task_queue=commands_queue, activities=[port.command_charger]))
    if planner:
        workers.append(Worker(client, task_queue=PLANNER_QUEUE, activities=[Planner(store).plan_stop]))
    relay.start()
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        yield Surroundings(tenant_id, client, store, scripted, relay, queue, workers)
        await relay.stop()


def patient_policy(**changes: object) -> Policy:
    """Short where a test waits for real, long where it must not fire by itself."""
    return Policy.model_validate(
        {
            "policy_id": "default",
            "uncertain_guard_s": 3,
            "offline_patience_s": 3,
            "route_wait_s": 3,
            **changes,
        }
    )


@pytest_asyncio.fixture
async def around(temporal_client: Client, store: Store) -> AsyncIterator[Surroundings]:
    async with surroundings(temporal_client, store, policy=patient_policy()) as made:
        yield made


@pytest.fixture
def hour() -> timedelta:
    return timedelta(hours=1)
