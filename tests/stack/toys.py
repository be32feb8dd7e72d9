"""Workflows that need nothing of ours, to try servers with."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

LONG_SLEEP = timedelta(hours=35)


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@workflow.defn
class LongSleeper:
    """Sleeps 35 hours; returns the seconds that its own clock moved."""

    @workflow.run
    async def run(self) -> float:
        began = workflow.now()
        await workflow.sleep(LONG_SLEEP)
        return (workflow.now() - began).total_seconds()


@workflow.defn
class Patient:
    """Waits to be released, then doubles a number with an activity."""

    def __init__(self) -> None:
        self._released = False

    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.wait_condition(lambda: self._released)
        return await workflow.execute_activity(double, number, start_to_close_timeout=timedelta(seconds=10))

    @workflow.signal
    def release(self) -> None:
        self._released = True
