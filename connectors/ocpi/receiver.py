"""What partners call: an APIRouter for the API process. The tenant comes from the token, never from a path.

Everything is durable before it is answered; a partner that hears nothing may send again."""

from __future__ import annotations

from typing import Any, Final

import httpx
from fastapi import APIRouter, Response
from pydantic import ValidationError

from connectors.ocpi import receiver_objects, receiver_tokens
from connectors.ocpi.exchange import Exchange, Handler, Refusal, envelope, guarded
from connectors.ocpi.handshake import (
    VERSION,
    HandshakeError,
    accept_registration,
    our_credentials,
    unregister,
)
from connectors.ocpi.intake import Intake, faults_of
from connectors.ocpi.objects import Credentials
from connectors.ocpi.ports import LinkState

_MODULES: Final = (
    ("credentials", "RECEIVER"),
    ("locations", "RECEIVER"),
    ("sessions", "RECEIVER"),
    ("cdrs", "RECEIVER"),
    ("tariffs", "RECEIVER"),
    ("tokens", "SENDER"),
    ("commands", "SENDER"),
)


class _Registration:
    """Versions and credentials."""

    def __init__(
        self, intake: Intake, http: httpx.AsyncClient, public_url: str, allow_plain_http: bool
    ) -> None:
        self._store = intake.store
        self._http = http
        self._public_url = public_url.rstrip("/")
        self._allow_plain_http = allow_plain_http

    async def versions(self, exchange: Exchange) -> Response:
        return envelope([{"version": VERSION, "url": f"{self._public_url}/ocpi/{VERSION}"}])

    async def details(self, exchange: Exchange) -> Response:
        base = f"{self._public_url}/ocpi/{VERSION}"
        endpoints = [{"identifier": name, "role": role, "url": f"{base}/{name}"} for name, role in _MODULES]
        return envelope({"version": VERSION, "endpoints": endpoints})

    async def get(self, exchange: Exchange) -> Response:
        return envelope(our_credentials(self._public_url, exchange.link, exchange.token))

    async def post(self, exchange: Exchange) -> Response:
        if exchange.link.state is not LinkState.INVITED:
            raise Refusal(2000, "registered already", 405)
        return await self._register(exchange)

    async def put(self, exchange: Exchange) -> Response:
        if exchange.link.state is not LinkState.REGISTERED:
            raise Refusal(2000, "not registered", 405)
        return await self._register(exchange)

    async def delete(self, exchange: Exchange) -> Response:
        if exchange.link.state is not LinkState.REGISTERED:
            raise Refusal(2000, "not registered", 405)
        await unregister(self._store, exchange.link)
        return envelope()

    async def _register(self, exchange: Exchange) -> Response:
        body = await exchange.body("credentials")
        try:
            credentials = Credentials.model_validate(body)
        except ValidationError as error:
            raise Refusal(2001, faults_of(error)) from None
        try:
            link, token = await accept_registration(
                self._http,
                self._store,
                exchange.link,
                credentials,
                allow_plain_http=self._allow_plain_http,
            )
        except HandshakeError as error:
            raise Refusal(error.status_code, str(error)) from error
        return envelope(our_credentials(self._public_url, link, token))


async def _command_result(exchange: Exchange) -> Response:
    body = await exchange.body("commands")
    known = await exchange.intake.take_command_result(exchange.link, exchange.part("command_id"), body)
    if not known:
        await exchange.intake.set_aside(exchange.link, "commands", "command_unknown", exchange.raw)
        raise Refusal(2000, "no such command", 404)
    return envelope()


def build_receiver(
    intake: Intake, http: httpx.AsyncClient, public_url: str, *, allow_plain_http: bool = False
) -> APIRouter:
    """The router. `http`: for calling back during a handshake. `public_url`: how partners reach us.
    `allow_plain_http`: partners' URLs may be http (development only)."""
    router = APIRouter(include_in_schema=False)
    registration = _Registration(intake, http, public_url, allow_plain_http)
    base = f"/ocpi/{VERSION}"

    def add(module: str, method: str, path: str, handler: Handler, *, functional: bool = True) -> None:
        endpoint: Any = guarded(
            intake, module, handler, functional=functional, public_url=public_url.rstrip("/")
        )
        router.add_api_route(path, endpoint, methods=[method], name=f"ocpi {method} {path}")

    add("versions", "GET", "/ocpi/versions", registration.versions, functional=False)
    add("versions", "GET", base, registration.details, functional=False)
    for method, handler in (
        ("GET", registration.get),
        ("POST", registration.post),
        ("PUT", registration.put),
        ("DELETE", registration.delete),
    ):
        add("credentials", method, f"{base}/credentials", handler, functional=False)
    for module, method, path, handler in (*receiver_objects.ROUTES, *receiver_tokens.ROUTES):
        add(module, method, f"{base}/{path}", handler)
    cdr_urls = receiver_objects.ChargeRecords(f"{public_url.rstrip('/')}{base}/cdrs")
    add("cdrs", "POST", f"{base}/cdrs", cdr_urls.post)
    add("cdrs", "GET", f"{base}/cdrs/{{key}}", cdr_urls.get)
    add("commands", "POST", f"{base}/commands/{{command}}/{{command_id}}", _command_result)
    return router
