"""Stops that are set back, and who owns their sessions then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from models.evidence import EvidenceKind
from models.ids import TenantId
from models.stop import StopPhase, StopResult
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.resets import keeper_of, release, row, set_back, settled, tasks_done
from tests.workflows.stop_words import arrive, cancel, types


@pytest_asyncio.fixture
async def around(temporal_client: Client, store: Store) -> AsyncIterator[Surroundings]:
    async with surroundings(temporal_client, store, policy=patient_policy()) as made:
        yield made


async def ends_with(stop: StopHandle) -> StopResult:
    """The result of the newest run."""
    handle = stop.around.client.get_workflow_handle(stop.handle.id, result_type=StopResult)
    async with asyncio.timeout(40):
        return await handle.result()


@pytest.mark.asyncio
async def test_a_stop_that_was_set_back_to_its_way_is_read_as_on_its_way(around: Surroundings) -> None:
    """Cancelled by mistake. Nothing happens after the reset, and the row must say that it waits for its
    vehicle all the same: it is what callers read."""
    stop = await around.start()
    stop_id = (await stop.stored(lambda v: v.phase is StopPhase.EN_ROUTE)).stop_id
    at = await settled(stop)
    await cancel(stop)
    await stop.result()
    await stop.stored(lambda v: v.outcome is not None)
    again = await set_back(stop, at, with_updates=False)
    await again.stored(lambda v: (v.phase, v.outcome) == (StopPhase.EN_ROUTE, None))
    await cancel(again)
    await ends_with(again)
    assert (await again.stored(lambda v: v.outcome is not None)).stop_id == stop_id


@pytest.mark.asyncio
async def test_a_reset_does_not_revive_a_session_that_was_seen_to_end(around: Surroundings) -> None:
    """It outlived its stop, and its keeper booked its end. The revived stop is told what the books hold."""
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.stored(lambda v: v.phase is StopPhase.CHARGING)
    at = await settled(stop)
    await cancel(stop)
    await stop.result()
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=12.5)
    async with asyncio.timeout(20):
        await keeper_of(around, command.attempt_id).result()
    again = await set_back(stop, at)
    result = await ends_with(again)
    view = await again.stored(lambda v: v.outcome is not None)
    assert (str(view.attempts[0].session), view.energy_kwh) == ("ended", 12.5)
    assert (str(result.outcome), result.energy_kwh) == ("cancelled", 12.5)
    assert await around.holds(command.attempt_id) == (False, False)


@pytest.mark.asyncio
async def test_reset_twice_in_mid_charge_gives_one_log_and_one_close(around: Surroundings) -> None:
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.stored(lambda v: v.phase is StopPhase.CHARGING)
    again = await set_back(stop, await settled(stop))
    await again.until(lambda v: v.phase is StopPhase.CHARGING)
    done = await tasks_done(again)
    again = await set_back(again, done[len(done) // 2])
    await again.until(lambda v: v.phase is StopPhase.CHARGING)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
    result = await ends_with(again)
    view = await again.stored(lambda v: v.outcome is not None)
    events = await again.stored_events(lambda e: e[-1].type == "stop.closed")
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert [e.type for e in events].count("stop.closed") == 1
    assert (str(result.outcome), view.energy_kwh) == ("charged", 30.0)
    assert len(around.charger.starts()) == 1
    assert await around.holds(command.attempt_id) == (False, False)


@pytest.mark.asyncio
async def test_a_revived_stop_has_its_session_back_from_its_keeper(
    temporal_client: Client, store: Store
) -> None:
    """Set back to its charge while the keeper still tries to end the session: the keeper hands it back. The
    stop hears the end, and nobody says "unknown" on top of it."""
    async with surroundings(temporal_client, store, policy=patient_policy(keeper_s=8)) as around:
        around.charger.obeys_stop = False
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.stored(lambda v: v.phase is StopPhase.CHARGING)
        at = await settled(stop)
        await cancel(stop)
        await stop.result()
        keeper = keeper_of(around, command.attempt_id)
        again = await set_back(stop, at, with_updates=False)
        async with asyncio.timeout(20):
            assert await keeper.result() is None
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        await ends_with(again)
        view = await again.stored(lambda v: v.outcome is not None)
        assert (str(view.attempts[0].session), view.energy_kwh) == ("ended", 30.0)


@pytest.mark.asyncio
async def test_a_revived_stop_owns_its_session_alone(around: Surroundings) -> None:
    """Terminated by mistake, released by the reconciler, set back by the operator: the stop wants its session
    again, and nobody goes on stopping it."""
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    stop_id = (await stop.stored(lambda v: v.phase is StopPhase.CHARGING)).stop_id
    at = await settled(stop)
    await stop.handle.terminate()
    async with asyncio.timeout(20):
        await release(around, stop_id)
    await around.charger.until(lambda: len(around.charger.stops()) >= 1)
    again = await set_back(stop, at)
    async with asyncio.timeout(20):
        assert await keeper_of(around, command.attempt_id).result() is None
    view = await again.stored(lambda v: (v.phase, v.outcome) == (StopPhase.CHARGING, None))
    assert view.attempts[0].holds_charger
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
    assert str((await ends_with(again)).outcome) == "charged"
    assert (await row(around, stop_id)).energy_kwh == 30.0


@pytest.mark.asyncio
@pytest.mark.parametrize("first", [True, False], ids=["its very beginning", "before its start"])
async def test_what_was_charged_stays_charged(temporal_client: Client, store: Store, first: bool) -> None:
    """Temporal applies the signals again, before their attempt exists again. It is the same attempt: nothing
    is started again, nobody blamed, and no energy lost."""
    policy = patient_policy(confirmation_s=2, human_deadline_s=2, max_attempts=2, arrival_grace_s=60)
    async with surroundings(temporal_client, store, policy=policy) as around:
        stop = await around.start()
        await stop.stored(lambda v: v.phase is StopPhase.EN_ROUTE)
        before_start = await settled(stop)
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        await stop.result()
        await stop.stored(lambda v: v.outcome is not None)
        again = await set_back(stop, (await tasks_done(stop))[0] if first else before_start)
        result = await ends_with(again) if not first else await _charged_or_asked(again)
        said = await types(again)
        async with store.tenant(TenantId(around.tenant_id)) as unit:
            charger = await unit.chargers.get("c1")
        assert charger is not None
        assert (len(around.charger.starts()), result.energy_kwh, charger.start_failures) == (1, 30.0, 0), said


async def _charged_or_asked(again: StopHandle) -> StopResult:
    """Its driver's word came before any plan, and may have been refused: he says it again."""
    await again.until(lambda v: v.phase is StopPhase.EN_ROUTE or v.outcome is not None)
    if (await again.view()).outcome is None:
        await arrive(again)
    return await ends_with(again)
