"""The oracle's own eyes: workflows and rows are read as they are, from a real server and a real database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from morning_sample import FIRST, STOP_ID, T0, Morning, at, morning
from psycopg.types.json import Jsonb
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from models.commands import CommandKind, CommandOutcome
from models.contract import QUERY_TIMELINE, STOP_WORKFLOW
from models.stop import StopEvent, StopResult
from workers.oracle import check_invariants
from workers.oracle.reader import HouseReader

DAY: Morning = morning()


@workflow.defn(name=STOP_WORKFLOW)
class ToyStop:
    """Says what the prepared morning says."""

    @workflow.init
    def __init__(self, waits: bool) -> None:
        self._events = list(DAY.workflow().timeline)

    @workflow.query(name=QUERY_TIMELINE)
    def timeline(self) -> list[StopEvent]:
        return self._events

    @workflow.run
    async def run(self, waits: bool) -> StopResult:
        await workflow.wait_condition(lambda: not waits)
        result = DAY.workflow().result
        assert result is not None
        return result


@pytest.mark.asyncio
async def test_a_workflow_is_read_while_it_runs_and_after(
    temporal_client: Client, task_queue: str, unique: Callable[[str], str]
) -> None:
    reader = HouseReader(temporal_client, "", "demo")
    running, done, gone = unique("stop"), unique("stop"), unique("stop")
    view = DAY.view()
    views = [
        view.model_copy(update={"stop_id": workflow_id, "workflow_id": workflow_id})
        for workflow_id in (running, done, gone)
    ]
    async with Worker(
        temporal_client,
        task_queue=task_queue,
        workflows=[ToyStop],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await temporal_client.start_workflow(STOP_WORKFLOW, True, id=running, task_queue=task_queue)
        await temporal_client.execute_workflow(STOP_WORKFLOW, False, id=done, task_queue=task_queue)
        books = await reader.workflows(views)
        await temporal_client.get_workflow_handle(running).terminate()
    assert set(books) == {running, done}
    assert (books[running].status, books[running].result) == ("running", None)
    assert (books[done].status, books[done].result) == ("completed", view.result)
    assert list(books[done].timeline) == DAY.events


@pytest.mark.asyncio
async def test_a_workflow_that_nobody_answers_for_breaks_promises(
    temporal_client: Client, task_queue: str, unique: Callable[[str], str]
) -> None:
    """Silence must not read as agreement."""
    workflow_id = unique("stop")
    await temporal_client.start_workflow(STOP_WORKFLOW, True, id=workflow_id, task_queue=task_queue)
    reader = HouseReader(temporal_client, "", "demo", patience_s=0.0, answer_s=1.0)
    read = await reader.workflows([DAY.view().model_copy(update={"workflow_id": workflow_id})])
    await temporal_client.get_workflow_handle(workflow_id).terminate()
    assert read[STOP_ID].status.startswith("unreadable")
    found = check_invariants(replace(DAY.books(), workflows=read))
    assert {violation.invariant for violation in found} == {
        "the stored log is the workflow's log",
        "the result is the workflow's result",
    }


@pytest.mark.asyncio
async def test_rows_of_the_tenant_are_read_with_their_holds_replies_and_quarantine(
    temporal_client: Client, database_url: str, schema: str, unique: Callable[[str], str]
) -> None:
    tenant = unique("t").lower()
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, options=f"-csearch_path={schema}"
    )
    async with connection:
        for name, other in ((tenant, False), (unique("t").lower(), True)):
            await _insert(connection, name, "of another" if other else "")
    books = await HouseReader(temporal_client, database_url, tenant, schema=schema).read([])
    assert [(row.attempt_id, row.holds_vehicle, row.holds_charger) for row in books.holds] == [
        (FIRST + tenant, False, True)
    ]
    [command] = books.commands
    assert (command.kind, command.begun_at) == (CommandKind.START, T0)
    assert command.reply is not None
    assert command.reply.outcome is CommandOutcome.ACCEPTED
    assert {(row.event_id, row.quarantined) for row in books.evidence} == {
        ("waits", ""),
        ("spoilt", "unreadable: no such kind"),
    }
    day = DAY.books()
    found = check_invariants(replace(day, evidence=books.evidence, now=at(10**7)))
    assert {violation.subject for violation in found} == {STOP_ID}


async def _insert(connection: psycopg.AsyncConnection[object], tenant: str, mark: str) -> None:
    await connection.execute(
        "INSERT INTO attempt (attempt_id, tenant_id, stop_id, number, vehicle_id, charger_id, station_id, "
        "evse_uid, connector_number, token_uid, remote_start_id, state, holds_vehicle, holds_charger, "
        "opened_at, window_ends_at, body) VALUES (%s, %s, %s, 1, 'v', 'c', 's', '', 1, 't', 1, 'guarded', "
        "false, true, now(), now(), '{}')",
        [FIRST + tenant + mark, tenant, STOP_ID],
    )
    await connection.execute(
        "INSERT INTO command (command_id, tenant_id, attempt_id, kind, begun_at, reply) "
        "VALUES (%s, %s, %s, 'start', %s, %s)",
        [f"{tenant}:start", tenant, FIRST + tenant, T0, Jsonb({"outcome": "accepted"})],
    )
    for event_id, delivered, quarantined, why in (
        ("waits", None, None, ""),
        ("came", T0, None, ""),
        ("spoilt", None, T0, "unreadable: no such kind"),
    ):
        await connection.execute(
            "INSERT INTO evidence (tenant_id, event_id, stop_id, kind, observed_at, delivered_at, "
            "quarantined_at, quarantine_reason, body) VALUES (%s, %s, %s, 'meter', now(), %s, %s, %s, '{}')",
            [tenant, event_id, STOP_ID, delivered, quarantined, why],
        )
