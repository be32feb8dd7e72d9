"""On the way: the vehicle comes, or the plan changes before it does."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from models.activity_messages import LookAround, TakeBack
    from models.decision import Candidate
    from models.evidence import Evidence, EvidenceKind, EvidenceSource
    from models.reason_catalogue import entry
    from models.reason_codes import NextStep, ReasonCode
    from models.stop import StopOutcome, StopPhase
    from stops.judge import is_enough
    from stops.need import nothing_needed, will_not_make_it
    from stops.presence import Arrival, Heading
    from stops.session import Session
    from stops.stop import Stop

from workflows import calls
from workflows.desk import Desk
from workflows.flow import AttemptFailed, Redirected, StopEnds
from workflows.planning import Planning
from workflows.recorder import Recorder
from workflows.waits import Waits

_CLOCK_SLACK = timedelta(seconds=5)
_LOOK_BACK = timedelta(hours=18)
_LOOK_AGAIN_S, _LOOK_AGAIN_MOST_S = 5.0, 300.0
_BAD_NEWS = {
    EvidenceKind.CONNECTOR_FAULTED: ReasonCode.REACH_STATION_FAULTED,
    EvidenceKind.CONNECTOR_OCCUPIED: ReasonCode.REACH_OCCUPIED,
    EvidenceKind.STATION_OFFLINE: ReasonCode.REACH_OFFLINE,
    EvidenceKind.CHARGER_REMOVED: ReasonCode.REACH_REMOVED,
}
_GOOD_NEWS = {
    EvidenceKind.CONNECTOR_AVAILABLE: tuple(_BAD_NEWS.values()),
    EvidenceKind.STATION_ONLINE: (ReasonCode.REACH_OFFLINE,),
}
_ON_THE_WAY = (StopPhase.PLANNING, StopPhase.EN_ROUTE)


class Journey:
    def __init__(self, stop: Stop, waits: Waits, desk: Desk, planning: Planning, recorder: Recorder) -> None:
        self._stop = stop
        self._waits = waits
        self._desk = desk
        self._planning = planning
        self._recorder = recorder
        desk.adopt = self.adopt
        self._looks_again_at: datetime | None = None
        """Our store was away when the stop looked around."""
        self._look_pause_s = _LOOK_AGAIN_S

    async def reach(self, candidate: Candidate) -> Session | None:
        """Returns once the vehicle stands at the charger; or with a given-up session that came alive
        meanwhile, adopted. Raises AttemptFailed on bad news about the charger, Redirected, StopEnds."""
        stop, charger = self._stop, candidate.charger
        if stop.current is not None:
            return stop.current  # adopted while a person was asked
        if stop.presence.stands_at != charger.charger_id or stop.plan.heading is None:
            with self._recorder.held():
                await self._set_out(candidate)
        ends_at = stop.plan.arrive_by or workflow.now()
        while True:
            if adopted := await self.adopt():
                return adopted
            self._desk.act_on_wishes()
            self._act_on_bad_news()
            if arrival := self._arrival():
                break
            if stop.phase is not StopPhase.EN_ROUTE:
                text = f"On the way to {charger.charger_id}, {candidate.drive_s / 60:.0f} min"
                stop.note("vehicle.en_route", text, workflow.now(), phase=StopPhase.EN_ROUTE)
            wakes_at = min(ends_at, self._looks_again_at or ends_at)
            came = await self._waits.until_time(self._has_news, wakes_at, f"Arrival at {charger.charger_id}")
            if not came and wakes_at < ends_at:
                await self._look_around(candidate)
            elif not came:
                raise StopEnds(StopOutcome.NO_SHOW, ReasonCode.REACH_NO_SHOW)
        await self._take_arrival(arrival, candidate)
        return None

    async def _set_out(self, candidate: Candidate) -> None:
        """Turn to the charger: what is expected when, and what is known there already."""
        stop, charger, now = self._stop, candidate.charger, workflow.now()
        site = [c.charger.charger_id for c in stop.plan.offers if c.charger.site_id == charger.site_id]
        # What was left there may come alive yet: another start would double it.
        left = {s.charger_id for s in stop.sessions if not s.wanted}
        neighbours = sorted(set(site) - left - {charger.charger_id})
        since = stop.plan.planned_at or now
        expected_at = now + timedelta(seconds=candidate.drive_s)
        stop.plan.heading = Heading.towards(charger, since, expected_at, neighbours)
        latest = stop.request.latest_arrival
        ends = max(expected_at, latest) if latest and not stop.sessions else expected_at
        stop.plan.arrive_by = ends + timedelta(seconds=stop.policy.arrival_grace_s)
        if stop.presence.arrived_early:
            stop.presence.arrived_early = False
            stop.presence.told_by_driver(charger.charger_id, now)
        await self._look_around(candidate)

    async def _look_around(self, candidate: Candidate) -> None:
        """What is known there already; again, until our store has answered once."""
        stop, charger, now = self._stop, candidate.charger, workflow.now()
        found = await calls.LOOK_AROUND(
            LookAround(
                tenant_id=stop.tenant_id,
                stop_id=stop.stop_id,
                charger_id=charger.charger_id,
                site_id=charger.site_id,
                telematics_id=stop.vehicle.state.telematics_id,
                since=now - _LOOK_BACK,
            ),
            summary=f"What was heard of {charger.charger_id} before",
        )
        self._look_again_later(found.missed)
        for item in found.evidence:
            if stop.inbox.hears(item.event_id):
                stop.presence.see(item, workflow.now(), standing=True)
                self.hear(item)

    def _look_again_later(self, missed: bool) -> None:
        self._looks_again_at = workflow.now() + timedelta(seconds=self._look_pause_s) if missed else None
        self._look_pause_s = min(self._look_pause_s * 2, _LOOK_AGAIN_MOST_S) if missed else _LOOK_AGAIN_S

    def _has_news(self) -> bool:
        stop = self._stop
        return bool(self._arrival() or stop.adopting or stop.plan.lost)

    def _arrival(self) -> Arrival | None:
        stop, heading = self._stop, self._stop.plan.heading
        if heading is None:
            return None
        if stop.presence.stands_at == heading.charger_id:
            return Arrival(charger_id=heading.charger_id, witnesses=["the earlier attempt"])
        return stop.presence.arrival(heading)

    async def _take_arrival(self, arrival: Arrival, candidate: Candidate) -> None:
        stop, now = self._stop, workflow.now()
        if arrival.charger_id != candidate.charger.charger_id:
            await self._turn_to_neighbour(arrival)
        known_before = stop.presence.stands_at == arrival.charger_id
        since = stop.plan.planned_at or stop.created_at
        stop.presence.stand_at(arrival.charger_id, now, max(since, arrival.at or now))
        if not known_before or stop.phase in _ON_THE_WAY:
            text = f"Arrived at {arrival.charger_id} (says: {', '.join(arrival.witnesses)})"
            stop.note("vehicle.arrived", text, now, phase=StopPhase.ARRIVED)
        stop.vehicle.state = stop.vehicle.state.model_copy(update={"position": candidate.charger.place})
        measured = stop.vehicle.measured_at
        if measured and nothing_needed(stop.request, stop.vehicle.state.soc_percent):
            charged = stop.energy_kwh() > 0
            outcome = StopOutcome.CHARGED if charged else StopOutcome.NOT_NEEDED
            raise StopEnds(outcome, None if charged else ReasonCode.PLAN_NOTHING_NEEDED)

    async def _turn_to_neighbour(self, arrival: Arrival) -> None:
        """The vehicle plugged in at another connector of the site: that one is taken, if it may be."""
        stop = self._stop
        there = stop.plan.offered(arrival.charger_id)
        decision_id = stop.plan.decision.decision_id if stop.plan.decision else ""
        if there is None:
            there, decision_id = await self._planning.judge(arrival.charger_id)
        if there is None:
            raise AttemptFailed(
                ReasonCode.REACH_OCCUPIED,
                detail=f"plugged in at {arrival.charger_id}, which policy or vehicle rules out",
                before_arrival=True,
            )
        stop.presence.stand_at(arrival.charger_id, workflow.now())
        raise Redirected(there, "vehicle", decision_id)

    # --- news on the way ----------------------------------------------------------------------------------

    def hear(self, item: Evidence) -> None:
        """News about the planned charger, or of the vehicle's charge, while it is on its way."""
        stop, plan = self._stop, self._stop.plan
        if plan.candidate is None or stop.phase not in _ON_THE_WAY or stop.current is not None:
            return
        if item.kind is EvidenceKind.VEHICLE_PROGRESS:
            self._hear_progress(item, plan.candidate)
        elif item.source is EvidenceSource.TELEMATICS or item.charger_id != plan.charger_id:
            return
        elif item.kind in _BAD_NEWS:
            plan.lose(_BAD_NEWS[item.kind], item.vendor_code, item.observed_at)
        elif item.kind in _GOOD_NEWS:
            plan.heal(_GOOD_NEWS[item.kind], item.observed_at)
        elif item.kind is EvidenceKind.PLUGGED_IN and self._is_foreign_plug():
            plan.lose(ReasonCode.REACH_OCCUPIED, item.vendor_code or "plugged_in", item.observed_at)

    def _is_foreign_plug(self) -> bool:
        heading = self._stop.plan.heading
        return heading is not None and self._stop.presence.foreign_plug(heading) is not None

    def _hear_progress(self, item: Evidence, candidate: Candidate) -> None:
        if item.distance_km is None or not self._is_of_this_way(item):
            return
        vehicle, self._stop.plan.way_at = self._stop.vehicle, item.observed_at
        vehicle.is_on_the_way(candidate, item.distance_km)
        if will_not_make_it(vehicle, item.distance_km, self._stop.policy.road_factor):
            words = f"{vehicle.state.soc_percent:.0f} % for {item.distance_km:.0f} km"
            self._stop.plan.lose(ReasonCode.REACH_WILL_NOT_MAKE_IT, words, item.observed_at)

    def _is_of_this_way(self, item: Evidence) -> bool:
        """Not of the way to another charger (one that names none: since the plan), nor older than what is
        known of this one."""
        plan = self._stop.plan
        since = plan.way_at
        if item.charger_id is None and plan.planned_at is not None:
            since = max(filter(None, (since, plan.planned_at - _CLOCK_SLACK)))
        return item.charger_id in (None, plan.charger_id) and (since is None or item.observed_at >= since)

    def _act_on_bad_news(self) -> None:
        plan = self._stop.plan
        if plan.lost is None or self._arrival() is not None:
            return
        reason, vendor_code = plan.lost, plan.lost_vendor_code
        plan.lost = None
        raise AttemptFailed(reason, vendor_code=vendor_code, detail=entry(reason).title, before_arrival=True)

    # --- starts that come alive late ----------------------------------------------------------------------

    def came_alive(self, session: Session) -> None:
        """A given-up session lives. It is adopted if nothing better runs, nobody chose to leave it, and the
        vehicle is shown to be there still; otherwise its keeper stops it at once."""
        session.adopting = self._stop.current is None and self._may_adopt(session, workflow.now())

    def _may_adopt(self, session: Session, at: datetime) -> bool:
        """`at`: when it came alive; how long we take to write has no say."""
        stop = self._stop
        free = stop.phase in _ON_THE_WAY and stop.wishes.cancel is None
        if not free or not session.adoptable or session.fault is not None:
            return False
        left_at = session.left_at or at
        return stop.presence.is_still_at(session.charger_id, left_at, at, stop.policy.presence_s)

    async def adopt(self) -> Session | None:
        """Better to take a charge that runs than to drive on; if its holds can be had back, and it still runs
        and the vehicle is still there by then."""
        stop = self._stop
        session = stop.adopting
        if session is None:
            return None
        candidate, booking = stop.candidate_of(session), stop.bookings[session.attempt_id]
        was, asked_at = (session.model_copy(), booking.model_copy()), workflow.now()
        session.take_again()
        booking.closed, booking.reason = False, None
        holds = await self._take_back(session)
        session.left_at = was[0].left_at
        missed = session.is_over and not is_enough(session, stop.need_of(session))
        if not holds or missed or not self._may_adopt(session, asked_at):
            booking.closed, booking.reason = True, was[1].reason
            session.left_alive = holds  # then the connector is held until its end is seen
            session.left_because = was[0].left_because
            session.wanted = session.adoptable = False  # from here on its keeper ends it
            if holds:
                self._note_missed(session)
            return None
        session.left_at = None
        stop.go_for(candidate, workflow.now())
        stop.presence.stand_at(session.charger_id, workflow.now())
        stop.recovered()
        stop.note(
            "late_start.adopted",
            f"{session.charger_id} started after we gave it up; the charge is adopted",
            workflow.now(),
            phase=StopPhase.CHARGING,
            reason=ReasonCode.CONFIRM_LATE_START,
            passing=True,
            attempt_id=session.attempt_id,
        )
        return session

    def _note_missed(self, session: Session) -> None:
        """Its holds were taken back in vain; the record of this gives them up again."""
        ends = f"ended with {session.energy_kwh:.1f} kWh" if session.is_over else "is being stopped"
        self._stop.note(
            "late_start.missed",
            f"{session.charger_id} started after we gave it up, too late to be adopted; it {ends}",
            workflow.now(),
            reason=ReasonCode.CONFIRM_LATE_START,
            next_step=NextStep.NONE,
            charger_id=session.charger_id,
            passing=True,
            attempt_id=session.attempt_id,
            energy_kwh=session.energy_kwh,
        )

    async def _take_back(self, session: Session) -> bool:
        """Whether its holds stand again; False where another stop has them, or the store refuses it."""
        stop = self._stop
        try:
            route = await self._recorder.write_with(
                lambda record: calls.TAKE_BACK(
                    TakeBack(
                        tenant_id=stop.tenant_id,
                        stop_id=stop.stop_id,
                        attempt_id=session.attempt_id,
                        record=record,
                    ),
                    summary=f"Take {session.charger_id} back",
                )
            )
        except ActivityError as error:
            workflow.logger.error("holds were not taken back: %s", error.cause)
            return False
        return route.refused is None
