"""Running stops survive a deploy: histories of every outcome path, recorded per release, still replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from models.contract import STOP_WORKFLOW
from models.stop import StopResult
from tests.workflows.conftest import Surroundings, patient_policy, surroundings
from tests.workflows.stages import charge_fully
from tests.workflows.stop_words import arrive
from workers.bootstrap import sandbox
from workflows.charging_stop import ChargingStop
from workflows.session_keeper import SessionKeeper

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
    "not_needed",
    "replanned_then_cancelled_natively",
    "assisted_paused_and_charged",
    "session_kept_beyond_its_stop",
    "keeper",
}


def replayer(kind: type) -> Replayer:
    return Replayer(workflows=[kind], data_converter=pydantic_data_converter, workflow_runner=sandbox())


def history(file: Path) -> WorkflowHistory:
    """Under its own workflow id: a stop checks that."""
    text = file.read_text()
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


def test_every_outcome_path_has_a_history() -> None:
    assert {file.stem for file in HISTORIES} >= PATHS


@pytest.mark.asyncio
@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: f"{file.parent.name}-{file.stem}")
async def test_a_recorded_history_replays(file: Path) -> None:
    kind = SessionKeeper if file.stem == "keeper" else ChargingStop
    await replayer(kind).replay_workflow(history(file))


@workflow.defn(name=STOP_WORKFLOW, sandboxed=False)
class ChangedStop(ChargingStop):
    """The negative control: the same stop, but it sleeps first."""

    @workflow.init
    def __init__(self, order: Any) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: Any) -> StopResult:
        await workflow.sleep(1)
        return await super().run(order)


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
