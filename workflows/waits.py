"""Waiting, in one place: what for and until when is shown to operators, and people may always cut in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from stops.stop import Stop

_SHORTEST_S, _LONGEST_S = 0.001, 60 * 86400.0


class Waits:
    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at: datetime | None = None

    async def until(
        self, ready: Callable[[], object], seconds: float, why: str, *, even_if_interrupted: bool = False
    ) -> bool:
        """Wait until something is ready, or a person wants something else. False: the time ran out."""
        stop = self._stop
        seconds = min(max(seconds, _SHORTEST_S), _LONGEST_S)

        def enough() -> bool:
            return bool(ready()) or (not even_if_interrupted and stop.wishes.pending)

        if enough():
            return True
        stop.waiting.what, stop.waiting.until = why, workflow.now() + timedelta(seconds=seconds)
        try:
            await workflow.wait_condition(enough, timeout=timedelta(seconds=seconds), timeout_summary=why)
        except TimeoutError:
            return False
        finally:
            stop.waiting.what, stop.waiting.until = "", None
        return True

    async def answered(self, ready: Callable[[], object], why: str) -> None:
        """Wait for what is certain to come (an activity's own answer), or until a person wants something
        else. No timer: the activity has one."""
        stop = self._stop
        stop.waiting.what, stop.waiting.until = why, None
        try:
            await workflow.wait_condition(lambda: bool(ready()) or stop.wishes.pending)
        finally:
            stop.waiting.what = ""

    async def until_alarm(self, ready: Callable[[], object], at: datetime, why: str) -> None:
        """Wait until something is ready, a person cuts in, or an alarm rings at `at` or earlier. For waits
        that begin again and again with other deadlines: an alarm that is set for earlier is kept, because
        each timer set and cancelled costs the history two events. Whoever waits judges the time anew."""
        stop = self._stop
        self._set_alarm(at, why)
        stop.waiting.what, stop.waiting.until = why, at
        try:
            await workflow.wait_condition(
                lambda: bool(ready()) or stop.wishes.pending or self._alarm_at is None
            )
        finally:
            stop.waiting.what, stop.waiting.until = "", None

    def _set_alarm(self, at: datetime, why: str) -> None:
        if self._alarm is not None and self._alarm_at is not None and self._alarm_at <= at:
            return
        self.silence()
        self._alarm_at = at
        self._alarm = asyncio.create_task(self._ring((at - workflow.now()).total_seconds(), why))

    async def _ring(self, seconds: float, why: str) -> None:
        await workflow.sleep(min(max(seconds, _SHORTEST_S), _LONGEST_S), summary=why)
        self._alarm = self._alarm_at = None

    def silence(self) -> None:
        """No alarm any more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._alarm_at = None

    async def until_time(self, ready: Callable[[], object], at: datetime, why: str) -> bool:
        return await self.until(ready, (at - workflow.now()).total_seconds(), why)
