"""Rows that a newer version wrote: what this one does not know hides no other row, and is never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.ids import TenantId
from models.reason_codes import NextStep, ReasonCode
from models.stop import StopPhase, StopView
from store.database import Store
from tests.store.conftest import Raw
from tests.store.store_samples import closed, decision, event, record, request, view

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORD = "word.of_tomorrow"


def put(raw: Raw, table: str, column: str, stop_id: str, path: str, value: Any = WORD) -> None:
    with raw() as connection:
        connection.execute(
            f"UPDATE {table} SET {column} = jsonb_set({column}, CAST(%s AS text[]), CAST(%s AS jsonb)) "
            "WHERE stop_id = %s".encode(),
            [path, json.dumps(value), stop_id],
        )


async def two(store: Store, tenant: TenantId) -> tuple[StopView, StopView]:
    stop, beside = closed(tenant), closed(tenant)
    stop = stop.model_copy(
        update={"reason": ReasonCode.CONFIRM_LATE_START, "next_step": NextStep.HUMAN, "headline": "Short"}
    )
    async with store.tenant(tenant) as unit:
        for one in (stop, beside):
            await unit.stops.record(record(one, 1, 2, decisions=(decision(one, f"d-{one.stop_id}"),)))
    return stop, beside


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("{reason}", {"reason": None}),
        ("{next_step}", {"next_step": None}),
        ("{responsible}", {"responsible": None}),
        ("{outcome}", {"outcome": None}),
        ("{charger_place}", {"charger_place": None}),
        ("{result,outcome}", {"result": None}),
        ("{phase}", {"phase": StopPhase.CLOSED}),
        ("{energy_kwh}", {"energy_kwh": 0.0}),
    ],
)
async def test_an_unknown_word_of_a_stop_is_left_out_alone(
    store: Store, tenant: TenantId, raw: Raw, path: str, changed: dict[str, object]
) -> None:
    stop, beside = await two(store, tenant)
    put(raw, "stop", "view", stop.stop_id, path)
    async with store.tenant(tenant) as unit:
        found = {one.stop_id: one for one in await unit.stops.list(limit=9)}
        assert found[beside.stop_id] == beside
        assert found[stop.stop_id] == stop.model_copy(update=changed)
        assert await unit.stops.get(stop.stop_id) == found[stop.stop_id]


async def test_an_unknown_word_of_an_attempt(store: Store, tenant: TenantId, raw: Raw) -> None:
    stop, _ = await two(store, tenant)
    put(raw, "stop", "view", stop.stop_id, "{attempts,1,reason}")
    put(raw, "stop", "view", stop.stop_id, "{attempts,0,session}")
    async with store.tenant(tenant) as unit:
        found = await unit.stops.get(stop.stop_id)
    assert found is not None
    assert found.attempts == (stop.attempts[1],)  # no state is better than a wrong one
    assert found.result == stop.result


async def test_an_open_stop_in_a_phase_of_tomorrow(store: Store, tenant: TenantId, raw: Raw) -> None:
    stop = view(tenant, headline="Doing something new")
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
    put(raw, "stop", "view", stop.stop_id, "{phase}")
    async with store.tenant(tenant) as unit:
        assert await unit.stops.get(stop.stop_id) == stop.model_copy(update={"phase": StopPhase.UNKNOWN})
        again = await unit.stops.intake.accept(stop, request(stop.business_key))
    assert (again.fresh, again.view.phase) == (False, StopPhase.UNKNOWN)


async def test_a_row_of_which_nothing_is_known_is_shown_by_its_columns(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    stop, beside = await two(store, tenant)
    with raw() as connection:
        bad = json.dumps({"attempts": [{"number": f"n{i}"} for i in range(500)]})
        connection.execute("UPDATE stop SET view = CAST(%s AS jsonb) WHERE stop_id = %s", [bad, stop.stop_id])
    async with store.tenant(tenant) as unit:
        found = {one.stop_id: one for one in await unit.stops.list(limit=9)}
    assert found[beside.stop_id] == beside
    shown = found[stop.stop_id]
    assert (shown.business_key, shown.phase, shown.attempts) == (stop.business_key, StopPhase.CLOSED, ())


@pytest.mark.parametrize("path", ["{reason}", "{next_step}", "{phase}", "{text}", "{at}"])
async def test_an_unknown_word_of_an_event_leaves_no_gap(
    store: Store, tenant: TenantId, raw: Raw, path: str
) -> None:
    stop, _ = await two(store, tenant)
    put(raw, "stop_event", "body", stop.stop_id, path, value={"of": "tomorrow"})
    async with store.tenant(tenant) as unit:
        log = await unit.stops.timeline(stop.stop_id)
        feed = await unit.stops.events_after(0, 100)
    assert [(one.seq, one.type) for one in log] == [(1, "stop.planned"), (2, "stop.planned")]
    assert len(feed) == 4
    plain = event(stop, 1)
    assert (log[0].at, log[0].stop_id) == (plain.at, stop.stop_id)
    assert log[0].phase is (StopPhase.UNKNOWN if path == "{phase}" else plain.phase)


async def test_an_unknown_field_of_a_request_and_word_of_a_decision(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    wish = request("tour-of-tomorrow")
    stop = view(tenant, wish.business_key)
    async with store.tenant(tenant) as unit:
        await unit.stops.intake.accept(stop, wish)
        await unit.stops.record(record(stop, 1, decisions=(decision(stop, f"d-{stop.stop_id}"),)))
    put(raw, "stop", "request", stop.stop_id, "{field_of_tomorrow}")
    put(raw, "stop", "request", stop.stop_id, "{vehicle,field_of_tomorrow}")
    put(raw, "decision", "body", stop.stop_id, "{rejections}", [{"charger_id": "c9", "rule": WORD}])
    async with store.tenant(tenant) as unit:
        assert await unit.stops.request_of(stop.stop_id) == wish
        shown = await unit.stops.decisions(stop.stop_id)
    assert len(shown) == 1
    assert shown[0].rejections == ()
