"""What must always hold, checked after every workflow task and at the end of a simulated stop.

Each check sets two sources against each other that are written by different code: what the workflow knows,
what left it as commands and records, and what the world's own ledger says.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.reason_catalogue import entry
from models.stop import SessionState, StopOutcome, StopPhase
from stops.judge import Pause, judge_stillness
from stops.presence import Says
from stops.session import Session
from stops.stop import Stop
from tests.stops.simulated_chargers import TrueSession
from tests.stops.simulated_run import Run
from tests.stops.simulated_wire import BEGINNING, BrokenPromise
from tests.stops.simulated_world import World
from workflows.charging_stop import ChargingStop

_AT_ONCE_S = 1.0
_LONGEST_BETWEEN_STOPS_S = 420.0
"""The longest pause of a keeper, and the patience for one try."""
_KWH = 0.02
MOST_S = 3 * 86400.0


def broken(rule: int, text: str) -> BrokenPromise:
    return BrokenPromise(f"rule {rule}: {text}")


class Watch:
    """One stop under watch. Raises BrokenPromise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._unwanted_s: dict[str, float] = {}
        self._checked_events = 0
        self._started: set[str] = set()

    # --- after every workflow task ------------------------------------------------------------------------

    def committed(self, run: Run) -> None:
        made = run.object
        if isinstance(made, ChargingStop):
            self._one_wanted(made.stop)
            self._events_have_reasons(made.stop)
            self._says_what_it_waits_for(run, made.stop)
            self._calm_has_no_reason(run, made.stop)
        self._every_live_one_is_stopped(run)
        if run.status == "running" and not (run.timers or run.activities or run.inbox or run.updates):
            raise broken(3, f"{run.workflow_id} waits without a deadline: no timer, no activity")

    def _one_wanted(self, stop: Stop) -> None:
        wanted = [s for s in stop.sessions if s.wanted]
        if len(wanted) > 1:
            raise broken(1, f"{len(wanted)} sessions are wanted at once")
        adopting = [s for s in stop.sessions if s.adopting and not s.is_over]
        if len(adopting) + len(wanted) > 1:
            raise broken(1, f"a session is being adopted while {wanted or adopting[1:]} is wanted")

    def _events_have_reasons(self, stop: Stop) -> None:
        for event in (event for event in stop.log.events if event.seq > self._checked_events):
            if event.type in ("attempt.failed", "fallback.chosen") and event.reason is None:
                raise broken(6, f"{event.type} without a reason: {event.text}")
            if event.type == "late_start.adopted":
                self._adopted_where_the_vehicle_is(stop, str(event.data["attempt_id"]))
        self._checked_events = stop.log.last_seq

    def _says_what_it_waits_for(self, run: Run, stop: Stop) -> None:
        waits = stop.waiting
        # Where an activity or a keeper's pause is under way, those are the deadline.
        under_way = run.activities or run.timers or run.task or run.inbox
        if waits.what and waits.until is None and not under_way:
            raise broken(6, f"waits for {waits.what} without a deadline")
        if run.status == "running" and stop.outcome is None and not waits.what and not run.activities:
            local = run.task is not None
            if not local and stop.phase is not StopPhase.CLOSED and not run.inbox:
                raise broken(6, "waits, and does not say for what")

    def _calm_has_no_reason(self, run: Run, stop: Stop) -> None:
        current = stop.current
        if stop.phase is not StopPhase.CHARGING or current is None or stop.reason is None or run.activities:
            return
        calm = current.state is SessionState.ALIVE and current.fault is None
        if calm and judge_stillness(current, stop.policy, self.world.clock.now).pause is Pause.NONE:
            raise broken(6, f"charges calmly, and the reason of now is {stop.reason}")

    def _adopted_where_the_vehicle_is(self, stop: Stop, attempt_id: str) -> None:
        """Where it is plugged in; or all that says otherwise is older than a word of its driver or its own
        geofence that it stands there, had not reached the stop yet, or is of before it left: the way there
        tells of no leaving."""
        session, world = stop.session(attempt_id), self.world
        assert session is not None
        place = world.yard.place_of_vehicle()
        if place == session.charger_id or not world.has_feed:
            return  # without a feed, a plug that comes when it is expected is believed
        here = [
            word.at
            for word in stop.presence.witnesses
            if word.says is Says.HERE and word.charger_id == session.charger_id and word.source != "charger"
        ]
        since = max(here, default=BEGINNING)
        left_s = world.yard.left_at.get(session.charger_id)
        if left_s is not None:
            since = max(since, BEGINNING + timedelta(seconds=left_s - 1))
        heard = [
            item
            for at_s, item, to in world.delivered
            if to == "stop" and at_s < world.clock.s - 5 and item.observed_at > since
        ]
        if place is not None:
            told = [e for e in heard if e.kind is EvidenceKind.PLUGGED_IN and e.charger_id == place]
        else:
            far = [e for e in heard if e.kind is EvidenceKind.VEHICLE_PROGRESS and (e.distance_km or 0) > 1.0]
            told = far + [e for e in heard if e.kind is EvidenceKind.UNPLUGGED]
        if told:
            raise broken(
                8, f"adopted {session.charger_id}; the vehicle is at {place}, and that had been said"
            )

    def _every_live_one_is_stopped(self, run: Run) -> None:
        for session, keeper in _kept(run):
            key = f"{run.workflow_id}:{session.attempt_id}"
            if not keeper.must_stop or run.status != "running":
                self._unwanted_s.pop(key, None)
                continue
            self._unwanted_s.setdefault(key, self.world.clock.s)
            self.world.clock.after(_AT_ONCE_S, partial(self._is_being_stopped, run, session.attempt_id, key))

    def _is_being_stopped(self, run: Run, attempt_id: str, key: str) -> None:
        since_s = self._unwanted_s.get(key)
        if since_s is None or run.status != "running":
            return
        for session, keeper in _kept(run):
            if session.attempt_id != attempt_id or not keeper.must_stop or keeper.busy:
                continue
            now_s = self.world.clock.s
            if now_s - since_s < _AT_ONCE_S:
                continue
            sent = session.stop_sent_at
            sent_s = now_s - (self.world.clock.now - sent).total_seconds() if sent else -1.0
            # A task with local reads stands in the history some seconds after it was decided.
            if sent_s < since_s - 15 and run.task is None and not self._store_was_away():
                raise broken(
                    2, f"{session.charger_id} lives unwanted for {now_s - since_s:.0f} s and was not stopped"
                )
            unknown = session.given_up or now_s - since_s > self.world.policy.keeper_s - 330
            patience_s = 4100.0 if unknown else _LONGEST_BETWEEN_STOPS_S
            if self._store_was_away():  # without it nobody knows the way to the charger
                patience_s += self.world.clock.s
            if now_s - max(sent_s, since_s) > patience_s:
                raise broken(
                    2, f"{session.charger_id} lives unwanted, not stopped for {now_s - sent_s:.0f} s"
                )
            self.world.clock.after(200.0, lambda: self._is_being_stopped(run, attempt_id, key))
            return

    def _store_was_away(self) -> bool:
        return self.world.clock.s < self.world.store_down_until_s + 320

    # --- commands -----------------------------------------------------------------------------------------

    def commands(self) -> None:
        """All that were scheduled: a start goes out once, and never again once it may have been sent."""
        replied: dict[str, CommandOutcome] = {}
        for command_id, reply in self.world.line.replies.items():
            replied[command_id] = reply.outcome
        for attempt_id, times in self.world.yard.starts_sent.items():
            if times > 1:
                raise broken(1, f"attempt {attempt_id} was started {times} times at its charger")
        starts = [c for _, c in self.world.commands if c.kind is CommandKind.START]
        ids = {c.attempt_id: c.command_id for c in starts}
        if any(ids[c.attempt_id] != c.command_id for c in starts):
            raise broken(1, "one attempt has starts with two command ids")

    def start_is_wanted(self, run: Run, attempt_id: str) -> None:
        session = run.object.stop.session(attempt_id)
        if session is None or not session.wanted:
            raise broken(1, f"a start is sent for attempt {attempt_id}, which nobody wants")

    # --- the end ------------------------------------------------------------------------------------------

    def over(self) -> None:
        world, store = self.world, self.world.store
        if world.clock.s > MOST_S and world.runs[world.workflow_id].status == "running":
            raise broken(3, "the stop has not ended within three days")
        stop: Stop = world.runs[world.workflow_id].object.stop
        view = store.view
        if view is None or view.result is None or stop.result is None:
            raise broken(3, "no outcome stands in the store")
        closes = [e for e in store.events.values() if e.type == "stop.closed"]
        if len(closes) != 1 or view.outcome is not stop.result.outcome:
            raise broken(
                3, f"{len(closes)} closes; the store says {view.outcome}, the stop {stop.result.outcome}"
            )
        self.commands()
        self._log_is_history(stop)
        self._booked_is_delivered()
        self._nothing_is_held()
        self._outcome_makes_sense(stop)

    def _log_is_history(self, stop: Stop) -> None:
        events = self.world.store.events
        if sorted(events) != list(range(1, len(events) + 1)):
            raise broken(5, f"the log has gaps: {sorted(events)}")
        for told in stop.log.events:
            if events.get(told.seq) != told:
                raise broken(
                    5, f"event {told.seq} is {told.type}, and stands in the store as {events.get(told.seq)}"
                )
        later = [e for seq, e in events.items() if seq > stop.log.last_seq]
        if any("amendment_id" not in e.data for e in later):
            raise broken(5, "the store holds events that nobody wrote")
        view = self.world.store.view
        assert view is not None
        if not later and view.headline != stop.log.events[-1].text:
            raise broken(5, f"the view says {view.headline!r}, the last event {stop.log.events[-1].text!r}")

    def _booked_is_delivered(self) -> None:
        view = self.world.store.view
        assert view is not None
        assert view.result is not None
        booked = {one.attempt_id: one for one in view.result.attempts}
        for attempt_id, truth in self.world.yard.sessions.items():
            one = booked.get(attempt_id)
            if one is None:
                raise broken(
                    4, f"attempt {attempt_id} delivered {truth.energy_kwh:.2f} kWh and is not in the result"
                )
            fits = [kwh for kwh in _may_be_booked(truth) if abs(kwh - one.energy_kwh) <= _KWH]
            if not fits and not truth.mute:
                raise broken(
                    4,
                    f"attempt {one.number} booked {one.energy_kwh}, delivered {truth.energy_kwh:.3f}, "
                    f"recorded {truth.records_kwh}",
                )
        for attempt_id, one in booked.items():
            if attempt_id not in self.world.yard.sessions and one.energy_kwh > 0:
                raise broken(4, f"attempt {one.number} booked {one.energy_kwh} kWh, and never ran")
        total = round(sum(one.energy_kwh for one in view.result.attempts), 4)
        if abs(total - view.result.energy_kwh) > 0.001:
            raise broken(4, f"the result says {view.result.energy_kwh}, its attempts {total}")

    def _nothing_is_held(self) -> None:
        for row in self.world.store.attempts.values():
            truth = self.world.yard.sessions.get(row.attempt.attempt_id)
            known = row.attempt.session is SessionState.UNKNOWN or (truth is not None and truth.mute)
            if row.vehicle or (row.charger and not known):
                raise broken(
                    7,
                    f"attempt {row.attempt.number} ({row.attempt.session}) holds "
                    f"{'the vehicle' if row.vehicle else 'its connector'} for ever",
                )

    def _outcome_makes_sense(self, stop: Stop) -> None:
        assert stop.result is not None
        outcome, result = stop.result.outcome, stop.result
        if outcome is StopOutcome.NOT_NEEDED and result.energy_kwh > 0:
            raise broken(8, f"not needed, and {result.energy_kwh} kWh were taken")
        if outcome is StopOutcome.NOT_CHARGED and result.energy_kwh > 0.5:
            raise broken(8, f"not charged, with {result.energy_kwh} kWh")
        if outcome is StopOutcome.CHARGED:
            measured = max((s.soc_percent or 0.0 for s in stop.sessions), default=0.0)
            before = self.world.order.request.vehicle.soc_percent
            needed = (80.0 - before) / 100 * 60.0
            arrived = stop.vehicle.state.soc_percent if stop.vehicle.measured_at else 0.0
            # By what flowed: a charge record may say less afterwards, and then a code says so.
            flowed = max(result.energy_kwh, sum(one.energy_kwh for one in self.world.yard.sessions.values()))
            if max(measured, arrived) < 79.0 and flowed < needed * 0.94 - 0.1:
                raise broken(8, f"charged, with {result.energy_kwh} of {needed:.1f} kWh and {measured} %")
        if outcome in (StopOutcome.NO_SHOW, StopOutcome.NOT_CHARGED, StopOutcome.CHARGED_SHORT) and (
            result.reason is None and str(stop.request.mode) != "shadow"
        ):
            raise broken(6, f"{outcome} without a reason")
        if result.reason is not None:
            entry(result.reason)


def _may_be_booked(truth: TrueSession) -> list[float]:
    """The charge record told last; where it is beyond the connector, or none came, the register."""
    if truth.records_kwh:
        return [
            truth.records_kwh[-1],
            *([truth.energy_kwh] if truth.records_kwh[-1] > truth.energy_kwh else []),
        ]
    return [truth.energy_kwh]


class _Kept:
    """The keeper within a session keeper's workflow, by what can be seen of it."""

    def __init__(self, session: Session, run: Run) -> None:
        self.must_stop = session.is_alive and not session.wanted
        self.busy = bool(run.activities) or run.task is not None


def _kept(run: Run) -> list[tuple[Session, Any]]:
    """Sessions and their keepers, of a stop or of a session keeper's workflow."""
    made = run.object
    if isinstance(made, ChargingStop):
        return [(keeper.session, keeper) for keeper in made.keepers.values()]
    session = getattr(made, "_session", None)
    return [(session, _Kept(session, run))] if session is not None else []
