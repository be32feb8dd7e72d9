"""One request of a partner: who sent it, its body, and the envelope of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import Request, Response

from connectors.ocpi import counts
from connectors.ocpi.intake import Intake, Unreadable, may_use
from connectors.ocpi.ports import PartnerLink
from connectors.ocpi.tokens import presented, token_hash
from connectors.ocpi.wire import Instant, as_object

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_ECHOED: Final = ("x-request-id", "x-correlation-id")
_SWAPPED: Final = (
    ("ocpi-from-party-id", "ocpi-to-party-id"),
    ("ocpi-from-country-code", "ocpi-to-country-code"),
    ("ocpi-to-party-id", "ocpi-from-party-id"),
    ("ocpi-to-country-code", "ocpi-from-country-code"),
)


class Refusal(Exception):
    """Ends a request with an OCPI status. The HTTP status stays 200 unless section 4.1.7 wants another."""

    def __init__(self, status_code: int, message: str, http_status: int = 200) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.http_status = http_status


def envelope(
    data: Any = None, *, status_code: int = 1000, message: str | None = None, http_status: int = 200
) -> Response:
    """An OCPI reply. Without data the field is left out: PUT and PATCH answers need none."""
    body: dict[str, Any] = {"status_code": status_code, "timestamp": str(Instant.of(datetime.now(UTC)))}
    if data is not None:
        body["data"] = data
    if message is not None:
        body["status_message"] = message
    return Response(orjson.dumps(body), http_status, media_type="application/json")


@dataclass(frozen=True)
class Exchange:
    """What a handler gets: the partner (by its token, so the tenant is certain) and the request."""

    link: PartnerLink
    request: Request
    raw: bytes
    intake: Intake
    public_url: str
    token: str = field(repr=False)
    """The token that was presented."""

    def part(self, name: str) -> str:
        """A path parameter."""
        return str(self.request.path_params[name])

    async def body(self, module: str) -> dict[str, Any]:
        """The JSON object that was sent. Raises Refusal; what cannot be read is in quarantine."""
        try:
            parsed = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            await self.intake.set_aside(self.link, module, "broken_json", self.raw)
            raise Refusal(2001, "body is no JSON", 400) from None
        found = as_object(parsed)
        if found is None:
            await self.intake.set_aside(self.link, module, "no_object", self.raw)
            raise Refusal(2001, "body is no object")
        if holds_nul(self.raw):
            await self.intake.set_aside(self.link, module, "nul_character", self.raw)
            raise Refusal(2001, "text must not hold NUL")
        return found

    def check_party(self) -> tuple[str, str]:
        """Country and party of the URL must be a role of the partner (404 otherwise)."""
        country, party = self.part("country_code"), self.part("party_id")
        if not self.link.speaks_for(country, party):
            raise Refusal(2001, "no such party here", 404)
        return country, party

    def check_ids(self, body: dict[str, Any], **expected: str) -> None:
        """Ids in the URL and in the body must agree (2001); absent ones are the schema's matter."""
        for name, value in expected.items():
            if name in body and str(body[name]).casefold() != value.casefold():
                raise Refusal(2001, f"{name} differs from the URL")


def holds_nul(raw: bytes) -> bool:
    """PostgreSQL's jsonb cannot keep an escaped NUL; such a body is set aside raw."""
    return b"\\u0000" in raw


Handler = Callable[[Exchange], Awaitable[Response]]


def guarded(
    intake: Intake, module: str, handler: Handler, *, functional: bool, public_url: str
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint around a handler: token, size, envelope, ids. `functional`: needs a finished handshake."""

    async def endpoint(request: Request) -> Response:
        label = counts.module_label(module)
        try:
            link, token = await _partner(intake, request, functional)
            raw = await _read(request)
            try:
                response = await handler(Exchange(link, request, raw, intake, public_url, token))
            except Unreadable as error:
                await intake.set_aside(link, error.module, error.reason, error.body, str(error))
                raise Refusal(2001, str(error)) from None
            counts.RECEIVED.labels(label, "taken").inc()
        except Refusal as refusal:
            result = "unauthorised" if refusal.http_status == 401 else "refused"
            counts.RECEIVED.labels(label, result).inc()
            response = envelope(
                status_code=refusal.status_code, message=str(refusal), http_status=refusal.http_status
            )
        _echo(request, response)
        return response

    return endpoint


async def _partner(intake: Intake, request: Request, functional: bool) -> tuple[PartnerLink, str]:
    for token in presented(request.headers.get("authorization")):
        link = await intake.store.by_token_hash(token_hash(token))
        if link is not None:
            if functional and not may_use(link):
                raise Refusal(2000, "handshake is not finished", 401)
            return link, token
    raise Refusal(2000, "token is missing or unknown", 401)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(2001, "body is too large", 413)
    return bytes(body)


def _echo(request: Request, response: Response) -> None:
    for name in _ECHOED:
        value = request.headers.get(name)
        if value and len(value) <= 128:
            response.headers[name] = value
    for received, answered in _SWAPPED:
        value = request.headers.get(received)
        if value and len(value) <= 8:
            response.headers[answered] = value
