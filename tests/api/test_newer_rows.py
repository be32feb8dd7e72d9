"""Half way through a roll-out a newer worker writes words that this API does not know yet."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from models.ids import TenantId
from tests.api.test_stops_api import Api, api

__all__ = ["api"]

_PUT = text(
    "UPDATE stop SET view = jsonb_set(view, CAST(:path AS text[]), '\"word.of_tomorrow\"') "
    "WHERE stop_id = :stop_id"
)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["{reason}", "{next_step}", "{phase}"])
async def test_one_row_of_a_newer_version_hides_no_other(api: Api, path: str) -> None:
    ids: list[str] = []
    for _ in range(2):
        stop_id = (await api.post("/v1/charging-stops", api.body())).json()["stop_id"]
        await api.until(stop_id, lambda v: v["phase"] == "en_route")
        ids.append(stop_id)
    async with api.around.store.tenant(TenantId(api.around.tenant_id)) as unit:
        await unit.connection.execute(_PUT, {"stop_id": ids[0], "path": path})
    page = await api.get("/v1/charging-stops")
    one = await api.get(f"/v1/charging-stops/{ids[0]}")
    assert (page.status_code, one.status_code) == (200, 200)
    assert {stop["stop_id"] for stop in page.json()["data"]} == set(ids)
    assert one.json()["phase"] == ("unknown" if path == "{phase}" else "en_route")
    for stop_id in ids:
        await api.post(f"/v1/charging-stops/{stop_id}/cancellation", {"event_id": "x"})
