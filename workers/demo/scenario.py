"""Runs the morning against a stack that is up: shows what the API says, judges it by everybody's books."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import Console

from models.ids import stop_id_for
from simulators.driver_plans import DriversConfig, drivers_config
from simulators.fault_plan import FaultPlan
from simulators.fleet_backend import FleetBackend
from simulators.world import DemoWorld
from workers.demo.auditor import Auditor
from workers.demo.live import Morning, shown
from workers.demo.summary import print_links, query_links, report, summarise
from workers.oracle import Limits, Violation
from workers.oracle.reader import HouseReader
from workers.stack.chaos import Blow, Chaos
from workers.stack.processes import end, spawn, until_ready

_LOOK_S: Final = 0.5
_DRIVERS_LEAVE_S: Final = 6.0
_TELEMATICS: Final = "telematics"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Patience:
    """Seconds. `ledgers_rest_s`: for the last session to end; `booked_within_s`: from there until the books
    agree. `limits`: what the books are judged by."""

    requests_over_s: float = 15.0
    deadline_s: float = 110.0
    ledgers_rest_s: float = 12.0
    booked_within_s: float = 5.0
    limits: Limits = field(default_factory=Limits)


UNDER_CHAOS: Final = Patience(
    deadline_s=420.0,
    ledgers_rest_s=120.0,
    booked_within_s=60.0,
    # A freeze of eight seconds, a kill on top of it, and the restart: so long a stop may be under way.
    limits=Limits(stopped_within=timedelta(seconds=25)),
)


@dataclass(frozen=True)
class MorningEnd:
    """What came of it."""

    stops: int
    unfinished: tuple[str, ...]
    violations: tuple[Violation, ...]
    blows: tuple[Blow, ...]
    elapsed_s: float

    @property
    def code(self) -> int:
        """For the process: 0 only where every stop has an outcome, every promise was kept, and all that was
        struck came back."""
        lost = any(blow.back_s is None for blow in self.blows)
        return 1 if self.violations or self.unfinished or lost else 0


async def run_demo(
    *,
    api_url: str,
    api_key: str,
    world: DemoWorld,
    plan: FaultPlan,
    control_urls: Mapping[str, str],
    links: Mapping[str, str],
    folder: Path,
    console: Console,
    driver_key: str | None = None,
    tenant_id: str = "demo",
    reader: HouseReader | None = None,
    chaos: Chaos | None = None,
    patience: Patience | None = None,
) -> MorningEnd:
    """The whole morning. `world` has the faults of `plan` on it. `control_urls`: of `charge_points`,
    `roaming` and (may be missing) `telematics`. `folder`: for the drivers' configuration and log. `reader`:
    opens the house's own books; without it only what is public is judged. `links`: shown at the
    end. Staying up afterwards is the caller's. Raises BackendRefused when the API refuses a request
    of the demo's own."""
    patience = patience or (UNDER_CHAOS if chaos else Patience())
    stop_ids = {van.business_key: stop_id_for(tenant_id, van.business_key) for van in world.vans}
    drivers = drivers_config(
        world,
        plan,
        api_url=api_url,
        api_key=driver_key or api_key,
        charge_points_url=control_urls["charge_points"],
        roaming_url=control_urls["roaming"],
        telematics_url=control_urls.get(_TELEMATICS),
        stop_ids=stop_ids,
    )
    async with FleetBackend(api_url, api_key) as backend:
        morning = Morning(world, stop_ids, blows=chaos.blows if chaos else [])
        async with AsyncExitStack() as running:
            await running.enter_async_context(_drivers_out(drivers, folder))
            if chaos is not None:
                await running.enter_async_context(chaos.striking())
            await _live_through(backend, morning, console, patience)
        elapsed_s = morning.elapsed_s
        partners = [url for name, url in control_urls.items() if name != _TELEMATICS]
        auditor = Auditor(backend, partners, len(world.vans), reader, patience.limits)
        books, violations = await auditor.at_rest(patience.ledgers_rest_s, patience.booked_within_s)
        morning.take(list(books.views))
    summary = summarise(books.views, books.timelines, requested=len(world.vans))
    summary.unfinished += [row.vehicle_id for row in morning.rows() if row.view is None]
    away = f"The API did not answer {backend.outages} times; what was said was said again."
    console.print(
        report(
            summary,
            violations,
            elapsed_s=elapsed_s,
            ledger_entries=len(books.ledgers),
            workflows=len(books.workflows) if books.workflows is not None else None,
            blows=morning.blows,
            notes=[away] if backend.outages else [],
        )
    )
    if links:
        print_links(console, _links(links))
    return MorningEnd(
        stops=len(world.vans),
        unfinished=tuple(summary.unfinished),
        violations=tuple(violations),
        blows=tuple(morning.blows),
        elapsed_s=elapsed_s,
    )


async def _live_through(
    backend: FleetBackend, morning: Morning, console: Console, patience: Patience
) -> None:
    """Until all stops have closed or the deadline has passed."""
    asking = asyncio.create_task(_ask_for_stops(backend, morning.world, patience.requests_over_s))
    try:
        async with shown(morning, backend, console) as show:
            while morning.elapsed_s < patience.deadline_s and not morning.all_closed():
                if asking.done():
                    asking.result()  # refused: say so instead of waiting for stops that never come
                await asyncio.sleep(_LOOK_S)
                morning.take(await backend.look(len(morning.vans)))
                await show()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask_for_stops(backend: FleetBackend, world: DemoWorld, over_s: float) -> None:
    """As a fleet's planning does: one after another, none waiting for the one before."""
    requests = world.stop_requests()
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(backend.start(request))
            await asyncio.sleep(over_s / len(requests))


@asynccontextmanager
async def _drivers_out(config: DriversConfig, folder: Path) -> AsyncGenerator[None]:
    """The drivers' process, on the road for as long as the morning lasts; at the end they get a moment to
    unplug and leave."""
    file = folder / "drivers.json"
    file.touch(mode=0o600)  # it holds a key
    file.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "simulators.drivers", "--config", str(file)]
    child = spawn(command, log=folder / "logs" / "drivers.log", cwd=_CHECKOUT)

    async def have_left() -> bool:
        return child.poll() is not None

    try:
        yield
        with suppress(TimeoutError):
            await until_ready(have_left, "the drivers' leaving", _DRIVERS_LEAVE_S)
    finally:
        await asyncio.to_thread(end, child, 5.0)


def _links(links: Mapping[str, str]) -> dict[str, str]:
    """The caller's links, and ready lists of the Temporal UI where that is among them."""
    every = dict(links)
    ui = every.pop("Temporal UI", None)
    return query_links(ui) | every if ui else every
