"""The planner activity: reads a snapshot of chargers, decides purely, returns the decision."""

from __future__ import annotations

import asyncio

from planning.planner import plan
from store.database import Store
from temporalio import activity

from models.contract import ACTIVITY_PLAN
from models.decision import Decision, PlanRequest
from models.ids import TenantId

_SNAPSHOT_CHARGERS = 400


class Planner:
    """`plan_stop` runs in a process and on a queue of its own: solving never delays a stop's messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=ACTIVITY_PLAN)
    async def plan_stop(self, request: PlanRequest) -> Decision:
        vehicle = request.vehicle
        # Beyond the detour that policy allows nothing can win: the snapshot need not be wider, except that
        # a rejection "too far" is worth showing.
        radius_km = max(5.0, request.policy.max_detour_km * 1.5)
        async with self._store.tenant(TenantId(request.tenant_id)) as unit:
            chargers = await unit.chargers.nearby(vehicle.position, radius_km, _SNAPSHOT_CHARGERS)
            model = await unit.vehicles.model(vehicle.model_id) if vehicle.model_id else None
            preferred = request.preferred_charger_id
            if preferred and all(c.charger_id != preferred for c in chargers):
                asked_for = await unit.chargers.get(preferred)
                chargers = [*chargers, asked_for] if asked_for else chargers
        # Off the event loop: a blocked loop would stop heartbeats and polling of the whole process.
        return await asyncio.to_thread(plan, request, chargers, model)
