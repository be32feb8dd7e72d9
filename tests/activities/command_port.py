"""A charger's side that counts, and a process that has just begun."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from temporalio.testing import ActivityEnvironment

from activities.charger_commands import ChargerCommands
from models.charger import Protocol
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.ids import TenantId
from models.reason_codes import ReasonCode
from store.database import Store
from tests.store.store_samples import command as sample_command

TENANT = TenantId("commands")
ACCEPTED = CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code="ocpp1.6:Accepted")
UNREACHABLE = CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=ReasonCode.START_OFFLINE)

Do = Callable[[], Awaitable[None]]


class Port:
    """The charger's side: counts what reaches it, answers when it is let."""

    def __init__(self, reply: CommandReply | BaseException = ACCEPTED) -> None:
        self.reply = reply
        self.sent: Counter[str] = Counter()
        self.reached = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.then: Do | None = None

    async def send(self, command: ChargerCommand) -> CommandReply:
        self.sent[command.command_id] += 1
        self.reached.set()
        await self.may_answer.wait()
        if self.then is not None:
            await self.then()
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply


def start(kind: CommandKind = CommandKind.START, **changes: object) -> ChargerCommand:
    made = sample_command(TENANT, f"{uuid.uuid4()}:{kind}")
    return made.model_copy(update={"kind": kind, **changes})


def process(store: Store, port: Port) -> ChargerCommands:
    """As a process that has just begun: it remembers nothing."""
    return ChargerCommands(store, {Protocol.OCPP: port})


def environment(start_to_close_s: float = 40.0) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, start_to_close_timeout=timedelta(seconds=start_to_close_s))
    return env


async def run(
    commands: ChargerCommands, command: ChargerCommand, start_to_close_s: float = 40
) -> CommandReply:
    return await environment(start_to_close_s).run(commands.command_charger, command)


async def on_the_wire(
    store: Store, port: Port, env: ActivityEnvironment, command: ChargerCommand
) -> asyncio.Task[CommandReply]:
    """An activity whose command has reached the charger; the charger answers once `may_answer` is set."""
    port.may_answer.clear()
    under_way = asyncio.create_task(env.run(process(store, port).command_charger, command))
    await port.reached.wait()
    return under_way


async def until(ready: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await ready():
            await asyncio.sleep(0.02)


async def kept(store: Store, command: ChargerCommand) -> CommandReply | None:
    """What the ledger holds of a command that was begun."""
    async with store.tenant(TENANT) as unit:
        return (await unit.commands.begin(command)).reply


async def until_kept(store: Store, command: ChargerCommand, reply: CommandReply) -> None:
    async def is_kept() -> bool:
        return await kept(store, command) == reply

    await until(is_kept)
