"""A command is sent once, over outages of our own store before, while and after it is sent. Real PostgreSQL,
really stopped."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.exceptions import ApplicationError

from activities import charger_commands
from models.commands import CommandKind, CommandOutcome
from models.ids import TenantId
from models.reason_codes import ReasonCode
from store.database import Store, TenantUnit
from tests.activities.command_port import (
    ACCEPTED,
    TENANT,
    UNREACHABLE,
    Port,
    environment,
    kept,
    process,
    run,
    start,
    until_kept,
)
from workers.stack.postgres import Postgres

# --- our store, away before anything is sent -----------------------------------------------------------


@pytest.mark.asyncio(loop_scope="session")
async def test_a_store_that_is_away_means_not_sent_and_is_safe_to_repeat(
    ledger: Store, our_postgres: Postgres
) -> None:
    port, command = Port(), start()
    await our_postgres.stop()
    with pytest.raises(ApplicationError) as refused:
        await run(process(ledger, port), command)
    assert (refused.value.type, refused.value.non_retryable) == ("start.not_sent", False)
    assert not port.sent
    await our_postgres.start()
    assert await run(process(ledger, port), command) == ACCEPTED
    assert await run(process(ledger, port), command) == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_ledger_that_hangs_is_given_up_in_time_for_the_server(
    ledger: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is locked: nothing fails, and nothing moves. Heartbeats go on meanwhile."""
    monkeypatch.setattr(charger_commands, "_BEGIN_S", 0.5)
    monkeypatch.setattr(charger_commands, "_HEARTBEAT_S", 0.05)
    port, command, env, beats = Port(), start(), environment(), Counter[str]()
    env.on_heartbeat = lambda *_: beats.update(["beat"])
    async with ledger.tenant(TENANT) as other:
        await other.connection.execute(text("SELECT set_config('role', 'none', true)"))
        await other.connection.execute(text("LOCK TABLE command IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(ApplicationError) as refused:
            await env.run(process(ledger, port).command_charger, command)
    assert refused.value.type == "start.not_sent"
    assert not port.sent
    assert beats["beat"] >= 3


@pytest.mark.asyncio(loop_scope="session")
async def test_data_that_the_ledger_refuses_are_not_repeated(ledger: Store) -> None:
    """Longer than an index takes (SQLSTATE 54000): no repeat heals that."""
    port = Port()
    endless = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    with pytest.raises(ApplicationError) as refused:
        await run(process(ledger, port), start(attempt_id=endless))
    assert (refused.value.type, refused.value.non_retryable) == ("start.not_sent", True)
    assert not port.sent


# --- sent, and what becomes of the reply ---------------------------------------------------------------


class Watched(Store):
    """The real store; `missed`: somebody needed it while it was away."""

    def __init__(self, url: str, **how: Any) -> None:
        super().__init__(url, **how)
        self.missed = asyncio.Event()

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncGenerator[TenantUnit, None]:
        try:
            async with super().tenant(tenant_id) as unit:
                yield unit
        except Exception:
            self.missed.set()
            raise


@pytest.mark.asyncio(loop_scope="session")
async def test_a_reply_survives_an_outage_of_our_store(ledger: Store, our_postgres: Postgres) -> None:
    port, command = Port(), start()
    store = Watched(our_postgres.url, schema="commands", pool_size=4)
    port.then = our_postgres.stop
    under_way = asyncio.create_task(run(process(store, port), command))
    await port.reached.wait()
    await store.missed.wait()
    await our_postgres.start()
    assert await under_way == ACCEPTED
    await store.dispose()
    assert await kept(ledger, command) == ACCEPTED
    assert await run(process(ledger, port), command) == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_reply_that_cannot_be_kept_in_time_is_returned_all_the_same(
    ledger: Store, our_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charger_commands, "_HEARTBEAT_S", 0.1)
    port, command, beats = Port(), start(), Counter[str]()
    port.then = our_postgres.stop
    commands, env = process(ledger, port), environment(start_to_close_s=4)
    env.on_heartbeat = lambda *_: beats.update(["beat"])
    began = time.monotonic()
    assert await env.run(commands.command_charger, command) == ACCEPTED
    assert 1 < time.monotonic() - began < 4, "before the server gives the activity up"
    assert beats["beat"] >= 5, "it goes on beating while it waits for our store"
    await our_postgres.start()
    assert await run(commands, command) == ACCEPTED, "this process still knows it"
    await until_kept(ledger, command, ACCEPTED)
    assert await run(process(ledger, port), command) == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(CommandKind.START, ReasonCode.START_TIMEOUT), (CommandKind.STOP, ReasonCode.STOP_TIMEOUT)],
)
async def test_a_process_that_died_before_the_reply_leaves_it_uncertain(
    ledger: Store, kind: CommandKind, reason: ReasonCode
) -> None:
    port, command = Port(), start(kind)
    assert await kept(ledger, command) is None  # begun, and never finished
    reply = await run(process(ledger, port), command)
    assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, reason)
    assert not port.sent


@pytest.mark.asyncio(loop_scope="session")
async def test_a_repeat_in_the_same_process_joins_what_is_under_way(ledger: Store) -> None:
    """The server gave a frozen process up and came back to it: the reply is on its way, not lost."""
    port, command = Port(), start()
    port.may_answer.clear()
    commands = process(ledger, port)
    first = asyncio.create_task(run(commands, command))
    await port.reached.wait()
    second = asyncio.create_task(run(commands, command))
    stranger = await run(process(ledger, port), command)
    assert stranger.outcome is CommandOutcome.UNCERTAIN, "another process cannot know"
    port.may_answer.set()
    assert await first == await second == ACCEPTED
    assert port.sent[command.command_id] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_reply_that_a_newer_version_wrote_is_uncertain_not_unsent(ledger: Store) -> None:
    port, command = Port(), start()
    await kept(ledger, command)
    async with ledger.tenant(TENANT) as unit:
        await unit.connection.execute(
            text('UPDATE command SET reply = \'{"outcome": "half_done"}\' WHERE command_id = :id'),
            {"id": command.command_id},
        )
    assert (await run(process(ledger, port), command)).outcome is CommandOutcome.UNCERTAIN
    assert not port.sent


# --- not sent by the port ------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="session")
async def test_what_did_not_leave_may_be_sent_again(ledger: Store) -> None:
    port, command = Port(UNREACHABLE), start()
    assert await run(process(ledger, port), command) == UNREACHABLE
    port.reply = ACCEPTED
    assert await run(process(ledger, port), command) == ACCEPTED


@pytest.mark.asyncio(loop_scope="session")
async def test_what_did_not_leave_is_not_uncertain_after_an_outage(
    ledger: Store, our_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right to send could not be given back. The process that knows it sends all the same, once."""
    monkeypatch.setattr(charger_commands, "_KEEP_S", 0.3)
    port, command = Port(UNREACHABLE), start()
    port.then = our_postgres.stop
    commands = process(ledger, port)
    assert await run(commands, command) == UNREACHABLE
    await our_postgres.start()
    port.reply, port.then = ACCEPTED, None
    assert await run(commands, command) == ACCEPTED
    assert await run(commands, command) == ACCEPTED
    assert port.sent[command.command_id] == 2, "the first never left"
