"""An operator's native cancel does what the business cancel does, at every moment; and what is our own fault
blames nobody else."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from models.commands import ChargerCommand, CommandReply
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.stop import Receipt, StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import ACCEPT, ScriptedCharger
from tests.workflows.stages import bill_awaited, charging
from tests.workflows.stop_words import arrive, cancel, types


async def _is_released(stop: StopHandle, around: Surroundings) -> None:
    view = await stop.stored(lambda v: v.outcome is not None)
    for attempt in view.attempts:
        if around.charger.starts():
            assert await around.holds(attempt.attempt_id) == (False, False)


async def _cancelled(stop: StopHandle) -> None:
    await stop.handle.cancel()
    result = await stop.result()
    assert (result.outcome, result.reason) == (StopOutcome.CANCELLED, ReasonCode.STOP_CANCELLED_BY_FLEET)
    assert (await stop.stored_events(lambda e: e[-1].type == "stop.closed"))[-1].reason is not None


@pytest.mark.asyncio
async def test_while_the_planner_is_asked(temporal_client: Client, store: Store) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy(), planner=False) as around:
        stop = await around.start()
        await stop.until(lambda v: v.waits_for == "the planner")
        await _cancelled(stop)


@pytest.mark.asyncio
async def test_on_the_way(around: Surroundings) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    await _cancelled(stop)


@pytest.mark.asyncio
async def test_while_the_start_is_on_the_wire(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The charger answers yes after the cancel, and starts: it is stopped, and booked."""
    answered = asyncio.Event()
    plain = ScriptedCharger.send

    async def slow(self: ScriptedCharger, command: ChargerCommand) -> CommandReply:
        if command.kind == "start":
            self.ledger.append(command)
            await answered.wait()
            await self.say(command, EvidenceKind.SESSION_STARTED)
            return ACCEPT
        return await plain(self, command)

    monkeypatch.setattr(ScriptedCharger, "send", slow)
    stop = await around.start()
    await arrive(stop)
    await stop.command(1)
    await stop.handle.cancel()
    await stop.until(lambda v: "answer" in v.waits_for or "end of what" in v.waits_for)
    answered.set()
    result = await stop.result()
    assert result.outcome is StopOutcome.CANCELLED
    await around.charger.until(lambda: bool(around.charger.stops()))
    await stop.stored(lambda v: v.attempts[0].session == "ended")
    await _is_released(stop, around)


@pytest.mark.asyncio
async def test_in_mid_charge(around: Surroundings) -> None:
    stop, _ = await charging(around)
    await _cancelled(stop)
    assert len(around.charger.stops()) == 1
    await _is_released(stop, around)


@pytest.mark.asyncio
async def test_while_the_bill_is_awaited_there_is_nothing_to_call_off(
    temporal_client: Client, store: Store
) -> None:
    policy = patient_policy(settlement_s=30)
    async with surroundings(temporal_client, store, policy=policy, protocol="ocpi") as around:
        stop, command = await bill_awaited(around)
        await stop.handle.cancel()
        await around.charger.say(command, EvidenceKind.CHARGE_RECORD, energy_kwh=30.0)
        result = await stop.result()
        assert (result.outcome, result.energy_kwh) == (StopOutcome.CHARGED, 30.0)


@pytest.mark.asyncio
async def test_a_cancelled_stop_leaves_exactly_one_close(around: Surroundings) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    said, _ = await asyncio.gather(cancel(stop), stop.handle.cancel(), return_exceptions=True)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED
    if isinstance(said, WorkflowUpdateFailedError):  # the other one was faster: told the truth, too
        assert isinstance(said.cause, ApplicationError)
        assert said.cause.type == "stop.closed"
    else:
        assert isinstance(said, Receipt)
    assert (await types(stop)).count("stop.closed") == 1


@pytest.mark.asyncio
async def test_our_own_outage_blames_no_charger(temporal_client: Client, store: Store) -> None:
    """No process of ours takes the command: it was not sent, and that is the platform's fault."""
    policy = patient_policy(route_wait_s=0.5, offline_patience_s=1, attempts_per_connector=1)
    async with surroundings(temporal_client, store, policy=policy, commands=False) as around:
        stop = await around.start()
        await arrive(stop)
        view = await stop.until(lambda v: bool(v.attempts) and v.attempts[0].reason is not None)
        assert view.attempts[0].reason is ReasonCode.START_NOT_SENT
        assert view.attempts[0].start_proven is None
        assert around.charger.ledger == []
        await cancel(stop)
        await stop.result()


@pytest.mark.asyncio
async def test_cancelled_twice_is_cancelled_once(temporal_client: Client, store: Store) -> None:
    async with surroundings(temporal_client, store, policy=patient_policy()) as around:
        around.charger.obeys_stop = False
        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await stop.handle.cancel()
        await stop.handle.cancel()
        await around.charger.until(lambda: len(around.charger.stops()) >= 1)
        await stop.handle.cancel()
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=3.0)
        result = await stop.result()
        assert (str(result.outcome), result.energy_kwh) == ("cancelled", 3.0)
