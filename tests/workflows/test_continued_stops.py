"""Stops that were continued as new: twice without a word for the log, and reset afterwards."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from models.commands import ChargerCommand
from models.evidence import EvidenceKind
from models.stop import StopPhase, StopResult
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stop_words import arrive, heard, timeline


async def balancing(stop: StopHandle, command: ChargerCommand, runs: int) -> None:
    """A vehicle near full that takes and pauses: turns, of which none is worth a line of the log."""
    handle: Any = stop.around.client.get_workflow_handle(stop.handle.id)
    at = datetime.now(UTC)
    for _ in range(runs):
        first = (await handle.describe()).run_id
        turns = 0
        while (await handle.describe()).run_id == first:
            assert turns < 3000
            for _ in range(25):
                turns += 1
                at += timedelta(milliseconds=1)
                kind = EvidenceKind.SUSPENDED_BY_VEHICLE if turns % 2 else EvidenceKind.ENERGY_FLOWING
                item = heard(
                    kind,
                    attempt_id=command.attempt_id,
                    charger_id="c1",
                    observed_at=at,
                    energy_kwh=turns * 0.001,
                )
                await handle.signal("evidence", [item])


async def charging(around: Surroundings) -> tuple[StopHandle, ChargerCommand]:
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    await stop.stored(lambda v: v.phase is StopPhase.CHARGING)
    return stop, command


def current(around: Surroundings, stop: StopHandle) -> StopHandle:
    return StopHandle(around.client.get_workflow_handle(stop.handle.id, result_type=StopResult), around)


@pytest.mark.asyncio
async def test_two_runs_without_a_word_are_no_reset(around: Surroundings) -> None:
    stop, command = await charging(around)
    await balancing(stop, command, 2)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=31.0)
    last = current(around, stop)
    await last.result()
    stored = await last.stored_events(lambda events: events[-1].type == "stop.closed")
    assert "stop.reset" not in [e.type for e in stored]
    assert [e.model_dump() for e in stored] == [e.model_dump() for e in await timeline(last)]


@pytest.mark.asyncio
async def test_a_continued_stop_that_is_reset_in_its_first_run_ends_once(around: Surroundings) -> None:
    stop, command = await charging(around)
    first_run = (await stop.handle.describe()).run_id
    await balancing(stop, command, 1)
    first = around.client.get_workflow_handle(stop.handle.id, run_id=first_run)
    done = [
        e.event_id
        async for e in first.fetch_history_events()
        if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    await around.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=around.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=stop.handle.id, run_id=first_run),
            reason="a test",
            workflow_task_finish_event_id=done[len(done) // 2],
            request_id=uuid.uuid4().hex,
        )
    )
    again = current(around, stop)
    await again.until(lambda v: v.phase is StopPhase.CHARGING)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=31.0)
    async with asyncio.timeout(60):
        result = await again.handle.result()
    view = await again.stored(lambda v: v.outcome is not None)
    stored = await again.stored_events(lambda events: events[-1].type == "stop.closed")
    assert (result.energy_kwh, view.energy_kwh, len(around.charger.starts())) == (31.0, 31.0, 1)
    assert [e.seq for e in stored] == list(range(1, len(stored) + 1))
    assert [e.type for e in stored].count("stop.closed") == 1
