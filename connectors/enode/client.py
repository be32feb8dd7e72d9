"""HTTP client for the vendor: client credentials, dated API version, cursor paging.

Timeouts on every phase, no redirects, capped bodies. Secrets and tokens appear in no message of an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import orjson
from pydantic import ValidationError

from connectors.enode import counts
from connectors.enode.ports import EnodeConnection
from connectors.enode.wire import Token, VehiclePage

MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024
PAGE_SIZE: Final = 50
_MAX_PAGES: Final = 10_000
_RENEW_BEFORE_S: Final = 60.0


class EnodeError(Exception):
    """The vendor answered, and not usefully. `status` is None where the body was unusable."""

    def __init__(self, message: str, status: int | None = None, retry_after: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class TokenUnavailable(EnodeError):
    """No access token could be had: the request proper was not sent."""


@dataclass(frozen=True)
class Reply:
    """A whole response. `body` is None when it was no JSON."""

    status: int
    body: Any
    retry_after: str = ""


def http_client(timeout_s: float = 10.0, connect_timeout_s: float = 3.0) -> httpx.AsyncClient:
    """The one factory: no redirects (a token must not follow one), no proxy from the environment, few
    connections."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=5.0),
    )


class EnodeClient:
    """Calls of one connection. Closes nothing: the HTTP client belongs to who made it."""

    def __init__(self, connection: EnodeConnection, http: httpx.AsyncClient) -> None:
        self._connection = connection
        self._http = http
        self._token: str | None = None
        self._token_ends_s = 0.0
        self._token_lock = asyncio.Lock()

    async def vehicle(self, telematics_id: str) -> dict[str, Any] | None:
        """GET /vehicles/{id}; None for 404. Raises EnodeError or httpx.HTTPError."""
        reply = await self.call("GET", f"/vehicles/{quote(telematics_id, safe='')}")
        if reply.status == 404:
            return None
        self._expect_ok(reply)
        if not isinstance(reply.body, dict):
            raise EnodeError("vehicle is no object")
        return cast("dict[str, Any]", reply.body)

    async def vehicle_pages(self) -> AsyncIterator[list[dict[str, Any]]]:
        """GET /vehicles page by page, by the `after` cursor. Raises EnodeError, also for a cursor that turns
        in circles, or httpx.HTTPError."""
        after: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            query = {"pageSize": str(PAGE_SIZE)} | ({"after": after} if after else {})
            reply = await self.call("GET", "/vehicles", query=query)
            self._expect_ok(reply)
            try:
                page = VehiclePage.model_validate(reply.body)
            except ValidationError as error:
                raise EnodeError("page of vehicles is not readable") from error
            yield page.data
            after = page.pagination.after
            if not after:
                return
            if after in seen:
                break
            seen.add(after)
        raise EnodeError("vehicle pages do not end")

    async def charging(self, telematics_id: str, action: str) -> Reply:
        """POST /vehicles/{id}/charging with START or STOP. Sent once; raises TokenUnavailable when it was
        not sent, httpx errors otherwise."""
        path = f"/vehicles/{quote(telematics_id, safe='')}/charging"
        return await self.call("POST", path, json={"action": action})

    async def call(
        self, method: str, path: str, *, query: dict[str, str] | None = None, json: object = None
    ) -> Reply:
        """One call; on 401 the token is renewed once (a 401 has done nothing, so sending again is safe)."""
        token = await self._access_token()
        reply = await self._send(method, path, token, query, json)
        if reply.status == 401:
            reply = await self._send(method, path, await self._access_token(stale=token), query, json)
        counts.API_CALLS.labels(f"{reply.status // 100}xx").inc()
        return reply

    async def _send(
        self, method: str, path: str, token: str, query: dict[str, str] | None, json: object
    ) -> Reply:
        headers = {
            "authorization": f"Bearer {token}",
            "enode-version": self._connection.api_version,
            "accept": "application/json",
        }
        url = self._connection.base_url.rstrip("/") + path
        request = self._http.build_request(method, url, params=query, json=json, headers=headers)
        return await self._exchange(request)

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise EnodeError("response is too large", response.status_code)
        finally:
            await response.aclose()
        try:
            parsed: Any = orjson.loads(bytes(body)) if body else None
        except orjson.JSONDecodeError:
            parsed = None
        retry_after = response.headers.get("retry-after", "")[:40]
        return Reply(response.status_code, parsed, retry_after if retry_after.isprintable() else "")

    async def _access_token(self, stale: str | None = None) -> str:
        """The cached token; a new one when it nears its end or is the `stale` one that was refused."""
        async with self._token_lock:
            if self._token is not None and self._token != stale and time.monotonic() < self._token_ends_s:
                return self._token
            self._token = None
            connection = self._connection
            request = self._http.build_request(
                "POST",
                connection.token_url,
                data={"grant_type": "client_credentials"},
            )
            auth = httpx.BasicAuth(connection.client_id, connection.client_secret.get_secret_value())
            request = next(auth.auth_flow(request))
            try:
                reply = await self._exchange(request)
                if reply.status != 200:
                    raise TokenUnavailable("token refused", reply.status, reply.retry_after)
                token = Token.model_validate(reply.body)
            except httpx.HTTPError as error:
                raise TokenUnavailable(f"token endpoint: {type(error).__name__}") from error
            except ValidationError as error:
                # Without the cause: pydantic would print the response, and with it a token.
                raise TokenUnavailable(
                    f"token response not readable ({error.error_count()} faults)"
                ) from None
            self._token = token.access_token
            self._token_ends_s = time.monotonic() + max(1.0, token.expires_in - _RENEW_BEFORE_S)
            return self._token

    @staticmethod
    def _expect_ok(reply: Reply) -> None:
        if reply.status != 200:
            raise EnodeError(f"vendor answered {reply.status}", reply.status, reply.retry_after)


class EnodeClients:
    """One EnodeClient per connection over one HTTP client, so that tokens are shared and cached."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._clients: dict[EnodeConnection, EnodeClient] = {}

    def of(self, connection: EnodeConnection) -> EnodeClient:
        return self._clients.setdefault(connection, EnodeClient(connection, self._http))
