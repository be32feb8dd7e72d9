"""Activities on our own store. What they write, the workflow's history holds as their input.

Data that PostgreSQL refuses is never tried again: no repeat heals it. An outage is retried by Temporal, for
as long as it takes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import structlog
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from activities.bare_records import bare_amendment, bare_record
from activities.taking_over import take_sessions_over
from models.activity_messages import (
    Amendment,
    FindCharger,
    FoundCharger,
    KeptSession,
    LookAround,
    OpenedStop,
    OpenStop,
    PrepareStart,
    Route,
    RouteRequest,
    SessionFacts,
    SessionGoal,
    Settlement,
    SettleRequest,
    Surroundings,
    TakeBack,
)
from models.charger import Charger, Protocol
from models.contract import (
    ACTIVITY_AMEND,
    ACTIVITY_FIND_CHARGER,
    ACTIVITY_FIND_ROUTE,
    ACTIVITY_FOLLOW,
    ACTIVITY_LOOK_AROUND,
    ACTIVITY_OPEN_ATTEMPT,
    ACTIVITY_OPEN_STOP,
    ACTIVITY_RECORD,
    ACTIVITY_SESSION_FACTS,
    ACTIVITY_SETTLE,
    ACTIVITY_TAKE_BACK,
)
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import StopRecord, StopView
from models.vehicle import filled, unplannable
from planning.price import price_session
from store.attempts import AttemptIntent
from store.database import Store, TenantUnit
from store.errors import ConnectorBusy, OtherRequest, OtherRun, StillOpen, VehicleBusy, is_bad_data
from store.json_text import json_text
from store.start_counts import count_starts

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_CLOSED = Route(refused=ReasonCode.STOP_WORKFLOW_LOST, detail="the stop has closed")

BAD_DATA = "platform.bad_data"
"""Type of the error of an activity whose data the store refuses; never retried."""
OTHER_RUN = "stop.other_run"
"""Type of the error of an activity of a run that does not own its stop any more."""
STILL_OPEN = "stop.still_open"


class StopRecords:
    """`fixed_queues`: the queue of each protocol that has one home (partners, vehicles)."""

    def __init__(self, store: Store, fixed_queues: Mapping[Protocol, str]) -> None:
        self._store = store
        self._fixed_queues = fixed_queues

    # --- the stop ---------------------------------------------------------------------------------------

    @activity.defn(name=ACTIVITY_OPEN_STOP)
    async def open_stop(self, request: OpenStop) -> OpenedStop:
        """Mark the stop's row as begun (write it, where the stop was started directly through Temporal); give
        it the policy in force and its vehicle's figures. `problem` says why the stop cannot be run."""
        wish, tenant_id = request.input.request, request.input.tenant_id
        problem = ""
        try:
            await self._with_record(request.record, _nothing_more)
        except OtherRequest:
            problem = "This business key was used with another request"
        async with self._unit(tenant_id) as unit:
            policy = await unit.policies.active(wish.policy_id)
            model = await unit.vehicles.model(wish.vehicle.model_id) if wish.vehicle.model_id else None
        missing = unplannable(wish.vehicle, model)
        if missing is not None and not problem:
            problem = missing[1]
        return OpenedStop(policy=policy, vehicle=filled(wish.vehicle, model), problem=problem)

    @activity.defn(name=ACTIVITY_RECORD)
    async def record_stop(self, record: StopRecord) -> None:
        """Write transitions, view and decisions in one transaction. Repeats change nothing; what an old run
        says late is dropped. A record that PostgreSQL refuses is written without what is free in it, and kept
        raw in quarantine: it blocks nobody."""
        stop_id = record.view.stop_id
        try:
            await self._record(record, lambda unit, _: count_starts(unit, record.view.attempts))
        except (OtherRequest, OtherRun) as other:
            _log.warning("record dropped", stop_id=stop_id, why=type(other).__name__)
        except Exception as error:
            if not is_bad_data(error):
                raise
            _log.error("record refused by the store", stop_id=stop_id, error=type(error).__name__)
            await self._record_degraded(record, error)

    async def _record_degraded(self, record: StopRecord, refused: Exception) -> None:
        async def set_aside(unit: TenantUnit, current: bool) -> None:
            del current
            raw = json_text(record).encode()
            await unit.quarantine.keep(ACTIVITY_RECORD, BAD_DATA, raw, f"{type(refused).__name__}: {refused}")

        try:
            await self._record(bare_record(record), set_aside)
        except (OtherRequest, OtherRun):
            return
        except Exception as error:
            if not is_bad_data(error):
                raise
            async with self._store.tenant(TenantId(record.view.tenant_id)) as unit:
                await set_aside(unit, False)

    async def _record(
        self,
        record: StopRecord,
        work: Callable[[TenantUnit, bool], Awaitable[_T]],
    ) -> _T:
        """Record, and do more in the same transaction; `work` is told whether the record is the newest.

        Another run's row is taken over where this run is the one that lives (a reset, or a start after one);
        raises OtherRun where it is not, and OtherRequest."""
        takes_over = False
        while True:
            try:
                async with self._store.tenant(TenantId(record.view.tenant_id)) as unit:
                    current = await unit.stops.record(record, takes_over=takes_over)
                    if takes_over:
                        await unit.attempts.regain(record.view.attempts)
                    if current:
                        for attempt_id in await unit.attempts.hold_what_lives(record.view.attempts):
                            await unit.stops.without_hold(record.view, attempt_id)
                    return await work(unit, current)
            except OtherRun:
                if takes_over or not await _lives(record.view):
                    raise
                await self._take_sessions_over(record.view)
                takes_over = True

    async def _take_sessions_over(self, view: StopView) -> None:
        async with self._store.tenant(TenantId(view.tenant_id)) as unit:
            books = await unit.stops.get(view.stop_id)
        if books is not None:
            await take_sessions_over(activity.client(), books, view)

    async def _with_record(self, record: StopRecord, work: Callable[[TenantUnit, bool], Awaitable[_T]]) -> _T:
        """The same, with errors as activities raise them."""
        try:
            async with _final_where_bad():
                return await self._record(record, work)
        except OtherRun as other:
            text = "another run of the workflow owns this stop"
            raise ApplicationError(text, type=OTHER_RUN, non_retryable=True) from other

    @asynccontextmanager
    async def _unit(self, tenant_id: str) -> AsyncGenerator[TenantUnit]:
        async with _final_where_bad(), self._store.tenant(TenantId(tenant_id)) as unit:
            yield unit

    # --- attempts ---------------------------------------------------------------------------------------

    @activity.defn(name=ACTIVITY_OPEN_ATTEMPT)
    async def open_attempt(self, request: PrepareStart) -> Route:
        """Write the intent, hold vehicle and connector, follow the session's progress, and find the way to
        the charger. Refused where another attempt holds either: then only the record is written."""
        intent = AttemptIntent(
            stop_id=request.stop_id,
            attempt=request.attempt,
            vehicle_id=request.vehicle_id,
            station_id=request.charger.station_id,
            connector_number=request.charger.connector_number,
            evse_uid=request.charger.evse_uid,
            token_uid=request.token_uid,
            remote_start_id=request.remote_start_id,
            window_ends_at=request.window_ends_at,
        )

        async def hold(unit: TenantUnit, current: bool) -> Route | None:
            if await _has_closed(unit, request.record, current):
                return _CLOSED
            try:
                await unit.attempts.open(intent)
            except (VehicleBusy, ConnectorBusy) as busy:
                return _refused(busy)
            await unit.progress.follow(request.goal)
            return None

        refused = await self._with_record(request.record, hold)
        return refused or await self._route(request.charger)

    @activity.defn(name=ACTIVITY_TAKE_BACK)
    async def take_back_holds(self, request: TakeBack) -> Route:
        """Record, and hold vehicle and connector again, both in one transaction. Refused where another stop
        holds either: then only the record is written, and the session must be stopped."""

        async def take_back(unit: TenantUnit, current: bool) -> Route:
            if await _has_closed(unit, request.record, current):
                return _CLOSED
            try:
                await unit.attempts.take_back(request.attempt_id)
            except (VehicleBusy, ConnectorBusy) as busy:
                return _refused(busy)
            return Route()

        return await self._with_record(request.record, take_back)

    @activity.defn(name=ACTIVITY_FIND_ROUTE)
    async def find_route(self, request: RouteRequest) -> Route:
        """The queue of the process that can reach the charger now."""
        return await self._route(request.charger)

    async def _route(self, charger: Charger) -> Route:
        queue = self._fixed_queues.get(charger.protocol)
        if queue is None and charger.protocol is Protocol.OCPP:
            async with self._store.platform() as unit:
                found = await unit.find_route(charger.station_id)
            queue = found.queue if found else None
        return Route(task_queue=queue)

    @activity.defn(name=ACTIVITY_FIND_CHARGER)
    async def find_charger(self, request: FindCharger) -> FoundCharger:
        """A charger as the register has it now."""
        async with self._unit(request.tenant_id) as unit:
            return FoundCharger(charger=await unit.chargers.get(request.charger_id))

    @activity.defn(name=ACTIVITY_LOOK_AROUND)
    async def look_around(self, request: LookAround) -> Surroundings:
        """What was heard around a charger and the vehicle before the stop turned to them."""
        async with self._unit(request.tenant_id) as unit:
            return Surroundings(evidence=tuple(await unit.evidence.around(request)))

    @activity.defn(name=ACTIVITY_FOLLOW)
    async def follow_session(self, goal: SessionGoal) -> None:
        """What the session's meters are measured against from now on."""
        async with self._unit(goal.tenant_id) as unit:
            await unit.progress.follow(goal)

    @activity.defn(name=ACTIVITY_SETTLE)
    async def price_session(self, request: SettleRequest) -> Settlement:
        """What the session cost by the charger's tariff."""
        tariff = request.charger.tariff
        if tariff is None:
            return Settlement(detail="no tariff known")
        return Settlement(cost=price_session(tariff, request.energy_kwh, request.occupied_s))

    # --- sessions without a stop ------------------------------------------------------------------------

    @activity.defn(name=ACTIVITY_SESSION_FACTS)
    async def session_facts(self, session: KeptSession) -> SessionFacts:
        """What a keeper needs to end a session and to book it."""
        async with self._unit(session.tenant_id) as unit:
            view = await unit.stops.get(session.stop_id)
            request = await unit.stops.request_of(session.stop_id)
            attempts = view.attempts if view else ()
            attempt = next((one for one in attempts if one.attempt_id == session.attempt_id), None)
            return SessionFacts(
                attempt=attempt,
                charger=await unit.chargers.get(attempt.charger_id) if attempt else None,
                token_uid=request.token_uid if request else "",
                vehicle_telematics_id=view.telematics_id if view else None,
                policy=await unit.policies.active(request.policy_id if request else None),
                goal=await unit.attempts.goal_of(session.attempt_id),
            )

    @activity.defn(name=ACTIVITY_AMEND)
    async def amend_stop(self, amendment: Amendment) -> None:
        """Add a late fact to a stop that has closed, once. Tried again while the stop has yet to close. What
        PostgreSQL refuses is added without what is free in it, and kept raw in quarantine: its keeper has a
        session to end."""
        try:
            try:
                await self._amend(amendment)
            except Exception as error:
                if not is_bad_data(error):
                    raise
                _log.error("amendment refused by the store", stop_id=amendment.stop_id)
                await self._amend_degraded(amendment, error)
        except StillOpen as open_yet:
            raise ApplicationError(
                "the stop has yet to close",
                type=STILL_OPEN,
                next_retry_delay=timedelta(seconds=5),
                category=ApplicationErrorCategory.BENIGN,
            ) from open_yet

    async def _amend(self, amendment: Amendment, aside: bytes = b"", why: str = "") -> None:
        async with self._store.tenant(TenantId(amendment.tenant_id)) as unit:
            if aside:
                await unit.quarantine.keep(ACTIVITY_AMEND, BAD_DATA, aside, why)
            if await unit.stops.changes.amend(amendment):
                await count_starts(unit, [amendment.attempt])

    async def _amend_degraded(self, amendment: Amendment, refused: Exception) -> None:
        raw, why = json_text(amendment).encode(), f"{type(refused).__name__}: {refused}"
        try:
            await self._amend(bare_amendment(amendment), raw, why)
        except Exception as error:
            if not is_bad_data(error):
                raise
            async with self._store.tenant(TenantId(amendment.tenant_id)) as unit:
                await unit.quarantine.keep(ACTIVITY_AMEND, BAD_DATA, raw, why)


async def _nothing_more(unit: TenantUnit, current: bool) -> None:
    del unit, current


async def _lives(view: StopView) -> bool:
    """Whether the run that the view names is the one that runs now. Raises RPCError where nobody answers."""
    try:
        found = await activity.client().get_workflow_handle(view.workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return found.run_id == view.run_id and found.status is WorkflowExecutionStatus.RUNNING


@asynccontextmanager
async def _final_where_bad() -> AsyncGenerator[None]:
    """Bad data is told once, not tried for ever. Raises ApplicationError of type BAD_DATA."""
    try:
        yield
    except Exception as error:
        if is_bad_data(error):
            text = f"the store refuses the data: {type(error).__name__}"
            raise ApplicationError(text, type=BAD_DATA, non_retryable=True) from error
        raise


async def _has_closed(unit: TenantUnit, record: StopRecord, current: bool) -> bool:
    """A stop that has closed holds nothing any more. An intent that waited for its turn to be written (the
    store was away) may be the one that brings the close along."""
    if current:
        return record.view.outcome is not None
    return not await unit.stops.is_open(record.view.stop_id)


def _refused(busy: VehicleBusy | ConnectorBusy) -> Route:
    vehicle = isinstance(busy, VehicleBusy)
    return Route(
        refused=ReasonCode.START_VEHICLE_BUSY if vehicle else ReasonCode.START_CONNECTOR_BUSY,
        detail="another attempt holds it",
    )
