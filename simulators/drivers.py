"""The simulated drivers: they drive, arrive, plug in, report what is wrong, and leave. One process for all.

    python -m simulators.drivers --config FILE

They know what a driver's app knows (the stop's status over the API) and act on the twins' control APIs. The
API and the partners may be away at any time: a driver tries again. The process ends when all have finished.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from models.stop import ArrivalReport, CancelRequest, ProblemKind, ProblemReport, StopPhase, StopView
from simulators.driver_plans import DriverPlan, DriversConfig
from simulators.fault_plan import DriverTrouble
from simulators.fleet_backend import FleetBackend
from simulators.twin import ConnectorState, PlugIn, VehicleTwin

_LOOK_S: Final = 0.6
_PACKING_UP_S: Final = 2.5
_APP_AFTER_S: Final = 6.0
_TELEMATICS_EVERY_S: Final = 2.0
_ROAD_OVER_BEELINE = 1.35
_CONSUMPTION_KWH_PER_100_KM = 26.0
_MARGIN_PERCENT: Final = 1.0
_LOOKS_AT_TAKEN: Final = 3
_GIVES_UP_AFTER_S: Final = 2.5
_LINGERS_S: Final = 10.0
_OCCUPIED: Final = frozenset(
    {"occupied", "charging", "preparing", "finishing", "suspendedev", "suspendedevse", "blocked", "reserved"}
)
_log = logging.getLogger("drivers")


class Road:
    """What all drivers share: the newest view of every stop, and the way to the twins."""

    def __init__(self, config: DriversConfig, backend: FleetBackend, http: httpx.AsyncClient) -> None:
        self.config = config
        self.backend = backend
        self.views: dict[str, StopView] = {}
        self._http = http
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Reads all stops again and again, in one call for everybody. Not only as many as there are drivers
        here: the newest stops may be those of others."""
        wanted = max(self.config.fleet, len(self.config.drivers))
        while True:
            seen = await self.backend.look(wanted)
            if seen is not None:
                async with self._news:
                    self.views = {view.stop_id: view for view in seen}
                    self._news.notify_all()
            await self.wait(_LOOK_S)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.config.haste)

    async def next_look(self) -> None:
        async with self._news:
            await self._news.wait()

    async def connector(self, charger_id: str) -> ConnectorState | None:
        """None while the twin is away or does not know this charger."""
        answer = await self._ask("GET", self._url(charger_id, ""))
        return ConnectorState.model_validate(answer.json()) if answer and answer.is_success else None

    async def plug(self, charger_id: str, vehicle: PlugIn) -> bool:
        """False when somebody else is plugged in there. Tries until the twin answers."""
        while True:
            url = self._url(charger_id, "/plug")
            answer = await self._ask("POST", url, vehicle.model_dump(mode="json"))
            if answer is not None and answer.status_code < 500:
                return answer.is_success
            await self.wait(_LOOK_S)

    async def unplug(self, charger_id: str) -> None:
        while True:
            answer = await self._ask("POST", self._url(charger_id, "/unplug"))
            if answer is not None and answer.status_code < 500:
                return
            await self.wait(_LOOK_S)

    async def show(self, telematics_id: str | None, twin: VehicleTwin) -> None:
        """What the vehicle tells its telematics vendor; lost while the vendor is away, as in life."""
        if telematics_id is not None and self.config.telematics_url is not None:
            url = f"{self.config.telematics_url.rstrip('/')}/twin/vehicles/{telematics_id}"
            await self._ask("PUT", url, twin.model_dump(mode="json", exclude_unset=True))

    def _url(self, charger_id: str, rest: str) -> str:
        return f"{self.config.control_urls[charger_id].rstrip('/')}/twin/connectors/{charger_id}{rest}"

    async def _ask(self, method: str, url: str, body: object = None) -> httpx.Response | None:
        try:
            return await self._http.request(method, url, json=body)
        except httpx.HTTPError:
            return None


class Driver:
    """One driver, from setting off to leaving."""

    def __init__(self, plan: DriverPlan, road: Road) -> None:
        self._plan = plan
        self._road = road
        self._rng = random.Random(f"{road.config.pace.seed}:{plan.vehicle_id}")
        self._loop = asyncio.get_running_loop()
        self._soc_percent = plan.soc_percent
        self._place = plan.place
        self._at: str | None = None
        self._arrived_at = 0.0
        self._plugged = False
        self._told = 0
        self._first_drive = True
        self._shown_at = 0.0

    async def run(self) -> None:
        if self._plan.trouble is DriverTrouble.NO_SHOW:
            return
        while (view := await self._newest()).outcome is None:
            here = view.charger_id
            if here is not None and here != self._at and view.phase is not StopPhase.PLANNING:
                await self._go(here)
            elif self._plugged:
                await self._stand_by(view)
        lingers = self._plan.trouble is DriverTrouble.GIVES_UP
        await self._road.wait(_LINGERS_S if lingers else self._rng.uniform(0.5, 1.5))
        await self._unplug()

    async def _newest(self) -> StopView:
        while True:
            await self._road.next_look()
            view = self._road.views.get(self._plan.stop_id)
            if view is not None:
                return view

    def _still_sent_to(self, charger_id: str) -> bool:
        view = self._road.views.get(self._plan.stop_id)
        return view is not None and view.outcome is None and view.charger_id == charger_id

    async def _go(self, charger_id: str) -> None:
        if self._plugged:
            # Unplugging and packing up takes a moment; meanwhile the old charger may come alive after all.
            await self._road.wait(_PACKING_UP_S)
            if not self._still_sent_to(charger_id):
                return
            await self._unplug()
        self._at = None
        drive_s = self._plan.drive_s if self._first_drive else self._rng.uniform(2.0, 4.0)
        self._first_drive = False
        await self._road.wait(drive_s)
        view = self._road.views.get(self._plan.stop_id)
        if view is None or not self._still_sent_to(charger_id):
            return  # sent elsewhere on the way
        self._at, self._arrived_at = charger_id, self._loop.time()
        self._consume(view)
        await self._arrive(charger_id, view)

    def _consume(self, view: StopView) -> None:
        """The way there takes its energy."""
        if view.charger_place is None:
            return
        way_km = self._place.distance_m(view.charger_place) / 1000 * _ROAD_OVER_BEELINE
        used_percent = way_km / 100 * _CONSUMPTION_KWH_PER_100_KM / self._plan.battery_kwh * 100
        self._soc_percent = max(1.0, self._soc_percent - used_percent)
        self._place = view.charger_place

    async def _arrive(self, charger_id: str, view: StopView) -> None:
        if not await self._comes_free(charger_id):
            return await self._report(ProblemKind.OCCUPIED, charger_id, "")
        if self._plan.trouble is DriverTrouble.BROKEN_CABLE and self._told == 0:
            return await self._report(ProblemKind.CABLE, charger_id, "The plug's casing is broken.")
        if self._plan.telematics_id is not None:
            await self._road.show(
                self._plan.telematics_id,
                VehicleTwin(place=view.charger_place, soc_percent=round(self._soc_percent, 1)),
            )
        else:
            await self._say_arrived(charger_id)
        await self._road.wait(self._rng.uniform(0.3, 0.8))
        plugged = await self._road.plug(
            charger_id,
            PlugIn(
                vehicle_id=self._plan.vehicle_id,
                soc_percent=self._soc_percent,
                battery_kwh=self._plan.battery_kwh,
                max_power_kw=self._plan.max_power_kw,
                # A little more than asked for: the stop at the target is Backstop's to send.
                target_soc_percent=min(100.0, self._plan.target_soc_percent + _MARGIN_PERCENT),
                token_uid=self._plan.token_uid,
            ),
        )
        if not plugged:
            return await self._report(ProblemKind.OCCUPIED, charger_id, "")
        self._plugged = True
        await self._road.show(self._plan.telematics_id, VehicleTwin(is_plugged_in=True))
        return None

    async def _comes_free(self, charger_id: str) -> bool:
        """A driver who sees somebody there waits a moment: perhaps they are just leaving."""
        for _ in range(_LOOKS_AT_TAKEN):
            state = await self._road.connector(charger_id)
            if state is None or not _taken(state, self._plan.vehicle_id):
                return True
            await self._road.wait(1.0)
        return False

    async def _stand_by(self, view: StopView) -> None:
        assert self._at is not None
        waited_s = (self._loop.time() - self._arrived_at) * self._road.config.haste
        if self._cancels_now(view.phase, waited_s):
            event_id = f"{self._plan.vehicle_id}:cancel"
            message = CancelRequest(event_id=event_id, by="driver")
            await self._road.backend.tell(self._plan.stop_id, "cancellation", message)
        if view.phase is StopPhase.EN_ROUTE and waited_s > _APP_AFTER_S:
            await self._say_arrived(self._at)  # telematics kept silent: the driver says it
            self._arrived_at = self._loop.time()
        if (self._loop.time() - self._shown_at) * self._road.config.haste >= _TELEMATICS_EVERY_S:
            await self._show_charge(self._at)

    def _cancels_now(self, phase: StopPhase, waited_s: float) -> bool:
        if self._plan.trouble is DriverTrouble.CANCELS:
            return phase is StopPhase.CHARGING
        impatient = self._plan.trouble is DriverTrouble.GIVES_UP and waited_s > _GIVES_UP_AFTER_S
        return impatient and phase is StopPhase.CONFIRMING

    async def _show_charge(self, charger_id: str) -> None:
        self._shown_at = self._loop.time()
        state = await self._road.connector(charger_id)
        if state is None or state.vehicle_id != self._plan.vehicle_id:
            return
        if state.soc_percent is not None:
            self._soc_percent = state.soc_percent
        await self._road.show(
            self._plan.telematics_id,
            VehicleTwin(
                is_plugged_in=True,
                is_charging=state.charging,
                power_kw=state.power_kw,
                soc_percent=round(self._soc_percent, 1),
            ),
        )

    async def _unplug(self) -> None:
        if not self._plugged or self._at is None:
            return
        await self._show_charge(self._at)
        await self._road.unplug(self._at)
        self._plugged = False
        gone = VehicleTwin(is_plugged_in=False, is_charging=False, power_kw=0.0)
        await self._road.show(self._plan.telematics_id, gone)

    async def _say_arrived(self, charger_id: str) -> None:
        # The id names the arrival: a driver who comes twice to one charger arrives twice.
        report = ArrivalReport(event_id=self._event_id("arrived"), charger_id=charger_id)
        await self._road.backend.tell(self._plan.stop_id, "arrival", report)

    async def _report(self, kind: ProblemKind, charger_id: str, note: str) -> None:
        report = ProblemReport(
            event_id=self._event_id(str(kind)), kind=kind, charger_id=charger_id, note=note
        )
        await self._road.backend.tell(self._plan.stop_id, "problem", report)

    def _event_id(self, what: str) -> str:
        self._told += 1
        return f"{self._plan.vehicle_id}:{what}:{self._told}"


def _taken(state: ConnectorState, vehicle_id: str) -> bool:
    if state.vehicle_id is not None:
        return state.vehicle_id != vehicle_id
    return state.status.lower() in _OCCUPIED


async def drive_all(config: DriversConfig) -> None:
    """Until every driver has left (a no-show has at once)."""
    limits = httpx.Limits(max_connections=40)
    async with (
        FleetBackend(config.api_url, config.api_key) as backend,
        httpx.AsyncClient(timeout=5.0, limits=limits, trust_env=False) as http,
    ):
        road = Road(config, backend, http)
        watching = asyncio.create_task(road.watch())
        driving = asyncio.gather(*(Driver(plan, road).run() for plan in config.drivers))
        try:
            await asyncio.wait([watching, driving], return_when=asyncio.FIRST_COMPLETED)
            for ended in (watching, driving):
                if ended.done():
                    ended.result()  # a driver's own error, or a key that the API refuses
        finally:
            for task in (watching, driving):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _main(config: DriversConfig) -> None:
    driving = asyncio.create_task(drive_all(config))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, driving.cancel)
    with suppress(asyncio.CancelledError):
        await driving
        _log.info("all drivers have left")


def main() -> None:
    """Runs until all have left, or SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Simulated drivers")
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = DriversConfig.model_validate_json(options.config.read_bytes())
    asyncio.run(_main(config))


if __name__ == "__main__":
    main()
