"""Commands to roaming partners: START_SESSION, STOP_SESSION, UNLOCK_CONNECTOR (OCPI 2.2.1, section 13).

`accepted` means that the partner will try. What the charge point says comes later, to the response URL, and
travels as evidence; only a session proves a start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from pydantic import ValidationError

from connectors.ocpi.client import ForeignOrigin, OcpiClient, OcpiError, Reply
from connectors.ocpi.enums import CommandResponseType, CommandType, TokenType, Whitelist
from connectors.ocpi.handshake import VERSION
from connectors.ocpi.intake import COMMAND, TOKEN, object_key
from connectors.ocpi.objects import CommandResponse, said
from connectors.ocpi.ports import ChargerAddress, LinkState, PartnerLink, RoamingStore, SentCommand
from connectors.ocpi.tokens import new_token
from connectors.ocpi.wire import Instant
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.reason_catalogue import from_ocpi_command_response
from models.reason_codes import Phase, ReasonCode

_COMMANDS: Final = {
    CommandKind.START: CommandType.START_SESSION,
    CommandKind.STOP: CommandType.STOP_SESSION,
    CommandKind.UNLOCK: CommandType.UNLOCK_CONNECTOR,
}
_HUB_TIMEOUT: Final = 4002
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class _Peer:
    link: PartnerLink
    address: ChargerAddress


class OcpiCommandPort:
    """CommandPort of `Protocol.OCPI`. `public_url`: how partners reach the process that serves the receiver
    (it need not be this one). `read_timeout_s`: for the synchronous answer; the command's own time-out
    shortens it."""

    def __init__(
        self, store: RoamingStore, http: httpx.AsyncClient, public_url: str, *, read_timeout_s: float = 10.0
    ) -> None:
        self._store = store
        self._http = http
        self._public_url = public_url.rstrip("/")
        self._read_timeout_s = read_timeout_s

    async def send(self, command: ChargerCommand) -> CommandReply:
        """One command, sent once. Raises only what our own database raises."""
        word = _COMMANDS.get(command.kind)
        if word is None:
            return _not_sent(ReasonCode.START_NOT_SUPPORTED, f"OCPI has no command for {command.kind}")
        if command.kind is CommandKind.STOP and not command.session_ref:
            return _not_sent(ReasonCode.STOP_REJECTED, "no session id to stop")
        peer = await self._peer(command)
        if peer is None:
            return _not_sent(ReasonCode.START_PARTNER_ERROR, "no registered partner for this charger")
        base = peer.link.url_of("commands", "RECEIVER")
        if base is None:
            return _not_sent(ReasonCode.START_NOT_SUPPORTED, "the partner takes no commands")
        callback_id = new_token()
        response_url = f"{self._public_url}/ocpi/{VERSION}/commands/{word}/{callback_id}"
        body = _body(command, peer, response_url)
        await self._remember(command, peer.link, callback_id, body.get("token"))
        try:
            reply = await OcpiClient(self._http, peer.link).call(
                "POST",
                f"{base}/{word}",
                module="commands",
                body=body,
                read_timeout_s=min(self._read_timeout_s, command.timeout_s),
                # Partners' support finds our command by it; it says nothing about persons.
                correlation_id=command.command_id[:64],
            )
        except _NOT_SENT as error:
            return _not_sent(ReasonCode.START_PARTNER_ERROR, type(error).__name__)
        except ForeignOrigin as error:
            return _not_sent(ReasonCode.START_PARTNER_ERROR, str(error))
        except httpx.TimeoutException as error:
            return _uncertain(command, ReasonCode.START_PARTNER_TIMEOUT, detail=type(error).__name__)
        except (httpx.HTTPError, OcpiError) as error:
            return _uncertain(command, ReasonCode.START_PARTNER_ERROR, detail=type(error).__name__)
        return read_reply(command, reply)

    async def _peer(self, command: ChargerCommand) -> _Peer | None:
        address = await self._store.address(command.tenant_id, command.charger.charger_id)
        if address is None:
            return None
        link = await self._store.link(command.tenant_id, address.partner_id)
        if link is None or link.state is not LinkState.REGISTERED:
            return None
        return _Peer(link, address)

    async def _remember(
        self, command: ChargerCommand, link: PartnerLink, callback_id: str, token: dict[str, Any] | None
    ) -> None:
        """Before sending: the result may arrive, at another process, before the synchronous answer."""
        sent = SentCommand(
            command_id=command.command_id,
            kind=command.kind,
            stop_id=command.stop_id,
            attempt_id=command.attempt_id,
            charger_id=command.charger.charger_id,
            sent_at=datetime.now(UTC),
        )
        async with self._store.unit(link) as unit:
            await unit.put(COMMAND, callback_id, sent.model_dump(mode="json"), sent.sent_at)
            if token is not None:
                key = object_key(link.our_country_code, link.our_party_id, command.token_uid)
                await unit.put(TOKEN, key, token, sent.sent_at)


def _body(command: ChargerCommand, peer: _Peer, response_url: str) -> dict[str, Any]:
    address = peer.address
    if command.kind is CommandKind.STOP:
        return {"response_url": response_url, "session_id": command.session_ref}
    place = {
        "response_url": response_url,
        "location_id": address.location_id,
        "evse_uid": address.evse_uid,
        "connector_id": address.connector_id,
    }
    if command.kind is CommandKind.UNLOCK:
        return place
    return place | {
        "token": token_object(peer.link, command.token_uid),
        # The key by which session and charge record find back to this attempt; a UUID fits its 36 characters.
        "authorization_reference": command.attempt_id,
    }


def token_object(link: PartnerLink, token_uid: str) -> dict[str, Any]:
    """Our token as an OCPI Token: APP_USER, never cached by the partner."""
    return {
        "country_code": link.our_country_code,
        "party_id": link.our_party_id,
        "uid": token_uid,
        "type": TokenType.APP_USER.value,
        "contract_id": f"{link.our_country_code}-{link.our_party_id}-{token_uid}"[:36],
        "issuer": link.our_name,
        "valid": True,
        "whitelist": Whitelist.NEVER.value,
        "last_updated": str(Instant.of(datetime.now(UTC))),
    }


# --- what an answer means -------------------------------------------------------------------------------


def read_reply(command: ChargerCommand, reply: Reply) -> CommandReply:
    """The partner's synchronous answer as ours. A 5xx or 3xxx may have acted; 4xx and 2xxx have not."""
    envelope = reply.envelope
    http, code = reply.http_status, envelope.status_code if envelope else None
    where = f"HTTP {http}" + (f", OCPI {code}" if code is not None else "")
    if reply.retry_after:
        where += f", Retry-After {reply.retry_after}"
    if 300 <= http < 500:
        return _rejected(command, _reason_of_code(code), f"http:{http}", where)
    if http >= 500 or envelope is None or code is None:
        return _uncertain(command, ReasonCode.START_PARTNER_ERROR, f"http:{http}", where)
    vendor_code = f"status:{code}"
    if 2000 <= code < 3000:
        return _rejected(command, _reason_of_code(code), vendor_code, where)
    if code == _HUB_TIMEOUT:
        return _uncertain(command, ReasonCode.START_PARTNER_TIMEOUT, vendor_code, where)
    if 4000 <= code < 5000:
        return _rejected(command, ReasonCode.START_PARTNER_ERROR, vendor_code, where)
    if not 1000 <= code < 2000:
        return _uncertain(command, ReasonCode.START_PARTNER_ERROR, vendor_code, where)
    try:
        response = CommandResponse.model_validate(envelope.data)
    except ValidationError:
        return _uncertain(command, ReasonCode.START_PARTNER_ERROR, vendor_code, "answer is not readable")
    return _read_response(command, response)


def _read_response(command: ChargerCommand, response: CommandResponse) -> CommandReply:
    vendor_code, detail = f"commandResponse:{response.result}"[:80], said(response.message)
    if response.result == CommandResponseType.ACCEPTED:
        if response.timeout is not None:
            detail = f"partner waits {response.timeout} s; {detail}".rstrip("; ")
        return CommandReply(
            outcome=CommandOutcome.ACCEPTED,
            vendor_code=vendor_code,
            detail=detail,
            session_ref=command.session_ref,
        )
    if not isinstance(response.result, CommandResponseType):
        # A word we do not know: it may mean yes.
        return _uncertain(command, ReasonCode.START_PARTNER_ERROR, vendor_code, detail)
    phase = Phase.STOP if command.kind is CommandKind.STOP else Phase.START
    reason = from_ocpi_command_response(response.result.value, phase) or ReasonCode.START_REJECTED
    return _rejected(command, reason, vendor_code, detail)


def _reason_of_code(code: int | None) -> ReasonCode:
    if code == 2003:
        return ReasonCode.START_INOPERATIVE
    if code == 2004:
        return ReasonCode.AUTHORISE_TOKEN_UNKNOWN
    return ReasonCode.START_PARTNER_ERROR


def _not_sent(reason: ReasonCode, detail: str) -> CommandReply:
    return CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=reason, detail=detail)


def _rejected(command: ChargerCommand, reason: ReasonCode, vendor_code: str, detail: str) -> CommandReply:
    if command.kind is CommandKind.STOP:
        reason = ReasonCode.STOP_REJECTED
    return CommandReply(
        outcome=CommandOutcome.REJECTED, reason=reason, vendor_code=vendor_code, detail=detail[:300]
    )


def _uncertain(
    command: ChargerCommand, reason: ReasonCode, vendor_code: str = "", detail: str = ""
) -> CommandReply:
    if command.kind is CommandKind.STOP:
        reason = ReasonCode.STOP_TIMEOUT
    return CommandReply(
        outcome=CommandOutcome.UNCERTAIN, reason=reason, vendor_code=vendor_code, detail=detail[:300]
    )
