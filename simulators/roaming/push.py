"""Deliveries of the simulated partner: in order per lane, each again and again until it is taken.

OCPI asks that pushes are not queued; this partner queues them all the same (as GIREVE does), so that the
receiver may be killed at any moment of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from simulators.roaming.config import Peer, header

_FIRST_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 2.0
_REFUSALS: Final = 4


@dataclass
class Delivery:
    """One request to the peer. `module` and `path` make the URL, unless `url` gives it whole. `otherwise`:
    sent in its place when the peer does not know the object that a PATCH changes (404)."""

    method: str
    module: str
    path: str
    body: dict[str, Any]
    url: str | None = None
    otherwise: Delivery | None = None
    times: int = 1


@dataclass
class _Lane:
    queue: asyncio.Queue[Delivery] = field(default_factory=lambda: asyncio.Queue[Delivery]())
    task: asyncio.Task[None] | None = None


class Courier:
    """One lane per EVSE, so that a slow object does not hold up others, and order within one is kept."""

    def __init__(self, peer: Callable[[], Peer | None]) -> None:
        self._peer = peer
        self._lanes: dict[str, _Lane] = {}
        self._http = httpx.AsyncClient(timeout=10.0, trust_env=False)
        self.pending = 0
        self.failed_tries = 0
        self.given_up = 0
        """Deliveries that the peer refused for good (an OCPI 2xxx or HTTP 4xx, several times)."""

    def send(self, lane: str, delivery: Delivery) -> None:
        """Queues a delivery."""
        self.pending += delivery.times
        held = self._lanes.setdefault(lane, _Lane())
        held.queue.put_nowait(delivery)
        if held.task is None:
            held.task = asyncio.create_task(self._run(held))

    async def close(self) -> None:
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    async def _run(self, lane: _Lane) -> None:
        while True:
            delivery = await lane.queue.get()
            for _ in range(delivery.times):
                await self._deliver(delivery)
                self.pending -= 1

    async def _deliver(self, delivery: Delivery) -> None:
        wait_s, refusals = _FIRST_RETRY_S, 0
        while True:
            status, code = await self._try(delivery)
            if status in (200, 201) and code is not None and 1000 <= code < 2000:
                return
            self.failed_tries += 1
            if status == 404 and delivery.otherwise is not None:
                delivery = delivery.otherwise
                continue
            # 401: the handshake may still be on its way at the other side.
            if status in (400, 404, 405, 413) or (status == 200 and code is not None and 2000 <= code < 3000):
                refusals += 1
                if refusals >= _REFUSALS:
                    self.given_up += 1
                    return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_RETRY_S)

    async def _try(self, delivery: Delivery) -> tuple[int, int | None]:
        """HTTP status (0: no answer) and OCPI status code."""
        peer = self._peer()
        if peer is None:
            return 0, None
        base = peer.endpoints.get(delivery.module, "")
        url = delivery.url or f"{base}/{delivery.path}".rstrip("/")
        try:
            response = await self._http.request(
                delivery.method, url, json=delivery.body, headers=header(peer.token_out)
            )
            code = response.json().get("status_code")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError):
            return 0, None
        return response.status_code, code if isinstance(code, int) else None
