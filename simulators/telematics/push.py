"""The webhook side of the simulated telematics vendor: batches, signatures, retries, heartbeats, faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from simulators.telematics.faults import FaultPlan, VendorFault
from simulators.telematics.fleet import API_VERSION, stamp

MAX_BATCH: Final = 100
_ANSWER_WITHIN_S: Final = 5.0
_FIRST_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 5.0
_HOLD_S: Final = 0.4
_LATE_S: Final = 2.0


class Pusher:
    """Delivers events to one webhook, a delivery at a time, each until it is acknowledged."""

    def __init__(
        self, url: str, secret: str, seed: int, heartbeat_interval_s: float, faults: Callable[[], FaultPlan]
    ) -> None:
        self._url = url
        self._secret = secret
        self._heartbeat_interval_s = heartbeat_interval_s
        self._faults = faults
        self._queue: list[dict[str, Any]] = []
        self._wake = asyncio.Event()
        self._in_flight = 0
        self._late: set[asyncio.Task[None]] = set()
        self._random = random.Random(seed + 1)
        self._http = httpx.AsyncClient(timeout=_ANSWER_WITHIN_S, trust_env=False)
        self.refused = 0
        """Tries that were not answered with 2xx."""

    @property
    def pending(self) -> int:
        return len(self._queue) + self._in_flight

    def emit(self, event: dict[str, Any]) -> None:
        if self._url:
            self._queue.append(event)
            self._wake.set()

    def _beat(self) -> dict[str, Any]:
        return {
            "event": "system:heartbeat",
            "createdAt": stamp(datetime.now(UTC)),
            "version": API_VERSION,
            "pendingEvents": self.pending,
        }

    async def run(self) -> None:
        """Pushes until cancelled."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat_interval_s):
                        await self._wake.wait()
                except TimeoutError:
                    if not self._faults().strikes(VendorFault.HEARTBEAT_SILENT):
                        self.emit(self._beat())
                    continue
                await self._push_queued()
        finally:
            for task in self._late:
                task.cancel()
            await self._http.aclose()

    async def _push_queued(self) -> None:
        faults = self._faults()
        if faults.strikes(VendorFault.REORDERED):
            await asyncio.sleep(_HOLD_S)
            batches = [[event] for event in reversed(self._queue)]
            self._queue.clear()
        else:
            batches = [self._queue[:MAX_BATCH]]
            del self._queue[:MAX_BATCH]
        if not self._queue:
            self._wake.clear()
        self._in_flight = sum(len(batch) for batch in batches)
        for batch in batches:
            await self._push(batch)
            self._in_flight -= len(batch)

    async def _push(self, batch: list[dict[str, Any]]) -> None:
        faults = self._faults()
        if not batch or faults.strikes(VendorFault.LOST):
            return
        events: list[Any] = list(batch)
        if faults.strikes(VendorFault.BROKEN_EVENT):
            events.insert(len(events) // 2, {"event": "user:vehicle:updated", "vehicle": {"id": None}})
        if faults.strikes(VendorFault.UNKNOWN_EVENT):
            beat = self._beat()
            events.append(beat | {"event": "user:toaster:updated", "action": "toast"})
        delivery_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        body = json.dumps(events, separators=(",", ":")).encode()
        if faults.strikes(VendorFault.LATE):
            task = asyncio.create_task(self._deliver(delivery_id, body, after_s=_LATE_S))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return
        await self._deliver(delivery_id, body)
        if faults.strikes(VendorFault.DUPLICATE):
            await self._deliver(delivery_id, body)

    async def _deliver(self, delivery_id: str, body: bytes, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        wait_s = _FIRST_RETRY_S
        while True:
            forged = self._faults().strikes(VendorFault.WRONG_SIGNATURE)
            secret = self._secret + "x" if forged else self._secret
            signature = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
            headers = {
                "content-type": "application/json",
                "x-enode-delivery": delivery_id,
                "x-enode-signature": f"sha1={signature}",
            }
            try:
                reply = await self._http.post(self._url, content=body, headers=headers)
                if reply.is_success:
                    return
            except httpx.HTTPError:
                pass
            self.refused += 1
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_RETRY_S)
