"""What has to happen so that a stop passes a given activity: one van, its driver, and at most one fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx

from models.charger import Charger, Protocol
from models.contract import keeper_workflow_id, station_workflow_id
from models.ids import attempt_id_for, stop_id_for, workflow_id_for
from models.stop import ChooseCharger, StopOutcome, StopPhase, StopView
from simulators.driver_plans import DriversConfig, drivers_config
from simulators.drivers import drive_all
from simulators.fault_plan import DriverTrouble, FaultPlan
from simulators.fleet_backend import FleetBackend
from simulators.twin import Fault, FaultKind
from simulators.world import DemoVan
from tests.drills.crash_points import Moment, arm
from workers.local_stack import TENANT, LocalStack

_LOOK_S = 0.2
_STOP_TAKES_S = 120.0
_KEEPER_TAKES_S = 60.0
_ATTEMPTS = 4


class Scenario(StrEnum):
    """`calm`: charges at the first try. `roaming`: the same at a partner's charger. `chosen`: the fleet sends
    the van elsewhere. `adopted`: starts after we gave up, and the van still stands there. `outlived`: starts
    after the driver has cancelled. `station`: an operator's command."""

    CALM = "calm"
    ROAMING = "roaming"
    CHOSEN = "chosen"
    ADOPTED = "adopted"
    OUTLIVED = "outlived"
    STATION = "station"


OUTCOMES = {
    # The ten seconds after which a dead worker's activity is repeated are half an hour of the twin's world: a
    # driver who is told so late may come after the window. That is an outcome, and nothing is lost by it.
    Scenario.CALM: {StopOutcome.CHARGED, StopOutcome.NO_SHOW},
    Scenario.ROAMING: {StopOutcome.CHARGED},
    Scenario.CHOSEN: {StopOutcome.CHARGED},
    Scenario.ADOPTED: {StopOutcome.CHARGED},
    Scenario.OUTLIVED: {StopOutcome.CANCELLED},
}
ALONE = frozenset({Scenario.ADOPTED, Scenario.OUTLIVED})
"""Their moments are narrow: no other case may strike meanwhile."""


@dataclass(frozen=True)
class Case:
    activity: str
    moment: Moment
    scenario: Scenario

    @property
    def name(self) -> str:
        return f"{self.activity} ({self.scenario}) {self.moment} its side effect"


@dataclass(frozen=True)
class CaseEnd:
    """`struck`: somebody died of it. `tries`: how many vans it took to get there."""

    case: Case
    struck: bool
    tries: int
    view: StopView | None = None
    said: str = ""


@dataclass
class Stage:
    """Gives every case its own van."""

    stack: LocalStack
    backend: FleetBackend
    points: Path

    def __post_init__(self) -> None:
        chargers = {charger.charger_id: charger for charger in self.stack.world.all_chargers}
        self._free: list[tuple[DemoVan, Charger]] = [
            (van, chargers[van.likely_charger_id]) for van in self.stack.world.vans if not van.stranded
        ]
        self._requests = {request.business_key: request for request in self.stack.world.stop_requests()}
        self._commands = self._numbers()

    @staticmethod
    def _numbers() -> Iterator[int]:
        number = 0
        while True:
            number += 1
            yield number

    async def play(self, case: Case, most_tries: int = 3) -> CaseEnd:
        """Until somebody died of it, or `most_tries` vans have passed without meeting it."""
        tries = 0
        while True:
            tries += 1
            if case.scenario is Scenario.STATION:
                end = await self._command_a_station(case)
            else:
                end = await self._charge(case)
            if end.struck or tries == most_tries:
                return CaseEnd(case, end.struck, tries, end.view, end.said)

    def _van(self, fits: Callable[[DemoVan, Charger], bool]) -> DemoVan:
        """Raises StopIteration where the world is too small."""
        index = next(i for i, (van, charger) in enumerate(self._free) if fits(van, charger))
        return self._free.pop(index)[0]

    async def _charge(self, case: Case) -> CaseEnd:
        roams = case.scenario is Scenario.ROAMING
        van = self._van(lambda _, charger: (charger.protocol is Protocol.OCPI) == roams)
        stop_id = stop_id_for(TENANT, van.business_key)
        keepers = (keeper_workflow_id(attempt_id_for(stop_id, n + 1)) for n in range(_ATTEMPTS))
        armed = arm(
            self.points, case.activity, case.moment, [workflow_id_for(TENANT, van.business_key), *keepers]
        )
        driver = asyncio.create_task(drive_all(self._driver(van, case)))
        try:
            await self.backend.start(self._requests[van.business_key])
            await self._prepare(case, stop_id)
            view = await self._view(stop_id, lambda view: view.outcome is not None, _STOP_TAKES_S)
            struck = await self._struck(armed, _KEEPER_TAKES_S if case.scenario is Scenario.OUTLIVED else 0.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(driver), 15.0)
        finally:
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)
            armed.unlink(missing_ok=True)
        return CaseEnd(case, struck, 1, view)

    async def _prepare(self, case: Case, stop_id: str) -> None:
        if case.scenario not in (Scenario.ADOPTED, Scenario.OUTLIVED, Scenario.CHOSEN):
            return
        view = await self._view(stop_id, lambda view: view.charger_id is not None, 30.0)
        assert view.charger_id is not None
        if case.scenario is Scenario.CHOSEN:
            others = [c for c in self.stack.world.own_chargers() if c.charger_id not in view.alternatives]
            choice = ChooseCharger(event_id="choice-1", charger_id=others[0].charger_id)
            await self.backend.tell(stop_id, "choice", choice)
            return
        late_s = 6.0
        if case.scenario is Scenario.ADOPTED:
            late_s = self.stack.world.policy().confirmation_s + 1.5
        own = {charger.charger_id for charger in self.stack.world.own_chargers()}
        partner = "charge_points" if view.charger_id in own else "roaming"
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
            answer = await http.post(
                f"{self.stack.control_urls[partner]}/twin/connectors/{view.charger_id}/faults",
                content=Fault(kind=FaultKind.START_LATE, delay_s=late_s).model_dump_json(),
                headers={"Content-Type": "application/json"},
            )
            answer.raise_for_status()

    def _driver(self, van: DemoVan, case: Case) -> DriversConfig:
        trouble = {van.vehicle_id: DriverTrouble.GIVES_UP} if case.scenario is Scenario.OUTLIVED else {}
        world = self.stack.world
        config = drivers_config(
            world,
            FaultPlan(seed=world.seed, connectors={}, drivers=trouble, struck={}),
            api_url=self.stack.api_url,
            api_key=self.stack.driver_key,
            charge_points_url=self.stack.control_urls["charge_points"],
            roaming_url=self.stack.control_urls["roaming"],
            telematics_url=self.stack.control_urls["telematics"],
            stop_ids={each.business_key: stop_id_for(TENANT, each.business_key) for each in world.vans},
        )
        alone = tuple(driver for driver in config.drivers if driver.vehicle_id == van.vehicle_id)
        return config.model_copy(update={"drivers": alone})

    async def _command_a_station(self, case: Case) -> CaseEnd:
        """Said again with the same key until there is an answer."""
        number = next(self._commands)
        station = self.stack.world.stations()[number % len(self.stack.world.stations())]
        key = f"crash-{number}"
        armed = arm(self.points, case.activity, case.moment, [station_workflow_id(TENANT, key)])
        action = "TriggerMessage"
        body = {"action": action, "payload": {"requestedMessage": "Heartbeat"}, "timeout_s": 5}
        headers = {"Authorization": f"Bearer {self.stack.api_key}", "Idempotency-Key": key}
        said = ""
        async with httpx.AsyncClient(base_url=self.stack.api_url, timeout=15.0, trust_env=False) as http:
            async with asyncio.timeout(_STOP_TAKES_S):
                while not said:
                    with suppress(httpx.HTTPError):
                        answer = await http.post(
                            f"/v1/stations/{station.station_id}/commands", json=body, headers=headers
                        )
                        if answer.is_success and answer.json()["status"] != "running":
                            said = str(answer.json()["status"])
                    await asyncio.sleep(_LOOK_S)
        struck = await self._struck(armed, 0.0)
        armed.unlink(missing_ok=True)
        return CaseEnd(case, struck, 1, None, said)

    async def _view(self, stop_id: str, ready: Callable[[StopView], bool], within_s: float) -> StopView:
        """Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                views = await self.backend.look(400) or []
                found = next((view for view in views if view.stop_id == stop_id), None)
                if found is not None and (ready(found) or found.phase is StopPhase.CLOSED):
                    return found
                await asyncio.sleep(_LOOK_S)

    async def _struck(self, armed: Path, within_s: float) -> bool:
        deadline = asyncio.get_running_loop().time() + within_s
        while armed.exists() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_S)
        return not armed.exists()
