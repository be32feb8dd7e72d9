"""What people choose, at odd moments: it costs neither a start that runs nor an approval."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from models.commands import ChargerCommand, CommandReply
from models.contract import UPDATE_APPROVE, UPDATE_ARRIVED, UPDATE_CHOOSE
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.stop import Approval, ArrivalReport, ChooseCharger, Receipt, StopMode, StopOutcome, StopPhase
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT, ScriptedCharger
from tests.workflows.stop_words import arrive, cancel, timeline, types


async def choose(stop: StopHandle, charger_id: str) -> Receipt:
    wish = ChooseCharger(event_id=uuid.uuid4().hex, charger_id=charger_id, by="driver")
    return await stop.handle.execute_update(UPDATE_CHOOSE, wish, result_type=Receipt)


async def _end(stop: StopHandle) -> None:
    await cancel(stop)
    await stop.result()


@pytest.mark.asyncio
async def test_choosing_the_charger_one_stands_at_does_not_give_its_start_up(around: Surroundings) -> None:
    """The driver taps the same charger again while its start is being confirmed: nothing has failed."""
    around.charger.silent = {"c1"}
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CONFIRMING)
    receipt = await choose(stop, "c1")
    assert (receipt.unchanged, receipt.charger_id) == (True, "c1")
    await around.charger.say(command, EvidenceKind.SESSION_STARTED)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    assert "attempt.failed" not in await types(stop)
    assert "charger.chosen" not in await types(stop)
    await _end(stop)


@pytest.mark.asyncio
async def test_no_answer_is_logged_that_was_not_given(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same choice a moment earlier: the start is on the wire, and nobody has answered yet."""
    answered = asyncio.Event()
    plain = ScriptedCharger.send

    async def slow(self: ScriptedCharger, command: ChargerCommand) -> CommandReply:
        if command.kind == "start" and not answered.is_set():
            self.ledger.append(command)
            await answered.wait()
            return REJECT
        return await plain(self, command)

    monkeypatch.setattr(ScriptedCharger, "send", slow)
    stop = await around.start()
    await arrive(stop)
    await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.STARTING)
    assert (await choose(stop, "c1")).unchanged
    assert "command.accepted" not in await types(stop)
    answered.set()
    view = await stop.until(lambda v: bool(v.attempts) and v.attempts[0].reason is not None)
    assert view.attempts[0].reason is ReasonCode.START_REJECTED
    assert "command.rejected" in await types(stop)
    await _end(stop)


@pytest.mark.asyncio
async def test_choices_that_wait_for_the_planner_leave_room_for_arrival_and_cancel(
    temporal_client: Client, store: Store
) -> None:
    """Temporal takes ten Updates at once. An app that repeats its choice while the planner is away shuts
    nobody out: two are judged, the others are told to try again."""
    policy = patient_policy(plan_timeout_s=120)
    async with surroundings(temporal_client, store, policy=policy, planner=False) as around:
        stop = await around.start()
        await stop.until(lambda v: v.waits_for == "the planner")
        choices = [asyncio.create_task(choose(stop, "c4")) for _ in range(12)]
        refused: list[str] = []
        async with asyncio.timeout(30):
            for done in asyncio.as_completed(choices):
                with pytest.raises(WorkflowUpdateFailedError) as failed:
                    await done
                assert isinstance(failed.value.cause, ApplicationError)
                refused.append(failed.value.cause.type or "")
                if len(refused) == 10:
                    break
        assert refused == ["choice.busy"] * 10
        arrival = ArrivalReport(event_id="a")
        await stop.handle.execute_update(UPDATE_ARRIVED, arrival, result_type=Receipt)
        await cancel(stop)
        assert (await stop.result()).outcome is StopOutcome.CANCELLED
        await asyncio.gather(*choices, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_drivers_word_does_not_stand_in_for_the_fleets_approval(around: Surroundings) -> None:
    """An assisted plan waits for the fleet; the driver "arrives" at another option. That is noted, and the
    approval still awaited; granted for that option, the start needs no second arrival."""
    stop = await around.start(around.request(mode=StopMode.ASSISTED))
    await stop.until(lambda v: v.awaiting_approval_until is not None)
    arrival = ArrivalReport(event_id="a", charger_id="c3")
    await stop.handle.execute_update(UPDATE_ARRIVED, arrival, result_type=Receipt)
    noted = next(e for e in await timeline(stop) if e.type == "vehicle.elsewhere")
    view = await stop.view()
    assert (noted.charger_id, view.charger_id) == ("c3", "c1")
    assert view.awaiting_approval_until is not None
    assert around.charger.starts() == []
    approval = Approval(event_id="ok", approved=True, charger_id="c3")
    await stop.handle.execute_update(UPDATE_APPROVE, approval, result_type=Receipt)
    assert (await stop.command(1)).charger.charger_id == "c3"
    await _end(stop)
