"""The soak: mornings under chaos, each seed on a fresh stack, every promise checked over everybody's books.

    python -m benchmarks.soak --seeds 20 --stops 40         (make soak)
    python -m benchmarks.soak --seed 7                      (make soak SEED=7)

Run it on a checkout that nobody edits: a worker that is killed comes back with the code as it then is.
A seed gives city, vans, bad luck and blows alike; the moments differ, so a seed that failed is a place to
look, not a replay. Prints a line per seed; exit code 1 where a promise was broken. What a failing seed left
(logs of every process, the page, the blows) stays in its folder. --resume: not again what has passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import time
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from models.base import Message
from simulators.fault_plan import demo_morning
from workers.demo import MorningEnd
from workers.local_stack import local_stack
from workers.stack.chaos import BlowKind

_FOLDER = Path(".state/soak")
_ROW = "{:>5}  {:>5}  {:>5}  {:>6}  {:>5}  {:>7}  {:>10}  {:>10}  {:>7}  {}"


class SeedResult(Message):
    """One seed. `lost`: blows that what they hit did not survive. `problem`: the stack itself failed."""

    seed: int
    stops: int
    kills: int = 0
    pairs: int = 0
    freezes: int = 0
    lost: int = 0
    unfinished: int = 0
    violations: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not (self.violations or self.unfinished or self.lost or self.problem)


def _result(seed: int, end: MorningEnd, seconds: float) -> SeedResult:
    kinds = [blow.planned.kind for blow in end.blows]
    return SeedResult(
        seed=seed,
        stops=end.stops,
        kills=kinds.count(BlowKind.KILL),
        pairs=kinds.count(BlowKind.PAIR),
        freezes=kinds.count(BlowKind.FREEZE),
        lost=sum(1 for blow in end.blows if blow.back_s is None),
        unfinished=len(end.unfinished),
        violations=tuple(f"{v.invariant}: {v.text} ({v.subject})" for v in end.violations),
        seconds=seconds,
    )


async def run_seed(seed: int, stops: int, folder: Path) -> SeedResult:
    """One morning on a stack of its own in `folder`; the page is left there, too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    world, plan = demo_morning(seed, stops)
    with (folder / "page.txt").open("w", buffering=1) as page:  # readable while it grows
        try:
            async with local_stack(folder, world, lambda text: None) as stack:
                end = await stack.morning(plan, Console(file=page, width=140), chaos=stack.chaos(seed))
            return _result(seed, end, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001  a stack that fails is this seed's failure, not the soak's
            problem = f"{type(error).__name__}: {error}"
            return SeedResult(seed=seed, stops=stops, problem=problem, seconds=time.monotonic() - began)


def _line(result: SeedResult) -> str:
    state = "kept" if result.passed else f"BROKEN {result.problem[:80]}"
    return _ROW.format(
        result.seed,
        result.stops,
        result.kills,
        result.pairs,
        result.freezes,
        result.lost,
        result.unfinished,
        len(result.violations),
        f"{result.seconds:.0f}",
        state,
    )


class Results:
    """What is known so far, kept in a file: a soak of an hour may be interrupted."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "results.json"
        self._adapter = TypeAdapter(list[SeedResult])

    def passed(self, stops: int) -> dict[int, SeedResult]:
        if not self._file.exists():
            return {}
        kept = self._adapter.validate_json(self._file.read_bytes())
        return {result.seed: result for result in kept if result.stops == stops and result.passed}

    def keep(self, results: list[SeedResult]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(self._adapter.dump_json(results, indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description="Mornings under chaos")
    parser.add_argument("--seeds", type=int, default=20, help="Seeds 1 to so many.")
    parser.add_argument("--seed", type=int, default=None, help="This one only.")
    parser.add_argument("--stops", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=_FOLDER)
    parser.add_argument("--resume", action="store_true", help="Not again what has passed.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended as by Ctrl-C
    folder: Path = options.folder.absolute()
    wanted = [options.seed] if options.seed is not None else list(range(1, options.seeds + 1))
    book = Results(folder)
    before = book.passed(options.stops) if options.resume else {}
    print(
        _ROW.format(
            "seed", "stops", "kills", "pairs", "freezes", "lost", "unfinished", "violations", "seconds", ""
        ),
        flush=True,
    )
    results: list[SeedResult] = []
    for seed in wanted:
        home = folder / f"seed-{seed:03}"
        result = before.get(seed) or asyncio.run(run_seed(seed, options.stops, home))
        results.append(result)
        print(_line(result), flush=True)
        if result.passed:
            shutil.rmtree(home, ignore_errors=True)
        book.keep(results)
    return _closing(results, folder)


def _closing(results: list[SeedResult], folder: Path) -> int:
    broken = [result for result in results if not result.passed]
    for result in broken:
        for violation in result.violations[:10]:
            print(f"  seed {result.seed}: {violation}")
        print(f"  seed {result.seed}: logs in {folder / f'seed-{result.seed:03}'}")
    blows = sum(result.kills + result.pairs + result.freezes for result in results)
    stops = sum(result.stops for result in results)
    violations = sum(len(result.violations) for result in results)
    print(
        json.dumps(
            {
                "seeds": len(results),
                "stops": stops,
                "blows": blows,
                "broken_promises": violations,
                "seeds_broken": [result.seed for result in broken],
            }
        )
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
