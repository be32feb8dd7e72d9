"""Every session has an owner, from the intent to its proven end, whatever its stop does meanwhile."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from models.contract import (
    QUERY_STATUS,
    UPDATE_CHOOSE,
    UPDATE_PROBLEM,
    UPDATE_RELEASE_SESSION,
    keeper_workflow_id,
)
from models.evidence import EvidenceKind
from models.money import Money
from models.reason_codes import NextStep, ReasonCode
from models.stop import (
    ChooseCharger,
    ProblemKind,
    ProblemReport,
    Receipt,
    SessionState,
    StopOutcome,
    StopPhase,
)
from store.database import Store
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT
from tests.workflows.stages import charging, start_given_up
from tests.workflows.stop_words import arrive, cancel, refusal, types

_ENDED_BY_US = ReasonCode.SUSTAIN_STOPPED_REMOTELY


@pytest.mark.asyncio
async def test_a_stop_command_that_is_lost_is_sent_again_until_the_end_is_seen_and_booked(
    around: Surroundings,
) -> None:
    """Cancelled at 5 kWh, the STOP lost: the session goes on to 25 kWh. All 25 are booked, the connector is
    held until then, and the result is amended as a new event."""
    around.charger.obeys_stop = False
    stop, command = await charging(around)
    await around.charger.say(command, EvidenceKind.SESSION_PROGRESS, energy_kwh=5.0)
    await cancel(stop)
    result = await stop.result()
    assert result.outcome is StopOutcome.CANCELLED
    assert result.attempts[0].session is SessionState.STOPPING
    assert result.attempts[0].holds_charger
    assert len(around.charger.stops()) >= 2
    keeper = around.client.get_workflow_handle(keeper_workflow_id(command.attempt_id))
    told = len(around.charger.stops())
    await around.charger.until(lambda: len(around.charger.stops()) > told)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=25.0, reason=_ENDED_BY_US)
    booked = await keeper.result()
    assert booked is not None
    view = await stop.stored(lambda v: v.result is not None and v.result.energy_kwh == 25.0)
    assert view.attempts[0].session is SessionState.ENDED
    assert not view.attempts[0].holds_charger
    assert view.result is not None
    assert str(view.result.cost_actual) == "12.50 EUR"
    log = await stop.stored_events(lambda events: events[-1].type == "session.ended")
    assert [e.type for e in log].count("stop.closed") == 1


@pytest.mark.asyncio
async def test_at_the_target_a_lost_stop_does_not_lose_energy(around: Surroundings) -> None:
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await around.charger.say(command, EvidenceKind.TARGET_REACHED, energy_kwh=30.5)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=52.5)
    view = await stop.stored(lambda v: v.result is not None and v.result.energy_kwh == 52.5)
    assert view.result is not None
    assert view.result.outcome is StopOutcome.CHARGED


@pytest.mark.asyncio
async def test_a_late_start_of_an_earlier_attempt_is_stopped_at_once_while_a_later_one_charges(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        stop, first = await start_given_up(around)
        await arrive(stop)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await around.charger.until(lambda: bool(around.charger.stops()))
        assert [c.attempt_id for c in around.charger.stops()] == [first.attempt_id]
        view = await stop.view()
        assert view.phase is StopPhase.CHARGING, "the later one charges on"
        await cancel(stop)
        assert (await stop.result()).outcome is StopOutcome.CANCELLED


@pytest.mark.asyncio
async def test_what_a_person_has_left_is_stopped_and_never_adopted(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=20)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        first = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CONFIRMING)
        choose = ChooseCharger(event_id="x", charger_id="c4", by="driver")
        await stop.handle.execute_update(UPDATE_CHOOSE, choose, result_type=Receipt)
        await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.charger_id == "c4")
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await around.charger.until(lambda: bool(around.charger.stops()))
        view = await stop.view()
        assert (view.charger_id, view.phase) == ("c4", StopPhase.EN_ROUTE)
        assert "late_start.adopted" not in await types(stop)
        await cancel(stop)
        await stop.result()


@pytest.mark.asyncio
async def test_a_charger_that_the_vehicle_has_left_is_not_adopted(
    temporal_client: Client, store: Store
) -> None:
    policy = patient_policy(confirmation_s=1.5, presence_s=0.001)
    async with surroundings(temporal_client, store, policy=policy) as around:
        stop, first = await start_given_up(around)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await around.charger.until(lambda: bool(around.charger.stops()))
        assert "late_start.adopted" not in await types(stop)
        await cancel(stop)
        await stop.result()


@pytest.mark.asyncio
async def test_an_adopted_session_takes_its_holds_back(temporal_client: Client, store: Store) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=1.5)) as around:
        stop, first = await start_given_up(around)
        assert await around.holds(first.attempt_id) == (False, False)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        assert await around.holds(first.attempt_id) == (True, True)
        await cancel(stop)
        await stop.result()
        assert await around.holds(first.attempt_id) == (False, False)


@pytest.mark.asyncio
async def test_a_charge_record_after_settlement_amends_the_result(
    temporal_client: Client, store: Store
) -> None:
    policy = patient_policy(settlement_s=0.5)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        stop, command = await charging(around)
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        result = await stop.result()
        assert result.cost_actual is None, "no record, no actual cost"
        assert result.cost_estimated is not None
        cost = Money.model_validate({"amount": "17.10", "currency": "EUR"})
        await around.charger.say(command, EvidenceKind.CHARGE_RECORD, energy_kwh=30.2, cost=cost)
        view = await stop.stored(lambda v: v.result is not None and v.result.cost_actual is not None)
        assert view.result is not None
        assert (str(view.result.cost_actual), view.result.energy_kwh) == ("17.10 EUR", 30.2)


@pytest.mark.asyncio
async def test_a_person_can_say_that_an_unprovable_session_has_ended(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(keeper_s=1)) as around:
        around.charger.obeys_stop = False
        stop, command = await charging(around)
        await cancel(stop)
        await stop.result()
        view = await stop.stored(lambda v: v.attempts[0].session is SessionState.UNKNOWN)
        assert view.attempts[0].holds_charger
        assert (await stop.stored_events(lambda e: e[-1].type == "session.unknown"))[-1].next_step == "human"
        keeper = around.client.get_workflow_handle(keeper_workflow_id(command.attempt_id))
        assert (await keeper.query(QUERY_STATUS))["stop_tries"] > 0
        for wrong in (
            {"energy_kwh": -1.0},
            {"energy_kwh": 1e9},
            {"by": ""},
            {"by": "x" * 101},
            {"who": "me"},
        ):
            with pytest.raises(WorkflowUpdateFailedError):
                await keeper.execute_update(UPDATE_RELEASE_SESSION, {"event_id": "r", **wrong})
        released = {"event_id": "r", "by": "operator", "energy_kwh": 7.5}
        await keeper.execute_update(UPDATE_RELEASE_SESSION, released)
        view = await stop.stored(lambda v: v.attempts[0].session is SessionState.ENDED)
        assert view.attempts[0].energy_kwh == 7.5
        ended = (await stop.stored_events(lambda e: e[-1].type == "session.ended"))[-1]
        assert ended.text.endswith("7.5 kWh, seen by operator")
        assert await around.holds(command.attempt_id) == (False, False)


@pytest.mark.asyncio
async def test_enough_is_enough_whoever_ends_it(around: Surroundings) -> None:
    """29.7 of 30 kWh: a driver's report, a fault or a stall does not send the driver to another site."""
    around.charger.obeys_stop = False
    stop, command = await charging(around)
    await around.charger.say(command, EvidenceKind.SESSION_PROGRESS, energy_kwh=29.7)
    await stop.until(lambda v: v.energy_kwh > 29)
    late = ProblemReport(event_id="late", kind=ProblemKind.OTHER)
    assert await refusal(stop, UPDATE_PROBLEM, late) == "problem.too_late"
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=29.7)
    result = await stop.result()
    assert result.outcome is StopOutcome.CHARGED
    assert "fallback.chosen" not in await types(stop)


@pytest.mark.asyncio
async def test_a_vehicle_that_is_held_elsewhere_gets_no_start(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    view = await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
    assert await around.holds(view.attempts[0].attempt_id) == (False, False)
    await cancel(stop)
    await stop.result()


@pytest.mark.asyncio
async def test_a_long_pause_by_load_management_blames_no_charger(
    temporal_client: Client, store: Store
) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(pause_s=1.5)) as around:
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(command, EvidenceKind.SUSPENDED_BY_CHARGER)
        paused = await stop.until(lambda v: v.reason is ReasonCode.SUSTAIN_PAUSED)
        view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1, 60)
        await cancel(stop)
        await stop.result()
        assert paused.next_step is NextStep.NONE
        assert view.attempts[0].reason is ReasonCode.SUSTAIN_PAUSED
        assert view.charger_id not in ("c1", "c2")  # its site shares the power


@pytest.mark.asyncio
async def test_an_uplink_lost_at_the_start_is_not_the_chargers_failure_to_start(
    temporal_client: Client, store: Store
) -> None:
    """Accepted, then the station's line is gone: whether it charges, nobody can say, and ranking learns
    nothing of it."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=2)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CONFIRMING)
        await around.charger.say(command, EvidenceKind.STATION_OFFLINE)
        view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
        await cancel(stop)
        await stop.result()
        first = view.attempts[0]
        assert (first.reason, first.start_proven) == (ReasonCode.CONFIRM_CONTACT_LOST, None)
