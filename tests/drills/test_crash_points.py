"""Every activity is crashed once before and once after its side effect; each time the stop ends as if nothing
had happened, and every promise holds. The list is printed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from models import contract
from simulators.fleet_backend import FleetBackend
from simulators.world import demo_world
from tests.drills.crash_points import FOLDER, Moment, arm, crash_if_armed
from tests.drills.crash_scenarios import ALONE, OUTCOMES, Case, CaseEnd, Scenario, Stage
from workers.demo.auditor import Auditor
from workers.local_stack import local_stack
from workers.oracle import Limits, Violation
from workers.stack.processes import Supervisor
from workers.stack.temporal_server import TemporalServer

_AT_ONCE = 6
_SEED = 5
_VANS = 80

SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    contract.ACTIVITY_OPEN_STOP: (Scenario.CALM,),
    contract.ACTIVITY_PLAN: (Scenario.CALM,),
    contract.ACTIVITY_RECORD: (Scenario.CALM,),
    contract.ACTIVITY_OPEN_ATTEMPT: (Scenario.CALM,),
    contract.ACTIVITY_COMMAND: (Scenario.CALM, Scenario.ROAMING),
    contract.ACTIVITY_FIND_ROUTE: (Scenario.CALLED_OFF,),
    contract.ACTIVITY_LOOK_AROUND: (Scenario.CALM,),
    contract.ACTIVITY_SETTLE: (Scenario.CALM,),
    contract.ACTIVITY_FIND_CHARGER: (Scenario.BY_HAND,),
    contract.ACTIVITY_TAKE_BACK: (Scenario.ADOPTED,),
    contract.ACTIVITY_SESSION_FACTS: (Scenario.OUTLIVED,),
    contract.ACTIVITY_AMEND: (Scenario.OUTLIVED,),
    contract.ACTIVITY_FIND_STATION: (Scenario.STATION,),
    contract.ACTIVITY_DO_AT_STATION: (Scenario.STATION,),
    contract.ACTIVITY_NOTE_AT_STATION: (Scenario.STATION,),
}
AT_THE_GATEWAY = {contract.ACTIVITY_COMMAND, contract.ACTIVITY_DO_AT_STATION}
"""They run in the process that holds the chargers' sockets. Its death makes every start that is under way an
uncertain one: where it dies all the time, no stop gets anywhere. So one after the other."""
WITHOUT_SCENARIO = {contract.ACTIVITY_FOLLOW}
"""Only called where a vehicle lacks charge after all its energy has come; idempotent by its content."""
_ALL = bool(os.environ.get("BACKSTOP_ALL_CRASH_POINTS"))
in_soak = pytest.mark.skipif(not _ALL, reason="ten minutes, and narrow moments: in `make soak`")
CASES = [
    Case(name, moment, scenario)
    for name, scenarios in SCENARIOS.items()
    for scenario in scenarios
    for moment in Moment
]


@dataclass(frozen=True)
class Drill:
    ends: dict[Case, CaseEnd]
    violations: list[Violation]
    deaths: int


@pytest_asyncio.fixture(scope="module")
async def drill(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> AsyncIterator[Drill]:
    """All cases on one stack, each with its own van: first together those that strike a worker or the
    planner, then the others one by one."""
    folder = tmp_path_factory.mktemp("crashes")
    points = folder / "points"
    points.mkdir()
    patch = pytest.MonkeyPatch()
    patch.setenv(FOLDER, str(points))
    world = demo_world(_SEED, _VANS)
    entry = "tests.drills.crashing_process"
    async with local_stack(folder, world, lambda text: None, entry=entry) as stack:
        async with FleetBackend(stack.api_url, stack.api_key) as backend:
            stage = Stage(stack, backend, points)
            await stage.set_up()
            plugins = pytestconfig.pluginmanager
            reporter: Any = plugins.get_plugin("terminalreporter")
            capture: Any = plugins.get_plugin("capturemanager")

            def say(line: str) -> None:
                with capture.global_and_fixture_disabled():
                    reporter.write_line(line)

            ends = await _play_all(stage, say)
            partners = [url for name, url in stack.control_urls.items() if name != "telematics"]
            limits = Limits(stopped_within=timedelta(seconds=20))
            auditor = Auditor(backend, partners, _VANS, await stack.reader(), limits)
            _, violations = await auditor.at_rest(60.0, 60.0)
            for violation in violations:
                say(str(violation))
        deaths = sum(1 for seen in stack.processes.exits if seen.code == 9)
    patch.undo()
    yield Drill(ends, violations, deaths)


async def _play_all(stage: Stage, say: Callable[[str], None]) -> dict[Case, CaseEnd]:
    few, began = asyncio.Semaphore(_AT_ONCE), time.monotonic()
    ends: dict[Case, CaseEnd] = {}

    async def play(case: Case) -> None:
        async with few:
            ends[case] = await stage.play(case)
        say(f"{time.monotonic() - began:4.0f} s  {_line(ends[case])}")

    alone = [case for case in CASES if case.scenario in ALONE or case.activity in AT_THE_GATEWAY]
    await asyncio.gather(*(play(case) for case in CASES if case not in alone))
    for case in alone:
        await play(case)
    return ends


def _line(end: CaseEnd) -> str:
    word = "crashed" if end.struck else "NOT CRASHED"
    tries = f"{end.tries} {'try' if end.tries == 1 else 'tries'}"
    return f"{word:<12} {end.case.name:<56} {tries:<8} outcome {end.outcome or 'none'} {end.told}".rstrip()


@in_soak
@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
async def test_a_crash_at_this_border_changes_no_outcome(drill: Drill, case: Case) -> None:
    end = drill.ends[case]
    assert end.struck, f"nobody came past {case.name} in {end.tries} tries; {end.told}"
    expected = "done" if case.scenario is Scenario.STATION else OUTCOMES[case.scenario]
    assert end.outcome == expected, end.told


@in_soak
@pytest.mark.slow
@pytest.mark.asyncio
async def test_after_all_these_crashes_every_promise_holds(drill: Drill) -> None:
    assert drill.violations == []
    assert drill.deaths >= len(CASES)


def test_every_activity_has_its_scenario() -> None:
    names = {value for name, value in vars(contract).items() if name.startswith("ACTIVITY_")}
    assert set(SCENARIOS) | WITHOUT_SCENARIO == names


def test_a_crash_point_is_for_one_workflow_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[int] = []
    monkeypatch.setattr("os._exit", died.append)
    armed = arm(tmp_path, "record_stop", Moment.AFTER, ["stop:demo:a", "session:1"])
    crash_if_armed(tmp_path, "record_stop", Moment.AFTER, "stop:demo:b")
    crash_if_armed(tmp_path, "record_stop", Moment.BEFORE, "stop:demo:a")
    crash_if_armed(tmp_path, "open_stop", Moment.AFTER, "stop:demo:a")
    assert died == []
    assert armed.exists()
    crash_if_armed(tmp_path, "record_stop", Moment.AFTER, "session:1")
    crash_if_armed(tmp_path, "record_stop", Moment.AFTER, "session:1")
    assert died == [9]
    assert not armed.exists()


@pytest.mark.asyncio
@pytest.mark.parametrize(("moment", "effects"), [(Moment.BEFORE, 1), (Moment.AFTER, 2)])
async def test_a_process_dies_before_or_after_the_side_effect_and_not_again(
    temporal_server: TemporalServer,
    temporal_client: Client,
    task_queue: str,
    tmp_path: Path,
    moment: Moment,
    effects: int,
) -> None:
    """After: the effect stands, and nobody knows; the activity runs again."""
    armed = arm(tmp_path, "note_effect", moment, [task_queue])
    async with Supervisor(tmp_path) as supervisor:
        argv = [sys.executable, "-m", "tests.drills.toy_worker", temporal_server.address, task_queue]
        supervisor.start("toy", [*argv, str(tmp_path)])
        done = await temporal_client.execute_workflow(
            "Toy", str(tmp_path / "effects"), id=task_queue, task_queue=task_queue, result_type=int
        )
        assert [seen.code for seen in supervisor.exits] == [9]
    assert done == effects
    assert not armed.exists()
