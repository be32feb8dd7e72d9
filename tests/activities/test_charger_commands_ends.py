"""A command is sent once: over cancellation, shutdown, ports that break their contract, a store that fails in
any order, and the real server's retries."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import charger_commands
from activities.charger_commands import ChargerCommands
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.contract import ACTIVITY_COMMAND
from models.ids import TenantId
from models.reason_codes import ReasonCode
from store.database import Store, TenantUnit
from tests.activities.command_port import (
    ACCEPTED,
    UNREACHABLE,
    Port,
    environment,
    kept,
    on_the_wire,
    process,
    run,
    start,
    until,
    until_kept,
)
from workers.stack.postgres import Postgres

# --- cancelled, shut down, broken ----------------------------------------------------------------------


def answers_at_shutdown(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """The charger answers once the activity has seen that its worker goes, and no sooner."""
    goes = activity.is_worker_shutdown

    def seen() -> bool:
        if goes():
            asyncio.get_running_loop().call_soon(port.may_answer.set)
        return goes()

    monkeypatch.setattr(activity, "is_worker_shutdown", seen)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_cancellation_does_not_lose_the_reply(ledger: Store) -> None:
    port, command, env = Port(), start(), environment()
    under_way = await on_the_wire(ledger, port, env, command)
    env.cancel()
    await asyncio.wait((under_way,), timeout=0.3)
    assert not under_way.done(), "it is on its way to the charger: it is waited for"
    port.may_answer.set()
    assert await under_way == ACCEPTED
    assert await kept(ledger, command) == ACCEPTED


@pytest.mark.asyncio(loop_scope="session")
async def test_a_shutdown_waits_for_the_last_words_and_no_longer(
    ledger: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charger_commands, "_LAST_WORDS_S", 0.3)
    port, command, env = Port(), start(), environment()
    under_way = await on_the_wire(ledger, port, env, command)
    env.worker_shutdown()
    env.cancel()
    reply = await asyncio.wait_for(under_way, 5)
    assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.START_TIMEOUT)
    port.may_answer.set()  # the process lives a little longer: what comes is still written
    await until_kept(ledger, command, ACCEPTED)
    assert await run(process(ledger, port), command) == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_shutdown_takes_a_reply_that_comes_in_time(
    ledger: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, command, env = Port(), start(), environment()
    under_way = await on_the_wire(ledger, port, env, command)
    answers_at_shutdown(port, monkeypatch)
    env.worker_shutdown()
    env.cancel()
    assert await under_way == ACCEPTED
    assert await kept(ledger, command) == ACCEPTED


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "broken", [RuntimeError("\0 bug"), ConnectionResetError(), asyncio.CancelledError(), KeyError("x")]
)
async def test_a_port_that_raises_may_have_sent(ledger: Store, broken: BaseException) -> None:
    port, command = Port(broken), start()
    reply = await run(process(ledger, port), command)
    assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.START_TIMEOUT)
    assert await run(process(ledger, port), command) == reply
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_port_that_never_answers_is_uncertain(ledger: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charger_commands, "_ANSWER_SLACK_S", 0.1)
    port, command = Port(), start(CommandKind.STOP, timeout_s=0.2)
    port.may_answer.clear()
    reply = await run(process(ledger, port), command)
    assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.STOP_TIMEOUT)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_peers_words_never_keep_the_reply_from_the_ledger(ledger: Store) -> None:
    """Also where a port has put them past validation."""
    port, command = Port(ACCEPTED.model_copy(update={"detail": "no\0\ud800", "session_ref": "a\0"})), start()
    reply = await run(process(ledger, port), command)
    assert (reply.outcome, reply.session_ref) == (CommandOutcome.ACCEPTED, None)
    assert await kept(ledger, command) == reply


@pytest.mark.asyncio(loop_scope="session")
async def test_two_tenants_never_meet_in_one_command(ledger: Store) -> None:
    port, command = Port(), start()
    assert await run(process(ledger, port), command) == ACCEPTED
    other = command.model_copy(update={"tenant_id": "another"})
    assert (await run(process(ledger, port), other)).outcome is not CommandOutcome.ACCEPTED, (
        "another tenant's reply is not theirs to read"
    )


# --- any order of outages ------------------------------------------------------------------------------


class Shaky(Store):
    """The real store; units fail before they begin, at their commit, or after it (nobody knows then)."""

    dice: random.Random

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncGenerator[TenantUnit, None]:
        fate = self.dice.choice(("fine", "fine", "away", "rolled_back", "in_doubt"))
        if fate == "away":
            raise ConnectionRefusedError
        async with super().tenant(tenant_id) as unit:
            yield unit
            if fate == "rolled_back":
                raise ConnectionResetError
        if fate == "in_doubt":
            raise ConnectionResetError


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("seed", range(25))
async def test_a_start_reaches_the_charger_once_whatever_our_store_does(
    ledger: Store, our_postgres: Postgres, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes and a repeat by turns; what was answered with UNREACHABLE did not reach it."""
    monkeypatch.setattr(charger_commands, "_KEEP_S", 0.02)
    monkeypatch.setattr(charger_commands, "_KEEP_AGAIN_S", 0.001)
    dice = random.Random(seed)
    store = Shaky(our_postgres.url, schema="commands", pool_size=4)
    store.dice = dice
    command, reached, promised = start(), 0, False

    class Fickle(Port):
        async def send(self, command: ChargerCommand) -> CommandReply:
            nonlocal reached
            await asyncio.sleep(dice.random() * 0.002)
            if dice.random() < 0.5:
                return UNREACHABLE
            reached += 1
            return ACCEPTED

    port = Fickle()
    processes = [process(store, port), process(store, port)]
    for _ in range(12):
        at = dice.randrange(2)
        if dice.random() < 0.2:
            processes[at] = process(store, port)  # it died, and came back
        runs = [run(processes[at], command) for _ in range(dice.choice((1, 1, 2)))]
        for reply in await asyncio.gather(*runs, return_exceptions=True):
            if isinstance(reply, ApplicationError):
                assert reply.type == "start.not_sent"
                continue
            assert isinstance(reply, CommandReply), reply
            promised = promised or reply.outcome is CommandOutcome.ACCEPTED
    await store.dispose()
    assert reached <= 1
    assert promised <= (reached == 1), "nobody is told yes for what never left"


# --- on the real server --------------------------------------------------------------------------------


@workflow.defn(name="SendsOnce", sandboxed=False)
class SendsOnce:
    @workflow.run
    async def run(self, command: ChargerCommand) -> CommandReply:
        return await workflow.execute_activity(
            ACTIVITY_COMMAND,
            command,
            result_type=CommandReply,
            start_to_close_timeout=timedelta(seconds=40),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=1.0),
        )


async def started(
    client: Client, task_queue: str, command: ChargerCommand
) -> WorkflowHandle[SendsOnce, CommandReply]:
    workflow_id = f"sends-once-{uuid.uuid4()}"
    return await client.start_workflow(SendsOnce.run, command, id=workflow_id, task_queue=task_queue)


def worker_of(client: Client, task_queue: str, commands: ChargerCommands, grace_s: float = 0.0) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[SendsOnce],
        activities=[commands.command_charger],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=grace_s),
    )


async def _failed_once(handle: WorkflowHandle[SendsOnce, CommandReply]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return any(activity.attempt >= 2 for activity in pending)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_workflows_retry_sends_once_after_our_outage(
    temporal_client: Client, task_queue: str, ledger: Store, our_postgres: Postgres
) -> None:
    port, command = Port(), start()
    async with worker_of(temporal_client, task_queue, process(ledger, port)):
        await our_postgres.stop()
        handle = await started(temporal_client, task_queue, command)
        await until(lambda: _failed_once(handle))
        assert not port.sent
        pending = (await handle.describe()).raw_description.pending_activities[0]
        assert pending.last_failure.application_failure_info.type == "start.not_sent"
        await our_postgres.start()
        assert await handle.result() == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_worker_that_shuts_down_gives_the_reply_before_it_goes(
    temporal_client: Client, task_queue: str, ledger: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, command = Port(), start()
    port.may_answer.clear()
    async with worker_of(temporal_client, task_queue, process(ledger, port), grace_s=0.2):
        handle = await started(temporal_client, task_queue, command)
        await port.reached.wait()
        answers_at_shutdown(port, monkeypatch)
    assert await kept(ledger, command) == ACCEPTED
    async with worker_of(temporal_client, task_queue, process(ledger, port)):
        assert await asyncio.wait_for(handle.result(), 30) == ACCEPTED
    assert port.sent[command.command_id] == 1
