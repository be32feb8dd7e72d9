"""The driver who follows the stop (or not), people who say something at any moment, and news of chargers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from models.contract import (
    SIGNAL_ARRIVED,
    UPDATE_APPROVE,
    UPDATE_ARRIVED,
    UPDATE_CANCEL,
    UPDATE_CHOOSE,
    UPDATE_PROBLEM,
    UPDATE_RELEASE_SESSION,
    keeper_workflow_id,
)
from models.evidence import EvidenceKind, EvidenceSource
from models.reason_codes import ReasonCode
from models.stop import (
    Approval,
    ArrivalReport,
    CancelRequest,
    ChooseCharger,
    ProblemKind,
    ProblemReport,
    SessionReleased,
    StopPhase,
)
from tests.stops.simulated_chargers import STRANGER
from tests.stops.simulated_wire import BrokenPromise, UpdateCall
from tests.stops.simulated_world import World

_KNOWN_REFUSALS = (
    "stop.closed",
    "stop.too_many_messages",
    "arrival.place_needed",
    "arrival.outdated",
    "arrival.too_late",
    "problem.place_needed",
    "choice.busy",
    "message.conflicting_id",
    "charger.already_failed",
    "charger.not_offered",
    "charger.not_current",
    "charger.not_allowed",
    "problem.too_late",
    "cancel.too_late",
    "choice.too_late",
    "approval.not_awaited",
    "workflow.closed",
)


@dataclass
class _Trip:
    to: str | None = None
    arrives_s: float = 0.0


class People:
    """`took_effect`: the ids of each kind that were answered as accepted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.trip = _Trip()
        self.took_effect: set[tuple[str, str]] = set()
        self.may_have: set[tuple[str, str]] = set()
        """Signalled: nobody is told whether it took effect."""
        self.calls = 0
        self.gone = False
        self.cancelled = False
        self.no_show = world.hits(world.weather.no_show)
        self.lingers_until_s = 0.0
        weather = world.weather
        world.clock.after(5.0, self._drive)
        if world.hits(weather.people):
            for _ in range(self.random.randint(1, 6)):
                world.clock.after(self.random.expovariate(1 / 1500), self._say_something)
        for charger_id in world.yard.chargers:
            if world.hits(weather.strangers):
                world.clock.after(self.random.uniform(0, 4000), lambda c=charger_id: self._stranger_plugs(c))
            if world.hits(weather.uplink):
                world.clock.after(self.random.uniform(0, 6000), lambda c=charger_id: self._uplink_goes(c))
            if world.hits(weather.early_news):
                world.clock.after(self.random.uniform(0, 2000), lambda c=charger_id: self._early_news(c))
        world.clock.after(600, self._operator_looks)

    # --- the driver ---------------------------------------------------------------------------------------

    def _drive(self) -> None:
        world, yard, view = self.world, self.world.yard, self.world.store.view
        if self.gone:
            return
        world.clock.after(self.random.uniform(15, 45), self._drive)
        if view is None:
            return
        if view.outcome is not None:
            if world.clock.s > self.trip.arrives_s + 60 and self.random.random() < 0.02:
                self._pull()
                self.gone = True
            return
        at = yard.place_of_vehicle()
        heading = view.phase in (StopPhase.PLANNING, StopPhase.EN_ROUTE, StopPhase.ARRIVED)
        if view.awaiting_approval_until is not None and self.random.random() < 0.1:
            self._update(
                UPDATE_APPROVE, Approval(event_id=self._id("ok"), approved=self.random.random() < 0.9)
            )
        if self.no_show or not heading or view.charger_id is None or view.charger_id == at:
            self._progress()
            return
        if self.trip.to != view.charger_id:
            if at is not None and not self.lingers_until_s and world.hits(world.weather.lingers):
                self.lingers_until_s = world.clock.s + self.random.uniform(60, 2000)
            if world.clock.s < self.lingers_until_s:
                return
            self.lingers_until_s = 0.0
            self._pull()
            drive_s = world.drive[view.charger_id].drive_s * self.random.uniform(0.6, 1.4)
            self.trip = _Trip(view.charger_id, world.clock.s + drive_s)
            world.note(f"driver sets out to {view.charger_id}, {drive_s:.0f} s")
        elif world.clock.s >= self.trip.arrives_s and at is None:
            self._arrive(view.charger_id)
        self._progress()

    def _progress(self) -> None:
        left_s = self.trip.arrives_s - self.world.clock.s
        if self.world.has_feed and self.trip.to is not None and left_s > 0 and self.random.random() < 0.3:
            soc = round(self.world.yard.soc_percent, 1) if self.random.random() < 0.3 else None
            self._feed(EvidenceKind.VEHICLE_PROGRESS, distance_km=round(left_s / 90, 2), soc_percent=soc)

    def _feed(self, kind: EvidenceKind, **more: Any) -> None:
        if self.world.has_feed:
            self.world.say(kind, None, source=EvidenceSource.TELEMATICS, **more)

    def _pull(self) -> None:
        at = self.world.yard.place_of_vehicle()
        if at is not None:
            self.world.note(f"driver pulls the plug at {at}")
            self.world.yard.unplug(at)
            self._feed(EvidenceKind.UNPLUGGED)
            if self.world.hits(self.world.weather.strangers):
                self.world.clock.after(self.random.uniform(5, 300), lambda: self._stranger_plugs(at))

    def _arrive(self, charger_id: str) -> None:
        """Parks, says so (or not), plugs in: there, or at a neighbour by mistake."""
        world, yard = self.world, self.world.yard
        at = charger_id
        if world.hits(world.weather.wrong_plug):
            at = self.random.choice(list(yard.chargers))
        says = self.random.random()
        if says < 0.4:
            named = charger_id if self.random.random() < 0.7 else None
            when = world.clock.now - timedelta(seconds=self.random.uniform(0, 90))
            report = ArrivalReport(event_id=self._id("arr"), charger_id=named, at=when)
            if self.random.random() < 0.2:
                world.signal(world.workflow_id, SIGNAL_ARRIVED, report)
                self.may_have.add((UPDATE_ARRIVED, report.event_id))
            else:
                self._update(UPDATE_ARRIVED, report)
        elif says < 0.6:
            site = [c for c in yard.chargers.values() if c.charger_id == at]
            self._feed(EvidenceKind.ARRIVED, charger_id=site[0].charger_id)
        world.clock.after(self.random.uniform(3, 120), lambda: self._plug(at, charger_id))

    def _plug(self, at: str, planned: str) -> None:
        world, yard = self.world, self.world.yard
        if yard.place_of_vehicle() is not None or self.trip.to != planned:
            return
        if not yard.plug(at, yard.vehicle):
            if self.random.random() < 0.5:
                self._update(
                    UPDATE_PROBLEM, ProblemReport(event_id=self._id("occ"), kind=ProblemKind.OCCUPIED)
                )
            return
        world.note(f"driver plugs in at {at}")
        world.say(EvidenceKind.PLUGGED_IN, yard.chargers[at])
        near = 0.05 if self.random.random() < 0.5 else None
        self._feed(EvidenceKind.PLUGGED_IN, distance_km=near)

    # --- words at any moment --------------------------------------------------------------------------------

    def _say_something(self) -> None:
        world, random = self.world, self.random
        chargers = list(world.yard.chargers)
        what = random.choice(
            ["arrived", "problem", "choose", "choose", "cancel", "native", "repeat", "approve"]
        )
        at = random.choice([None, random.choice(chargers)])
        if what == "arrived":
            self._update(UPDATE_ARRIVED, ArrivalReport(event_id=self._id("1"), charger_id=at))
        elif what == "problem":
            kind = random.choice(list(ProblemKind))
            self._update(UPDATE_PROBLEM, ProblemReport(event_id=self._id("1"), kind=kind, charger_id=at))
        elif what == "choose":
            self._update(
                UPDATE_CHOOSE, ChooseCharger(event_id=self._id("1"), charger_id=random.choice(chargers))
            )
        elif what == "approve":
            self._update(UPDATE_APPROVE, Approval(event_id=self._id("1"), approved=random.random() < 0.7))
        elif what == "cancel":
            self._update(UPDATE_CANCEL, CancelRequest(event_id=self._id("1"), by="driver"))
        elif what == "native":
            world.note("native cancel")
            self.cancelled = self.cancelled or world.cancel(world.workflow_id)
        else:
            self._update(UPDATE_PROBLEM, ProblemReport(event_id="same", kind=ProblemKind.BLOCKED))
            self._update(UPDATE_ARRIVED, ArrivalReport(event_id="same"))
        if random.random() < 0.3:
            world.clock.after(random.uniform(0.0, 900), self._say_something)

    def _id(self, name: str) -> str:
        return name if self.random.random() < 0.1 else f"{name}-{self.random.randint(1, 10**9)}"

    def _update(self, name: str, message: Any) -> None:
        self.calls += 1
        self.world.note(f"{name} {message.model_dump_json(exclude_defaults=True)}")
        self.world.update(
            self.world.workflow_id, UpdateCall(f"update-{self.calls}", name, message, self._answered)
        )

    def _answered(self, call: UpdateCall) -> None:
        key = (call.name, call.argument.event_id)
        if call.error:
            self.world.note(f"  {call.name} refused: {call.error}")
            if call.error not in _KNOWN_REFUSALS:
                raise BrokenPromise(f"rule 9: an Update failed with {call.error}")
            return
        receipt = json.loads(call.receipt)
        if receipt["duplicate"] and key not in self.took_effect | self.may_have:
            raise BrokenPromise(f"rule 9: {key} was called a repeat, and had taken no effect before")
        if not receipt["duplicate"] and key in self.took_effect:
            raise BrokenPromise(f"rule 9: {key} took effect twice")
        self.took_effect.add(key)
        self.cancelled = self.cancelled or call.name == UPDATE_CANCEL

    # --- strangers and stations -----------------------------------------------------------------------------

    def _stranger_plugs(self, charger_id: str) -> None:
        world, yard = self.world, self.world.yard
        charger = yard.chargers[charger_id]
        if charger.private or not yard.plug(charger_id, STRANGER):
            return
        world.note(f"a stranger plugs in at {charger_id}")
        world.say(EvidenceKind.PLUGGED_IN, charger)
        if self.random.random() < 0.5:
            world.say(EvidenceKind.CONNECTOR_OCCUPIED, charger)
        world.clock.after(self.random.uniform(300, 5000), lambda: self._stranger_leaves(charger_id))

    def _stranger_leaves(self, charger_id: str) -> None:
        yard = self.world.yard
        if yard.plugged.get(charger_id) == STRANGER:
            yard.unplug(charger_id)
            self.world.say(EvidenceKind.CONNECTOR_AVAILABLE, yard.chargers[charger_id])

    def _uplink_goes(self, charger_id: str) -> None:
        world = self.world
        world.note(f"uplink of {charger_id} lost")
        world.yard.offline.add(charger_id)
        session = world.yard.live_at(charger_id)
        charger = world.yard.chargers[charger_id]
        if self.random.random() < 0.8:
            world.say(EvidenceKind.STATION_OFFLINE, charger, session=session, energy=False)
        world.clock.after(
            self.random.choice([30.0, 400.0, 3000.0, 9000.0]), lambda: self._uplink_returns(charger_id)
        )

    def _uplink_returns(self, charger_id: str) -> None:
        world = self.world
        world.note(f"uplink of {charger_id} is back")
        world.yard.offline.discard(charger_id)
        session = world.yard.live_at(charger_id)
        world.say(EvidenceKind.STATION_ONLINE, world.yard.chargers[charger_id], session=session, energy=False)
        world.flush_station(charger_id)

    def _early_news(self, charger_id: str) -> None:
        world = self.world
        charger = world.yard.chargers[charger_id]
        kind = self.random.choice(
            [EvidenceKind.CONNECTOR_FAULTED, EvidenceKind.CONNECTOR_OCCUPIED, EvidenceKind.CHARGER_REMOVED]
        )
        world.note(f"news of {charger_id}: {kind}")
        world.say(kind, charger, vendor_code="news")
        if self.random.random() < 0.5:
            wait_s = self.random.uniform(1, 600)
            world.clock.after(wait_s, lambda: world.say(EvidenceKind.CONNECTOR_AVAILABLE, charger))

    # --- the operator ---------------------------------------------------------------------------------------

    def _operator_looks(self) -> None:
        """Sessions that the books call unknown are looked at, and released with what they really took."""
        world = self.world
        for row in list(world.store.attempts.values()):
            one = row.attempt
            session = world.yard.sessions.get(one.attempt_id)
            if one.session == "unknown" and session is not None and not session.lives:
                released = SessionReleased(
                    event_id="release", energy_kwh=round(session.energy_kwh, 3), by="operator"
                )
                name = UPDATE_RELEASE_SESSION
                self.calls += 1
                call = UpdateCall(f"update-{self.calls}", name, released, lambda _: None)
                world.note(f"operator releases {one.attempt_id[:8]}")
                world.update(keeper_workflow_id(one.attempt_id), call)
        if world.goes_on:
            world.clock.after(3600, self._operator_looks)


_ = ReasonCode
