"""The planner activity: reads a snapshot of chargers, decides purely, returns the decision.

Requests of one tenant that come within the same moment (a site failed, and ten vans need another) are
decided together, so that they do not all run to the same plug.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from temporalio import activity

from models.charger import Charger
from models.contract import ACTIVITY_PLAN
from models.decision import Decision, PlanRequest
from models.ids import TenantId
from models.vehicle import VehicleModel
from planning.batch import plan_many
from planning.planner import plan
from store.database import Store

_SNAPSHOT_CHARGERS = 400
_GATHER_S = 0.02
_MOST_TOGETHER = 40


@dataclass(frozen=True)
class _View:
    """What the planner knows when it decides."""

    chargers: list[Charger]
    model: VehicleModel | None
    heading_to: dict[str, int]


@dataclass
class _Moment:
    """Requests that wait to be decided together."""

    requests: list[PlanRequest] = field(default_factory=lambda: [])
    answers: list[asyncio.Future[Decision]] = field(default_factory=lambda: [])

    def is_full_for(self, request: PlanRequest) -> bool:
        """A retried activity may ask for a stop that is asked for already: it gets a moment of its own."""
        asked = any(other.stop_id == request.stop_id for other in self.requests)
        return asked or len(self.requests) >= _MOST_TOGETHER


class Planner:
    """`plan_stop` runs in a process and on a queue of its own: solving never delays a stop's messages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._moments: dict[str, _Moment] = {}
        self._deciding: set[asyncio.Task[None]] = set()

    @activity.defn(name=ACTIVITY_PLAN)
    async def plan_stop(self, request: PlanRequest) -> Decision:
        """A first plan is decided at once; fallbacks wait a moment for others of the same tenant."""
        if request.tried == 0:
            view = await self._snapshot(request)
            # Off the event loop: a blocked loop would stop heartbeats and polling of the whole process.
            return await asyncio.to_thread(plan, request, view.chargers, view.model, view.heading_to)
        moment = self._moments.get(request.tenant_id)
        if moment is None or moment.is_full_for(request):
            moment = self._moments[request.tenant_id] = _Moment()
            task = asyncio.create_task(self._decide(request.tenant_id, moment))
            self._deciding.add(task)  # held, or the loop may forget it
            task.add_done_callback(self._deciding.discard)
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        moment.requests.append(request)
        moment.answers.append(answer)
        return await answer

    async def _decide(self, tenant_id: str, moment: _Moment) -> None:
        await asyncio.sleep(_GATHER_S)
        if self._moments.get(tenant_id) is moment:
            del self._moments[tenant_id]
        try:
            chargers: dict[str, Charger] = {}
            models: dict[str, VehicleModel] = {}
            heading_to: list[dict[str, int]] = []
            for request in moment.requests:
                view = await self._snapshot(request)
                chargers.update({charger.charger_id: charger for charger in view.chargers})
                if view.model is not None:
                    models[view.model.model_id] = view.model
                heading_to.append(view.heading_to)
            decisions = await asyncio.to_thread(
                plan_many, moment.requests, list(chargers.values()), models, heading_to
            )
        except Exception as error:  # noqa: BLE001  each caller gets it, and its own retry
            for answer in moment.answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer, decision in zip(moment.answers, decisions, strict=True):
            if not answer.done():
                answer.set_result(decision)

    async def _snapshot(self, request: PlanRequest) -> _View:
        vehicle = request.vehicle
        # Beyond the detour that policy allows nothing can win: the snapshot need not be wider, except that
        # a rejection "too far" is worth showing.
        radius_km = max(5.0, request.policy.max_detour_km * 1.5)
        async with self._store.tenant(TenantId(request.tenant_id)) as unit:
            chargers = await unit.chargers.nearby(vehicle.position, radius_km, _SNAPSHOT_CHARGERS)
            model = await unit.vehicles.model(vehicle.model_id) if vehicle.model_id else None
            heading_to = await unit.stops.heading_to(besides_stop_id=request.stop_id)
            preferred = request.preferred_charger_id
            if preferred and all(c.charger_id != preferred for c in chargers):
                asked_for = await unit.chargers.get(preferred)
                chargers = [*chargers, asked_for] if asked_for else chargers
        return _View(chargers, model, heading_to)
