"""Thousands of random interleavings of one stop's life keep every promise; and each promise,
broken on purpose, is seen to be broken."""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.stop import StopOutcome
from stops.log import StopLog
from stops.session import Session
from tests.stops.simulated_chargers import Weather
from tests.stops.simulated_store import SimulatedStore
from tests.stops.soak import Ran, run_one
from workflows import charging
from workflows.commands import Commands
from workflows.journey import Journey
from workflows.keeper import Keeper

INTERLEAVINGS = 1_200


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", [35367, 50432, 81637], ids=["arrived anew", "intent after close", "cancel"])
def test_what_the_long_run_broke_once_is_kept(seed: int) -> None:
    """An arrival that forgot what the vehicle had said, an intent that was written after its stop had closed,
    a start that left in the task in which its cancel came."""
    assert run_one(seed).fault == ""


def test_a_calm_stop_charges_and_is_booked() -> None:
    outcomes = Counter(run_one(seed, Weather()).outcome for seed in range(15))
    faults = [ran.fault for ran in map(lambda seed: run_one(seed, Weather()), range(15)) if ran.fault]
    assert faults == []
    assert outcomes[str(StopOutcome.CHARGED)] > 7


@pytest.mark.slow
def test_random_interleavings_keep_every_promise() -> None:
    with multiprocessing.get_context("fork").Pool(2, initializer=logging.disable, initargs=(50,)) as pool:
        rans = pool.map(run_one, range(INTERLEAVINGS), chunksize=25)
    assert [f"seed {ran.seed}: {ran.fault}" for ran in rans if ran.fault] == []
    met: Counter[str] = Counter()
    for ran in rans:
        met.update(ran.counts)
    # What the worlds are for has really happened in them.
    for what in ("tasks lost", "keepers", "adopted", "late starts stopped"):
        assert met[what] > 10, what
    assert len({ran.outcome for ran in rans}) == len(StopOutcome)


def test_the_same_seed_gives_the_same_story() -> None:
    assert run_one(20_003).trace == run_one(20_003).trace


# --- negative controls: a rule is broken on purpose, and its invariant goes red ----------------------------


def _always(*_: object) -> bool:
    return True


def _enough_once_it_flows(session: Session, need: object) -> bool:
    del need
    return session.flowed


Patch = Callable[[pytest.MonkeyPatch], Any]
_LATE = Weather(late=0.9, lingers=0.9, evidence_twice=0.3)
_STOPS = Weather(stop_lost=0.5, stop_refused=0.4, stop_late=0.5, evidence_late=0.3, people=0.7)
_LOST_TASKS = Weather(task_lost=0.3, worker_killed=0.3)


def _first_fault(weather: Weather, most: int = 60) -> str:
    for seed in range(most):
        ran: Ran = run_one(seed, weather)
        if ran.fault:
            return ran.fault
    return ""


def _wants_what_comes_alive(patch: pytest.MonkeyPatch) -> None:
    def want(_: Journey, session: Session) -> None:
        session.wanted = True

    patch.setattr(Journey, "came_alive", want)


def _starts_unwanted(patch: pytest.MonkeyPatch) -> None:
    start = Commands.start

    async def unwanted(self: Commands, session: Session, command_id: str, route: Any, _: Any) -> Any:
        session.wanted = False
        return await start(self, session, command_id, route, lambda: True)

    patch.setattr(Commands, "start", unwanted)


def _never_stops(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Keeper, "must_stop", property(lambda self: self.session.is_alive and not self.session.wanted)
    )

    async def idle(self: Keeper, *, most_s: float | None = None) -> None:
        from datetime import timedelta

        from temporalio import workflow

        await workflow.sleep(timedelta(hours=1))

    patch.setattr(Keeper, "stop_until_over", idle)


def _forgets_the_store(patch: pytest.MonkeyPatch) -> None:
    def give(self: StopLog) -> Any:
        kept = self.events[:-1] if len(self.events) == 4 else self.events
        news, decisions = tuple(kept[self.given :]), tuple(self.decisions)
        self.given, self.decisions = len(self.events), []
        self.version += 1
        return news, decisions

    patch.setattr(StopLog, "give", give)


def _books_half(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "energy_kwh", property(lambda self: round(self.metered_kwh / 2, 4)))


def _keeps_holds(patch: pytest.MonkeyPatch) -> None:
    record = SimulatedStore.record

    def holds(self: SimulatedStore, *args: Any) -> bool:
        done = record(self, *args)
        for row in self.attempts.values():
            row.vehicle = True
        return done

    patch.setattr(SimulatedStore, "record", holds)


def _adopts_anywhere(patch: pytest.MonkeyPatch) -> None:
    from stops.presence import Presence

    patch.setattr(Presence, "is_still_at", _always)


def _charges_too_little(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(charging, "is_enough", _enough_once_it_flows)
    from stops import judge

    patch.setattr(judge, "is_enough", _enough_once_it_flows)


def _remembers_refused(patch: pytest.MonkeyPatch) -> None:
    from stops.inbox import Inbox

    patch.setattr(Inbox, "is_known", _always)


def _is_not_deterministic(patch: pytest.MonkeyPatch) -> None:
    from itertools import count

    from stops.stop import Stop

    numbers = count()

    def next_id(self: Stop, session: Session, kind: str) -> str:
        return f"{session.attempt_id}:{kind}:{next(numbers)}"

    patch.setattr(Stop, "next_command_id", next_id)


def _fails_without_reason(patch: pytest.MonkeyPatch) -> None:
    from stops.stop import Stop

    note = Stop.note

    def silent(self: Stop, type_: str, *args: Any, **more: Any) -> None:
        note(self, type_, *args, **{**more, "reason": None} if type_ == "attempt.failed" else more)

    patch.setattr(Stop, "note", silent)


CONTROLS: list[tuple[str, Patch, Weather]] = [
    ("rule 1", _wants_what_comes_alive, _LATE),
    ("rule 1", _starts_unwanted, Weather()),
    ("rule 2", _never_stops, _STOPS),
    ("rule 3", _is_not_deterministic, _LOST_TASKS),
    ("rule 4", _books_half, Weather()),
    ("rule 5", _forgets_the_store, Weather()),
    ("rule 6", _fails_without_reason, Weather(reject=0.9)),
    ("rule 7", _keeps_holds, Weather()),
    ("rule 8", _adopts_anywhere, Weather(late=0.95, strangers=0.9)),
    ("rule 8", _charges_too_little, Weather()),
    ("rule 9", _remembers_refused, Weather(people=1.0)),
]


@pytest.mark.parametrize(("rule", "broken", "weather"), CONTROLS, ids=[c[1].__name__[1:] for c in CONTROLS])
def test_a_broken_rule_is_seen(
    rule: str, broken: Patch, weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _first_fault(weather, most=6) == ""
    broken(monkeypatch)
    fault = _first_fault(weather)
    assert fault.startswith(f"BrokenPromise: {rule}") or (rule == "rule 3" and "deterministic" in fault), (
        fault
    )
