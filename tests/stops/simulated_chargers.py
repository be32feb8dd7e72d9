"""The world's own truth: where the vehicle is plugged in, which sessions run, what they have delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

from models.charger import Charger, Protocol, TariffTerms
from models.decision import Candidate
from models.evidence import EvidenceKind, EvidenceSource
from models.money import Money
from models.place import Place
from models.reason_codes import ReasonCode
from models.vehicle import ConnectorStandard
from tests.stops.simulated_wire import Clock

BATTERY_KWH = 60.0
STRANGER = "a stranger's vehicle"


def chargers_of(random: Random) -> list[Charger]:
    """4 to 6 connectors at 3 sites."""
    made: list[Charger] = []
    private_site = random.choice([None, None, 0, 1, 2])
    for number in range(random.randint(4, 6)):
        site = number % 3
        roaming = random.random() < 0.3
        made.append(
            Charger(
                charger_id=f"DE*SIM*E{number}",
                site_id=f"site-{site}",
                operator=f"operator-{site}",
                network="sim",
                place=Place(latitude=51.2 + site / 10 + number / 10_000, longitude=6.7),
                protocol=Protocol.OCPI if roaming else Protocol.OCPP,
                station_id=f"station-{number}",
                standard=ConnectorStandard.CCS_2,
                power_kw=random.choice([22.0, 50.0, 150.0]),
                tariff=TariffTerms(energy_per_kwh=Decimal("0.40")) if random.random() < 0.9 else None,
                private=site == private_site,
            )
        )
    return made


def candidate_for(charger: Charger, rank: int, random: Random, soc_percent: float) -> Candidate:
    drive_s = random.uniform(120, 1500)
    return Candidate(
        charger=charger,
        rank=rank,
        detour_s=drive_s / 2,
        distance_km=drive_s / 80,
        drive_s=drive_s,
        wait_s=0.0,
        charge_s=1800.0,
        energy_kwh=30.0,
        arrival_soc_percent=max(1.0, soc_percent - 4.0),
        start_probability=0.9,
        cost=Money(amount=Decimal(12)),
        generalized_cost=Decimal(20),
        failure_term=Decimal(1),
        eta_impact_s=drive_s / 2,
    )


@dataclass
class TrueSession:
    """One session as it really is. Seconds are those of the virtual clock."""

    attempt_id: str
    charger: Charger
    vehicle: str
    ref: str
    began_s: float
    power_kw: float
    counted_s: float
    flows: bool = True
    energy_kwh: float = 0.0
    ended_s: float | None = None
    mute: bool = False
    """Its end is never told (the station lost it)."""
    records_kwh: list[float] = field(default_factory=lambda: [])
    full: bool = False

    @property
    def lives(self) -> bool:
        return self.ended_s is None

    def count(self, now_s: float) -> float:
        """Its register now. Returns what flowed since it was counted last."""
        flowed = self.power_kw * (now_s - self.counted_s) / 3600 if self.flows and self.lives else 0.0
        self.energy_kwh += flowed
        self.counted_s = now_s
        return flowed


@dataclass
class Weather:
    """How often things go wrong in this world: each is a chance, most are nought in any one world."""

    reject: float = 0.0
    uncertain: float = 0.0
    never: float = 0.0
    late: float = 0.0
    unreachable: float = 0.0
    worker_dies: float = 0.0
    stop_lost: float = 0.0
    stop_refused: float = 0.0
    stop_late: float = 0.0
    uplink: float = 0.0
    pause: float = 0.0
    fault: float = 0.0
    foreign_stop: float = 0.0
    unplug: float = 0.0
    no_reason: float = 0.0
    mute: float = 0.0
    record_none: float = 0.0
    record_late: float = 0.0
    record_twice: float = 0.0
    record_differs: float = 0.0
    evidence_late: float = 0.0
    evidence_twice: float = 0.0
    strangers: float = 0.0
    planner_down: float = 0.0
    planner_empty: float = 0.0
    store_busy: float = 0.0
    store_lost: float = 0.0
    store_outage: float = 0.0
    store_refuses: float = 0.0
    held_by_others: float = 0.0
    people: float = 0.0
    no_show: float = 0.0
    wrong_plug: float = 0.0
    task_lost: float = 0.0
    worker_killed: float = 0.0
    long_history: float = 0.0
    full_early: float = 0.0
    early_news: float = 0.0
    lingers: float = 0.0

    @classmethod
    def drawn(cls, random: Random) -> Weather:
        if random.random() < 0.04:
            return cls()
        stormy = random.random() < 0.25
        share = 0.6 if stormy else 0.25
        most = {name: 0.5 for name in cls.__dataclass_fields__} | {
            "mute": 0.1,
            "store_busy": 0.15,
            "store_lost": 0.15,
            "task_lost": 0.1,
            "worker_killed": 0.1,
            "worker_dies": 0.2,
            "record_none": 0.3,
            "store_refuses": 0.3,
            "no_show": 0.15,
            "people": 1.0,
            "planner_down": 0.3,
            "planner_empty": 0.15,
            "wrong_plug": 0.25,
            "held_by_others": 0.3,
        }
        drawn = cls(
            **{
                name: random.uniform(0, most[name]) if random.random() < share else 0.0
                for name in cls.__dataclass_fields__
            }
        )
        if random.random() < 0.3:  # starts that come alive after they were given up
            drawn.late, drawn.strangers = random.uniform(0.4, 0.9), random.choice([0.0, 0.6])
            drawn.lingers = random.choice([0.0, 0.7])
        if random.random() < 0.15:  # trouble around the close
            drawn.stop_late, drawn.evidence_late = random.uniform(0.3, 0.8), random.uniform(0.1, 0.6)
        return drawn._with_a_theme(random)

    def _with_a_theme(self, random: Random) -> Weather:
        """Some worlds press on one weak spot: the change of runs, the close, adoption, or stopping."""
        theme = random.random()
        if theme < 0.12:
            changes = {"long_history": 1.0, "people": 1.0, "store_busy": 0.3, "store_lost": 0.2}
        elif theme < 0.24:
            changes = {
                "people": 1.0,
                "stop_late": 0.7,
                "evidence_late": 0.4,
                "late": 0.6,
                "store_outage": 0.3,
            }
        elif theme < 0.40:
            changes = {"late": 0.9, "lingers": 0.9, "evidence_twice": 0.3}
        elif theme < 0.52:
            changes = {
                "stop_lost": 0.5,
                "stop_refused": 0.4,
                "stop_late": 0.5,
                "uplink": 0.6,
                "record_late": 0.3,
            }
        else:
            changes = {}
        return replace(self, **changes)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in vars(self).items() if value)


Say = Callable[..., None]


class Yard:
    """Connectors, the vehicle and strangers at them. `say`: tells evidence about a session or a charger."""

    def __init__(self, clock: Clock, random: Random, weather: Weather, soc_percent: float, say: Say) -> None:
        self.clock, self.random, self.weather, self._say = clock, random, weather, say
        self.chargers = {one.charger_id: one for one in chargers_of(random)}
        self.sessions: dict[str, TrueSession] = {}
        self.plugged: dict[str, str] = {}
        """Vehicle by charger."""
        self.vehicle = "ours"
        self.soc_percent = soc_percent
        self.offline: set[str] = set()
        self.starts_sent: dict[str, int] = {}
        self.left_at: dict[str, float] = {}
        """When our vehicle was pulled from a charger last."""

    def hits(self, chance: float) -> bool:
        return self.random.random() < chance

    def place_of_vehicle(self) -> str | None:
        return next((one for one, vehicle in self.plugged.items() if vehicle == self.vehicle), None)

    def live_at(self, charger_id: str) -> TrueSession | None:
        return next(
            (s for s in self.sessions.values() if s.lives and s.charger.charger_id == charger_id), None
        )

    # --- plugs ------------------------------------------------------------------------------------------

    def plug(self, charger_id: str, vehicle: str) -> bool:
        if charger_id in self.plugged:
            return False
        self.plugged[charger_id] = vehicle
        return True

    def unplug(self, charger_id: str) -> None:
        vehicle = self.plugged.pop(charger_id, None)
        if vehicle == self.vehicle:
            self.left_at[charger_id] = self.clock.s
        session = self.live_at(charger_id)
        if session is not None:
            self.end(session, ReasonCode.SUSTAIN_UNPLUGGED_EARLY)

    # --- sessions ---------------------------------------------------------------------------------------

    def begin(self, attempt_id: str, charger_id: str, patience_s: float = 0.0) -> None:
        """The start takes effect, if a vehicle is there (or comes while the station waits for one)."""
        if attempt_id in self.sessions or self.live_at(charger_id) is not None:
            return
        vehicle = self.plugged.get(charger_id)
        if vehicle is None:
            if patience_s > 0:
                self.clock.after(10.0, lambda: self.begin(attempt_id, charger_id, patience_s - 10.0))
            return
        charger = self.chargers[charger_id]
        now_s = self.clock.s
        session = TrueSession(
            attempt_id=attempt_id,
            charger=charger,
            vehicle=vehicle,
            ref=f"tx-{len(self.sessions) + 1}",
            began_s=now_s,
            counted_s=now_s,
            power_kw=min(charger.power_kw, 100.0) * self.random.uniform(0.4, 1.0),
            mute=self.hits(self.weather.mute),
        )
        self.sessions[attempt_id] = session
        self._say(EvidenceKind.SESSION_STARTED, charger, session=session, power_kw=0.0)
        self._plan_troubles(session)
        self._tick(session, first=True)

    def _plan_troubles(self, session: TrueSession) -> None:
        weather, soon = self.weather, lambda: self.random.uniform(20, 4000)
        charger_id = session.charger.charger_id
        if self.hits(weather.fault):
            self.clock.after(soon(), lambda: self._fault(session))
        if self.hits(weather.foreign_stop):
            self.clock.after(soon(), lambda: self.end(session, ReasonCode.SUSTAIN_STOPPED_REMOTELY))
        if self.hits(weather.unplug) and session.vehicle == self.vehicle:
            self.clock.after(soon(), lambda: self.unplug(charger_id) if session.lives else None)
        if self.hits(weather.pause):
            self.clock.after(soon(), lambda: self._pause(session))
        if self.hits(weather.full_early):
            self.clock.after(soon(), lambda: self._vehicle_stops(session))
        # Nothing stays plugged in for ever.
        self.clock.after(
            self.random.uniform(3, 5) * 3600, lambda: self.unplug(charger_id) if session.lives else None
        )

    def _tick(self, session: TrueSession, *, first: bool = False) -> None:
        if not session.lives:
            return
        flowed = session.count(self.clock.s)
        ours = session.vehicle == self.vehicle
        if ours:
            self.soc_percent = min(100.0, self.soc_percent + flowed / BATTERY_KWH * 100)
        if not first:
            self._say(
                EvidenceKind.METER,
                session.charger,
                session=session,
                soc_percent=round(self.soc_percent, 1) if ours and self.hits(0.5) else None,
            )
        if session.flows and ours and self.soc_percent >= 99.9:
            self._vehicle_stops(session)
        # So coarse that a stop in a calm world passes its goal by a little at most.
        pause_s = 60.0 if self.random.random() < 0.8 else self.random.uniform(60, 900)
        self.clock.after(pause_s if session.flows else 900.0, lambda: self._tick(session))

    def _vehicle_stops(self, session: TrueSession) -> None:
        if session.lives and session.flows:
            session.count(self.clock.s)
            session.flows, session.full = False, True
            self._say(EvidenceKind.SUSPENDED_BY_VEHICLE, session.charger, session=session)

    def _pause(self, session: TrueSession) -> None:
        if not session.lives or not session.flows:
            return
        session.count(self.clock.s)
        session.flows = False
        told = self.hits(0.7)
        if told:
            self._say(EvidenceKind.SUSPENDED_BY_CHARGER, session.charger, session=session)
        self.clock.after(self.random.uniform(60, 5000), lambda: self._resume(session))

    def _resume(self, session: TrueSession) -> None:
        if session.lives and not session.full:
            session.count(self.clock.s)
            session.flows = True

    def _fault(self, session: TrueSession) -> None:
        if not session.lives:
            return
        self._say(
            EvidenceKind.CONNECTOR_FAULTED, session.charger, session=session, energy=False, vendor_code="GF"
        )
        if self.hits(0.7):
            self.clock.after(
                self.random.uniform(0, 20), lambda: self.end(session, ReasonCode.SUSTAIN_EVSE_FAULT)
            )

    def end(self, session: TrueSession, reason: ReasonCode | None) -> None:
        """It ends; the station says so, unless it has lost it."""
        if not session.lives:
            return
        flowed = session.count(self.clock.s)
        if session.vehicle == self.vehicle:
            self.soc_percent = min(100.0, self.soc_percent + flowed / BATTERY_KWH * 100)
        session.ended_s = self.clock.s
        if session.mute:
            return
        told = None if self.hits(self.weather.no_reason) else reason
        self._say(EvidenceKind.SESSION_ENDED, session.charger, session=session, reason=told)
        if session.charger.protocol is Protocol.OCPI and not self.hits(self.weather.record_none):
            self._record(session)

    def _record(self, session: TrueSession) -> None:
        late = self.hits(self.weather.record_late)
        differs = self.hits(self.weather.record_differs)
        times = 2 if self.hits(self.weather.record_twice) else 1
        wait_s = self.random.uniform(3000, 40_000) if late else self.random.uniform(20, 900)
        for _ in range(times):
            kwh = session.energy_kwh * (self.random.uniform(0.85, 1.1) if differs else 1.0)
            self.clock.after(wait_s, lambda kwh=kwh: self._tell_record(session, kwh))
            wait_s += self.random.uniform(1, 5000)

    def _tell_record(self, session: TrueSession, kwh: float) -> None:
        session.records_kwh.append(kwh)
        cost = Money(amount=Decimal(str(round(kwh * 0.5, 2))))
        self._say(EvidenceKind.CHARGE_RECORD, session.charger, session=session, energy_kwh=kwh, cost=cost)


SOURCE = {Protocol.OCPP: EvidenceSource.OCPP, Protocol.OCPI: EvidenceSource.OCPI}
