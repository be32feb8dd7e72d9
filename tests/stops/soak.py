"""Random interleavings of all that can happen to a stop: `python -m tests.stops.soak --interleavings N`."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tests.stops.invariants import MOST_S, Watch, broken
from tests.stops.simulated_chargers import Weather
from tests.stops.simulated_people import People
from tests.stops.simulated_run import Run
from tests.stops.simulated_wire import Call
from tests.stops.simulated_world import World
from workflows.charging_stop import ChargingStop
from workflows.session_keeper import SessionKeeper

_LONGEST_S = 20 * 86400.0


class WatchedWorld(World):
    """A world that checks what must always hold, as it goes."""

    def __init__(
        self,
        seed: int,
        weather: Weather | None = None,
        definitions: tuple[type, ...] = (ChargingStop, SessionKeeper),
    ) -> None:
        super().__init__(seed, weather, definitions)
        self.watch = Watch(self)
        self.people = People(self)

    def on_commit(self, run: Run) -> None:
        self.watch.committed(run)

    def on_scheduled(self, run: Run, call: Call) -> None:
        super().on_scheduled(run, call)
        if call.name == "command_charger" and self.commands[-1][1].kind == "start":
            self.watch.start_is_wanted(run, self.commands[-1][1].attempt_id)


@dataclass
class Ran:
    """What came of one interleaving. `fault` is empty where all promises were kept."""

    seed: int
    fault: str = ""
    outcome: str = ""
    counts: dict[str, int] = field(default_factory=lambda: {})
    trace: list[tuple[float, str]] = field(default_factory=lambda: [])


def run_one(
    seed: int, weather: Weather | None = None, definitions: tuple[type, ...] = (ChargingStop, SessionKeeper)
) -> Ran:
    world = WatchedWorld(seed, weather, definitions)
    ran = Ran(seed, trace=world.trace)
    try:
        world.order_stop()
        while world.goes_on:
            if not world.clock.step():
                raise broken(3, "nothing is left to happen, and the stop has not ended")
            if world.clock.s > MOST_S and world.runs[world.workflow_id].status == "running":
                raise broken(3, "the stop has not ended within three days")
            if world.clock.s > _LONGEST_S:
                raise broken(3, "its keepers have not ended within twenty days")
        world.watch.over()
    except Exception as error:  # noqa: BLE001  every way to fail is a finding
        ran.fault = f"{type(error).__name__}: {error}"
        if not isinstance(error, AssertionError):
            ran.fault += " | " + " | ".join(traceback.format_exc().strip().splitlines()[-4:])
    finally:
        world.close()
    ran.outcome = str(world.store.view.outcome) if world.store.view else "none"
    ran.counts = {
        "tasks lost": world.tasks_lost,
        "replays": sum(run.replays for run in world.all_runs),
        "runs": len(world.all_runs),
        "keepers": sum(1 for run in world.all_runs if run.workflow_id.startswith("session:")),
        "sessions": len(world.yard.sessions),
        "adopted": sum(e.type == "late_start.adopted" for e in world.store.events.values()),
        "late starts stopped": sum(e.type == "late_start.stopped" for e in world.store.events.values()),
        "attempts": len(world.store.attempts),
        "evidence": world.evidence_said,
    }
    return ran


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interleavings", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print the trace of the one seed")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.show:
        return _show(given.seed)
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    faults: list[Ran] = []
    seeds = range(given.seed, given.seed + given.interleavings)
    with multiprocessing.Pool(given.processes) as pool:
        for ran in pool.imap_unordered(run_one, seeds, chunksize=20):
            outcomes[ran.outcome] += 1
            counts.update(ran.counts)
            if ran.fault:
                faults.append(ran)
                _say(f"seed {ran.seed}: {ran.fault}")
    took_s = time.monotonic() - began
    _say(f"{given.interleavings} interleavings in {took_s:.0f} s, {len(faults)} broke a promise")
    _say("outcomes: " + ", ".join(f"{name} {number}" for name, number in outcomes.most_common()))
    _say("met: " + ", ".join(f"{name} {number}" for name, number in counts.items()))
    return 1 if faults else 0


def _show(seed: int) -> int:
    ran = run_one(seed)
    for at_s, text in ran.trace:
        _say(f"{at_s:10.1f} {text}")
    _say(f"{ran.outcome} {ran.counts}")
    _say(ran.fault or "all promises kept")
    return 1 if ran.fault else 0


if __name__ == "__main__":
    sys.exit(main())
