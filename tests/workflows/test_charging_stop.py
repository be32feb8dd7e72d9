"""The stop's life, path by path, on a real Temporal server, store and planner."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import TimeSkipper

from models.contract import (
    SIGNAL_ARRIVED,
    UPDATE_CHOOSE,
    UPDATE_PROBLEM,
)
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.stop import (
    ArrivalReport,
    AttemptState,
    ChooseCharger,
    ProblemKind,
    ProblemReport,
    Receipt,
    StopMode,
    StopOutcome,
    StopPhase,
)
from store.database import Store
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT, UNCERTAIN, UNREACHABLE
from tests.workflows.stages import charge_fully, charging, start_given_up
from tests.workflows.stop_words import arrive, cancel, types

HAPPY_PATH_EVENTS = 75


@pytest.mark.asyncio
async def test_a_calm_stop_charges_and_explains_itself_in_few_events(around: Surroundings) -> None:
    stop = await around.start()
    receipt = await arrive(stop)
    assert receipt.charger_id == "c1"
    await charge_fully(stop)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert result.reason is None
    assert result.energy_kwh == pytest.approx(30.0)
    assert str(result.cost_actual) == "15.00 EUR"
    assert [a.state for a in result.attempts] == [AttemptState.CHARGED]
    assert len(around.charger.starts("c1")) == 1
    history = await stop.handle.fetch_history()
    assert len(history.events) <= HAPPY_PATH_EVENTS
    stored = await stop.stored(lambda view: view.outcome is not None)
    assert stored.result == result


@pytest.mark.asyncio
async def test_a_refused_start_falls_back_with_code_and_eta_impact(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    view = await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
    assert view.charger_id not in (None, "c1")
    assert view.reason is ReasonCode.START_REJECTED
    assert view.eta_impact_s is not None
    await arrive(stop)
    await charge_fully(stop, number=2)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    first, second = result.attempts
    assert (first.state, first.reason, first.vendor_code) == (
        AttemptState.FAILED,
        ReasonCode.START_REJECTED,
        "Rejected",
    )
    assert second.state is AttemptState.CHARGED
    timeline = await types(stop)
    assert timeline.index("attempt.failed") < timeline.index("fallback.chosen")


@pytest.mark.asyncio
async def test_accepted_is_not_started_and_a_late_start_is_stopped(
    temporal_client: Client, store: Store
) -> None:
    policy = patient_policy(confirmation_s=1.5)
    async with surroundings(temporal_client, store, policy=policy) as around:
        stop, first = await start_given_up(around)
        view = await stop.view()
        assert view.attempts[0].reason is ReasonCode.CONFIRM_NEVER_STARTED
        assert view.attempts[0].state is AttemptState.GUARDED
        await arrive(stop)
        await stop.command(2)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await charge_fully(stop, number=2)
        result = await stop.result()
        assert result.outcome is StopOutcome.CHARGED
        assert "late_start.stopped" in await types(stop)
        assert [c.attempt_id for c in around.charger.stops()] == [first.attempt_id]


@pytest.mark.asyncio
async def test_a_start_that_comes_alive_on_the_way_to_the_fallback_is_adopted(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        stop, first = await start_given_up(around)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await charge_fully(stop, number=1)
        result = await stop.result()
        assert result.outcome is StopOutcome.CHARGED
        assert len(around.charger.starts()) == 1
        assert "late_start.adopted" in await types(stop)


@pytest.mark.asyncio
async def test_a_start_that_comes_alive_after_the_stop_closed_is_stopped_and_booked(
    temporal_client: Client, store: Store
) -> None:
    policy = patient_policy(confirmation_s=1, max_attempts=1, human_deadline_s=1)
    async with surroundings(temporal_client, store, policy=policy) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        first = await stop.command(1)
        result = await stop.result()
        assert result.outcome is StopOutcome.HANDED_TO_HUMAN
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await around.charger.say(first, EvidenceKind.ENERGY_FLOWING, energy_kwh=0.4)
        view = await stop.stored(lambda v: v.attempts[0].energy_kwh > 0)
        assert view.attempts[0].energy_kwh == pytest.approx(0.4)
        assert [c.attempt_id for c in around.charger.stops()] == [first.attempt_id]


@pytest.mark.asyncio
async def test_an_uncertain_start_is_never_sent_again_and_evidence_decides(around: Surroundings) -> None:
    around.charger.replies["c1"] = [UNCERTAIN]
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await around.charger.say(command, EvidenceKind.SESSION_STARTED)
    await charge_fully(stop)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert len(around.charger.starts()) == 1


@pytest.mark.asyncio
async def test_an_unreachable_charger_is_given_time_and_then_left(around: Surroundings) -> None:
    around.charger.replies["c1"] = [UNREACHABLE] * 50
    stop = await around.start()
    await arrive(stop)
    view = await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
    assert view.attempts[0].reason is ReasonCode.START_OFFLINE
    assert view.attempts[0].state is AttemptState.FAILED
    assert view.site_id != "s1"
    assert len(around.charger.starts("c1")) > 1
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED


@pytest.mark.asyncio
async def test_a_fault_in_mid_charge_moves_on_with_what_is_missing(around: Surroundings) -> None:
    stop, command = await charging(around)
    say = around.charger.say
    await say(command, EvidenceKind.ENERGY_FLOWING, energy_kwh=10.0)
    await say(command, EvidenceKind.CONNECTOR_FAULTED, reason=ReasonCode.SUSTAIN_EVSE_FAULT)
    await say(command, EvidenceKind.SESSION_ENDED, energy_kwh=10.0, reason=ReasonCode.SUSTAIN_EVSE_FAULT)
    view = await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
    assert view.attempts[0].energy_kwh == pytest.approx(10.0)
    await arrive(stop)
    await charge_fully(stop, number=2, energy_kwh=20.0)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert result.energy_kwh == pytest.approx(30.0)
    assert result.attempts[0].reason is ReasonCode.SUSTAIN_EVSE_FAULT


@pytest.mark.asyncio
async def test_an_early_unplug_is_a_short_charge_not_a_failure(around: Surroundings) -> None:
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await around.charger.say(
        command, EvidenceKind.SESSION_ENDED, energy_kwh=8.0, reason=ReasonCode.SUSTAIN_UNPLUGGED_EARLY
    )
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED_SHORT
    assert result.reason is ReasonCode.SUSTAIN_UNPLUGGED_EARLY


@pytest.mark.asyncio
async def test_the_target_is_enough_and_the_session_is_stopped(around: Surroundings) -> None:
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await around.charger.say(command, EvidenceKind.METER, energy_kwh=30.5)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert len(around.charger.stops()) == 1


@pytest.mark.asyncio
async def test_a_driver_who_finds_the_bay_taken_gets_another_charger(around: Surroundings) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    report = ProblemReport(event_id="p1", kind=ProblemKind.OCCUPIED, charger_id="c1")
    await stop.handle.execute_update(UPDATE_PROBLEM, report, result_type=Receipt)
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    assert view.charger_id != "c1"
    assert view.attempts[0].reason is ReasonCode.REACH_OCCUPIED
    assert around.charger.starts() == []
    again = await stop.handle.execute_update(
        UPDATE_PROBLEM, report.model_copy(update={"charger_id": None}), result_type=Receipt
    )
    assert again.duplicate


@pytest.mark.asyncio
async def test_cancel_in_mid_charge_stops_the_session_and_books_it(around: Surroundings) -> None:
    stop, command = await charging(around)
    await around.charger.say(command, EvidenceKind.METER, energy_kwh=5.0)
    await cancel(stop, by="driver")
    result = await stop.result()
    assert result.outcome is StopOutcome.CANCELLED
    assert result.reason is ReasonCode.STOP_CANCELLED_BY_DRIVER
    assert result.energy_kwh == pytest.approx(5.0)
    assert len(around.charger.stops()) == 1


@pytest.mark.asyncio
async def test_choosing_another_charger_redirects_and_nonsense_is_refused(around: Surroundings) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    choose = ChooseCharger(event_id="ch1", charger_id="c4", by="driver")
    await stop.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
    view = await stop.until(lambda v: v.charger_id == "c4" and v.phase is StopPhase.EN_ROUTE)
    assert view.attempts == ()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await stop.handle.execute_update(
            UPDATE_CHOOSE, ChooseCharger(event_id="ch2", charger_id="nowhere"), result_type=Receipt
        )
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "charger.not_allowed"
    await stop.handle.signal(SIGNAL_ARRIVED, ArrivalReport(event_id="s1", charger_id="c4"))
    await charge_fully(stop)
    assert (await stop.result()).attempts[0].charger_id == "c4"


@pytest.mark.asyncio
async def test_when_all_attempts_fail_a_person_has_a_deadline(temporal_client: Client, store: Store) -> None:
    policy = patient_policy(max_attempts=2, human_deadline_s=2)
    async with surroundings(temporal_client, store, policy=policy) as around:
        for name in ("c1", "c2", "c3", "c4"):
            around.charger.replies[name] = [REJECT]
        stop = await around.start()
        await arrive(stop)
        await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
        await arrive(stop)
        view = await stop.until(lambda v: v.awaiting_human_until is not None)
        assert view.reason is ReasonCode.STOP_ATTEMPTS_EXHAUSTED
        result = await stop.result()
        assert result.outcome is StopOutcome.HANDED_TO_HUMAN
        assert "human.deadline_missed" in await types(stop)


@pytest.mark.asyncio
async def test_a_person_can_save_a_stop_that_was_handed_over(around: Surroundings) -> None:
    request = around.request(excluded_charger_ids=("c1", "c2", "c3", "c4"))
    stop = await around.start(request)
    view = await stop.until(lambda v: v.awaiting_human_until is not None)
    assert view.next_step == "human"
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED


@pytest.mark.asyncio
async def test_nobody_comes_is_an_outcome_and_the_clock_is_skipped(
    around: Surroundings, time_skipper: TimeSkipper
) -> None:
    stop = await around.start(client=time_skipper.client)
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    handle = time_skipper.client.get_workflow_handle(stop.handle.id)
    await time_skipper.fast_forward(handle, 3600)
    result = await stop.result()
    assert result.outcome is StopOutcome.NO_SHOW
    assert result.reason is ReasonCode.REACH_NO_SHOW
    assert around.charger.ledger == []


@pytest.mark.asyncio
async def test_shadow_mode_plans_and_touches_nothing(around: Surroundings) -> None:
    stop = await around.start(around.request(mode=StopMode.SHADOW))
    result = await stop.result()
    assert result.outcome is StopOutcome.NOT_CHARGED
    assert around.charger.ledger == []
    stored = await stop.stored(lambda v: v.outcome is not None)
    assert stored.charger_id == "c1"


@pytest.mark.asyncio
async def test_the_vehicle_of_a_live_stop_is_not_started_twice(around: Surroundings) -> None:
    first = await around.start()
    await arrive(first)
    await first.until(lambda v: v.phase is StopPhase.CHARGING)
    vehicle = (await first.view()).vehicle_id
    request = around.request(excluded_charger_ids=("c1",))
    twin = request.model_copy(update={"vehicle": request.vehicle.model_copy(update={"vehicle_id": vehicle})})
    second = await around.start(twin)
    await arrive(second)
    view = await second.until(lambda v: v.attempt_number == 1 and v.attempts[0].reason is not None)
    assert view.attempts[0].reason is ReasonCode.START_VEHICLE_BUSY
    assert len(around.charger.starts()) == 1
