"""The planner activity: requests of one moment are decided together, each with its own view of the road."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import pytest_asyncio

from activities.planner import Planner
from api.engine import first_view
from models.decision import Decision, PlanRequest
from models.ids import TenantId
from models.policy import Policy
from models.stop import StopPhase, StopRecord
from models.vehicle import ConnectorStandard, VehicleState
from store.database import Store
from tests.store.store_samples import NOW, request
from tests.workflows.conftest import HOME, charger

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(store: Store) -> TenantId:
    name = TenantId(f"t-{uuid.uuid4().hex[:12]}")
    async with store.platform() as unit:
        await unit.ensure_tenant(name)
    async with store.tenant(name) as unit:
        await unit.chargers.upsert(
            [charger("c1", "s1", 1.0), charger("c3", "s2", 3.0), charger("c4", "s3", 5.0)]
        )
    return name


async def falls_back(store: Store, tenant: TenantId, from_charger_id: str) -> PlanRequest:
    """A stop that heads for a charger, and asks for another."""
    wish = request(f"tour-{uuid.uuid4().hex[:8]}")
    vehicle = VehicleState(
        vehicle_id="van-1",
        battery_usable_kwh=60.0,
        connectors=(ConnectorStandard.CCS_2,),
        dc_max_power_kw=100.0,
        soc_percent=30.0,
        position=HOME,
    )
    view = first_view(tenant, wish).model_copy(
        update={
            "charger_id": from_charger_id,
            "phase": StopPhase.EN_ROUTE,
            "version": 1,
            "run_id": "r",
        }
    )
    async with store.tenant(tenant) as unit:
        await unit.stops.record(StopRecord(view=view, request=wish))
    return PlanRequest(
        stop_id=view.stop_id,
        tenant_id=tenant,
        vehicle=vehicle,
        target_soc_percent=80,
        now=NOW,
        policy=Policy(),
        tried=1,
    )


def waits(decision: Decision) -> dict[str, float]:
    return {candidate.charger.charger_id: candidate.wait_s for candidate in decision.candidates}


@pytest.mark.parametrize("heading", [("c3", "c4"), ("c4", "c3"), ("c3", "c3")])
async def test_each_stop_of_a_batch_sees_the_others_and_not_itself(
    store: Store, tenant: TenantId, heading: tuple[str, str]
) -> None:
    """Who asks last must not lend its view to the others: each sees in a batch what it sees alone."""
    planner = Planner(store)
    asked = [await falls_back(store, tenant, one) for one in heading]
    alone = [waits(await planner.plan_stop(one)) for one in asked]
    together = await asyncio.gather(*(planner.plan_stop(one) for one in asked))
    assert [waits(one) for one in together] == alone
    assert [one.solver for one in together] == [together[0].solver] * 2
    assert alone[0][heading[1]] > alone[0]["c1"]  # somebody is on the way there
