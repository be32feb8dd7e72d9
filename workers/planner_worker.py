"""The planner: decisions in a process and on a queue of their own."""

from __future__ import annotations

from workers.bootstrap import open_house, planner_worker, run_until, stop_signal
from workers.settings import Settings


async def run_planner(settings: Settings) -> None:
    """Serve until SIGTERM, then finish what runs and end."""
    stopped = stop_signal()
    async with open_house(settings, "planner") as house:
        await run_until(stopped, planner_worker(house))
