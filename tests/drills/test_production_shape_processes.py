"""Production's shape without containers: our processes, by compose's commands, on a stock Temporal server
that keeps its data in PostgreSQL. And every process ends by itself on SIGTERM."""

from __future__ import annotations

import io
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from simulators.fault_plan import plan_faults
from simulators.world import demo_world
from workers.demo import Patience
from workers.local_stack import OUR_PROCESSES, local_stack
from workers.stack.processes import until_ready
from workers.stack.settings import StackSettings
from workers.stack.temporal_source import cached_build

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"


def test_compose_runs_the_commands_that_the_stack_runs() -> None:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    ours = {name: s["command"] for name, s in services.items() if s.get("image") == "backstop:local"}
    assert ours == {name: [name] for name in (*OUR_PROCESSES, "migrate")}
    for name in OUR_PROCESSES:
        assert services[name]["environment"]["BACKSTOP_ENVIRONMENT"] == "production"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_morning_on_productions_shape_and_a_clean_end(tmp_path: Path) -> None:
    if cached_build(StackSettings.from_environment()) is None and shutil.which("go") is None:
        pytest.skip("the stock server has to be built, and there is no Go")
    world = demo_world(5, 12)
    plan = plan_faults(world, 5)
    world = plan.put_on(world)
    page = io.StringIO()
    async with local_stack(tmp_path, world, lambda text: None, temporal_on_postgres=True) as stack:
        console = Console(file=page, width=120)
        end = await stack.morning(plan, console, patience=Patience(requests_over_s=5))
        assert end.code == 0, page.getvalue()[-6000:]
        ended = stack.processes.exits
        for name in OUR_PROCESSES:
            before = len(ended)
            stack.processes.kill(name, signal.SIGTERM)

            async def has_ended(before: int = before) -> bool:
                return len(ended) > before

            await until_ready(has_ended, f"the end of {name}", 20)
            assert (ended[-1].name, ended[-1].code) == (name, 0)
