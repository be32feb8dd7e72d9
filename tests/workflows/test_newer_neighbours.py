"""A pinned stop of today beside a planner and a gateway of tomorrow: their queues have no versions."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.planner import Planner
from models.contract import ACTIVITY_COMMAND, ACTIVITY_PLAN, PLANNER_QUEUE
from models.decision import PlanRequest, RejectionRule
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import StopPhase
from store.database import Store
from tests.workflows.conftest import patient_policy, surroundings
from tests.workflows.stop_words import arrive, cancel, task_failures


@pytest.mark.asyncio
async def test_a_rule_of_tomorrow_costs_no_plan(temporal_client: Client, store: Store) -> None:
    """The planner has one more rule for a rejection. The candidates are as ever; its name is kept."""
    planner = Planner(store)

    @activity.defn(name=ACTIVITY_PLAN)
    async def tomorrow(request: PlanRequest) -> dict[str, Any]:
        decision = (await planner.plan_stop(request)).model_dump(mode="json")
        news = {"charger_id": "c9", "rule": "policy.rule_of_tomorrow", "observed": "3", "limit": "2"}
        return {**decision, "options": {"profile_of_tomorrow": "c1"}, "rejections": [news]}

    async with (
        surroundings(temporal_client, store, policy=patient_policy(), planner=False) as around,
        Worker(temporal_client, task_queue=PLANNER_QUEUE, activities=[tomorrow]),
    ):
        stop = await around.start()
        view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
        await cancel(stop)
        await stop.result()
        assert await task_failures(stop.handle) == []
        async with store.tenant(TenantId(around.tenant_id)) as unit:
            (decision,) = await unit.stops.decisions(view.stop_id)
    (rejection,) = decision.rejections
    assert (rejection.rule, rejection.observed) == (RejectionRule.OTHER, "policy.rule_of_tomorrow: 3")


@pytest.mark.asyncio
async def test_a_decision_that_nobody_can_read_is_a_planner_away(
    temporal_client: Client, store: Store
) -> None:
    @activity.defn(name=ACTIVITY_PLAN)
    async def tomorrow(request: PlanRequest) -> dict[str, Any]:
        return {"ranking_of_tomorrow": request.stop_id}

    async with (
        surroundings(temporal_client, store, policy=patient_policy(), planner=False) as around,
        Worker(temporal_client, task_queue=PLANNER_QUEUE, activities=[tomorrow]),
    ):
        stop = await around.start()
        view = await stop.until(lambda v: v.awaiting_human_until is not None)
        await cancel(stop)
        await stop.result()
        assert await task_failures(stop.handle) == []
    assert view.reason is ReasonCode.PLAN_UNAVAILABLE


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"outcome": "rejected", "reason": "start.reason_of_tomorrow"}, ReasonCode.START_REJECTED),
        ({"outcome": "outcome_of_tomorrow"}, ReasonCode.START_TIMEOUT),
    ],
    ids=["a reason", "an outcome"],
)
async def test_a_gateway_of_tomorrow_wedges_no_stop(
    temporal_client: Client, store: Store, reply: dict[str, Any], reason: ReasonCode
) -> None:
    """A reason that nobody knows leaves the outcome what it is; an outcome that nobody knows is uncertain."""

    @activity.defn(name=ACTIVITY_COMMAND)
    async def tomorrow(command: dict[str, Any]) -> dict[str, Any]:
        del command
        return reply

    policy = patient_policy(confirmation_s=2)
    async with (
        surroundings(temporal_client, store, policy=policy, commands=False) as around,
        Worker(temporal_client, task_queue=f"commands-{around.tenant_id}", activities=[tomorrow]),
    ):
        stop = await around.start()
        await arrive(stop)
        view = await stop.until(lambda v: bool(v.attempts) and v.attempts[0].reason is not None)
        await cancel(stop)
        await stop.result()
        assert await task_failures(stop.handle) == []
    assert view.attempts[0].reason is reason
