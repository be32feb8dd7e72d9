"""What goes wrong in the demo's morning: the same seed gives the same bad luck.

Faults sit on the connectors that the planner will likely choose for the vans that are to meet them; a few
sit with drivers. Of 40 stops about 60 % charge at the first try; every kind of fault strikes at least once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from models.charger import Charger, Protocol
from simulators.twin import Fault, FaultKind, TwinConnector
from simulators.world import DemoVan, DemoWorld, demo_world

_CLEAN_HEAD_SHARE = 0.3


class DriverTrouble(StrEnum):
    """What a driver does otherwise than planned."""

    NO_SHOW = "no_show"
    CANCELS = "cancels"
    GIVES_UP = "gives_up"
    BROKEN_CABLE = "broken_cable"


@dataclass(frozen=True)
class FaultPlan:
    """`connectors`: charger id -> faults; `drivers`: vehicle id -> trouble; `struck`: vehicle id -> the fault
    that its stop will likely meet first."""

    seed: int
    connectors: dict[str, tuple[Fault, ...]]
    drivers: dict[str, DriverTrouble]
    struck: dict[str, FaultKind]

    def kinds(self) -> set[FaultKind]:
        """Every kind in the plan."""
        kinds = {fault.kind for faults in self.connectors.values() for fault in faults}
        if DriverTrouble.NO_SHOW in self.drivers.values():
            kinds.add(FaultKind.NO_SHOW)
        return kinds

    def put_on(self, world: DemoWorld) -> DemoWorld:
        """The world with these faults in its twins, and with vans in trouble asking later: while the first
        ones still drive, nobody knows which plugs they will take."""
        troubled = [v.vehicle_id for v in world.vans if v.vehicle_id in self.struck | self.drivers]
        calm = [v.vehicle_id for v in world.vans if v.vehicle_id not in self.struck | self.drivers]
        head = calm[: round(len(world.vans) * _CLEAN_HEAD_SHARE)]
        rest = troubled + calm[len(head) :]
        random.Random(self.seed).shuffle(rest)
        # Who waits for a no-show or a person waits longest: they ask first.
        slow = [
            v.vehicle_id
            for v in world.vans
            if v.stranded or self.drivers.get(v.vehicle_id) is DriverTrouble.NO_SHOW
        ]
        order = slow + [v for v in head + rest if v not in slow]
        stations = tuple(
            s.model_copy(update={"connectors": self._with_faults(s.connectors)}) for s in world.twin_stations
        )
        locations = tuple(
            s.model_copy(update={"connectors": self._with_faults(s.connectors)}) for s in world.twin_locations
        )
        return replace(world, twin_stations=stations, twin_locations=locations).in_order(order)

    def _with_faults(self, connectors: tuple[TwinConnector, ...]) -> tuple[TwinConnector, ...]:
        return tuple(
            c.model_copy(update={"faults": self.connectors.get(c.charger_id, ())}) for c in connectors
        )


def plan_faults(world: DemoWorld, seed: int) -> FaultPlan:
    """One of each kind at least from about 25 vans on; fewer vans meet fewer kinds, in the order below."""
    return _Planner(world, seed).plan()


def demo_morning(seed: int, stops: int = 40) -> tuple[DemoWorld, FaultPlan]:
    """The world with its faults in place, and the plan of them."""
    world = demo_world(seed, stops)
    faults = plan_faults(world, seed)
    return faults.put_on(world), faults


class _Planner:
    def __init__(self, world: DemoWorld, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._free = [van for van in world.vans if not van.stranded]
        random.Random(seed).shuffle(self._free)
        self._chargers = {charger.charger_id: charger for charger in world.all_chargers}
        self._versions = {station.station_id: station.ocpp_version for station in world.twin_stations}
        self._homes = {van.likely_charger_id for van in world.vans}
        self._connectors: dict[str, tuple[Fault, ...]] = {}
        self._drivers: dict[str, DriverTrouble] = {}
        self._struck: dict[str, FaultKind] = {}

    def plan(self) -> FaultPlan:
        waits_s = self._world.policy().confirmation_s
        for _ in range(max(1, len(self._world.vans) // 40)):
            self._strike(FaultKind.REJECT, self._speaks("ocpp1.6"))
            self._strike(FaultKind.ACCEPT_NEVER_START, self._speaks("ocpp2.0.1"))
            self._strike(FaultKind.FAULT_MID_CHARGE, self._speaks("ocpp1.6"), delay_s=2.5)
            self._trouble(DriverTrouble.NO_SHOW)
            self._strike(FaultKind.PARTNER_5XX, self._roams)
            self._give_up_on_a_slow_charger()
            # Shortly after we give up the driver still stands there: the late charge is adopted.
            self._strike(FaultKind.START_LATE, self._speaks("ocpp2.0.1"), delay_s=waits_s + 1.5)
            self._strike(FaultKind.OCCUPIED_ON_ARRIVAL, self._speaks("ocpp1.6"))
            self._strike(FaultKind.GOES_OFFLINE, self._alone, delay_s=25.0)
            # Without a delay the partner never acts; with one it would start without an answer.
            self._strike(FaultKind.PARTNER_TIMEOUT, self._roams, delay_s=0.0)
            self._strike(FaultKind.DUPLICATE_EVENTS, self._roams, times=2)
            self._strike(FaultKind.REORDERED_EVENTS, self._roams, times=2)
            self._trouble(DriverTrouble.CANCELS)
            self._trouble(DriverTrouble.BROKEN_CABLE)
            self._strike(FaultKind.DUPLICATE_EVENTS, self._speaks("ocpp1.6"), times=2)
            self._strike(FaultKind.REORDERED_EVENTS, self._speaks("ocpp2.0.1"), times=2)
            self._strike(FaultKind.REJECT, self._speaks("ocpp2.0.1"), times=2)
            self._strike(FaultKind.ACCEPT_NEVER_START, self._roams)
            self._strike(FaultKind.FAULT_MID_CHARGE, self._speaks("ocpp2.0.1"), delay_s=2.5)
        return FaultPlan(
            seed=self._seed, connectors=self._connectors, drivers=self._drivers, struck=self._struck
        )

    def _strike(
        self, kind: FaultKind, fits: Callable[[Charger], bool], *, times: int = 1, delay_s: float = 5.0
    ) -> None:
        van = self._take(lambda van: fits(self._chargers[van.likely_charger_id]))
        if van is not None:
            fault = Fault(kind=kind, times=times, delay_s=delay_s)
            self._connectors[van.likely_charger_id] = (fault,)
            self._struck[van.vehicle_id] = kind

    def _trouble(self, trouble: DriverTrouble) -> None:
        # A driver who stays away must not be seen by telematics either: unlinked vans only.
        van = self._take(lambda van: van.telematics_id is None)
        if van is not None:
            self._drivers[van.vehicle_id] = trouble

    def _give_up_on_a_slow_charger(self) -> None:
        """The driver cancels before the late start comes, and lingers: nobody waits for that session."""
        van = self._take(lambda van: self._speaks("ocpp1.6")(self._chargers[van.likely_charger_id]))
        if van is not None:
            late = Fault(kind=FaultKind.START_LATE, delay_s=6.0)
            self._connectors[van.likely_charger_id] = (late,)
            self._drivers[van.vehicle_id] = DriverTrouble.GIVES_UP

    def _take(self, fits: Callable[[DemoVan], bool]) -> DemoVan | None:
        for index, van in enumerate(self._free):
            if fits(van):
                return self._free.pop(index)
        return None

    def _speaks(self, version: str) -> Callable[[Charger], bool]:
        return lambda charger: self._versions.get(charger.station_id) == version and not self._alone(charger)

    def _roams(self, charger: Charger) -> bool:
        return charger.protocol is Protocol.OCPI

    def _alone(self, charger: Charger) -> bool:
        """No other van of ours is sent to this station."""
        return charger.protocol is Protocol.OCPP and not any(
            other.station_id == charger.station_id
            and other.charger_id != charger.charger_id
            and other.charger_id in self._homes
            for other in self._chargers.values()
        )
