"""Running stops survive a deploy: histories of every outcome path, recorded per release, still replay."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from models.contract import STOP_WORKFLOW
from models.stop import ChargingStopInput, StopResult
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.test_charging_stop import arrive, charge_fully
from workers.bootstrap import sandbox
from workflows.charging_stop import ChargingStop

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*/*.json"))
PATHS = {
    "charged",
    "charged_after_fallback",
    "charged_short",
    "cancelled_in_mid_charge",
    "not_charged_shadow",
    "no_show",
    "late_start_adopted",
    "late_start_stopped",
    "handed_to_human",
}


def replayer(kind: type) -> Replayer:
    return Replayer(workflows=[kind], data_converter=pydantic_data_converter, workflow_runner=sandbox())


def history(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"stop:{file.stem}", file.read_text())


def test_every_outcome_path_has_a_history() -> None:
    assert {file.stem for file in HISTORIES} >= PATHS


@pytest.mark.asyncio
@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: f"{file.parent.name}-{file.stem}")
async def test_a_recorded_history_replays(file: Path) -> None:
    await replayer(ChargingStop).replay_workflow(history(file))


@workflow.defn(name=STOP_WORKFLOW, sandboxed=False)
class ChangedStop(ChargingStop):
    """The negative control: the same stop, but it sleeps first."""

    @workflow.init
    def __init__(self, stop: ChargingStopInput) -> None:
        super().__init__(stop)

    @workflow.run
    async def run(self, stop: ChargingStopInput) -> StopResult:
        await workflow.sleep(1)
        return await super().run(stop)


@pytest.mark.asyncio
async def test_a_changed_workflow_is_noticed() -> None:
    calm = next(file for file in HISTORIES if file.stem == "charged")
    with pytest.raises(workflow.NondeterminismError):
        await replayer(ChangedStop).replay_workflow(history(calm))


@pytest.mark.asyncio
async def test_without_a_cache_every_task_replays_the_whole_stop(
    temporal_client: object, store: object
) -> None:
    from temporalio.client import Client

    from store.database import Store

    assert isinstance(temporal_client, Client)
    assert isinstance(store, Store)
    async with surroundings(temporal_client, store, policy=patient_policy(), cache=0) as around:
        assert isinstance(around, Surroundings)
        stop = await around.start()
        await arrive(stop)
        await charge_fully(stop)
        assert (await stop.result()).outcome == "charged"
