"""HTTP client for one partner: token header, ids, envelope, paging.

Timeouts on every phase, no redirects, capped bodies; our token goes only to the partner's own origins.
Secrets appear in no message of an error."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import ValidationError

from connectors.ocpi import counts
from connectors.ocpi.ports import PartnerLink
from connectors.ocpi.tokens import authorization
from connectors.ocpi.wire import Envelope, as_list

MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 10_000


class OcpiError(Exception):
    """The partner answered, and not usefully. `http_status` and `status_code` (OCPI) as far as known."""

    def __init__(
        self,
        message: str,
        http_status: int | None = None,
        status_code: int | None = None,
        retry_after: str = "",
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.status_code = status_code
        self.retry_after = retry_after


class ForeignOrigin(OcpiError):
    """The URL is not on an origin of this partner: nothing was sent."""


@dataclass(frozen=True)
class Reply:
    """A whole response. `envelope` is None when the body was no OCPI reply."""

    http_status: int
    envelope: Envelope | None
    next_url: str | None = None
    retry_after: str = ""

    @property
    def succeeded(self) -> bool:
        return (
            self.http_status in (200, 201)
            and self.envelope is not None
            and 1000 <= self.envelope.status_code < 2000
        )

    @property
    def data(self) -> Any:
        return self.envelope.data if self.envelope else None

    def expect(self, what: str) -> Any:
        """The data of a success. HTTP 200 with 2xxx or 3xxx is a failure. Raises OcpiError."""
        if self.succeeded:
            return self.data
        code = self.envelope.status_code if self.envelope else None
        raise OcpiError(
            f"{what}: HTTP {self.http_status}, OCPI {code}", self.http_status, code, self.retry_after
        )


def http_client(
    read_s: float = 10.0, connect_s: float = 3.0, write_s: float = 10.0, pool_s: float = 5.0
) -> httpx.AsyncClient:
    """The one factory: no redirects (a token must not follow one), no proxy from the environment."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(connect=connect_s, read=read_s, write=write_s, pool=pool_s),
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=40, max_keepalive_connections=20, keepalive_expiry=5.0),
    )


def origin_of(url: str) -> str:
    """`scheme://host:port`, lower case, with the default port written out. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("not an HTTP URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname.lower()}:{port}"


class OcpiClient:
    """Calls of one partner. Closes nothing: the HTTP client belongs to who made it."""

    def __init__(self, http: httpx.AsyncClient, link: PartnerLink) -> None:
        self._http = http
        self._link = link

    async def call(
        self,
        method: str,
        url: str,
        *,
        module: str,
        body: object = None,
        query: dict[str, str] | None = None,
        read_timeout_s: float | None = None,
        correlation_id: str | None = None,
    ) -> Reply:
        """One call, sent once. Raises httpx errors, ForeignOrigin, or OcpiError for an oversized body."""
        self._check_origin(url)
        request = self._http.build_request(
            method,
            url,
            params=query,
            content=None if body is None else orjson.dumps(body),
            headers=self._headers(module, body is not None, correlation_id),
        )
        if read_timeout_s is not None:
            request.extensions["timeout"] = {**request.extensions["timeout"], "read": read_timeout_s}
        try:
            reply = await self._exchange(request)
        except httpx.HTTPError:
            counts.CALLS.labels(counts.module_label(module), "no_reply").inc()
            raise
        result = "ok" if reply.succeeded else f"{reply.http_status // 100}xx"
        counts.CALLS.labels(counts.module_label(module), result).inc()
        return reply

    async def pages(
        self, url: str, *, module: str, query: dict[str, str] | None = None
    ) -> AsyncIterator[list[Any]]:
        """GET a list page by page, following `Link: rel=next` verbatim (section 4.1.4). Raises OcpiError,
        also for a link that leads elsewhere or in circles, or httpx.HTTPError."""
        following: str | None = url
        params: dict[str, str] | None = {"limit": str(PAGE_SIZE)} | (query or {})
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            if following is None:
                return
            if following in seen:
                break
            seen.add(following)
            reply = await self.call("GET", following, module=module, query=params)
            page = as_list(reply.expect(module))
            if page is None:
                raise OcpiError(f"{module}: data is no list", reply.http_status)
            yield page
            following, params = reply.next_url, None
        raise OcpiError(f"{module}: pages do not end")

    def _check_origin(self, url: str) -> None:
        try:
            origin = origin_of(url)
            own = {origin_of(self._link.versions_url), *self._link.extra_origins}
        except ValueError as error:
            raise ForeignOrigin("URL cannot be used") from error
        if origin not in own:
            raise ForeignOrigin(f"{origin} is no origin of this partner")

    def _headers(self, module: str, has_body: bool, correlation_id: str | None) -> dict[str, str]:
        link = self._link
        headers = {
            "authorization": authorization(link.token_theirs.get_secret_value(), raw=link.raw_token),
            "accept": "application/json",
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": correlation_id or str(uuid.uuid4()),
        }
        if has_body:
            headers["content-type"] = "application/json"
        # Routing belongs to functional modules only (section 4.1.6).
        if module not in ("versions", "credentials") and link.roles:
            headers["ocpi-from-country-code"] = link.our_country_code
            headers["ocpi-from-party-id"] = link.our_party_id
            headers["ocpi-to-country-code"] = link.roles[0].country_code
            headers["ocpi-to-party-id"] = link.roles[0].party_id
        return headers

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise OcpiError("response is too large", response.status_code)
        finally:
            await response.aclose()
        try:
            envelope = Envelope.model_validate(orjson.loads(bytes(body)))
        except (orjson.JSONDecodeError, ValidationError):
            envelope = None
        retry_after = response.headers.get("retry-after", "")[:40]
        return Reply(
            response.status_code,
            envelope,
            next_url=response.links.get("next", {}).get("url"),
            retry_after=retry_after if retry_after.isprintable() else "",
        )
