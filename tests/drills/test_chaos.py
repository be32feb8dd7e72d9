"""The blows themselves, on toy processes: planned by seed, written down, nothing left frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from workers.stack.chaos import BlowKind, Chaos, Child, PlannedBlow, plan_blows
from workers.stack.freeze import freeze, tree
from workers.stack.processes import Supervisor, until_ready

NAMES = ("api", "worker", "planner", "gateway", "temporal", "postgres")
TOY = ["sh", "-c", "while :; do sleep 0.05; done"]
PARENT = ["sh", "-c", "setsid sleep 60 & wait"]
"""Its child has a group of its own, as PostgreSQL's have."""


def state_of(pid: int) -> str:
    """Linux's letter: T is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


async def toys(folder: Path, *names: str, argv: list[str] | None = None) -> Supervisor:
    supervisor = Supervisor(folder)
    for name in names:
        supervisor.start(name, argv or TOY)
    return supervisor


def once(kind: BlowKind, *names: str, freeze_s: float = 0.0) -> PlannedBlow:
    return PlannedBlow(0.0, kind, names, freeze_s)


def test_the_same_seed_gives_the_same_blows_and_another_seed_others() -> None:
    first = list(islice(plan_blows(7, NAMES), 30))
    assert first == list(islice(plan_blows(7, NAMES), 30))
    assert first != list(islice(plan_blows(8, NAMES), 30))


@pytest.mark.parametrize("seed", range(20))
def test_six_blows_meet_every_process_and_every_kind(seed: int) -> None:
    blows = list(islice(plan_blows(seed, NAMES), 6))
    assert {name for blow in blows for name in blow.names} == set(NAMES)
    assert Counter(blow.kind for blow in blows) == {
        BlowKind.KILL: 3,
        BlowKind.PAIR: 1,
        BlowKind.FREEZE: 2,
    }
    for blow in blows:
        assert len(set(blow.names)) == (2 if blow.kind is BlowKind.PAIR else 1)
        assert (1.0 <= blow.freeze_s <= 8.0) == (blow.kind is BlowKind.FREEZE)
        assert 2.0 <= blow.after_s <= 6.0


@pytest.mark.asyncio
async def test_what_is_killed_comes_back_and_the_blow_is_written_down(tmp_path: Path) -> None:
    async with await toys(tmp_path, "one", "two") as supervisor:
        victims = {name: Child(supervisor, name) for name in ("one", "two")}
        before = {name: supervisor.pid(name) for name in victims}
        plan = [once(BlowKind.KILL, "one"), once(BlowKind.PAIR, "one", "two")]
        chaos = Chaos(victims, iter(plan))
        async with chaos.striking():

            async def both_back() -> bool:
                return [blow.settled for blow in chaos.blows] == [True, True]

            await until_ready(both_back, "the blows", 20)
        assert {name: supervisor.restarts(name) for name in victims} == {"one": 2, "two": 1}
        assert all(supervisor.pid(name) != pid for name, pid in before.items())
        assert chaos.never_back == []
        assert chaos.blows[1].line().partition(" ")[2].startswith("one and two killed (kill -9), back after ")


@pytest.mark.asyncio
async def test_a_freeze_stops_the_whole_tree_and_ends(tmp_path: Path) -> None:
    async with await toys(tmp_path, "one", argv=PARENT) as supervisor:
        root = supervisor.pid("one")

        async def has_child() -> bool:
            return len(tree(root)) > 1

        await until_ready(has_child, "the toy's child", 10)
        family = tree(root)
        chaos = Chaos({"one": Child(supervisor, "one")}, iter([once(BlowKind.FREEZE, "one", freeze_s=1.0)]))
        async with chaos.striking():

            async def all_stand_still() -> bool:
                return {state_of(pid) for pid in family} == {"T"}

            await until_ready(all_stand_still, "the freeze", 5)

            async def is_back() -> bool:
                return chaos.blows[0].back_s is not None

            await until_ready(is_back, "the thaw", 10)
        assert "T" not in {state_of(pid) for pid in family}
        assert (chaos.blows[0].back_s or 0) >= 1.0
        assert supervisor.pid("one") == root
        assert "one frozen (SIGSTOP) for 1.0 s, back after 1." in chaos.blows[0].line()
        for pid in family[1:]:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.asyncio
async def test_leaving_in_the_middle_of_a_freeze_thaws(tmp_path: Path) -> None:
    async with await toys(tmp_path, "one") as supervisor:
        pid = supervisor.pid("one")
        chaos = Chaos({"one": Child(supervisor, "one")}, iter([once(BlowKind.FREEZE, "one", freeze_s=60.0)]))

        async def stands_still() -> bool:
            return state_of(pid) == "T"

        async with chaos.striking():
            await until_ready(stands_still, "the freeze", 5)
        assert state_of(pid) not in ("T", "")
        assert chaos.never_back == []  # it stands, and the page says so


@pytest.mark.asyncio
async def test_no_more_blows_than_asked_for(tmp_path: Path) -> None:
    async with await toys(tmp_path, "one") as supervisor:
        plan = (once(BlowKind.FREEZE, "one", freeze_s=0.01) for _ in range(100))
        chaos = Chaos({"one": Child(supervisor, "one")}, plan, most=3)
        running = asyncio.create_task(chaos._run())  # pyright: ignore[reportPrivateUsage]
        await asyncio.wait_for(running, 20)
    assert len(chaos.blows) == 3


FREEZER = """
import os, sys
from workers.stack.freeze import freeze
freeze(int(sys.argv[1]), 0.1)
os.kill(os.getpid(), 9)
"""


def test_who_freezes_and_is_killed_leaves_nothing_frozen(tmp_path: Path) -> None:
    """A frozen server that nobody wakes would outlive the drill, and hold its ports."""
    toy = subprocess.Popen(TOY)
    try:
        ended = subprocess.run([sys.executable, "-c", FREEZER, str(toy.pid)], check=False)
        assert ended.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 15
        while state_of(toy.pid) == "T" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert state_of(toy.pid) not in ("T", "")
    finally:
        toy.kill()
        toy.wait()


def test_thawing_twice_is_fine_and_the_dead_are_passed_over() -> None:
    toy = subprocess.Popen(TOY)
    frozen = freeze(toy.pid, 5.0)
    assert state_of(toy.pid) == "T"
    toy.kill()
    toy.wait()
    frozen.thaw()
    frozen.thaw()
