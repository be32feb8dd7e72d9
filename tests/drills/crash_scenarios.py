"""What has to happen so that a stop passes a given activity: one van, its driver, and at most one fault."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path

import httpx

from models.base import Message
from models.charger import Charger, Protocol
from models.contract import keeper_workflow_id, station_workflow_id
from models.ids import attempt_id_for, stop_id_for, workflow_id_for
from models.policy import Policy
from models.stop import CancelRequest, ChooseCharger, StopOutcome, StopPhase, StopView
from simulators.driver_plans import DriversConfig, drivers_config
from simulators.drivers import drive_all
from simulators.fault_plan import DriverTrouble, FaultPlan
from simulators.fleet_backend import FleetBackend
from simulators.twin import Fault, FaultKind, Pause
from simulators.world import DemoVan, DemoWorld
from tests.drills.crash_points import Moment, arm
from workers.local_stack import TENANT, LocalStack

_LOOK_S = 0.2
_STOP_TAKES_S = 120.0
_KEEPER_TAKES_S = 60.0
_ATTEMPTS = 8


class Scenario(StrEnum):
    """`calm`: charges at the first try. `roaming`: the same at a partner's charger. `called_off`: the fleet
    cancels while the charge is paused. `by_hand`: the planner is frozen, and a person chooses. `adopted`:
    starts after we gave up, and the van still stands there. `outlived`: starts after the driver cancelled.
    `station`: an operator's command."""

    CALM = "calm"
    ROAMING = "roaming"
    CALLED_OFF = "called_off"
    BY_HAND = "by_hand"
    ADOPTED = "adopted"
    OUTLIVED = "outlived"
    STATION = "station"


OUTCOMES = {
    Scenario.CALM: StopOutcome.CHARGED,
    Scenario.ROAMING: StopOutcome.CHARGED,
    Scenario.CALLED_OFF: StopOutcome.CANCELLED,
    Scenario.BY_HAND: StopOutcome.CHARGED,
    Scenario.ADOPTED: StopOutcome.CHARGED,
    Scenario.OUTLIVED: StopOutcome.CANCELLED,
}
ALONE = frozenset({Scenario.ADOPTED, Scenario.OUTLIVED, Scenario.BY_HAND})
"""Their moments are narrow, or they freeze a process: no other case may run meanwhile."""


def policies(world: DemoWorld) -> dict[Scenario, Policy]:
    """The drill's own clockworks, beside the demo's. It is about borders, not about windows: where processes
    die all the time, arrivals and people are waited for longer."""
    patient = world.policy().model_copy(
        update={"policy_id": "patient", "arrival_grace_s": 300, "human_deadline_s": 100, "max_attempts": 8}
    )
    bereft = patient.model_copy(update={"policy_id": "planner-is-away", "plan_timeout_s": 3})
    return {scenario: bereft if scenario is Scenario.BY_HAND else patient for scenario in OUTCOMES}


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
    """`struck`: somebody died of it. `tries`: how many vans it took to get there. `outcome`: the stop's, or
    the status of a station's command. `told`: what was unexpected."""

    case: Case
    struck: bool
    tries: int
    outcome: str | None
    told: str = ""


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
        self._policies = policies(self.stack.world)
        self._commands = count(1)

    async def set_up(self) -> None:
        """Raises httpx.HTTPStatusError where the API refuses a policy."""
        headers = {"Authorization": f"Bearer {self.stack.api_key}"}
        async with httpx.AsyncClient(base_url=self.stack.api_url, headers=headers, trust_env=False) as http:
            for policy in {policy.policy_id: policy for policy in self._policies.values()}.values():
                answer = await http.put("/v1/policies", json=policy.model_dump(mode="json"))
                answer.raise_for_status()

    async def play(self, case: Case, most_tries: int = 3) -> CaseEnd:
        """Until somebody died of it, or `most_tries` vans have passed without meeting it."""
        tries = 0
        while True:
            tries += 1
            if case.scenario is Scenario.STATION:
                end = await self._command_a_station(case)
            elif case.scenario is Scenario.BY_HAND:
                self.stack.processes.kill("planner", signal.SIGSTOP)
                try:
                    end = await self._charge(case)
                finally:
                    self.stack.processes.kill("planner", signal.SIGCONT)
            else:
                end = await self._charge(case)
            if end.struck or end.outcome is None or tries == most_tries:
                return replace(end, tries=tries)

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
            policy_id = self._policies[case.scenario].policy_id
            request = self._requests[van.business_key].model_copy(update={"policy_id": policy_id})
            await self.backend.start(request)
            try:
                await self._prepare(case, stop_id, van.likely_charger_id)
                view = await self._view(stop_id, lambda view: view.outcome is not None, _STOP_TAKES_S)
            except TimeoutError:  # told as it stands
                view = await self._view(stop_id, lambda _: True, _STOP_TAKES_S)
            if case.scenario is Scenario.CALLED_OFF:
                await self._control(view, "pause", Pause(paused=False))
            struck = await self._struck(armed, _KEEPER_TAKES_S if case.scenario is Scenario.OUTLIVED else 0.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(driver), 15.0)
        finally:
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)
            armed.unlink(missing_ok=True)
        told = (
            ""
            if view.outcome == OUTCOMES[case.scenario]
            else f"({view.headline}; waits for {view.waits_for})"
        )
        return CaseEnd(case, struck, 1, view.outcome, told)

    async def _prepare(self, case: Case, stop_id: str, likely_charger_id: str) -> None:
        if case.scenario is Scenario.BY_HAND:
            await self._view(stop_id, lambda view: view.awaiting_human_until is not None, _STOP_TAKES_S)
            choice = ChooseCharger(event_id="choice-1", charger_id=likely_charger_id)
            await self.backend.tell(stop_id, "choice", choice)
        elif case.scenario is Scenario.CALLED_OFF:
            # Paused from start to outcome: it cannot be full before the cancel takes effect, however late.
            view = await self._view(stop_id, lambda view: view.charger_id is not None, _STOP_TAKES_S)
            await self._control(view, "pause", Pause())
            await self._view(stop_id, lambda view: view.phase is StopPhase.CHARGING, _STOP_TAKES_S)
            await self.backend.tell(stop_id, "cancellation", CancelRequest(event_id="cancel-1", by="fleet"))
        elif case.scenario in (Scenario.ADOPTED, Scenario.OUTLIVED):
            late_s = 6.0
            if case.scenario is Scenario.ADOPTED:
                late_s = self._policies[case.scenario].confirmation_s + 1.5
            view = await self._view(stop_id, lambda view: view.charger_id is not None, 30.0)
            await self._control(view, "faults", Fault(kind=FaultKind.START_LATE, delay_s=late_s))

    async def _control(self, view: StopView, what: str, body: Message) -> None:
        """Have the twin of the stop's charger do something. Raises httpx.HTTPError."""
        own = {charger.charger_id for charger in self.stack.world.own_chargers()}
        partner = "charge_points" if view.charger_id in own else "roaming"
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
            answer = await http.post(
                f"{self.stack.control_urls[partner]}/twin/connectors/{view.charger_id}/{what}",
                content=body.model_dump_json(),
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
        said: str | None = None
        async with httpx.AsyncClient(base_url=self.stack.api_url, timeout=15.0, trust_env=False) as http:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TAKES_S):
                    while said is None:
                        said = await _said(http, f"/v1/stations/{station.station_id}/commands", body, headers)
                        await asyncio.sleep(_LOOK_S)
        struck = await self._struck(armed, 0.0)
        armed.unlink(missing_ok=True)
        return CaseEnd(case, struck, 1, said)

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


async def _said(http: httpx.AsyncClient, path: str, body: object, headers: dict[str, str]) -> str | None:
    """The answer to a station's command; None while there is none, or the API is away."""
    try:
        answer = await http.post(path, json=body, headers=headers)
    except httpx.HTTPError:
        return None
    status = answer.json()["status"] if answer.is_success else "running"
    return None if status == "running" else str(status)
