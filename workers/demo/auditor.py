"""Collects everybody's books once a morning is at rest, and has them judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from simulators.fleet_backend import FleetBackend
from simulators.twin import LedgerEntry
from workers.oracle import Books, Limits, Violation, check_invariants, sessions_of
from workers.oracle.reader import HouseReader

_LOOK_S = 1.0


@dataclass(frozen=True)
class Auditor:
    """`partners`: control addresses of those that keep a ledger. `stops`: how many there are at most.
    `reader`: opens the house's own books; without it only what is public is judged."""

    backend: FleetBackend
    partners: Sequence[str]
    stops: int
    reader: HouseReader | None
    limits: Limits

    async def at_rest(self, ledgers_rest_s: float, booked_within_s: float) -> tuple[Books, list[Violation]]:
        """The books and what is wrong with them. A session that ended this moment is booked the next: only
        what stays wrong counts. Raises httpx.HTTPError where a partner does not give its ledger, and what
        the reader raises: then nothing can be promised."""
        loop = asyncio.get_running_loop()
        booked_by: float | None = None
        while True:
            books = await self.books(await self._ledgers_at_rest(ledgers_rest_s))
            violations = check_invariants(books, self.limits)
            booked_by = booked_by or loop.time() + booked_within_s
            if not violations or loop.time() > booked_by:
                return books, violations
            await asyncio.sleep(_LOOK_S)

    async def books(self, ledgers: Sequence[LedgerEntry]) -> Books:
        """As they are now. `ledgers`: read before, so that what they hold had time to be booked."""
        views = await self.backend.stops(self.stops)
        house = await self.reader.read(views) if self.reader is not None else None
        return Books(
            ledgers=ledgers,
            views=views,
            timelines={view.stop_id: await self.backend.timeline(view.stop_id) for view in views},
            now=datetime.now(UTC),
            feed=await self.backend.whole_feed(),
            workflows=house.workflows if house else None,
            holds=house.holds if house else None,
            commands=house.commands if house else None,
            evidence=house.evidence if house else None,
        )

    async def _ledgers_at_rest(self, rest_s: float) -> list[LedgerEntry]:
        """All ledgers, once no session runs any more (or the time for that is over)."""
        loop = asyncio.get_running_loop()
        rest_by = loop.time() + rest_s
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            while True:
                entries: list[LedgerEntry] = []
                for url in self.partners:
                    answer = await http.get(f"{url.rstrip('/')}/twin/ledger")
                    answer.raise_for_status()
                    entries += [LedgerEntry.model_validate(entry) for entry in answer.json()["entries"]]
                running = [session for session in sessions_of(entries) if session.ended_at is None]
                if not running or loop.time() > rest_by:
                    return entries
                await asyncio.sleep(_LOOK_S)
