"""What is answered with yes comes true: nothing is acknowledged that cannot change anything any more.

OCPP has no settling phase: between "enough" and the end that is seen, only these rules tell people."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from models.commands import ChargerCommand
from models.contract import UPDATE_ARRIVED, UPDATE_CANCEL, UPDATE_CHOOSE, UPDATE_PROBLEM
from models.evidence import EvidenceKind
from models.stop import (
    ArrivalReport,
    CancelRequest,
    ChooseCharger,
    ProblemKind,
    ProblemReport,
    StopOutcome,
    StopPhase,
)
from store.database import Store
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT
from tests.workflows.stop_words import arrive, cancel, refusal, report, timeline


@pytest_asyncio.fixture
async def slow(temporal_client: Client, store: Store) -> AsyncIterator[Surroundings]:
    """A charger that does not end its session when told to."""
    async with surroundings(temporal_client, store, policy=patient_policy(uncertain_guard_s=30)) as made:
        made.charger.obeys_stop = False
        yield made


async def _charging(around: Surroundings) -> tuple[StopHandle, ChargerCommand]:
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    return stop, command


@pytest.mark.asyncio
async def test_once_the_charge_is_enough_words_come_too_late(slow: Surroundings) -> None:
    stop, command = await _charging(slow)
    await slow.charger.say(command, EvidenceKind.TARGET_REACHED, energy_kwh=31.0)
    await slow.charger.until(lambda: len(slow.charger.stops()) >= 1)
    assert await refusal(stop, UPDATE_CANCEL, CancelRequest(event_id="c")) == "cancel.too_late"
    broken = ProblemReport(event_id="p", kind=ProblemKind.BROKEN)
    assert await refusal(stop, UPDATE_PROBLEM, broken) == "problem.too_late"
    assert await refusal(stop, UPDATE_ARRIVED, ArrivalReport(event_id="a", charger_id="c1")) == (
        "arrival.too_late"
    )
    await slow.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=31.0)
    assert (await stop.result()).outcome is StopOutcome.CHARGED


@pytest.mark.asyncio
async def test_after_a_cancel_only_a_cancel_is_acknowledged(slow: Surroundings) -> None:
    """Called off; the session is still being ended. Another charger will not be looked for."""
    stop, command = await _charging(slow)
    await cancel(stop)
    broken = ProblemReport(event_id="p", kind=ProblemKind.BROKEN)
    assert await refusal(stop, UPDATE_PROBLEM, broken) == "problem.too_late"
    other = ChooseCharger(event_id="x", charger_id="c3")
    assert await refusal(stop, UPDATE_CHOOSE, other) == "choice.too_late"
    await cancel(stop)
    await slow.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=3.0)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED


@pytest.mark.asyncio
async def test_a_problem_without_a_place_is_not_blamed_on_the_next_charger(around: Surroundings) -> None:
    around.charger.replies["c1"] = [REJECT]
    stop = await around.start()
    await arrive(stop)
    view = await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE and v.attempt_number == 1)
    nowhere = ProblemReport(event_id="p", kind=ProblemKind.BROKEN)
    assert await refusal(stop, UPDATE_PROBLEM, nowhere) == "problem.place_needed"
    assert (await stop.view()).charger_id == view.charger_id
    await report(stop, ProblemKind.BROKEN, "p", view.charger_id)
    await stop.until(lambda v: v.charger_id not in (None, view.charger_id))
    told = next(e for e in await timeline(stop) if e.type == "problem.reported")
    assert told.charger_id == view.charger_id
    await cancel(stop)
    await stop.result()
