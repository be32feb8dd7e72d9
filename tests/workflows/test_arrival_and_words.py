"""Arrivals, early news about the planned charger, and what people say: believed when it may be, once."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from models.contract import STOP_WORKFLOW, UPDATE_APPROVE, UPDATE_ARRIVED, UPDATE_CANCEL, UPDATE_CHOOSE
from models.evidence import EvidenceKind, EvidenceSource
from models.ids import workflow_id_for
from models.reason_codes import ReasonCode
from models.stop import (
    Approval,
    ArrivalReport,
    CancelRequest,
    ChooseCharger,
    ProblemKind,
    Receipt,
    StopMode,
    StopOutcome,
    StopPhase,
)
from store.database import Store
from tests.workflows.conftest import HOME, StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT
from tests.workflows.stages import bill_awaited, charge_fully
from tests.workflows.stop_words import arrive, cancel, heard, refusal, report, tell, timeline, types


async def _en_route(stop: StopHandle) -> None:
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)


async def _end(stop: StopHandle) -> None:
    await cancel(stop)
    await stop.result()


# --- whose plug is it? -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_anybodys_plug_at_a_public_charger_sends_no_start(around: Surroundings) -> None:
    request = around.request()
    far = request.vehicle.model_copy(update={"telematics_id": f"tele-{uuid.uuid4().hex[:6]}"})
    stop = await around.start(request.model_copy(update={"vehicle": far}))
    await _en_route(stop)
    away = heard(
        EvidenceKind.VEHICLE_PROGRESS, source=EvidenceSource.TELEMATICS, distance_km=3.0, soc_percent=30
    )
    await tell(stop, away, heard(EvidenceKind.PLUGGED_IN, charger_id="c1"))
    view = await stop.until(lambda v: v.charger_id not in (None, "c1"))
    assert around.charger.starts() == []
    event = next(e for e in await timeline(stop) if e.type == "plan.changed")
    assert event.reason is ReasonCode.REACH_OCCUPIED
    assert view.eta_impact_s is not None
    await _end(stop)


@pytest.mark.asyncio
async def test_a_plug_and_the_vehicles_own_word_are_an_arrival(around: Surroundings) -> None:
    request = around.request()
    linked = request.vehicle.model_copy(update={"telematics_id": f"tele-{uuid.uuid4().hex[:6]}"})
    stop = await around.start(request.model_copy(update={"vehicle": linked}))
    await _en_route(stop)
    now = datetime.now(UTC)
    await tell(
        stop,
        heard(EvidenceKind.PLUGGED_IN, source=EvidenceSource.TELEMATICS, observed_at=now),
        heard(EvidenceKind.PLUGGED_IN, charger_id="c1", observed_at=now + timedelta(seconds=40)),
    )
    await stop.command(1)
    arrived = next(e for e in await timeline(stop) if e.type == "vehicle.arrived")
    assert "charger, vehicle" in arrived.text
    await _end(stop)


@pytest.mark.asyncio
async def test_at_a_private_site_the_plug_is_enough(temporal_client: Client, store: Store) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(), private=True) as around:
        stop = await around.start()
        await _en_route(stop)
        await tell(stop, heard(EvidenceKind.PLUGGED_IN, charger_id="c1"))
        await stop.command(1)
        await _end(stop)


@pytest.mark.asyncio
async def test_a_plug_at_the_neighbour_turns_the_stop_to_it(around: Surroundings) -> None:
    stop = await around.start()
    await _en_route(stop)
    vehicle = heard(EvidenceKind.PLUGGED_IN, source=EvidenceSource.TELEMATICS)
    await tell(stop, vehicle, heard(EvidenceKind.PLUGGED_IN, charger_id="c2"))
    command = await stop.command(1)
    assert command.charger.charger_id == "c2"
    await _end(stop)


# --- arrivals by word ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_after_a_fallback_an_arrival_must_name_its_place(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop, "a1")
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    again = ArrivalReport(event_id="a1-again")
    assert await refusal(stop, UPDATE_ARRIVED, again) == "arrival.place_needed"
    old = ArrivalReport(
        event_id="old",
        charger_id=(await stop.view()).charger_id,
        at=datetime.now(UTC) - timedelta(hours=1),
    )
    assert await refusal(stop, UPDATE_ARRIVED, old) == "arrival.outdated"
    assert len(around.charger.starts()) == 1
    # A refused id stays usable.
    receipt = await arrive(stop, "a1-again")
    assert not receipt.duplicate
    assert (await stop.command(2)).charger.charger_id != "c1"
    await _end(stop)


@pytest.mark.asyncio
async def test_one_id_may_name_an_arrival_and_a_problem(around: Surroundings) -> None:
    stop = await around.start()
    await _en_route(stop)
    around.charger.silent = {"c1", "c2", "c3", "c4"}
    assert not (await arrive(stop, "1")).duplicate
    await stop.command(1)
    receipt = await report(stop, ProblemKind.BROKEN, "1")
    assert not receipt.duplicate
    view = await stop.until(lambda v: v.attempts[0].reason is not None)
    assert view.attempts[0].reason is ReasonCode.REACH_STATION_FAULTED
    await _end(stop)


@pytest.mark.asyncio
async def test_a_flood_of_arrivals_leaves_room_for_a_cancel(around: Surroundings) -> None:
    around.charger.silent = {"c1"}
    stop = await around.start()
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    code = ""
    for _ in range(400):
        same = ArrivalReport(event_id="same", charger_id=view.charger_id)
        try:
            await stop.handle.execute_update(UPDATE_ARRIVED, same, result_type=Receipt)
        except WorkflowUpdateFailedError as error:
            code = getattr(error.cause, "type", "")
            break
    assert code == "stop.too_many_messages"
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED


@pytest.mark.asyncio
async def test_a_charger_picked_again_after_failing_can_be_arrived_at(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    # The first ranking offered it; a person insists.
    choose = ChooseCharger(event_id="again", charger_id="c2", by="fleet")
    await stop.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
    await stop.until(lambda v: v.charger_id == "c2" and v.phase is StopPhase.EN_ROUTE)
    chosen = next(e for e in await timeline(stop) if e.type == "charger.chosen")
    assert chosen.data["decision_id"]
    await arrive(stop)
    assert (await stop.command(2)).charger.charger_id == "c2"
    await _end(stop)


@pytest.mark.asyncio
async def test_without_a_planner_a_person_chooses_by_hand(temporal_client: Client, store: Store) -> None:
    policy = patient_policy(plan_timeout_s=1)
    async with surroundings(temporal_client, store, policy=policy, planner=False) as around:
        stop = await around.start()
        await stop.until(lambda v: v.awaiting_human_until is not None)
        choose = ChooseCharger(event_id="x", charger_id="c3", by="fleet")
        await stop.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
        await stop.until(lambda v: v.charger_id == "c3" and v.phase is StopPhase.EN_ROUTE)
        unknown = ChooseCharger(event_id="y", charger_id="nowhere", by="fleet")
        assert await refusal(stop, UPDATE_CHOOSE, unknown) == "charger.not_allowed"
        await _end(stop)


@pytest.mark.asyncio
async def test_an_assisted_stop_waits_for_fallbacks_too_and_hears_problems_meanwhile(
    around: Surroundings,
) -> None:
    stop = await around.start(around.request(mode=StopMode.ASSISTED))
    await stop.until(lambda v: v.awaiting_approval_until is not None)
    await report(stop, ProblemKind.CLOSED)
    view = await stop.until(
        lambda v: v.charger_id not in (None, "c1") and v.awaiting_approval_until is not None
    )
    assert view.attempts[0].reason is ReasonCode.REACH_CLOSED
    approve = Approval(event_id="ok", approved=True)
    await stop.handle.execute_update(UPDATE_APPROVE, approve, result_type=Receipt)
    await _en_route(stop)
    await _end(stop)


# --- news on the way ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (EvidenceKind.CONNECTOR_FAULTED, ReasonCode.REACH_STATION_FAULTED),
        (EvidenceKind.CONNECTOR_OCCUPIED, ReasonCode.REACH_OCCUPIED),
        (EvidenceKind.STATION_OFFLINE, ReasonCode.REACH_OFFLINE),
        (EvidenceKind.CHARGER_REMOVED, ReasonCode.REACH_REMOVED),
    ],
)
async def test_bad_news_about_the_planned_charger_replans_before_arrival(
    around: Surroundings, kind: EvidenceKind, reason: ReasonCode
) -> None:
    stop = await around.start()
    await _en_route(stop)
    await tell(stop, heard(kind, charger_id="c1"))
    view = await stop.until(lambda v: v.charger_id not in (None, "c1") and v.phase is StopPhase.EN_ROUTE)
    assert (view.attempts, view.reason) == ((), reason)
    fallback = next(e for e in await timeline(stop) if e.type == "fallback.chosen")
    assert fallback.eta_impact_s is not None
    assert around.charger.starts() == []
    await _end(stop)


@pytest.mark.asyncio
async def test_a_vehicle_that_will_not_make_it_gets_a_nearer_charger(around: Surroundings) -> None:
    request = around.request(excluded_charger_ids=("c1", "c2", "c3"))
    thirsty = request.vehicle.model_copy(update={"consumption_kwh_per_100_km": 25.0, "soc_percent": 12.0})
    stop = await around.start(request.model_copy(update={"vehicle": thirsty}))
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    assert view.charger_id == "c4"
    short = heard(
        EvidenceKind.VEHICLE_PROGRESS, source=EvidenceSource.TELEMATICS, distance_km=5.0, soc_percent=1.0
    )
    await tell(stop, short)
    events = [e for e in await timeline(stop) if e.reason is ReasonCode.REACH_WILL_NOT_MAKE_IT]
    assert events
    await _end(stop)


# --- need --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_vehicle_that_has_enough_needs_no_stop(around: Surroundings) -> None:
    request = around.request()
    full = request.vehicle.model_copy(update={"soc_percent": 85.0})
    stop = await around.start(request.model_copy(update={"vehicle": full}))
    result = await stop.result()
    assert (result.outcome, result.reason) == (StopOutcome.NOT_NEEDED, ReasonCode.PLAN_NOTHING_NEEDED)
    assert around.charger.ledger == []


@pytest.mark.asyncio
async def test_need_follows_the_charge_measured_at_arrival(around: Surroundings) -> None:
    """Ordered at 40 %, there with 31 %: 29.4 of 60 kWh are missing to 80 %, not 24."""
    request = around.request()
    ordered = request.vehicle.model_copy(update={"soc_percent": 40.0, "position": HOME})
    stop = await around.start(request.model_copy(update={"vehicle": ordered}))
    await _en_route(stop)
    measured = heard(
        EvidenceKind.ARRIVED, source=EvidenceSource.TELEMATICS, charger_id="c1", soc_percent=31.0
    )
    await tell(stop, measured)
    command = await stop.command(1)
    view = await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    assert view.needed_kwh == pytest.approx(29.4)
    await around.charger.say(command, EvidenceKind.SESSION_PROGRESS, energy_kwh=24.0)
    await stop.until(lambda v: v.energy_kwh == 24.0)
    assert around.charger.stops() == []
    await around.charger.say(command, EvidenceKind.TARGET_REACHED, energy_kwh=29.4)
    assert (await stop.result()).outcome is StopOutcome.CHARGED


# --- anything at all may come ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_order_that_nobody_can_read_ends_with_a_clear_word(around: Surroundings) -> None:
    for order in ("nonsense", {"tenant_id": "t", "request": {}}, {"tenant_id": "a\x00b"}, None, [1]):
        handle = await around.client.start_workflow(
            STOP_WORKFLOW, order, id=f"stop:t:{uuid.uuid4().hex}", task_queue=around.queue
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "stop.bad_order"


@pytest.mark.asyncio
async def test_a_stop_under_a_foreign_workflow_id_is_refused(around: Surroundings) -> None:
    request = around.request()
    order = {"tenant_id": around.tenant_id, "request": request.model_dump(mode="json")}
    wrong = workflow_id_for("other", request.business_key)
    handle = await around.client.start_workflow(STOP_WORKFLOW, order, id=wrong, task_queue=around.queue)
    with pytest.raises(WorkflowFailureError):
        await handle.result()


@pytest.mark.asyncio
async def test_recovery_clears_reason_and_advice(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    # Why it is on its way is known; what to do is about the charger that it goes to.
    assert (view.reason, view.driver_advice) == (ReasonCode.START_REJECTED, f"Go to {view.charger_id}.")
    assert view.charger_id != "c1"
    card = (
        await stop.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    ).current_details
    assert "**Came from** `start.rejected` at c1" in card
    assert "- 1. c1: failed, session never began, 0.0 kWh (start.rejected)" in card
    await arrive(stop)
    view = await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    assert (view.reason, view.driver_advice, view.next_step) == (None, "", None)
    assert view.waits_for
    assert view.waits_until is not None
    await charge_fully(stop, number=2)
    assert (await stop.result()).outcome is StopOutcome.CHARGED


@pytest.mark.asyncio
async def test_a_cancel_while_the_bill_is_awaited_is_refused(temporal_client: Client, store: Store) -> None:
    policy = patient_policy(settlement_s=30)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        stop, command = await bill_awaited(around)
        assert await refusal(stop, UPDATE_CANCEL, CancelRequest(event_id="late")) == "cancel.too_late"
        await around.charger.say(command, EvidenceKind.CHARGE_RECORD, energy_kwh=30.0)
        assert (await stop.result()).outcome is StopOutcome.CHARGED
        assert "stop.closed" in await types(stop)
