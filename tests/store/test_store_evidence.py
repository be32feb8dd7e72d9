"""Evidence is kept once, delivered at least once, and shared out among those who deliver."""

from __future__ import annotations

import pytest
import pytest_asyncio

from models.evidence import Evidence
from models.ids import TenantId
from store.database import Store
from tests.store.conftest import Raw
from tests.store.store_samples import NOW, evidence, record, view

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nothing_waits(store: Store) -> None:
    """Other tests of this run may have left evidence behind."""
    async with store.platform() as platform:
        await platform.mark_delivered(await platform.undelivered(10_000))


async def with_stop(store: Store, tenant: TenantId, *event_ids: str) -> str:
    stop = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
        await unit.evidence.append([(stop.stop_id, evidence(event_id)) for event_id in event_ids])
    return stop.stop_id


async def test_a_repeat_is_not_fresh(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        assert await unit.evidence.append([]) == []
        twice: list[tuple[str | None, Evidence]] = [
            (None, evidence("e1")),
            (None, evidence("e1")),
            (None, evidence("e2")),
        ]
        assert await unit.evidence.append(twice) == ["e1", "e2"]
        assert await unit.evidence.append([(None, evidence("e2")), (None, evidence("e3"))]) == ["e3"]
    other = TenantId(f"{tenant}-b")
    async with store.tenant(other) as unit:  # an id of one vendor may well be another tenant's too
        assert await unit.evidence.append([(None, evidence("e1"))]) == ["e1"]


async def test_waits_in_the_order_heard_until_marked(store: Store, tenant: TenantId) -> None:
    stop_id = await with_stop(store, tenant, "e1", "e2", "e3")
    async with store.platform() as platform:
        waiting = await platform.undelivered(2)
        assert [item.evidence.event_id for item in waiting] == ["e1", "e2"]
        assert {(item.tenant_id, item.stop_id) for item in waiting} == {(tenant, stop_id)}
        assert waiting[0].workflow_id.startswith(f"stop:{tenant}:")
        await platform.mark_delivered(waiting)
    async with store.platform() as platform:
        assert [item.evidence.event_id for item in await platform.undelivered(9)] == ["e3"]
    async with store.tenant(tenant) as unit:
        heard = await unit.evidence.of_stop(stop_id)
        assert [item.event_id for item in heard] == ["e1", "e2", "e3"]


async def test_two_who_deliver_never_get_the_same(store: Store, tenant: TenantId) -> None:
    await with_stop(store, tenant, "e1", "e2", "e3")
    async with store.platform() as one:
        first = await one.undelivered(2)
        async with store.platform() as two:
            second = await two.undelivered(9)
        assert [item.evidence.event_id for item in first] == ["e1", "e2"]
        assert [item.evidence.event_id for item in second] == ["e3"]


async def test_a_deliverer_that_dies_gives_back_what_it_held(store: Store, tenant: TenantId) -> None:
    await with_stop(store, tenant, "e1")

    async def die_on_the_way() -> None:
        async with store.platform() as platform:
            await platform.mark_delivered(await platform.undelivered(9))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die_on_the_way()
    async with store.platform() as platform:
        assert [item.evidence.event_id for item in await platform.undelivered(9)] == ["e1"]


async def test_unmatched_is_kept_and_not_delivered(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        await unit.evidence.append([(None, evidence("e1")), (None, evidence("e2"))])
        assert [item.event_id for item in await unit.evidence.unmatched(1)] == ["e2"]
    async with store.platform() as platform:
        assert await platform.undelivered(9) == []


async def test_evidence_and_session_stand_or_fall_together(store: Store, tenant: TenantId, raw: Raw) -> None:
    """The gateway answers a station once both are durable; half of it must never be."""

    async def die_on_the_way() -> None:
        async with store.tenant(tenant) as unit:
            await unit.sessions.open_transaction("st-1", 1, "FLEET017", NOW, 0, None)
            await unit.evidence.append([(None, evidence("e1"))])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die_on_the_way()
    with raw() as connection:
        found = connection.execute(
            """SELECT (SELECT count(*) FROM evidence WHERE tenant_id = %(tenant)s)
            + (SELECT count(*) FROM ocpp_transaction WHERE tenant_id = %(tenant)s)""",
            {"tenant": tenant},
        ).fetchone()
    assert found == (0,)
