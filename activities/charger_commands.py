"""The command activity: one command, once, through the port of the charger's protocol.

Three things are told apart. *Not sent*: our own store was away before anything left; START_NOT_SENT, raised,
and safe to repeat. *Answered*: the reply is never lost to our own store; it is returned even where the ledger
cannot take it. *Uncertain*: sent, and nobody knows what came of it; returned, and never sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog
from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from connectors.ports import CommandPort
from models.charger import Protocol
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.contract import ACTIVITY_COMMAND
from models.ids import TenantId
from models.reason_codes import ReasonCode
from store.commands import CommandBegin
from store.database import Store, TenantUnit
from store.errors import is_bad_data

_log = structlog.get_logger(__name__)

_HEARTBEAT_S = 2.0
_BEGIN_S = 6.0
"""For the ledger to take the intent. Short: the time that is left of the activity is the peer's."""
_ANSWER_SLACK_S = 5.0
"""Beyond the command's own time-out, in which a port answers by contract."""
_KEEP_S = 20.0
_KEEP_AGAIN_S = 0.5
_LAST_WORDS_S = 5.0
"""For a reply to come, and to be written, once this worker shuts down."""
_BEFORE_TIMEOUT_S = 2.0
_MOST_OWED = 10_000

_Write = Callable[[TenantUnit], Awaitable[None]]


class _Errand:
    """One command under way in this process. `reply`: as soon as the port has answered; `kept`: once the
    ledger has it, or never will. Both outlive the activity that began it."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[CommandReply] = asyncio.get_running_loop().create_future()
        self.kept: asyncio.Task[None] | None = None


class ChargerCommands:
    """Runs where the charger can be reached: in its gateway, or in the worker that talks to partners."""

    def __init__(self, store: Store, ports: Mapping[Protocol, CommandPort]) -> None:
        self._store = store
        self._ports = ports
        self._under_way: dict[tuple[str, str], _Errand] = {}
        self._owed: set[tuple[str, str]] = set()
        """Commands whose right to send is still written, though nothing was sent, by this process."""

    @activity.defn(name=ACTIVITY_COMMAND)
    async def command_charger(self, command: ChargerCommand) -> CommandReply:
        """Send once. The intent is written before sending, the reply after: a repeat gives the first reply,
        and where the process died in between, the honest answer is `uncertain`.

        Raises ApplicationError `start.not_sent` where the ledger could not take the intent: nothing was sent.
        It may be retried, unless the ledger refused the data themselves (then it is non-retryable).

        A cancellation (or the worker's shutdown) does not take back what is on its way to the charger: the
        reply is waited for, written and returned; at a shutdown for _LAST_WORDS_S, then it is `uncertain`."""
        port = self._ports.get(command.charger.protocol)
        if port is None:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE,
                reason=ReasonCode.START_NOT_SUPPORTED,
                detail=f"no {command.charger.protocol} connector runs here",
            )
        began = asyncio.get_running_loop().time()
        beating = asyncio.create_task(_beat())
        try:
            # A repeat that meets its first run here (the server gave up on us while we were frozen) joins it.
            errand = self._under_way.get(_key(command))
            if errand is None:
                begun = await self._begin(command)
                if not begun.fresh:
                    return begun.reply or _uncertain(command, "sent before; its reply was lost")
                errand = self._under_way[_key(command)] = _Errand()
                errand.kept = asyncio.create_task(self._run(errand, command, port))
            return await self._reply_of(errand, command, began)
        finally:
            beating.cancel()

    async def _begin(self, command: ChargerCommand) -> CommandBegin:
        """Take the right to send; raises `start.not_sent`."""
        try:
            async with asyncio.timeout(_BEGIN_S), self._store.tenant(TenantId(command.tenant_id)) as unit:
                begun = await unit.commands.begin(command)
        except ValidationError:  # it was sent, and what came back then cannot be read now
            return CommandBegin(fresh=False)
        except asyncio.CancelledError:
            if activity.is_worker_shutdown():
                raise _not_sent("this worker shuts down", bad_data=False) from None
            raise
        except Exception as error:  # noqa: BLE001  any trouble of the ledger means that nothing was sent
            # Where the commit itself was cut off, the right may be written all the same. A repeat then says
            # `uncertain`: it cannot tell our row from one whose sender died.
            # Without its cause: the server cuts failures of a few KiB, and their type with them.
            _log.warning("command not sent", command_id=command.command_id, error=str(error)[:300])
            raise _not_sent(f"the ledger: {type(error).__name__}", bad_data=is_bad_data(error)) from None
        if not begun.fresh and begun.reply is None and _key(command) in self._owed:
            self._owed.discard(_key(command))
            return CommandBegin(fresh=True)  # the row is ours, and we know that nothing was sent
        self._owed.discard(_key(command))
        return begun

    # --- on the way -------------------------------------------------------------------------------------

    async def _run(self, errand: _Errand, command: ChargerCommand, port: CommandPort) -> None:
        """Send, then write the reply. Belongs to no activity: nothing that ends one ends this."""
        try:
            reply = await _send(port, command)
            errand.reply.set_result(reply)
            if reply.outcome is CommandOutcome.UNREACHABLE:
                await self._give_back(command)
            else:
                await self._keep(command, reply)
        finally:
            self._under_way.pop(_key(command), None)
            if not errand.reply.done():
                errand.reply.cancel()

    async def _keep(self, command: ChargerCommand, reply: CommandReply) -> None:
        """Write the reply, for as long as _KEEP_S. Writing it twice is harmless."""
        ends = asyncio.get_running_loop().time() + _KEEP_S

        async def finish(unit: TenantUnit) -> None:
            await unit.commands.finish(command.command_id, reply)

        while True:
            error, _ = await self._write(command, finish)
            if error is None:
                return
            if is_bad_data(error) or asyncio.get_running_loop().time() >= ends:
                # The reply is returned all the same; only a later repeat will have to say `uncertain`.
                _log.error(
                    "reply not kept",
                    command_id=command.command_id,
                    outcome=str(reply.outcome),
                    error=type(error).__name__,
                )
                return
            await asyncio.sleep(_KEEP_AGAIN_S)

    async def _give_back(self, command: ChargerCommand) -> None:
        """Nothing left this house: it may be tried again. Repeated only where the last try has certainly
        changed nothing: once the row may be gone, it may also be that of another process's sending."""
        ends = asyncio.get_running_loop().time() + _KEEP_S

        async def unsent(unit: TenantUnit) -> None:
            await unit.commands.unsent(command.command_id)

        while True:
            error, in_doubt = await self._write(command, unsent)
            if error is None or in_doubt:
                return
            if asyncio.get_running_loop().time() >= ends:
                if len(self._owed) < _MOST_OWED:
                    self._owed.add(_key(command))
                return
            await asyncio.sleep(_KEEP_AGAIN_S)

    async def _write(self, command: ChargerCommand, write: _Write) -> tuple[Exception | None, bool]:
        """One try: the error, and whether the commit itself failed, so that nobody knows what is written."""
        executed = False
        try:
            async with asyncio.timeout(_BEGIN_S), self._store.tenant(TenantId(command.tenant_id)) as unit:
                await write(unit)
                executed = True
        except Exception as error:  # noqa: BLE001  whatever our store does, the reply has been given
            return error, executed
        return None, False

    # --- waiting ----------------------------------------------------------------------------------------

    async def _reply_of(self, errand: _Errand, command: ChargerCommand, began: float) -> CommandReply:
        """The reply, once it is written, or once there is no time left to wait for that."""
        loop = asyncio.get_running_loop()
        limit = activity.info().start_to_close_timeout
        ends = began + limit.total_seconds() - _BEFORE_TIMEOUT_S if limit is not None else None
        assert errand.kept is not None
        while not errand.kept.done():
            left = None if ends is None else ends - loop.time()
            if errand.reply.done() and left is not None and left <= 0:
                break  # better a reply without its line in the ledger than none
            # The reply itself is waited for without an end: the server has its own.
            try:
                if errand.reply.done():
                    await asyncio.wait((errand.kept,), timeout=left)
                else:
                    await asyncio.wait((errand.reply,))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                if activity.is_worker_shutdown():
                    with suppress(asyncio.CancelledError):  # a second one changes nothing
                        await asyncio.wait((errand.kept,), timeout=_LAST_WORDS_S)
                    break
        if errand.reply.done() and not errand.reply.cancelled():
            return errand.reply.result()
        return _uncertain(command, "this process ended before its reply came")


async def _send(port: CommandPort, command: ChargerCommand) -> CommandReply:
    """The port's reply. A port that raises or never answers breaks its contract: it may have sent."""
    try:
        async with asyncio.timeout(command.timeout_s + _ANSWER_SLACK_S):
            reply = await port.send(command)
        # A port may have made it from a constant, without validation: what it carries is read again.
        return CommandReply.model_validate(reply.model_dump())
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the process ends
        _log.error("port cancelled itself", command_id=command.command_id)
        return _uncertain(command, "the connector gave up without a reply")
    except TimeoutError:
        _log.error("port did not answer in time", command_id=command.command_id)
        return _uncertain(command, "the connector did not answer within the command's time")
    except Exception as error:  # noqa: BLE001  a start that may have been sent is never called anything else
        _log.exception("port raised", command_id=command.command_id)
        return _uncertain(command, f"the connector failed: {type(error).__name__}")


def _uncertain(command: ChargerCommand, detail: str) -> CommandReply:
    starting = command.kind is CommandKind.START
    reason = ReasonCode.START_TIMEOUT if starting else ReasonCode.STOP_TIMEOUT
    return CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=reason, detail=detail)


def _not_sent(detail: str, *, bad_data: bool) -> ApplicationError:
    return ApplicationError(
        f"nothing was sent; {detail}", type=ReasonCode.START_NOT_SENT.value, non_retryable=bad_data
    )


def _key(command: ChargerCommand) -> tuple[str, str]:
    return command.tenant_id, command.command_id


async def _beat() -> None:
    """So that the death of this process is noticed in seconds, not after the command's time-out."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(_HEARTBEAT_S)
