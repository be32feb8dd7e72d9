"""The world around one simulated stop: planner, store, commands and the evidence relay, with seeded faults.

Everything that leaves a workflow comes here as an activity; what the world says goes in as a signal or an
Update. The world keeps a ledger of its own of what really happened (simulated_chargers.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.stop_records import BAD_DATA
from models.activity_messages import (
    Amendment,
    FindCharger,
    FoundCharger,
    KeptSession,
    LookAround,
    OpenedStop,
    OpenStop,
    PrepareStart,
    Route,
    RouteRequest,
    SessionFacts,
    SessionGoal,
    Settlement,
    SettleRequest,
    TakeBack,
)
from models.charger import Charger, Protocol
from models.commands import ChargerCommand
from models.contract import KEEPER_WORKFLOW, SIGNAL_EVIDENCE, STOP_WORKFLOW, keeper_workflow_id
from models.decision import PlanRequest
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.ids import workflow_id_for
from models.money import Money
from models.place import Place
from models.policy import Policy
from models.reason_codes import ReasonCode
from models.stop import ChargingStopInput, StopMode, StopPhase, StopRecord, StopRequest
from models.vehicle import VehicleState
from tests.stops.simulated_chargers import BATTERY_KWH, SOURCE, TrueSession, Weather, Yard, candidate_for
from tests.stops.simulated_commands import Line
from tests.stops.simulated_planner import decide
from tests.stops.simulated_progress import Progress
from tests.stops.simulated_runtime import Server
from tests.stops.simulated_store import TENANT, SimulatedStore, StillOpen
from tests.stops.simulated_surroundings import look_around
from tests.stops.simulated_wire import CONVERTER, Answer, Call, Clock
from workers.evidence_delivery import (  # the relay's own rules
    _NOT_FOR_KEEPERS,  # pyright: ignore[reportPrivateUsage]
    _is_known,  # pyright: ignore[reportPrivateUsage]
)
from workflows.charging_stop import ChargingStop
from workflows.session_keeper import SessionKeeper

_MOST_REPLAYS = 4
"""Of one stop and each kind: they cost the most."""
_REFUSABLE = ("open_attempt", "take_back_holds", "follow_session")
"""What the store may refuse for good, with all that was to be written in the same transaction."""
_HEADING = (StopPhase.PLANNING, StopPhase.EN_ROUTE, StopPhase.ARRIVED)
_THERE = (StopPhase.ARRIVED, StopPhase.STARTING, StopPhase.CONFIRMING, StopPhase.CHARGING)


class World(Server):
    """`trace`: what happened, for people."""

    def __init__(
        self,
        seed: int,
        weather: Weather | None = None,
        definitions: tuple[type, ...] = (ChargingStop, SessionKeeper),
    ) -> None:
        random = Random(seed)
        super().__init__(Clock(), random, definitions)
        self.seed = seed
        self.weather = weather or Weather.drawn(random)
        self.trace: list[tuple[float, str]] = []
        self.policy = Policy(
            uncertain_guard_s=random.choice([15, 60, 120]),
            settlement_s=random.choice([600, 3600]),
            human_deadline_s=random.choice([300, 900]),
            max_attempts=random.choice([2, 4]),
            stall_s=random.choice([300, 600]),
            silence_s=random.choice([1800, 3600]),
            keeper_s=random.choice([1800, 3600]),
        )
        soc = random.uniform(10, 60) if random.random() < 0.97 else random.uniform(79, 95)
        self.yard = Yard(self.clock, random, self.weather, soc, self.say)
        self.store = SimulatedStore()
        self.has_feed = random.random() < 0.6
        self.mode = random.choices([StopMode.AUTO, StopMode.ASSISTED, StopMode.SHADOW], [0.85, 0.12, 0.03])[0]
        self.ranking = random.sample(list(self.yard.chargers.values()), len(self.yard.chargers))
        self.drive = {c.charger_id: candidate_for(c, 1, random, soc) for c in self.ranking}
        if random.random() < self.weather.long_history:
            self.long_history_events = random.randint(60, 300)
        self.workflow_id = workflow_id_for(TENANT, f"key-{seed}")
        self.order = ChargingStopInput(
            tenant_id=TENANT,
            request=StopRequest(
                business_key=f"key-{seed}",
                vehicle=VehicleState(
                    vehicle_id="van-1",
                    battery_usable_kwh=BATTERY_KWH,
                    soc_percent=round(soc, 2),
                    position=Place(latitude=51.0, longitude=6.7),
                    consumption_kwh_per_100_km=25.0,
                    telematics_id="tele-1" if self.has_feed else None,
                ),
                token_uid="FLEET1",
                mode=self.mode,
                target_soc_percent=80.0,
            ),
        )
        self.progress: dict[str, Progress] = {}
        self.heard: list[Evidence] = []
        self.undelivered = 0
        self.line = Line(self)
        self.commands: list[tuple[float, ChargerCommand]] = []
        self.decisions = 0
        self.evidence_said = 0
        self.store_down_until_s = -1.0
        self._killed = 0
        self._waiting_at_station: dict[str, list[Evidence]] = {}
        self.delivered: list[tuple[float, Evidence, str]] = []
        if self.hits(self.weather.store_outage):
            self.clock.after(random.uniform(0, 4000), self._store_goes)
        for charger_id in self.yard.chargers:
            if self.hits(self.weather.held_by_others):
                self.store.strangers.add(charger_id)

    @property
    def goes_on(self) -> bool:
        """A workflow runs, energy flows, or something was said that nobody has heard yet."""
        return (
            any(run.status == "running" for run in self.all_runs)
            or any(session.lives for session in self.yard.sessions.values())
            or self.undelivered > 0
            or bool(self.yard.offline)
        )

    def hits(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance

    def note(self, text: str) -> None:
        self.trace.append((self.clock.s, text))

    def order_stop(self) -> None:
        self.start(STOP_WORKFLOW, self.workflow_id, CONVERTER.to_payloads([self.order]))

    # --- the server's own troubles ------------------------------------------------------------------------

    def task_delay_s(self) -> float:
        return self.random.uniform(0.001, 0.05)

    def loses_task(self) -> bool:
        lost = self.tasks_lost < _MOST_REPLAYS and self.hits(self.weather.task_lost)
        if lost:
            self.note("a workflow task is lost")
        return lost

    def kills_worker(self) -> bool:
        killed = self._killed < _MOST_REPLAYS and self.hits(self.weather.worker_killed)
        self._killed += killed
        return killed

    def _store_goes(self) -> None:
        self.store_down_until_s = self.clock.s + self.random.uniform(20, 900)
        self.note(f"the store is away until {self.store_down_until_s:.0f}")

    # --- activities ---------------------------------------------------------------------------------------

    def perform(self, call: Call) -> Answer:
        do: Callable[[Call], Answer] = getattr(self, f"_do_{call.name}")
        if call.name in ("plan_stop", "command_charger", "price_session"):
            return do(call)
        if self.clock.s < self.store_down_until_s or self.hits(self.weather.store_busy):
            return Answer(error=ApplicationError("the store is busy"), after_s=0.2)
        if call.name in _REFUSABLE and self.hits(self.weather.store_refuses):
            return Answer(error=ApplicationError("it refuses the data", type=BAD_DATA, non_retryable=True))
        answer = do(call)
        if answer.error is None and self.hits(self.weather.store_lost):
            return Answer(error=ApplicationError("the answer was lost"), after_s=0.3)
        return answer

    def _do_open_stop(self, call: Call) -> Answer:
        asked = OpenStop.model_validate_json(call.argument)
        self.store.record(asked.record, self.clock.now)
        return Answer(OpenedStop(policy=self.policy, vehicle=asked.input.request.vehicle))

    def _do_record_stop(self, call: Call) -> Answer:
        record = StopRecord.model_validate_json(call.argument)
        for event in record.events:
            self.note(f"  log {event.seq} {event.type}: {event.text}")
        self.store.record(record, self.clock.now)
        return Answer()

    def _do_open_attempt(self, call: Call) -> Answer:
        asked = PrepareStart.model_validate_json(call.argument)
        self.store.record(asked.record, self.clock.now)
        if not self.store.is_open:
            return Answer(Route(refused=ReasonCode.STOP_WORKFLOW_LOST, detail="the stop has closed"))
        refused = self.store.open(asked.attempt)
        self.note(f"attempt {asked.attempt.number} opened at {asked.charger.charger_id}: {refused or 'ok'}")
        if refused is not None:
            return Answer(Route(refused=refused, detail="another attempt holds it"))
        self._follow(asked.goal)
        return Answer(self._route(asked.charger))

    def _follow(self, goal: SessionGoal) -> None:
        if goal.attempt_id not in self.progress:
            self.progress[goal.attempt_id] = Progress(goal)

    def _do_follow_session(self, call: Call) -> Answer:
        self._follow(SessionGoal.model_validate_json(call.argument))
        return Answer()

    def _do_take_back_holds(self, call: Call) -> Answer:
        asked = TakeBack.model_validate_json(call.argument)
        self.store.record(asked.record, self.clock.now)
        if not self.store.is_open:
            return Answer(Route(refused=ReasonCode.STOP_WORKFLOW_LOST, detail="the stop has closed"))
        refused = self.store.take_back(asked.attempt_id)
        self.note(f"holds of {asked.attempt_id[:8]} taken back: {refused or 'ok'}")
        return Answer(Route(refused=refused), after_s=self.random.uniform(0.01, 2))

    def _route(self, charger: Charger) -> Route:
        if charger.protocol is Protocol.OCPI:
            return Route(task_queue="roaming")
        return Route() if charger.charger_id in self.yard.offline else Route(task_queue="gateway")

    def _do_find_route(self, call: Call) -> Answer:
        return Answer(self._route(RouteRequest.model_validate_json(call.argument).charger))

    def _do_find_charger(self, call: Call) -> Answer:
        asked = FindCharger.model_validate_json(call.argument)
        return Answer(FoundCharger(charger=self.yard.chargers.get(asked.charger_id)))

    def _do_look_around(self, call: Call) -> Answer:
        return Answer(look_around(self, LookAround.model_validate_json(call.argument)))

    def _do_price_session(self, call: Call) -> Answer:
        asked = SettleRequest.model_validate_json(call.argument)
        if asked.charger.tariff is None:
            return Answer(Settlement(detail="no tariff known"))
        cost = asked.charger.tariff.energy_per_kwh * Decimal(str(round(asked.energy_kwh, 4)))
        return Answer(Settlement(cost=Money(amount=cost)))

    def _do_session_facts(self, call: Call) -> Answer:
        kept = KeptSession.model_validate_json(call.argument)
        attempt = self.store.attempt(kept.attempt_id)
        return Answer(
            SessionFacts(
                attempt=attempt,
                charger=self.yard.chargers[attempt.charger_id] if attempt else None,
                token_uid="FLEET1",
                policy=self.policy,
            )
        )

    def _do_amend_stop(self, call: Call) -> Answer:
        amendment = Amendment.model_validate_json(call.argument)
        try:
            self.store.amend(amendment, self.clock.now)
        except StillOpen:
            return Answer(error=ApplicationError("yet to close", next_retry_delay=timedelta(seconds=5)))
        self.note(f"  amended {amendment.type}: {amendment.text}")
        return Answer()

    # --- the planner --------------------------------------------------------------------------------------

    def _do_plan_stop(self, call: Call) -> Answer:
        asked = PlanRequest.model_validate_json(call.argument)
        if self.hits(self.weather.planner_down):
            return Answer(error=ApplicationError("the planner is away"), after_s=self.random.uniform(1, 70))
        self.decisions += 1
        decision = decide(self, asked)
        return Answer(decision, after_s=self.random.choice([0.05, 0.3, 5.0]))

    # --- commands -----------------------------------------------------------------------------------------

    def on_scheduled(self, run: Any, call: Call) -> None:
        if call.name == "command_charger":
            command = ChargerCommand.model_validate_json(call.argument)
            self.commands.append((self.clock.s, command))

    def _do_command_charger(self, call: Call) -> Answer:
        return self.line.command(ChargerCommand.model_validate_json(call.argument))

    # --- evidence -----------------------------------------------------------------------------------------

    def say(
        self,
        kind: EvidenceKind,
        charger: Charger | None,
        *,
        session: TrueSession | None = None,
        energy: bool = True,
        **more: Any,
    ) -> None:
        """A station or partner says it now; heard once its uplink is there."""
        self.evidence_said += 1
        if session is not None and energy and "energy_kwh" not in more:
            more["energy_kwh"] = round(session.energy_kwh, 3)
        item = Evidence(
            event_id=f"event-{self.evidence_said}",
            source=more.pop("source", SOURCE[charger.protocol] if charger else EvidenceSource.TELEMATICS),
            kind=kind,
            observed_at=self.clock.now,
            attempt_id=session.attempt_id if session else None,
            session_ref=session.ref if session else None,
            charger_id=more.pop("charger_id", charger.charger_id if charger else None),
            **more,
        )
        silent = (
            item.source is EvidenceSource.OCPP
            and charger is not None
            and charger.charger_id in self.yard.offline
        )
        if silent and charger is not None and kind is not EvidenceKind.STATION_OFFLINE:
            self._waiting_at_station.setdefault(charger.charger_id, []).append(item)
        else:
            self.hear(item)

    def flush_station(self, charger_id: str) -> None:
        for item in self._waiting_at_station.pop(charger_id, []):
            self.hear(item)

    def hear(self, item: Evidence) -> None:
        """The relay has it: durable. Meters become turns."""
        self.heard.append(item)
        news = [] if item.kind is EvidenceKind.METER else [item]
        progress = self.progress.get(item.attempt_id or "")
        if progress is not None:
            if not progress.began:
                self._watch(progress)
            turns = progress.fold(item, self.clock.now)
            self.heard += turns
            news += turns
        for one in news:
            if one.attempt_id is not None or self._concerns(one):
                self.tell(one)

    def _watch(self, progress: Progress) -> None:
        silent = progress.silence(self.clock.now)
        if silent is not None:
            booked = self.store.booked(progress.goal.attempt_id)
            if booked is not None and booked.session in ("ended", "never_began", "unknown"):
                return
            self.tell(silent)
        if not progress.ended:
            self.clock.after(
                progress.goal.stall_s / 3 + self.random.uniform(0, 5), lambda: self._watch(progress)
            )

    def _concerns(self, item: Evidence) -> bool:
        view = self.store.view
        if view is None or view.outcome is not None:
            return False
        if item.source is EvidenceSource.TELEMATICS:
            return True
        if item.charger_id == view.charger_id:
            return view.phase in (*_HEADING, *_THERE)
        charger = self.yard.chargers[item.charger_id or ""]
        near = charger.site_id == view.site_id
        return item.kind is EvidenceKind.PLUGGED_IN and near and view.phase in _HEADING

    def tell(self, item: Evidence) -> None:
        times = 2 if self.hits(self.weather.evidence_twice) else 1
        for _ in range(times):
            late = self.hits(self.weather.evidence_late)
            delay_s = self.random.uniform(1, 900) if late else self.random.uniform(0.05, 0.5)
            self.undelivered += 1
            self.clock.after(delay_s, lambda: self._deliver(item))

    def _deliver(self, item: Evidence) -> None:
        self.undelivered -= 1
        if self.signal(self.workflow_id, SIGNAL_EVIDENCE, [item]):
            self.delivered.append((self.clock.s, item, "stop"))
            return
        if item.attempt_id is None or item.kind in _NOT_FOR_KEEPERS:
            return
        books = self.store.booked(item.attempt_id)
        if books is None or _is_known(item, books):
            return
        kept = KeptSession(tenant_id=TENANT, stop_id=books.stop_id, attempt_id=item.attempt_id)
        keeper_id = keeper_workflow_id(item.attempt_id)
        self.start(KEEPER_WORKFLOW, keeper_id, CONVERTER.to_payloads([kept]))
        self.signal(keeper_id, SIGNAL_EVIDENCE, [item])
        self.delivered.append((self.clock.s, item, "keeper"))
