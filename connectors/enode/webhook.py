"""POST /webhooks/enode/{connection_id}: the vendor's push door.

Order of work: size, signature over the raw bytes, only then JSON; store; acknowledge (204). The vendor waits
5 s, retries for about a day, then deletes its events and switches the webhook off: so whatever is authentic
and can never be read is quarantined and acknowledged, and only a failure of ours is answered with 5xx.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

import orjson
import structlog
from fastapi import APIRouter, Request, Response

from connectors.enode import counts
from connectors.enode.ingest import Ingest, Report
from connectors.enode.ports import Connections, EnodeConnection
from connectors.enode.signature import is_authentic

_log = structlog.stdlib.get_logger("backstop.enode")

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_EVENTS: Final = 100
ANSWER_WITHIN_S: Final = 4.5
_KEPT_FORGERIES_PER_MINUTE: Final = 10
_KEPT_FORGERY_BYTES: Final = 4096
_DELIVERY_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class HeartbeatListener(Protocol):
    """Told of every authentic delivery: silence and a backlog at the vendor are what it looks for."""

    def heard(self, connection_id: str, report: Report) -> None: ...


class _TooLarge(Exception):
    pass


async def _read_capped(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _TooLarge
    return bytes(body)


class _ForgeryAllowance:
    """How many forged bodies are still kept this minute: all are counted, but a flood must not fill the
    disk."""

    def __init__(self) -> None:
        self._minute = -1
        self._left = 0

    def take(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._left = minute, _KEPT_FORGERIES_PER_MINUTE
        self._left -= 1
        return self._left >= 0


def build_webhook(
    connections: Connections, ingest: Ingest, listener: HeartbeatListener | None = None
) -> APIRouter:
    """The router to mount on the API. The tenant comes from the connection's row, never from the payload."""
    router = APIRouter(tags=["webhooks"])
    allowance = _ForgeryAllowance()

    @router.post("/webhooks/enode/{connection_id}", status_code=204, include_in_schema=False)
    async def receive(connection_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        began_s = time.perf_counter()
        connection = await connections.find(connection_id)
        if connection is None:
            counts.DELIVERIES.labels("unknown_connection").inc()
            return Response(status_code=404)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                result, status = await _take(connection, request, ingest, allowance, listener)
        except _TooLarge:
            result, status = "too_large", 413
        except Exception:  # noqa: BLE001 - any failure of ours: nothing was committed, ask for the retry
            _log.exception("enode delivery failed", connection=connection_id, tenant=connection.tenant_id)
            result, status = "failed", 503
        counts.DELIVERIES.labels(result).inc()
        if status == 204:
            counts.ACKNOWLEDGE_S.observe(time.perf_counter() - began_s)
        return Response(status_code=status)

    return router


async def _take(
    connection: EnodeConnection,
    request: Request,
    ingest: Ingest,
    allowance: _ForgeryAllowance,
    listener: HeartbeatListener | None,
) -> tuple[str, int]:
    body = await _read_capped(request)
    secret = connection.webhook_secret.get_secret_value()
    if not is_authentic(secret, body, request.headers.get("x-enode-signature")):
        _log.warning("enode signature wrong", connection=connection.connection_id)
        if allowance.take():
            await ingest.refuse(connection, "bad_signature", body[:_KEPT_FORGERY_BYTES], f"{len(body)} bytes")
        return "bad_signature", 401
    received_at = datetime.now(UTC)
    try:
        parsed: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        await ingest.refuse(connection, "not_json", body)
        return "unreadable", 204
    if not isinstance(parsed, list):
        await ingest.refuse(connection, "not_an_array", body)
        return "unreadable", 204
    items = cast("list[Any]", parsed)
    if len(items) > MAX_EVENTS:
        await ingest.refuse(connection, "too_many_events", body, f"{len(items)} events")
        return "unreadable", 204
    # The delivery header is not covered by the signature: it only helps to spot repeats, and content decides.
    delivery_id = request.headers.get("x-enode-delivery", "")
    if not _DELIVERY_ID.match(delivery_id):
        delivery_id = "body-" + hashlib.sha256(body).hexdigest()[:48]
    report = await ingest.deliver(connection, delivery_id, items, received_at)
    if report.pending_events is not None:
        counts.PENDING.labels(connection.connection_id).set(report.pending_events)
    if listener is not None:
        listener.heard(connection.connection_id, report)
    return "stored", 204
