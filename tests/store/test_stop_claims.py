"""Of the stops that have closed, few are looked at, however many there are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from api.engine import first_view
from models.ids import TenantId
from models.stop import SessionState, StopOutcome, StopPhase, StopView
from store.database import Store
from store.stop_claims import CLAIM
from tests.store.conftest import Raw
from tests.store.store_samples import attempt, intent, record, request, view

pytestmark = pytest.mark.asyncio(loop_scope="session")

_OLD = "UPDATE stop SET seen_at = now() - interval '9 days', updated_at = now() - %s::interval "


async def closed(store: Store, tenant: TenantId, **attempt_fields: object) -> StopView:
    stop = view(tenant, run_id="run-1", phase=StopPhase.CLOSED, outcome=StopOutcome.CANCELLED)
    tried = attempt(
        stop.stop_id, 1, charger_id=f"ch-{stop.stop_id}", **{"holds_vehicle": False, **attempt_fields}
    )
    stop = stop.model_copy(update={"attempts": (tried,)})
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(tried, stop.stop_id, vehicle_id=f"van-{stop.stop_id}"))
        await unit.stops.record(record(stop, 1))
    return stop


def written(raw: Raw, stops: Iterable[StopView], ago: str) -> None:
    with raw() as connection:
        connection.execute(_OLD + "WHERE stop_id = ANY(%s)", [ago, [stop.stop_id for stop in stops]])


async def claimed(store: Store, tenant: TenantId) -> set[str]:
    async with store.platform() as unit:
        due = await unit.stops.claim(
            most=1000, start_s=60, check_s=60, cancel_s=60, closed_s=600, reset_s=3600
        )
    return {stop.stop_id for stop in due if stop.tenant_id == tenant}


async def test_a_closed_stop_is_looked_at_while_a_session_of_it_may_live(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    may_live = [
        await closed(store, tenant, session=SessionState.ALIVE),
        await closed(store, tenant, session=SessionState.ACCEPTED, holds_charger=False),
        await closed(store, tenant, session=SessionState.UNKNOWN, holds_charger=False),
        await closed(store, tenant, session=SessionState.ENDED),  # a hold that nobody gave back
    ]
    over = [
        await closed(store, tenant, session=state, holds_charger=False)
        for state in (SessionState.ENDED, SessionState.NEVER_BEGAN)
    ]
    written(raw, [*may_live, *over], "9 days")
    assert await claimed(store, tenant) == {stop.stop_id for stop in may_live}
    assert await claimed(store, tenant) == set()  # not again at once


async def test_a_stop_that_closed_lately_is_looked_at_ever_less_often(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    ended = {"session": SessionState.ENDED, "holds_charger": False}
    late, old = await closed(store, tenant, **ended), await closed(store, tenant, **ended)
    written(raw, [late], "40 minutes")
    written(raw, [old], "61 minutes")
    assert await claimed(store, tenant) == {late.stop_id}
    for seen, due in (("19 minutes", False), ("21 minutes", True)):
        with raw() as connection:
            connection.execute(
                "UPDATE stop SET seen_at = now() - %s::interval WHERE stop_id = %s", [seen, late.stop_id]
            )
        assert (late.stop_id in await claimed(store, tenant)) is due


@pytest.mark.parametrize(
    ("age_s", "not_yet_s", "due_s"), [(4, 3, 6), (40, 19, 21), (7200, 29, 31)], ids=["new", "waits", "old"]
)
async def test_a_stop_that_waits_for_a_worker_is_looked_at_ever_less_often(
    store: Store, tenant: TenantId, raw: Raw, age_s: int, not_yet_s: int, due_s: int
) -> None:
    """In a rush most of those that have not begun were started long since; none is left alone for long."""
    asked = request(f"waits-{age_s}")
    stop = first_view(tenant, asked)
    async with store.tenant(tenant) as unit:
        await unit.stops.intake.accept(stop, asked)
    for seen_s, due in ((not_yet_s, False), (due_s, True)):
        with raw() as connection:
            connection.execute(
                "UPDATE stop SET created_at = now() - make_interval(secs => %s),"
                " seen_at = now() - make_interval(secs => %s) WHERE stop_id = %s",
                [age_s, seen_s, stop.stop_id],
            )
        async with store.platform() as unit:
            found = await unit.stops.claim(
                most=1000, start_s=5, start_most_s=30, check_s=9e6, cancel_s=9e6, closed_s=9e6
            )
        assert (stop.stop_id in {one.stop_id for one in found}) is due


async def test_no_claim_reads_every_stop_that_has_closed(raw: Raw) -> None:
    bounds = {
        "start_s": 60,
        "start_most_s": 60,
        "check_s": 60,
        "cancel_s": 60,
        "closed_s": 600,
        "reset_s": 3600,
        "most": 50,
    }
    query = str(CLAIM)
    for name, value in bounds.items():
        query = query.replace(f":{name}", str(value))
    with raw() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(str(row[0]) for row in connection.execute(f"EXPLAIN {query}".encode()))
    assert "ix_stop_closed" in plan
    assert "ix_attempt_unproven" in plan
