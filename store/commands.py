"""The command ledger: a command is sent once."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from models.base import Message
from models.commands import ChargerCommand, CommandReply
from models.ids import TenantId
from models.tables.stops import CommandRow
from store.scope import TenantScope, table_of

_COMMAND = table_of(CommandRow)


class CommandBegin(Message):
    """`fresh`: nobody has sent it. Otherwise `reply` is what came back, None if that is not known."""

    fresh: bool
    reply: CommandReply | None = None


class CommandRepository:
    def __init__(self, scope: TenantScope) -> None:
        self._connection = scope.connection
        self._tenant_id: TenantId = scope.tenant_id

    async def begin(self, command: ChargerCommand) -> CommandBegin:
        """Take the right to send. Commit before sending."""
        written = await self._connection.execute(
            insert(_COMMAND)
            .values(
                command_id=command.command_id,
                tenant_id=self._tenant_id,
                attempt_id=command.attempt_id,
                kind=str(command.kind),
            )
            .on_conflict_do_nothing()
            .returning(_COMMAND.c.command_id)
        )
        if written.scalar_one_or_none() is not None:
            return CommandBegin(fresh=True)
        found = await self._connection.execute(
            select(_COMMAND.c.reply).where(
                _COMMAND.c.tenant_id == self._tenant_id, _COMMAND.c.command_id == command.command_id
            )
        )
        reply = found.scalar_one_or_none()
        return CommandBegin(fresh=False, reply=CommandReply.model_validate(reply) if reply else None)

    async def finish(self, command_id: str, reply: CommandReply) -> None:
        await self._connection.execute(
            _COMMAND.update()
            .where(_COMMAND.c.tenant_id == self._tenant_id, _COMMAND.c.command_id == command_id)
            .values(reply=reply.model_dump(mode="json"), finished_at=datetime.now(UTC))
        )

    async def unsent(self, command_id: str) -> None:
        """Give the right back: certainly nothing was sent."""
        await self._connection.execute(
            _COMMAND.delete().where(
                _COMMAND.c.tenant_id == self._tenant_id,
                _COMMAND.c.command_id == command_id,
                _COMMAND.c.reply.is_(None),
            )
        )

    async def sent_for(self, attempt_ids: list[str]) -> frozenset[str]:
        """Those of these attempts for which a command was begun: the charger may have heard of them."""
        found = await self._connection.execute(
            select(_COMMAND.c.attempt_id).where(
                _COMMAND.c.tenant_id == self._tenant_id, _COMMAND.c.attempt_id.in_(attempt_ids)
            )
        )
        return frozenset(found.scalars())
