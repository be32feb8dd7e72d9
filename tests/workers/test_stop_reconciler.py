"""Stops that lost their workflow, or never had one: started once, released, repaired, called off."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError

from models.contract import keeper_workflow_id
from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import AttemptState, CancelRequest, SessionState, StopOutcome, StopPhase, StopView
from store.database import Store
from tests.store.store_samples import attempt, command, event, intent
from tests.workers.lost_stops import Lost, lost
from workers.stop_reconciler import Patience, StopReconciler
from workers.stops_command import CannotBeDone, end_session, look_after_stop

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def town(store: Store, temporal_client: Client) -> Lost:
    made = lost(store, temporal_client)
    async with store.platform() as unit:
        await unit.ensure_tenant(made.tenant)
    return made


async def test_a_row_that_never_began_is_started_once(town: Lost) -> None:
    view, _ = await town.accept()
    beside = lost(town.store, town.client)
    beside.reconciler = StopReconciler(
        town.store, town.client, task_queue=town.queue, patience=Patience(start_s=0, check_s=0)
    )
    async with town.worker():
        for _ in range(3):
            await asyncio.gather(town.reconciler.round(), beside.reconciler.round())
        handle = town.client.get_workflow_handle(view.workflow_id)
        first = (await handle.describe()).run_id
        # Not even after it has ended: a stop is started once for ever.
        await handle.terminate()
        await town.round_until(view.stop_id, lambda v: v.outcome is not None)
        await town.reconciler.round()
        assert (await handle.describe()).run_id == first


async def charging(town: Lost, *, session: SessionState = SessionState.ALIVE, sent: bool = True) -> StopView:
    view = await town.begun()
    tried = attempt(view.stop_id, charger_id="ch-1", session=session, energy_kwh=3.0 if sent else 0.0)
    async with town.store.tenant(town.tenant) as unit:
        await unit.attempts.open(intent(tried, view.stop_id))
        if sent:
            order = command(town.tenant, f"{tried.attempt_id}-start")
            await unit.commands.begin(order.model_copy(update={"attempt_id": tried.attempt_id}))
    changed = view.model_copy(
        update={
            "attempts": (tried,),
            "version": view.version + 1,
            "phase": StopPhase.CHARGING,
            "charger_id": "ch-1",
        }
    )
    return await town.recorded(changed, event(changed, 1))


async def test_a_terminated_stop_leaves_no_vehicle_busy_and_no_session_alone(town: Lost) -> None:
    view = await charging(town)
    (tried,) = view.attempts
    handle = town.client.get_workflow_handle(view.workflow_id)
    await town.reconciler.round()
    assert (await town.view(view.stop_id)).outcome is None  # its workflow runs: nothing is touched
    await handle.terminate("an operator's mistake")
    for _ in range(2):
        await asyncio.gather(town.reconciler.round(), town.reconciler.round())
    after = await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    assert (after.outcome, after.reason) == (StopOutcome.CHARGED_SHORT, ReasonCode.STOP_WORKFLOW_LOST)
    assert after.result is not None
    assert after.result.energy_kwh == 3.0
    assert await town.log(view.stop_id) == [(1, "stop.planned"), (2, "stop.closed")]
    async with town.store.tenant(town.tenant) as unit:
        held = await unit.attempts.find(tried.attempt_id)
        assert held is not None
        assert (held.state, held.holds_vehicle, held.holds_charger) == (AttemptState.GUARDED, False, True)
        # The van may go elsewhere at once.
        other = attempt("stop-other", charger_id="ch-2")
        await unit.attempts.open(intent(other, "stop-other"))
        assert await unit.stops.heading_to(besides_stop_id="") == {}
    keeper = await town.client.get_workflow_handle(keeper_workflow_id(tried.attempt_id)).describe()
    assert keeper.workflow_type == "SessionKeeper"
    async with town.worker():
        assert "ended with 4.5 kWh" in await end_session(town.client, tried.attempt_id, 4.5, "operator")
        await town.client.get_workflow_handle(keeper.id).result()
        assert "ended with 4.5 kWh" in await end_session(town.client, tried.attempt_id, 4.5, "operator")
        assert "is over" in await end_session(town.client, tried.attempt_id, 9.0, "operator")


async def test_a_keeper_that_was_terminated_goes_on(town: Lost) -> None:
    view = await charging(town)
    (tried,) = view.attempts
    await town.client.get_workflow_handle(view.workflow_id).terminate()
    await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    keeper = town.client.get_workflow_handle(keeper_workflow_id(tried.attempt_id))
    first = await keeper.describe()
    await keeper.terminate()
    async with asyncio.timeout(20):
        while (found := await keeper.describe()).run_id == first.run_id:
            await town.reconciler.round()
    assert found.close_time is None


async def test_an_attempt_of_which_nobody_heard_holds_nothing(town: Lost) -> None:
    view = await charging(town, session=SessionState.INTENDED, sent=False)
    (tried,) = view.attempts
    await town.client.get_workflow_handle(view.workflow_id).terminate()
    after = await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    assert after.outcome is StopOutcome.NOT_CHARGED
    async with town.store.tenant(town.tenant) as unit:
        held = await unit.attempts.find(tried.attempt_id)
    assert held is not None
    assert (held.state, held.holds_vehicle, held.holds_charger) == (AttemptState.FAILED, False, False)
    with pytest.raises(RPCError):
        await town.client.get_workflow_handle(keeper_workflow_id(tried.attempt_id)).describe()


async def test_an_intent_whose_command_was_begun_may_live(town: Lost) -> None:
    """The view lags: between the intent's record and the next one, the start may have been sent."""
    view = await charging(town, session=SessionState.INTENDED, sent=True)
    await town.client.get_workflow_handle(view.workflow_id).terminate()
    await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    async with town.store.tenant(town.tenant) as unit:
        held = await unit.attempts.find(view.attempts[0].attempt_id)
    assert held is not None
    assert (held.holds_vehicle, held.holds_charger) == (False, True)


async def test_a_completed_stop_whose_close_was_lost_is_repaired(town: Lost) -> None:
    view = await town.begun()
    async with town.worker():
        handle = town.client.get_workflow_handle(view.workflow_id)
        await handle.execute_update("cancel_stop", CancelRequest(event_id="c"))
        await handle.result()
        after = await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    assert after.outcome is StopOutcome.CANCELLED
    assert await town.log(view.stop_id) == [(1, "stop.planned"), (2, "stop.closed")]


async def test_without_a_worker_the_result_closes_it(town: Lost) -> None:
    view = await town.begun()
    view = await town.recorded(view.model_copy(update={"version": 2}), event(view, 1))
    async with town.worker():
        handle = town.client.get_workflow_handle(view.workflow_id)
        await handle.execute_update("cancel_stop", CancelRequest(event_id="c"))
        await handle.result()
    after = await town.round_until(view.stop_id, lambda v: v.outcome is not None)
    assert after.outcome is StopOutcome.CANCELLED
    assert await town.log(view.stop_id) == [(1, "stop.planned"), (2, "stop.closed")]


async def test_a_kept_cancel_is_delivered_once_a_worker_is_there(town: Lost) -> None:
    view, _ = await town.accept()
    async with town.store.tenant(town.tenant) as unit:
        assert await unit.stops.intake.want_cancel(view.stop_id, CancelRequest(event_id="c-1"))
    async with town.worker():
        await town.round_until(view.stop_id, lambda v: v.outcome is not None)
        assert (await town.view(view.stop_id)).outcome is StopOutcome.CANCELLED
    async with town.store.platform() as unit:
        found = await unit.stops.find(view.stop_id)
    assert found is not None
    assert found.cancel_wanted is None


async def test_one_unreadable_stop_holds_back_no_other(town: Lost, database_url: str, schema: str) -> None:
    import psycopg

    bad, good = (await town.accept())[0], (await town.accept())[0]
    with psycopg.connect(database_url, options=f"-csearch_path={schema}") as connection:
        connection.execute("UPDATE stop SET request = '{}' WHERE stop_id = %s", [bad.stop_id])
    done = await town.reconciler.round()
    assert done["failed"] >= 1
    assert (await town.client.get_workflow_handle(good.workflow_id).describe()).run_id


async def test_an_operator_may_do_the_same_by_hand(town: Lost) -> None:
    view = await charging(town)

    async def by_hand() -> str:
        return await look_after_stop(town.store, town.client, view.stop_id, task_queue=town.queue)

    assert "runs" in await by_hand()
    await town.client.get_workflow_handle(view.workflow_id).terminate()
    assert "is gone" in await by_hand()
    assert "has closed" in await by_hand()
    assert len(await town.log(view.stop_id)) == 2
    with pytest.raises(CannotBeDone):
        await look_after_stop(town.store, town.client, "stop_nowhere")
    with pytest.raises(CannotBeDone):
        await end_session(town.client, "nobody", 1.0, "operator")


async def test_two_tenants_have_nothing_to_do_with_each_other(town: Lost) -> None:
    other = lost(town.store, town.client)
    other.queue = town.queue
    async with town.store.platform() as unit:
        await unit.ensure_tenant(TenantId(other.tenant))
    ours, theirs = await charging(town), await charging(other)  # the same van and charger, by name
    await town.client.get_workflow_handle(ours.workflow_id).terminate()
    await town.round_until(ours.stop_id, lambda v: v.outcome is not None)
    assert (await other.view(theirs.stop_id)).outcome is None
    async with other.store.tenant(other.tenant) as unit:
        held = await unit.attempts.find(theirs.attempts[0].attempt_id)
    assert held is not None
    assert (held.holds_vehicle, held.holds_charger) == (True, True)
