"""Shows the morning while it runs: a live table on a terminal, elsewhere one line per transition."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.live import Live

from models.stop import StopView
from simulators.fleet_backend import FleetBackend
from simulators.world import DemoWorld
from workers.demo.board import Row, board, transition
from workers.stack.chaos import Blow

_FRAMES_PER_S = 4


@dataclass
class Morning:
    """What is known so far. `stop_ids`: by business key. `blows`: grows while the morning is under chaos."""

    world: DemoWorld
    stop_ids: dict[str, str]
    blows: list[Blow] = field(default_factory=lambda: [])
    began: float = field(default_factory=time.monotonic)
    views: dict[str, StopView] = field(default_factory=lambda: {})
    api_away: bool = False

    def __post_init__(self) -> None:
        self.vans = {self.stop_ids[van.business_key]: van.vehicle_id for van in self.world.vans}

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def take(self, seen: list[StopView] | None) -> None:
        """The newest look at the API; None: it did not answer."""
        self.api_away = seen is None
        self.views |= {view.stop_id: view for view in seen or [] if view.stop_id in self.vans}

    def rows(self) -> list[Row]:
        return [Row(vehicle_id, self.views.get(stop_id)) for stop_id, vehicle_id in self.vans.items()]

    def all_closed(self) -> bool:
        return all(row.view is not None and row.view.outcome is not None for row in self.rows())


@asynccontextmanager
async def shown(
    morning: Morning, backend: FleetBackend, console: Console
) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Gives what to call after each look."""
    if console.is_terminal:

        def picture() -> RenderableType:
            width, height = console.size
            return board(
                morning.rows(),
                width=width,
                height=height,
                elapsed_s=morning.elapsed_s,
                api_away=morning.api_away,
                blows=morning.blows,
            )

        async def nothing_more() -> None:
            """The table draws itself."""

        with Live(get_renderable=picture, console=console, refresh_per_second=_FRAMES_PER_S):
            yield nothing_more
        return

    position, struck = 0, 0

    async def print_news() -> None:
        nonlocal position, struck
        while struck < len(morning.blows) and morning.blows[struck].settled:
            console.print(f"  {morning.blows[struck].line()}", highlight=False, markup=False, soft_wrap=True)
            struck += 1
        while (page := await backend.feed(position)) is not None:
            for _, event in page:
                if event.stop_id in morning.vans:
                    line = transition(morning.vans[event.stop_id], event)
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
            if not page:
                return
            position = page[-1][0]

    yield print_news
    await print_news()
