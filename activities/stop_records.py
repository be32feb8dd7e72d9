"""Activities on our own store: run as local activities, so recording costs no task-queue hop."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import activity

from models.activity_messages import (
    LateSession,
    LateSessionBooking,
    LateSessionFacts,
    OpenedStop,
    OpenStop,
    PrepareStart,
    Route,
    RouteRequest,
    Settlement,
    SettleRequest,
)
from models.charger import Charger, Protocol
from models.contract import (
    ACTIVITY_BOOK_LATE_SESSION,
    ACTIVITY_FIND_ROUTE,
    ACTIVITY_LATE_SESSION_FACTS,
    ACTIVITY_OPEN_ATTEMPT,
    ACTIVITY_OPEN_STOP,
    ACTIVITY_RECORD,
    ACTIVITY_SETTLE,
)
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import AttemptState, StopEvent, StopPhase, StopRecord
from models.vehicle import VehicleModel, VehicleState
from planning.price import price_session
from store.attempts import AttemptIntent
from store.database import Store
from store.errors import ConnectorBusy, VehicleBusy


class StopRecords:
    """`fixed_queues`: the queue of each protocol that has one home (partners, vehicles)."""

    def __init__(self, store: Store, fixed_queues: Mapping[Protocol, str]) -> None:
        self._store = store
        self._fixed_queues = fixed_queues

    @activity.defn(name=ACTIVITY_OPEN_STOP)
    async def open_stop(self, request: OpenStop) -> OpenedStop:
        """Write the stop's first row; give it the policy in force and its vehicle's figures."""
        wish = request.input.request
        async with self._store.tenant(TenantId(request.input.tenant_id)) as unit:
            await unit.stops.record(request.record)
            policy = await unit.policies.active(wish.policy_id)
            model = await unit.vehicles.model(wish.vehicle.model_id) if wish.vehicle.model_id else None
        vehicle = _fill(wish.vehicle, model)
        problem = ""
        if wish.vehicle.model_id and model is None:
            problem = f"Unknown vehicle model {wish.vehicle.model_id}"
        elif vehicle.battery_usable_kwh is None:
            problem = "The vehicle's battery is unknown: name a model, or give battery_usable_kwh"
        return OpenedStop(policy=policy, vehicle=vehicle, problem=problem)

    @activity.defn(name=ACTIVITY_RECORD)
    async def record_stop(self, record: StopRecord) -> None:
        """Write transitions, view and decisions in one transaction. Repeats change nothing."""
        async with self._store.tenant(TenantId(record.view.tenant_id)) as unit:
            await unit.stops.record(record)
            for attempt in record.view.attempts:
                if attempt.state is AttemptState.OPEN:
                    continue
                await unit.attempts.close(attempt.attempt_id, attempt.state, attempt.reason)

    @activity.defn(name=ACTIVITY_OPEN_ATTEMPT)
    async def open_attempt(self, request: PrepareStart) -> Route:
        """Write the intent, hold vehicle and connector, and find the way to the charger."""
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
        tenant = TenantId(request.tenant_id)
        try:
            async with self._store.tenant(tenant) as unit:
                await unit.stops.record(request.record)
                await unit.attempts.open(intent)
        except (VehicleBusy, ConnectorBusy) as busy:
            async with self._store.tenant(tenant) as unit:
                await unit.stops.record(request.record)
            vehicle = isinstance(busy, VehicleBusy)
            reason = ReasonCode.START_VEHICLE_BUSY if vehicle else ReasonCode.START_CONNECTOR_BUSY
            return Route(refused=reason, detail="another live attempt holds it")
        return await self._route(request.charger)

    @activity.defn(name=ACTIVITY_FIND_ROUTE)
    async def find_route(self, request: RouteRequest) -> Route:
        return await self._route(request.charger)

    @activity.defn(name=ACTIVITY_SETTLE)
    async def price_session(self, request: SettleRequest) -> Settlement:
        tariff = request.charger.tariff
        if tariff is None:
            return Settlement(detail="no tariff known")
        return Settlement(cost=price_session(tariff, request.energy_kwh, request.occupied_s))

    @activity.defn(name=ACTIVITY_LATE_SESSION_FACTS)
    async def late_session_facts(self, late: LateSession) -> LateSessionFacts:
        """What the late-start guard needs to stop a session whose stop has closed."""
        async with self._store.tenant(TenantId(late.tenant_id)) as unit:
            view = await unit.stops.get(late.stop_id)
            request = await unit.stops.request_of(late.stop_id)
            attempts = view.attempts if view else ()
            attempt = next((a for a in attempts if a.attempt_id == late.attempt_id), None)
            # A session that its stop has booked as charged needs no guard: this is only its late echo.
            unbooked = attempt is not None and attempt.state is not AttemptState.CHARGED
            charger = await unit.chargers.get(attempt.charger_id) if attempt and unbooked else None
            policy = await unit.policies.active(request.policy_id if request else None)
        return LateSessionFacts(
            charger=charger, token_uid=request.token_uid if request else "", policy=policy
        )

    @activity.defn(name=ACTIVITY_BOOK_LATE_SESSION)
    async def book_late_session(self, booking: LateSessionBooking) -> None:
        """Add the late session to the stop that had closed: an event, and the attempt's energy."""
        async with self._store.tenant(TenantId(booking.tenant_id)) as unit:
            view = await unit.stops.get(booking.stop_id)
            if view is None:
                return
            timeline = await unit.stops.timeline(booking.stop_id)
            if any(e.type == "late_start.stopped" and _of(e, booking.attempt_id) for e in timeline):
                return  # booked before: this is a repeat
            attempts = tuple(
                a.model_copy(update={"energy_kwh": booking.energy_kwh, "session_ref": booking.session_ref})
                if a.attempt_id == booking.attempt_id
                else a
                for a in view.attempts
            )
            charger_id = next((a.charger_id for a in attempts if a.attempt_id == booking.attempt_id), None)
            done = "stopped" if booking.stopped else "could not be stopped"
            event = StopEvent(
                stop_id=view.stop_id,
                seq=len(timeline) + 1,
                at=booking.at,
                type="late_start.stopped",
                phase=StopPhase.CLOSED,
                text=f"A start came alive after the stop had closed; {done} at {booking.energy_kwh:.1f} kWh",
                charger_id=charger_id,
                reason=ReasonCode.CONFIRM_LATE_START,
                data={"attempt_id": booking.attempt_id, "detail": booking.detail},
            )
            changed = view.model_copy(update={"attempts": attempts, "version": view.version + 1})
            await unit.stops.record(StopRecord(view=changed, events=(event,)))

    async def _route(self, charger: Charger) -> Route:
        queue = self._fixed_queues.get(charger.protocol)
        if queue is None and charger.protocol is Protocol.OCPP:
            async with self._store.platform() as unit:
                found = await unit.find_route(charger.station_id)
            queue = found.queue if found else None
        return Route(task_queue=queue)


def _of(event: StopEvent, attempt_id: str) -> bool:
    return event.data.get("attempt_id") == attempt_id


def _fill(vehicle: VehicleState, model: VehicleModel | None) -> VehicleState:
    """The request's own figures win; the model fills what the request leaves open."""
    if model is None:
        return vehicle
    return vehicle.model_copy(
        update={
            "battery_usable_kwh": vehicle.battery_usable_kwh or model.battery_usable_kwh,
            "connectors": vehicle.connectors or model.connectors,
            "ac_max_power_kw": _either(vehicle.ac_max_power_kw, model.ac_max_power_kw),
            "dc_max_power_kw": _either(vehicle.dc_max_power_kw, model.dc_max_power_kw),
            "consumption_kwh_per_100_km": vehicle.consumption_kwh_per_100_km
            or model.consumption_kwh_per_100_km,
        }
    )


def _either(own: float | None, modelled: float) -> float:
    return modelled if own is None else own
