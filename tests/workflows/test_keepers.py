"""What a keeper books, gives back, and outlives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from activities.stop_records import StopRecords
from models.activity_messages import Amendment
from models.contract import SIGNAL_EVIDENCE, UPDATE_RELEASE_SESSION
from models.evidence import EvidenceKind
from models.money import Money
from models.stop import SessionReleased, StopPhase, StopRecord
from store.database import Store
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.resets import keeper_of, release, row
from tests.workflows.stop_words import arrive, cancel, heard


@pytest_asyncio.fixture
async def around(temporal_client: Client, store: Store) -> AsyncIterator[Surroundings]:
    async with surroundings(temporal_client, store, policy=patient_policy()) as made:
        yield made


@pytest.mark.asyncio
async def test_a_start_without_life_of_a_lost_stop_frees_its_connector(
    temporal_client: Client, store: Store
) -> None:
    """Terminated while the start was being confirmed; no session ever came, and nobody but its keeper is left
    to say so. Comes it later all the same, it is stopped."""
    async with surroundings(temporal_client, store, policy=patient_policy(confirmation_s=5)) as around:
        around.charger.silent = {"c1"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        view = await stop.stored(lambda v: bool(v.attempts) and v.attempts[0].session == "accepted")
        await stop.handle.terminate()
        async with asyncio.timeout(20):
            await release(around, view.stop_id)
        assert await around.holds(command.attempt_id) == (False, True)
        async with asyncio.timeout(20):
            await keeper_of(around, command.attempt_id).result()
        assert await around.holds(command.attempt_id) == (False, False)
        booked = (await row(around, view.stop_id)).attempts[0]
        assert (str(booked.session), str(booked.state)) == ("never_began", "failed")
        await around.charger.say(command, EvidenceKind.SESSION_STARTED)
        await around.charger.until(lambda: len(around.charger.stops()) == 1)


@pytest.mark.asyncio
async def test_what_a_keeper_hears_while_it_writes_is_booked(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end, and twice a larger figure, each while the one before is being written."""
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    writing: asyncio.Queue[float] = asyncio.Queue()
    go_on = asyncio.Semaphore(0)

    async def slow(self: StopRecords, amendment: Amendment, *more: Any) -> None:
        if amendment.tenant_id == around.tenant_id:
            writing.put_nowait(amendment.attempt.energy_kwh)
            await go_on.acquire()
        await plain_amend(self, amendment, *more)

    plain_amend: Any = StopRecords._amend  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(StopRecords, "_amend", slow)
    await cancel(stop)
    await stop.result()
    await stop.stored(lambda v: v.outcome is not None)
    keeper = keeper_of(around, command.attempt_id)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=12.0)
    async with asyncio.timeout(20):
        for energy_kwh, larger_kwh in ((12.0, 13.0), (13.0, 14.0)):
            assert await writing.get() == energy_kwh
            more = heard(
                EvidenceKind.SESSION_ENDED,
                attempt_id=command.attempt_id,
                charger_id="c1",
                energy_kwh=larger_kwh,
            )
            await keeper.signal(SIGNAL_EVIDENCE, [more])
            go_on.release()
        go_on.release()
        await keeper.result()
    assert (await row(around, command.stop_id)).energy_kwh == 14.0


@pytest.mark.asyncio
async def test_a_bill_for_a_start_that_nobody_saw_is_booked(temporal_client: Client, store: Store) -> None:
    """Roaming: accepted, no word of a session, given up, closed. Then the operator bills 12 kWh for it: there
    is a record only of a session that was."""
    policy = patient_policy(confirmation_s=1, max_attempts=1, human_deadline_s=1, settlement_s=1)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.silent = {"c1", "c2", "c3", "c4"}
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        assert (await stop.result()).energy_kwh == 0
        await stop.stored(lambda v: v.outcome is not None)
        cost = Money.model_validate({"amount": "6.00", "currency": "EUR"})
        await around.charger.say(command, EvidenceKind.CHARGE_RECORD, energy_kwh=12.0, cost=cost)
        view = await stop.stored(lambda v: v.energy_kwh > 0)
        assert view.result is not None
        assert (view.result.energy_kwh, view.result.cost_actual) == (12.0, cost)
        assert str(view.attempts[0].session) == "ended"


async def _in_a_pause(keeper: WorkflowHandle[Any, Any]) -> bool:
    """Between two commands; in the other moments it waits for an activity."""
    timers = 0
    async for event in keeper.fetch_history_events():
        timers += event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
        timers -= event.event_type in (
            EventType.EVENT_TYPE_TIMER_FIRED,
            EventType.EVENT_TYPE_TIMER_CANCELED,
        )
    return timers > 0


@pytest.mark.asyncio
async def test_a_native_cancel_of_a_keeper_leaves_no_session_alone(around: Surroundings) -> None:
    """The session is stopped until it is seen to end, or a person says so."""
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    await cancel(stop)
    await stop.result()
    keeper = keeper_of(around, command.attempt_id)
    async with asyncio.timeout(20):
        while not await _in_a_pause(keeper):
            await asyncio.sleep(0.02)
    stops = len(around.charger.stops())
    await keeper.cancel()
    await around.charger.until(lambda: len(around.charger.stops()) > stops)
    released = SessionReleased(event_id="seen", by="operator", energy_kwh=7.0)
    await keeper.execute_update(UPDATE_RELEASE_SESSION, released)
    async with asyncio.timeout(20):
        await keeper.result()
    view = await row(around, command.stop_id)
    assert (str(view.attempts[0].session), view.energy_kwh) == ("ended", 7.0)


@pytest.mark.asyncio
@pytest.mark.parametrize("kept", [False, True])
async def test_a_bill_in_the_moment_of_the_close_is_booked(
    temporal_client: Client, store: Store, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """The result is fixed, its record is being written, and the charge record comes."""
    policy = patient_policy(settlement_s=1)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        around.charger.obeys_stop = not kept
        writing, gate = asyncio.Event(), asyncio.Event()
        plain: Any = StopRecords._record  # pyright: ignore[reportPrivateUsage]

        async def slow(self: StopRecords, record: StopRecord, work: Any) -> Any:
            if record.view.outcome is not None and record.view.tenant_id == around.tenant_id:
                writing.set()
                async with asyncio.timeout(8):
                    await gate.wait()
            return await plain(self, record, work)

        monkeypatch.setattr(StopRecords, "_record", slow)
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        if kept:
            await cancel(stop)
        else:
            await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
        async with asyncio.timeout(20):
            await writing.wait()
        cost = Money.model_validate({"amount": "15.00", "currency": "EUR"})
        await around.charger.say(command, EvidenceKind.CHARGE_RECORD, energy_kwh=30.0, cost=cost)
        await around.delivered()
        gate.set()
        await stop.result()
        stop_id = (await stop.stored(lambda v: v.outcome is not None)).stop_id
        async with asyncio.timeout(20):
            while (view := await row(around, stop_id)).attempts[0].cost_actual is None:
                await asyncio.sleep(0.2)
        assert view.energy_kwh == 30.0
        assert view.result is not None
        assert view.result.cost_actual is not None
