"""Where the vehicle is, by whom, and what counts as arrival at a charger, here and now.

What only ours can cause is believed alone: the driver's word, the vehicle's own feed inside the geofence, a
plug at a private site. What anybody could have caused, a plug at a public charger, needs a second witness:
the vehicle says that it is plugged in, the driver or the vehicle is at that site, or, for a vehicle that has
no feed, the plug comes when it is expected.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from models.charger import Charger
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from stops.base import State

_KEPT = 60
_TOGETHER = timedelta(seconds=180)
"""Charger and vehicle tell one plug within this of each other (clocks, polling of vehicles)."""
_CLOCK_SLACK = timedelta(seconds=2)
_GEOFENCE_SLACK_KM = 0.15
_AWAY_KM = 1.0
_JUST_BEFORE = timedelta(seconds=60)
_EARLY, _LATE = timedelta(minutes=10), timedelta(minutes=20)


class Says(StrEnum):
    HERE = "here"
    PLUGGED = "plugged"
    UNPLUGGED = "unplugged"
    AWAY = "away"
    FREED = "freed"
    """The charger's word: nobody is plugged in there."""


class Witness(State):
    """One word about where the vehicle is. `charger_id` None: it names no place. `standing`: said before the
    stop turned to this charger, and still true."""

    source: str
    says: Says
    at: datetime
    charger_id: str | None = None
    distance_km: float | None = None
    standing: bool = False


class Arrival(State):
    """The vehicle stands at a charger; `witnesses`: who says so."""

    charger_id: str
    witnesses: list[str]
    at: datetime | None = None
    """When it arrived, by the first of its witnesses; None where that is not told."""


class Heading(State):
    """Where the stop is going: the charger, since when, when it is expected there, and which other chargers
    stand at the same site."""

    charger_id: str
    private: bool
    since: datetime
    expected_at: datetime
    neighbours: list[str] = []

    @classmethod
    def towards(
        cls, charger: Charger, since: datetime, expected_at: datetime, neighbours: list[str]
    ) -> Heading:
        return cls(
            charger_id=charger.charger_id,
            private=charger.private,
            since=since,
            expected_at=expected_at,
            neighbours=neighbours,
        )


class Presence(State):
    """All that was said about the vehicle's whereabouts, and the last arrival."""

    witnesses: list[Witness] = []
    at_charger_id: str | None = None
    arrived_at: datetime | None = None
    """When we took it for arrived, for the visit that lasts; `came_at`: when it came, for the attempt of now,
    from which its queue counts."""
    came_at: datetime | None = None
    has_feed: bool = False
    arrived_early: bool = False
    """The driver said so before there was a plan: it is about the first one."""

    def see(self, evidence: Evidence, now: datetime | None = None, *, standing: bool = False) -> None:
        """Take what a piece of evidence, heard `now`, says about whereabouts, if anything. Nothing was seen
        after it was heard: a word from a clock that is ahead would outlast every later one."""
        says = _SAYS.get(evidence.kind)
        by_vehicle = evidence.source is EvidenceSource.TELEMATICS
        if by_vehicle:
            self.has_feed = True
        if says is None or (evidence.kind in _ONLY_BY_VEHICLE and not by_vehicle):
            return
        if says is Says.AWAY and (evidence.distance_km or 0.0) <= _AWAY_KM:
            return  # near is not away
        charger_id = evidence.charger_id
        if by_vehicle and says is Says.PLUGGED:
            charger_id = None  # the vehicle knows that it is plugged in, not where
        self._add(
            Witness(
                source="vehicle" if by_vehicle else "charger",
                says=says,
                at=min(evidence.observed_at, now or evidence.observed_at),
                charger_id=charger_id,
                distance_km=evidence.distance_km,
                standing=standing,
            )
        )

    def told_by_driver(self, charger_id: str, at: datetime, source: str = "driver") -> None:
        self._add(Witness(source=source, says=Says.HERE, at=at, charger_id=charger_id))

    def _add(self, witness: Witness) -> None:
        if witness not in self.witnesses:
            self.witnesses = sorted([*self.witnesses, witness], key=lambda w: (w.at, w.source, w.says))[
                -_KEPT:
            ]

    # --- arrival ----------------------------------------------------------------------------------------

    def arrival(self, heading: Heading) -> Arrival | None:
        """At the planned charger, or at a neighbour of it, since the stop turned there; else None."""
        for charger_id in (heading.charger_id, *heading.neighbours):
            witnesses = self._who_says(charger_id, heading)
            if witnesses:
                at = self._first_said(charger_id, heading)
                return Arrival(charger_id=charger_id, witnesses=witnesses, at=at)
        return None

    def _first_said(self, charger_id: str, heading: Heading) -> datetime | None:
        """The earliest word, since the stop turned here, that it is at this charger, or plugged in there."""
        return min(
            (
                w.at
                for w in self.witnesses
                if w.charger_id == charger_id
                and w.says in (Says.HERE, Says.PLUGGED)
                and (w.standing or w.at >= self._since(w, heading))
                and not (w.says is Says.HERE and self._has_left(w))
            ),
            default=None,
        )

    def _who_says(self, charger_id: str, heading: Heading) -> list[str]:
        heard = [w for w in self.witnesses if w.standing or w.at >= self._since(w, heading)]
        here = [w for w in heard if w.says is Says.HERE and w.charger_id == charger_id]
        own = sorted({w.source for w in here if w.source != "charger" and not self._has_left(w)})
        if own:
            return own
        plugs = [
            w
            for w in heard
            if w.says is Says.PLUGGED and w.source == "charger" and w.charger_id == charger_id
        ]
        if charger_id == heading.charger_id and not plugs and (near := self._vehicle_plugged_near(heard)):
            return [near]
        for plug in plugs:
            second = self._second_witness(plug, heard, heading)
            if second:
                return ["charger", second]
        return []

    def _since(self, witness: Witness, heading: Heading) -> datetime:
        """Peers' clocks may be behind a little. A driver's word has our instant: what he said before he chose
        another charger must not undo his choice."""
        slack = _CLOCK_SLACK if witness.source in ("charger", "vehicle") else timedelta(0)
        return heading.since - slack

    def _has_left(self, here: Witness) -> bool:
        """Its own feed has shown it far from there since; or, of a word that was said before the stop turned
        here, unplugged: that visit is over."""
        since = [w for w in self.witnesses if w.source == "vehicle" and w.at > here.at]
        away = any(w.says is Says.AWAY and w.charger_id in (None, here.charger_id) for w in since)
        return away or (here.standing and any(w.says is Says.UNPLUGGED for w in since))

    def _vehicle_plugged_near(self, heard: list[Witness]) -> str:
        """The vehicle says that it is plugged in, and where it is: inside the planned charger's geofence."""
        for witness in heard:
            # What was said before the stop turned here measures the way to another charger.
            told_of_this = not witness.standing and witness.distance_km is not None
            near = told_of_this and (witness.distance_km or 0.0) <= _GEOFENCE_SLACK_KM
            if witness.source == "vehicle" and witness.says is Says.PLUGGED and near:
                return "vehicle"
        return ""

    def _second_witness(self, plug: Witness, heard: list[Witness], heading: Heading) -> str:
        site = {heading.charger_id, *heading.neighbours}
        planned = plug.charger_id == heading.charger_id
        elsewhere = self._feed_says_elsewhere(plug) or self._is_plugged_elsewhere(plug)
        if heading.private and planned and not elsewhere:
            return "private site"
        for other in heard:
            if other.source == "vehicle" and other.says is Says.PLUGGED and self._one_plug(plug, other):
                return "vehicle"
            if other.says is Says.HERE and other.charger_id in site and other.source != "charger":
                return other.source
        # Only on the first way: a vehicle without a feed that has arrived once may still stand there.
        first_way = planned and self.at_charger_id is None and not self.has_feed and not plug.standing
        expected = heading.expected_at - _EARLY <= plug.at <= heading.expected_at + _LATE
        return "expected now" if expected and first_way else ""

    def _is_plugged_elsewhere(self, plug: Witness) -> bool:
        """The vehicle's newest own word is that it was plugged in already, well before this plug."""
        own = [
            w for w in self.witnesses if w.source == "vehicle" and w.says in (Says.PLUGGED, Says.UNPLUGGED)
        ]
        return bool(own) and own[-1].says is Says.PLUGGED and own[-1].at < plug.at - _TOGETHER

    def _one_plug(self, plug: Witness, own: Witness) -> bool:
        """Charger and vehicle speak of the same plug: within a moment of each other, and no other charger's
        plug is nearer to the vehicle's word."""
        apart = abs(own.at - plug.at)
        if apart > _TOGETHER:
            return False
        others = [w for w in self.witnesses if w.source == "charger" and w.says is Says.PLUGGED]
        return not any(abs(own.at - w.at) < apart and w.charger_id != plug.charger_id for w in others)

    def _feed_says_elsewhere(self, plug: Witness) -> bool:
        """The vehicle's newest own word, a moment before the plug or since, is that it is not plugged in, or
        is still far."""
        own = [w for w in self.witnesses if w.source == "vehicle" and w.at >= plug.at - _JUST_BEFORE]
        return bool(own) and own[-1].says in (Says.AWAY, Says.UNPLUGGED)

    def foreign_plug(self, heading: Heading) -> Witness | None:
        """A plug at the planned charger that cannot be ours: the vehicle's feed says that it is elsewhere,
        or is silent about it while the vehicle is not due yet. Of a vehicle without a feed it may be its own,
        early: that changes no plan. What takes the connector is told as occupied."""
        for plug in self.witnesses:
            at_goal = plug.charger_id == heading.charger_id and plug.source == "charger"
            before = plug.at < self._since(plug, heading) and not plug.standing
            if plug.says is not Says.PLUGGED or not at_goal or before:
                continue
            if self._second_witness(plug, self.witnesses, heading):
                continue
            early = self.has_feed and plug.at < heading.expected_at - _EARLY
            if self._feed_says_elsewhere(plug) or early:
                return plug
        return None

    @property
    def stands_at(self) -> str | None:
        """Where it arrived last, unless its driver or its own feed has shown since that it left."""
        arrived_at = self.arrived_at
        own = [w for w in self.witnesses if w.source != "charger" and arrived_at and w.at > arrived_at]
        has_left = bool(own) and own[-1].says in (Says.AWAY, Says.UNPLUGGED)
        return None if has_left else self.at_charger_id

    # --- standing at a charger ----------------------------------------------------------------------------

    def stand_at(self, charger_id: str, now: datetime, came_at: datetime | None = None) -> None:
        if self.stands_at != charger_id:  # else what its feed said since then would be forgotten
            self.at_charger_id, self.arrived_at = charger_id, now
        self.came_at = min(came_at or now, now)

    def is_still_at(self, charger_id: str, left_at: datetime, now: datetime, patience_s: float) -> bool:
        """Whether the vehicle that was told at `left_at` to leave a charger is still there: it had arrived,
        nothing has shown it elsewhere or unplugged since, and either its own feed says that it is plugged in
        or charging, or it was told so only a moment ago."""
        if self.stands_at != charger_id:
            return False
        since = [w for w in self.witnesses if w.at >= left_at]
        own = [w for w in since if w.source != "charger"]
        if own and own[-1].says in (Says.AWAY, Says.UNPLUGGED):
            return False
        if any(w.says is Says.HERE and w.charger_id not in (None, charger_id) for w in own):
            return False
        if self._plugged_elsewhere_since(charger_id):
            return False
        plugged = [w.at for w in own if w.says in (Says.PLUGGED, Says.HERE)]
        freed = [w.at for w in since if w.says is Says.FREED and w.charger_id == charger_id]
        if freed and not any(at > freed[-1] for at in plugged):
            return False  # who plugged in there since, nobody knows
        if plugged:
            return True
        return now <= left_at + timedelta(seconds=patience_s)

    def _plugged_elsewhere_since(self, charger_id: str) -> bool:
        """The newest plug at a charger that this stop went to is at another one, and no word of driver or
        vehicle since has placed it here: whose plug was whose is not known."""
        plugs = [w for w in self.witnesses if w.says is Says.PLUGGED and w.charger_id is not None]
        newest = max(plugs, key=lambda w: w.at, default=None)
        if newest is None or newest.charger_id == charger_id:
            return False
        here = [w for w in self.witnesses if w.says is Says.HERE and w.charger_id == charger_id]
        return not any(w.at >= newest.at for w in here)


_SAYS = {
    EvidenceKind.ARRIVED: Says.HERE,
    EvidenceKind.PLUGGED_IN: Says.PLUGGED,
    EvidenceKind.UNPLUGGED: Says.UNPLUGGED,
    EvidenceKind.VEHICLE_PROGRESS: Says.AWAY,
    EvidenceKind.ENERGY_FLOWING: Says.PLUGGED,
    EvidenceKind.CONNECTOR_AVAILABLE: Says.FREED,
}
_ONLY_BY_VEHICLE = (EvidenceKind.UNPLUGGED, EvidenceKind.VEHICLE_PROGRESS, EvidenceKind.ENERGY_FLOWING)
