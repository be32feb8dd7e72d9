"""The same words again over HTTP: repeats are told as such, a refused id is usable again, and no stop is
taken for another."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from models.contract import STOP_WORKFLOW
from models.ids import workflow_id_for
from tests.api.test_stops_api import Api, api
from tests.workflows.scripted_charger import REJECT

__all__ = ["api"]


async def _en_route(api: Api) -> tuple[str, dict[str, Any]]:
    stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
    view = await api.until(stop_id, lambda v: v["phase"] == "en_route")
    return f"/v1/charging-stops/{stop_id}", view


async def _end(api: Api, path: str) -> None:
    assert (await api.post(f"{path}/cancellation", {"event_id": "x"})).status_code == 200
    await api.until(path.rsplit("/", 1)[1], lambda v: v["outcome"] is not None)


@pytest.mark.asyncio
async def test_a_refused_choice_may_use_its_id_again(api: Api) -> None:
    path, _ = await _en_route(api)
    no = await api.post(f"{path}/choice", {"event_id": "e1", "charger_id": "nowhere"})
    assert (no.status_code, no.json()["code"]) == (422, "charger.not_allowed")
    yes = await api.post(f"{path}/choice", {"event_id": "e1", "charger_id": "c3"})
    assert yes.status_code == 200, yes.text
    await _end(api, path)


@pytest.mark.asyncio
async def test_a_repeat_says_that_it_is_one_and_takes_effect_once(api: Api) -> None:
    path, view = await _en_route(api)
    body = {"event_id": "a", "charger_id": view["charger_id"]}
    answers = await asyncio.gather(*(api.post(f"{path}/arrival", body) for _ in range(4)))
    assert [a.status_code for a in answers] == [200] * 4
    assert sorted(a.json()["duplicate"] for a in answers) == [False, True, True, True]
    later = await api.post(f"{path}/arrival", {**body, "at": "2026-01-01T00:00:00Z"})
    assert later.json()["duplicate"] is True  # the same word, by another clock
    await api.until(path.rsplit("/", 1)[1], lambda v: v["phase"] == "charging")
    assert len(api.around.charger.starts()) == 1
    await _end(api, path)


@pytest.mark.asyncio
async def test_an_id_used_again_with_other_content_is_a_conflict(api: Api) -> None:
    """Arrival "1" at c1, and arrival "1" at the fallback: the second is told, not swallowed."""
    api.around.charger.replies["c1"] = [REJECT]
    path, _ = await _en_route(api)
    stop_id = path.rsplit("/", 1)[1]
    await api.post(f"{path}/arrival", {"event_id": "1", "charger_id": "c1"})
    view = await api.until(stop_id, lambda v: v["phase"] == "en_route" and v["attempt_number"] == 1)
    second = await api.post(f"{path}/arrival", {"event_id": "1", "charger_id": view["charger_id"]})
    assert (second.status_code, second.json()["code"]) == (409, "message.conflicting_id")
    third = await api.post(f"{path}/arrival", {"event_id": "2", "charger_id": view["charger_id"]})
    assert third.status_code == 200
    await api.until(stop_id, lambda v: v["phase"] == "charging")
    await _end(api, path)


@pytest.mark.asyncio
async def test_a_stop_begun_directly_is_compared_by_its_own_order(api: Api) -> None:
    """Whoever starts through Temporal sets no memo of ours. Another request under its key is a conflict; the
    same one is the same stop."""
    around, body = api.around, api.body()
    handle = await around.client.start_workflow(
        STOP_WORKFLOW,
        {"tenant_id": around.tenant_id, "request": body},
        id=workflow_id_for(around.tenant_id, body["business_key"]),
        task_queue=f"nobody-{uuid.uuid4().hex[:8]}",
    )
    other = await api.post("/v1/charging-stops", {**body, "target_soc_percent": 70.0})
    assert (other.status_code, other.json()["code"]) == (409, "stop.conflicting_request")
    same = await api.post("/v1/charging-stops", body)
    assert same.status_code == 202
    await handle.terminate()
