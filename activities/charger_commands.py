"""The command activity: one command, once, through the port of the charger's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from temporalio import activity

from connectors.ports import CommandPort
from models.charger import Protocol
from models.commands import ChargerCommand, CommandOutcome, CommandReply
from models.contract import ACTIVITY_COMMAND
from models.ids import TenantId
from models.reason_codes import ReasonCode
from store.database import Store

_HEARTBEAT_S = 2.0


class ChargerCommands:
    """Runs where the charger can be reached: in its gateway, or in the worker that talks to partners."""

    def __init__(self, store: Store, ports: Mapping[Protocol, CommandPort]) -> None:
        self._store = store
        self._ports = ports

    @activity.defn(name=ACTIVITY_COMMAND)
    async def command_charger(self, command: ChargerCommand) -> CommandReply:
        """Send once. The intent is written before sending, the reply after: a repeat gives the first reply,
        and where the process died in between, the honest answer is `uncertain`."""
        port = self._ports.get(command.charger.protocol)
        if port is None:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE,
                reason=ReasonCode.START_NOT_SUPPORTED,
                detail=f"no {command.charger.protocol} connector runs here",
            )
        tenant = TenantId(command.tenant_id)
        async with self._store.tenant(tenant) as unit:
            begun = await unit.commands.begin(command)
        if not begun.fresh:
            return begun.reply or CommandReply(
                outcome=CommandOutcome.UNCERTAIN,
                reason=ReasonCode.START_TIMEOUT,
                detail="sent before; its reply was lost",
            )
        beating = asyncio.create_task(_beat())
        try:
            reply = await port.send(command)
        finally:
            beating.cancel()
        async with self._store.tenant(tenant) as unit:
            if reply.outcome is CommandOutcome.UNREACHABLE:
                await unit.commands.unsent(
                    command.command_id
                )  # nothing left this house: it may be tried again
            else:
                await unit.commands.finish(command.command_id, reply)
        return reply


async def _beat() -> None:
    """So that the death of this process is noticed in seconds, not after the command's time-out."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(_HEARTBEAT_S)
