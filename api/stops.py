"""Charging stops: start, read, list, and what driver and fleet can say to one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel
from temporalio.service import RPCError

from api.auth import Caller, DriverOrWriter, Reader, Writer
from api.cursor import decode, encode
from api.engine import Engine, conflicting, first_view
from api.live import with_live_energy
from api.problems import Problem, ProblemDetails
from api.settings import ApiSettings
from models.contract import UPDATE_APPROVE, UPDATE_ARRIVED, UPDATE_CANCEL, UPDATE_CHOOSE, UPDATE_PROBLEM
from models.decision import Decision
from models.stop import (
    Approval,
    ArrivalReport,
    CancelRequest,
    ChooseCharger,
    ProblemReport,
    Receipt,
    StopEvent,
    StopOutcome,
    StopPhase,
    StopRequest,
    StopView,
)
from models.vehicle import VehicleState, unplannable
from store.database import Store, TenantUnit

Refusals = dict[int | str, dict[str, Any]]


def refusals(*codes: int) -> Refusals:
    return {
        code: {"model": ProblemDetails, "content": {"application/problem+json": {}}}
        for code in (401, 403, *codes, 503)
    }


def store_of(request: Request) -> Store:
    return request.app.state.store


def engine_of(request: Request) -> Engine:
    return request.app.state.engine


TheStore = Annotated[Store, Depends(store_of)]
TheEngine = Annotated[Engine, Depends(engine_of)]

router = APIRouter(prefix="/v1/charging-stops", tags=["charging stops"])


class StopPage(BaseModel):
    """Newest first. Follow `next_cursor` until it is null."""

    object: str = "list"
    data: list[StopView]
    next_cursor: str | None = None


class Timeline(BaseModel):
    object: str = "timeline"
    stop_id: str
    data: list[StopEvent]


class Decisions(BaseModel):
    object: str = "list"
    stop_id: str
    data: list[Decision]


@router.post("", status_code=202, responses={200: {"model": StopView}, **refusals(409, 422)})
async def start_stop(
    body: StopRequest,
    caller: Writer,
    store: TheStore,
    engine: TheEngine,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Accepted for clients that always send one. A stop's identity is tenant and business "
            "key, so a repeat is safe without it; if sent, it must not be longer than 255 characters.",
            max_length=255,
        ),
    ] = None,
) -> StopView:
    """Start a charging stop. 202 with the stop: from then on a read finds it, a cancel is kept, and it will
    run, also where the engine or every worker is away at this moment. A repeat gives 200 with the same stop;
    the same business key with another request is refused with 409."""
    del idempotency_key
    view = first_view(caller.tenant_id, body)
    async with store.tenant(caller.tenant_id) as unit:
        accepted = await unit.stops.intake.accept(view, body)
        if accepted.fresh:
            await _must_be_known(unit, body.vehicle)
    if accepted.fingerprint != body.fingerprint:
        raise conflicting()
    response.headers["Location"] = f"/v1/charging-stops/{view.stop_id}"
    if not accepted.fresh:
        response.status_code = 200
        return accepted.view
    # The row is the promise. From here on nothing but a conflict is told as a failure: should this process
    # die, or Temporal be away, the reconciler starts the workflow (workers/stop_reconciler.py).
    try:
        run_id = await engine.start(caller.tenant_id, body)
    except Problem:
        async with store.tenant(caller.tenant_id) as unit:
            await unit.stops.intake.withdraw(view.stop_id)
        raise
    return view.model_copy(update={"run_id": run_id})


@router.get("", responses=refusals(422))
async def list_stops(
    request: Request,
    caller: Reader,
    store: TheStore,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
    phase: StopPhase | None = None,
    outcome: StopOutcome | None = None,
) -> StopPage:
    """Stops of the tenant, newest first."""
    settings: ApiSettings = request.app.state.settings
    secret = settings.cursor_secret.get_secret_value()
    after = decode(secret, cursor) if cursor else None
    async with store.tenant(caller.tenant_id) as unit:
        found = await unit.stops.list(limit=limit + 1, after=after, phase=phase, outcome=outcome)
        page, more = await with_live_energy(unit, found[:limit]), len(found) > limit
    last = page[-1] if page and more else None
    return StopPage(data=page, next_cursor=encode(secret, last.created_at, last.stop_id) if last else None)


@router.get("/{stop_id}", responses=refusals(404))
async def read_stop(stop_id: str, caller: Reader, store: TheStore) -> StopView:
    """Where a stop stands, with the energy that its meters show now; or how it ended."""
    async with store.tenant(caller.tenant_id) as unit:
        view = await unit.stops.get(stop_id)
        if view is None:
            raise _unknown()
        return (await with_live_energy(unit, [view]))[0]


@router.get("/{stop_id}/timeline", responses=refusals(404))
async def read_timeline(stop_id: str, caller: Reader, store: TheStore) -> Timeline:
    """Every transition, oldest first, each with a sentence for a person and a code where something failed."""
    await _stop(store, caller, stop_id)
    async with store.tenant(caller.tenant_id) as unit:
        return Timeline(stop_id=stop_id, data=await unit.stops.timeline(stop_id))


@router.get("/{stop_id}/decisions", responses=refusals(404))
async def read_decisions(stop_id: str, caller: Reader, store: TheStore) -> Decisions:
    """Each planning decision with its receipt: candidates, and why each rejected charger was rejected."""
    await _stop(store, caller, stop_id)
    async with store.tenant(caller.tenant_id) as unit:
        return Decisions(stop_id=stop_id, data=await unit.stops.decisions(stop_id))


async def _must_be_known(unit: TenantUnit, vehicle: VehicleState) -> None:
    """What no plan can do without is asked for now: without it the stop would only be handed to a person.
    Raises Problem 422."""
    model = await unit.vehicles.model(vehicle.model_id) if vehicle.model_id else None
    if missing := unplannable(vehicle, model):
        field, text = missing
        raise Problem(422, "vehicle.unknown", text, field=f"vehicle.{field}")


async def _stop(store: Store, caller: Caller, stop_id: str) -> StopView:
    async with store.tenant(caller.tenant_id) as unit:
        view = await unit.stops.get(stop_id)
    if view is None:
        raise _unknown()
    return view


def _unknown() -> Problem:
    return Problem(404, "stop.unknown", "There is no such stop.")


async def _tell(
    store: Store, engine: Engine, caller: Caller, stop_id: str, update: str, body: BaseModel
) -> Receipt:
    view = await _stop(store, caller, stop_id)
    if view.outcome is not None:
        raise Problem(409, "stop.closed", "The stop has ended.")
    return await engine.tell(view, update, body)


@router.post("/{stop_id}/arrival", responses=refusals(404, 409, 422))
async def report_arrival(
    stop_id: str, body: ArrivalReport, caller: DriverOrWriter, store: TheStore, engine: TheEngine
) -> Receipt:
    """The vehicle stands at the charger."""
    return await _tell(store, engine, caller, stop_id, UPDATE_ARRIVED, body)


@router.post("/{stop_id}/problem", responses=refusals(404, 409, 422))
async def report_problem(
    stop_id: str, body: ProblemReport, caller: DriverOrWriter, store: TheStore, engine: TheEngine
) -> Receipt:
    """Something is wrong at the charger; the answer to the next read is another charger, or a person."""
    return await _tell(store, engine, caller, stop_id, UPDATE_PROBLEM, body)


@router.post("/{stop_id}/choice", responses=refusals(404, 409, 422))
async def choose_charger(
    stop_id: str, body: ChooseCharger, caller: DriverOrWriter, store: TheStore, engine: TheEngine
) -> Receipt:
    """Take another charger. Policy and vehicle still decide whether it may be."""
    return await _tell(store, engine, caller, stop_id, UPDATE_CHOOSE, body)


@router.post("/{stop_id}/cancellation", responses={202: {"model": Receipt}, **refusals(404, 409, 422)})
async def cancel_stop(
    stop_id: str,
    body: CancelRequest,
    caller: DriverOrWriter,
    store: TheStore,
    engine: TheEngine,
    response: Response,
) -> Receipt:
    """Call the stop off. A running session is stopped and booked first. 202 with `pending` where no worker
    answers now: the cancel is kept, and takes effect as soon as one does."""
    try:
        return await _tell(store, engine, caller, stop_id, UPDATE_CANCEL, body)
    except (Problem, RPCError) as error:
        if isinstance(error, Problem) and error.status != 503:
            raise
    async with store.tenant(caller.tenant_id) as unit:
        kept = await unit.stops.intake.want_cancel(stop_id, body)
    if not kept:
        raise Problem(409, "stop.closed", "The stop has ended.")
    view = await _stop(store, caller, stop_id)
    response.status_code = 202
    return Receipt(stop_id=stop_id, phase=view.phase, charger_id=view.charger_id, pending=True)


@router.post("/{stop_id}/approval", responses=refusals(404, 409, 422))
async def approve_plan(
    stop_id: str, body: Approval, caller: Writer, store: TheStore, engine: TheEngine
) -> Receipt:
    """Answer an assisted plan."""
    return await _tell(store, engine, caller, stop_id, UPDATE_APPROVE, body)
