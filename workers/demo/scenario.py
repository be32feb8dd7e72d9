"""Runs the morning against a stack that is up. Reads the public API and the twins' ledgers, no internals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from models.ids import stop_id_for
from models.stop import StopEvent, StopView
from simulators.drivers import DriversConfig, drivers_config
from simulators.fault_plan import FaultPlan
from simulators.fleet_backend import FleetBackend
from simulators.twin import LedgerEntry
from simulators.world import DemoWorld
from workers.demo.live import Morning, shown
from workers.demo.summary import print_links, query_links, report, summarise
from workers.oracle import Violation, check_invariants, sessions_of
from workers.stack.processes import end, spawn, until_ready

REQUESTS_OVER_S: Final = 15.0
DEADLINE_S: Final = 110.0
_LOOK_S: Final = 0.5
_DRIVERS_LEAVE_S: Final = 6.0
_LEDGERS_REST_S: Final = 12.0
_BOOKED_WITHIN_S: Final = 5.0
_TELEMATICS: Final = "telematics"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


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
    requests_over_s: float = REQUESTS_OVER_S,
    deadline_s: float = DEADLINE_S,
) -> int:
    """The whole morning; returns the exit code: 0 only when every stop has an outcome and no invariant is
    broken. `world` has the faults of `plan` on it. `control_urls`: of `charge_points`, `roaming` and (may be
    missing) `telematics`. `folder`: for the drivers' configuration and log. Staying up afterwards is the
    caller's. Raises BackendRefused when the API refuses a request of the demo's own."""
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
        morning = Morning(world, stop_ids)
        async with _drivers_out(drivers, folder):
            await _live_through(backend, morning, console, requests_over_s, deadline_s)
        elapsed_s = morning.elapsed_s
        partners = [url for name, url in control_urls.items() if name != _TELEMATICS]
        books = await _books_at_rest(backend, morning, partners)
    ledger, views, timelines, violations = books
    summary = summarise(views, timelines, requested=len(world.vans))
    summary.unfinished += [row.vehicle_id for row in morning.rows() if row.view is None]
    away = f"The API did not answer {backend.outages} times; what was said was said again."
    console.print(
        report(
            summary,
            violations,
            elapsed_s=elapsed_s,
            ledger_entries=len(ledger),
            notes=[away] if backend.outages else [],
        )
    )
    print_links(console, _links(links))
    return 1 if violations or summary.unfinished else 0


async def _live_through(
    backend: FleetBackend, morning: Morning, console: Console, requests_over_s: float, deadline_s: float
) -> None:
    """Until all stops have closed or the deadline has passed."""
    asking = asyncio.create_task(_ask_for_stops(backend, morning.world, requests_over_s))
    try:
        async with shown(morning, backend, console) as show:
            while morning.elapsed_s < deadline_s and not morning.all_closed():
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


async def _books_at_rest(
    backend: FleetBackend, morning: Morning, partners: Sequence[str]
) -> tuple[list[LedgerEntry], list[StopView], dict[str, list[StopEvent]], list[Violation]]:
    """Both sides' books and what is wrong with them. A session that ended this moment is booked the next:
    only what stays wrong counts."""
    loop = asyncio.get_running_loop()
    booked_by: float | None = None
    while True:
        ledger = await _ledgers_at_rest(partners)
        morning.take(await backend.stops(len(morning.vans)))
        views = list(morning.views.values())
        timelines = await _timelines(backend, views)
        violations = check_invariants(ledger, views, timelines, datetime.now(UTC))
        booked_by = booked_by or loop.time() + _BOOKED_WITHIN_S
        if not violations or not morning.all_closed() or loop.time() > booked_by:
            return ledger, views, timelines, violations
        await asyncio.sleep(1.0)


async def _ledgers_at_rest(control_urls: Sequence[str]) -> list[LedgerEntry]:
    """All partners' ledgers, once no session runs any more (or the time for that is over). Raises
    httpx.HTTPError when a partner does not give its ledger: then nothing can be promised."""
    loop = asyncio.get_running_loop()
    rest_by = loop.time() + _LEDGERS_REST_S
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
        while True:
            entries: list[LedgerEntry] = []
            for url in control_urls:
                answer = await http.get(f"{url.rstrip('/')}/twin/ledger")
                answer.raise_for_status()
                entries += [LedgerEntry.model_validate(entry) for entry in answer.json()["entries"]]
            running = [session for session in sessions_of(entries) if session.ended_at is None]
            if not running or loop.time() > rest_by:
                return entries
            await asyncio.sleep(1.0)


async def _timelines(backend: FleetBackend, views: Sequence[StopView]) -> dict[str, list[StopEvent]]:
    """Read after the ledgers are at rest, so that late bookings are in."""
    return {view.stop_id: await backend.timeline(view.stop_id) for view in views}


def _links(links: Mapping[str, str]) -> dict[str, str]:
    """The caller's links, and ready lists of the Temporal UI where that is among them."""
    every = dict(links)
    ui = every.pop("Temporal UI", None)
    return query_links(ui) | every if ui else every
