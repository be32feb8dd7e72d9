"""Commands through one connection, and what a station's answer means."""

from __future__ import annotations

from collections.abc import Collection

from connectors.ocpp.connection import TOLD_BY_STATIONS, Connection
from connectors.ocpp.guards import Refused, check_call
from connectors.ocpp.v2x import requests as requests_2x
from connectors.ocpp.v16 import requests as requests_16
from connectors.ocpp.wire.rpc import CallError, NoReply, NotSent, Priority
from connectors.ocpp.wire.schemas import Invalid, Json, Version
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.reason_catalogue import from_ocpp201_reason_code
from models.reason_codes import Phase, ReasonCode
from models.station_commands import StationReply
from models.station_passwords import new_password

_ACCEPTED = ("Accepted", "Unlocked")
_PRIORITY = {
    CommandKind.STOP: Priority.SAFETY,
    CommandKind.START: Priority.SESSION,
    CommandKind.UNLOCK: Priority.SESSION,
    CommandKind.TRIGGER_STATUS: Priority.HOUSEKEEPING,
}
OFFLINE = CommandReply(
    outcome=CommandOutcome.UNREACHABLE,
    reason=ReasonCode.START_OFFLINE,
    detail="the station is not connected here",
)


async def send(connection: Connection, command: ChargerCommand) -> CommandReply:
    """A stop's command. Never raises for what the station does."""
    make = requests_16.request_of if connection.is_16 else requests_2x.request_of
    starting = command.kind is CommandKind.START
    try:
        action, payload = make(command)
        reply = await connection.rpc.call(action, payload, command.timeout_s, _PRIORITY[command.kind])
    except (ValueError, Invalid):
        return CommandReply(
            outcome=CommandOutcome.REJECTED,
            reason=ReasonCode.START_REJECTED if starting else ReasonCode.STOP_REJECTED,
            detail="this cannot be said to the station" if starting else "no transaction is known",
        )
    except NotSent as error:
        return OFFLINE.model_copy(update={"detail": str(error)})
    except NoReply as error:
        return CommandReply(
            outcome=CommandOutcome.UNCERTAIN,
            reason=ReasonCode.START_TIMEOUT if starting else ReasonCode.STOP_TIMEOUT,
            detail=str(error),
        )
    except CallError as error:
        return CommandReply(
            outcome=CommandOutcome.REJECTED,
            reason=ReasonCode.START_REJECTED if starting else ReasonCode.STOP_REJECTED,
            vendor_code=f"{connection.version}:CALLERROR {error.code}",
            detail=error.description,
        )
    return _read(command, connection.version, reply)


def _read(command: ChargerCommand, version: Version, reply: Json) -> CommandReply:
    status = str(reply.get("status"))
    info: Json = reply.get("statusInfo") or {}
    code = str(info.get("reasonCode") or "")
    vendor = f"{version}:{status} {code}".strip()
    if status in _ACCEPTED:
        reference = str(reply["transactionId"]) if reply.get("transactionId") else None
        return CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code=vendor, session_ref=reference)
    starting = command.kind is CommandKind.START
    plain = ReasonCode.START_REJECTED if starting else ReasonCode.STOP_REJECTED
    reason = (from_ocpp201_reason_code(code, Phase.START) if code and starting else None) or plain
    return CommandReply(outcome=CommandOutcome.REJECTED, reason=reason, vendor_code=vendor)


async def request(
    connection: Connection, action: str, payload: Json, timeout_s: float, transfer_hosts: Collection[str]
) -> StationReply:
    """Any CALL that an operator may send. Never raises for what the station does."""
    try:
        check_call(
            connection.version,
            action,
            payload,
            incoming=TOLD_BY_STATIONS[connection.version],
            transfer_hosts=transfer_hosts,
            security_profile=connection.session.station.settings.security_profile,
        )
    except Refused as refused:
        return _refused(refused.code, refused.detail)
    return await call(connection, action, payload, timeout_s, Priority.OPERATOR)


async def call(
    connection: Connection, action: str, payload: Json, timeout_s: float, priority: Priority
) -> StationReply:
    try:
        reply = await connection.rpc.call(action, payload, timeout_s, priority)
    except Invalid as invalid:
        return _refused("FormationViolation", f"the payload does not fit {action}: {invalid.keyword}")
    except NotSent as error:
        return StationReply(outcome=CommandOutcome.UNREACHABLE, error_code="NotSent", detail=str(error))
    except NoReply as error:
        return StationReply(outcome=CommandOutcome.UNCERTAIN, error_code="NoReply", detail=str(error))
    except CallError as error:
        return StationReply(outcome=CommandOutcome.REJECTED, error_code=error.code, detail=error.description)
    return StationReply(outcome=_outcome(reply), payload=reply)


def _refused(code: str, detail: str) -> StationReply:
    return StationReply(outcome=CommandOutcome.REJECTED, error_code=code, detail=detail)


_YES = frozenset(
    {
        "Accepted",
        "Unlocked",
        "Scheduled",
        "RebootRequired",
        "EmptyResultSet",
        "AcceptedCanceled",
        "Unpublished",
    }
)


def _outcome(reply: Json) -> CommandOutcome:
    """What has no status has only data, and is accepted; a status that is no clear yes is none."""
    return CommandOutcome.ACCEPTED if reply.get("status", "Accepted") in _YES else CommandOutcome.REJECTED


async def rotate_password(connection: Connection, timeout_s: float) -> StationReply:
    """A new password, in three durable steps: offered in our books, told to the station, taken or withdrawn.
    Where the answer is lost, both passwords open until the station shows which one it has."""
    session = connection.session
    password = new_password(as_text=not connection.is_16)
    await session.house.offer_password(session.station, password)
    requests = requests_16 if connection.is_16 else requests_2x
    reply = await call(connection, *requests.set_password(password), timeout_s, Priority.OPERATOR)
    if reply.outcome is CommandOutcome.UNCERTAIN:
        return reply
    word = _said(reply, "status" if connection.is_16 else "attributeStatus")
    if reply.outcome is CommandOutcome.ACCEPTED and word not in ("Accepted", "RebootRequired"):
        reply = _refused("Rejected", word)
    # After a reboot to come it opens with the new one, until then with the old.
    if word != "RebootRequired":
        await session.house.password_answered(session.station, word == "Accepted")
    return reply


def _said(reply: StationReply, name: str) -> str:
    payload = reply.payload or {}
    results: list[Json] = payload.get("setVariableResult") or [payload]
    return str(results[0].get(name) or "")


async def renew_certificate(connection: Connection, timeout_s: float) -> StationReply:
    """Ask the station for a signing request; it comes as SignCertificate."""
    requests = requests_16 if connection.is_16 else requests_2x
    return await call(connection, *requests.trigger_certificate(), timeout_s, Priority.HOUSEKEEPING)
