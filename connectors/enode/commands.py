"""Charging commands to vehicles, as the house's CommandPort."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx
import structlog
from pydantic import ValidationError

from connectors.enode.client import EnodeClients, EnodeError, Reply, TokenUnavailable
from connectors.enode.ports import ActionNote, Connections, EnodeConnection, TelematicsStore
from connectors.enode.wire import Action
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.reason_codes import ReasonCode

_log = structlog.stdlib.get_logger("backstop.enode")

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class EnodeCommandPort:
    """START and STOP through POST /vehicles/{id}/charging. One POST per call of `send`.

    ACCEPTED says that the vendor took the action (PENDING), never that energy flows. Where the request may
    have arrived and no usable answer came, the reply is UNCERTAIN."""

    def __init__(self, connections: Connections, clients: EnodeClients, store: TelematicsStore) -> None:
        self._connections = connections
        self._clients = clients
        self._store = store

    async def send(self, command: ChargerCommand) -> CommandReply:
        """Sends one command; raises nothing the vendor could cause."""
        telematics_id = command.vehicle_telematics_id
        connection = await self._connections.of_tenant(command.tenant_id)
        if (
            command.kind not in (CommandKind.START, CommandKind.STOP)
            or not telematics_id
            or connection is None
        ):
            why = "vehicle not linked" if not telematics_id or connection is None else command.kind.value
            return CommandReply(
                outcome=CommandOutcome.REJECTED, reason=ReasonCode.START_NOT_SUPPORTED, detail=why
            )
        timed_out, failed, refused = _reasons(command.kind)
        try:
            async with asyncio.timeout(command.timeout_s):
                reply = await self._clients.of(connection).charging(telematics_id, command.kind.value.upper())
        except TokenUnavailable as error:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE, reason=failed, detail=_with_retry(str(error), error)
            )
        except _NOT_SENT as error:
            return CommandReply(
                outcome=CommandOutcome.UNREACHABLE, reason=failed, detail=type(error).__name__
            )
        except (TimeoutError, httpx.TimeoutException) as error:
            return CommandReply(
                outcome=CommandOutcome.UNCERTAIN, reason=timed_out, detail=type(error).__name__
            )
        except (httpx.HTTPError, EnodeError) as error:
            return CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=failed, detail=type(error).__name__)
        if not 200 <= reply.status < 300:
            return _refusal(reply, failed, refused)
        try:
            action = Action.model_validate(reply.body)
        except ValidationError:
            return CommandReply(
                outcome=CommandOutcome.UNCERTAIN,
                reason=failed,
                vendor_code=str(reply.status),
                detail="action not readable",
            )
        await self._remember(connection, action.id, command)
        return _of_action(action, failed, refused)

    async def _remember(self, connection: EnodeConnection, action_id: str, command: ChargerCommand) -> None:
        note = ActionNote(
            stop_id=command.stop_id, attempt_id=command.attempt_id, charger_id=command.charger.charger_id
        )
        try:
            await self._store.remember_action(connection, action_id, note)
        except Exception:  # noqa: BLE001 - the action lives; without the note its updates route by vehicle
            _log.exception("enode action not noted", connection=connection.connection_id)


def _reasons(kind: CommandKind) -> tuple[ReasonCode, ReasonCode, ReasonCode]:
    """(no answer, vendor broken, vehicle or vendor refuses)."""
    if kind is CommandKind.STOP:
        return ReasonCode.STOP_TIMEOUT, ReasonCode.STOP_TIMEOUT, ReasonCode.STOP_REJECTED
    return (
        ReasonCode.START_PARTNER_TIMEOUT,
        ReasonCode.START_PARTNER_ERROR,
        ReasonCode.START_VEHICLE_REFUSED,
    )


def _with_retry(text: str, error: EnodeError) -> str:
    return f"{text}; Retry-After: {error.retry_after}" if error.retry_after else text


def _refusal(reply: Reply, failed: ReasonCode, refused: ReasonCode) -> CommandReply:
    code = str(reply.status)
    if reply.status == 429:
        detail = f"Retry-After: {reply.retry_after}" if reply.retry_after else "rate limited"
        return CommandReply(
            outcome=CommandOutcome.UNREACHABLE, reason=failed, vendor_code=code, detail=detail
        )
    if reply.status in (404, 409, 422):
        detail = "a schedule or plan owns the vehicle" if reply.status == 422 else "vehicle cannot take it"
        return CommandReply(outcome=CommandOutcome.REJECTED, reason=refused, vendor_code=code, detail=detail)
    if 400 <= reply.status < 500:
        return CommandReply(
            outcome=CommandOutcome.REJECTED, reason=failed, vendor_code=code, detail="vendor refused the call"
        )
    # A 5xx (or a redirect we do not follow) may hide a command that was taken.
    return CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=failed, vendor_code=code)


def _of_action(action: Action, failed: ReasonCode, refused: ReasonCode) -> CommandReply:
    detail = f"vendor action {action.id} {action.state}"
    if action.state in ("PENDING", "CONFIRMED"):
        return CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code=action.state, detail=detail)
    if action.state in ("CANCELLED", "FAILED"):
        cause = action.failure_reason.type if action.failure_reason else ""
        code = f"{action.state}:{cause}" if cause else action.state
        return CommandReply(outcome=CommandOutcome.REJECTED, reason=refused, vendor_code=code, detail=detail)
    return CommandReply(
        outcome=CommandOutcome.UNCERTAIN, reason=failed, vendor_code=action.state, detail=detail
    )
