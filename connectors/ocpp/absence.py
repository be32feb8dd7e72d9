"""That a station is away, and that it is back: told to stops once each; an outage of the store delays it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from connectors.ocpp.connection import Connection

_log = structlog.get_logger(__name__)


class Absences:
    """`after_s`: who is back by then was never away. `is_held(connection)`: whether that connection, and
    `holds(station id)`: whether any, is the one that counts here."""

    def __init__(
        self, after_s: float, is_held: Callable[[Connection], bool], holds: Callable[[str], bool]
    ) -> None:
        self._after_s, self._is_held, self._holds = after_s, is_held, holds
        self._closed = asyncio.Event()

    def close(self) -> None:
        """We are going: that stations are away from now on is our doing, and nobody is told so."""
        self._closed.set()

    async def lost(self, mine: Connection) -> None:
        """Its socket is closed."""
        since = datetime.now(UTC)
        while not await self._ends_within_patience():
            if self._holds(mine.session.station.station_id):
                return
            try:
                await mine.session.went_away(mine.generation, since)
            except Exception as error:  # noqa: BLE001  told with the next try
                _log.warning("absence not told", error=type(error).__name__)
            else:
                return

    async def ended(self, mine: Connection, since: datetime) -> None:
        """It is back from an absence that was told."""
        while self._is_held(mine):
            try:
                await mine.session.came_back(since, datetime.now(UTC))
            except Exception as error:  # noqa: BLE001  told with the next try
                _log.warning("return not told", error=type(error).__name__)
            else:
                return
            if await self._ends_within_patience():
                return

    async def _ends_within_patience(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._after_s):
                await self._closed.wait()
        return self._closed.is_set()
