"""Evidence is kept once per stop, claimed by one who delivers, and settled row by row."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from store.database import Store
from store.evidence_delivery import Settled
from store.evidence_rows import Heard
from tests.store.conftest import Raw
from tests.store.store_samples import NOW, evidence, record, view

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nothing_waits(store: Store) -> None:
    """Other tests of this run may have left evidence behind."""
    async with store.platform() as platform:
        left = await platform.evidence.claim(100_000)
        await platform.evidence.settle([Settled(row.position, is_delivered=True) for row in left])


async def with_stop(store: Store, tenant: TenantId, *event_ids: str) -> str:
    stop = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1))
        await unit.evidence.append([(stop.stop_id, evidence(event_id)) for event_id in event_ids])
    return stop.stop_id


async def claimed(store: Store, limit: int = 99) -> list[str]:
    """The event ids that somebody who delivers gets now."""
    async with store.platform() as platform:
        rows = await platform.evidence.claim(limit)
    return [Evidence.model_validate_json(row.body).event_id for row in rows]


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


async def test_one_event_may_concern_several_stops_each_once(store: Store, tenant: TenantId) -> None:
    fault = evidence("fault", kind=EvidenceKind.CONNECTOR_FAULTED)
    async with store.tenant(tenant) as unit:
        both: list[tuple[str | None, Evidence]] = [("stop-1", fault), ("stop-2", fault)]
        assert await unit.evidence.append(both) == ["fault", "fault"]
        assert await unit.evidence.append([*both, ("stop-3", fault), (None, fault)]) == []


async def test_the_same_event_from_two_at_once_is_kept_once(store: Store, tenant: TenantId) -> None:
    async def keep() -> list[str]:
        async with store.tenant(tenant) as unit:
            return await unit.evidence.take([Heard(evidence("e1"), "stop-1"), Heard(evidence("e2"), None)])

    fresh = await asyncio.gather(*(keep() for _ in range(5)))
    assert sorted(event_id for ids in fresh for event_id in ids) == ["e1", "e2"]


async def test_waits_in_the_order_heard_until_settled(store: Store, tenant: TenantId) -> None:
    stop_id = await with_stop(store, tenant, "e1", "e2", "e3")
    async with store.platform() as platform:
        waiting = await platform.evidence.claim(2)
        assert [Evidence.model_validate_json(row.body).event_id for row in waiting] == ["e1", "e2"]
        assert {(row.tenant_id, row.stop_id, row.has_begun) for row in waiting} == {(tenant, stop_id, True)}
        assert waiting[0].workflow_id.startswith(f"stop:{tenant}:")
        backlog = await platform.evidence.backlog()
        assert (backlog.rows, 0 <= backlog.oldest.total_seconds() < 60) == (3, True)
        await platform.evidence.settle([Settled(row.position, is_delivered=True) for row in waiting])
    assert await claimed(store) == ["e3"]
    async with store.tenant(tenant) as unit:
        heard = await unit.evidence.of_stop(stop_id)
        assert [item.event_id for item in heard] == ["e1", "e2", "e3"]


async def test_two_who_deliver_never_get_the_same(store: Store, tenant: TenantId) -> None:
    await with_stop(store, tenant, "e1", "e2", "e3")
    async with store.platform() as one:
        first = await one.evidence.claim(2)
        assert await claimed(store) == ["e3"]  # not even while the first has not committed
    assert len(first) == 2
    assert await claimed(store) == []


async def test_many_claim_at_once_and_share(store: Store, tenant: TenantId) -> None:
    names = [f"e{number:03}" for number in range(200)]
    await with_stop(store, tenant, *names)
    got = await asyncio.gather(*(claimed(store, 30) for _ in range(9)))
    assert len([name for part in got for name in part]) == len({name for part in got for name in part})
    rest = await claimed(store, 1000)
    assert sorted([name for part in got for name in part] + rest) == names


async def test_a_claim_that_is_rolled_back_was_none(store: Store, tenant: TenantId) -> None:
    await with_stop(store, tenant, "e1")

    async def die_on_the_way() -> None:
        async with store.platform() as platform:
            await platform.evidence.claim(9)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die_on_the_way()
    assert await claimed(store) == ["e1"]


async def test_what_failed_waits_and_what_was_not_tried_does_not(
    store: Store, tenant: TenantId, raw: Raw
) -> None:
    await with_stop(store, tenant, "e1", "e2")
    async with store.platform() as platform:
        one, two = await platform.evidence.claim(9)
        await platform.evidence.settle(
            [
                Settled(one.position, is_delivered=False, delay_s=30),
                Settled(two.position, is_delivered=False, was_tried=False),
            ]
        )
    assert await claimed(store) == ["e2"]
    with raw() as connection:
        found = connection.execute(
            "SELECT event_id, tries FROM evidence WHERE tenant_id = %s ORDER BY position", [tenant]
        ).fetchall()
    assert found == [("e1", 1), ("e2", 1)]


async def test_a_round_is_shared_among_the_tenants(store: Store, tenant: TenantId) -> None:
    await with_stop(store, tenant, *(f"a{number:03}" for number in range(300)))
    other = TenantId(f"{tenant}-b")
    async with store.platform() as platform:
        await platform.ensure_tenant(other)
    await with_stop(store, other, "b1", "b2")
    got = await claimed(store, 200)
    assert {"b1", "b2", "a000", "a197"} <= set(got)
    assert len(got) == 200


async def test_unmatched_is_kept_and_not_delivered(store: Store, tenant: TenantId) -> None:
    async with store.tenant(tenant) as unit:
        await unit.evidence.append([(None, evidence("e1")), (None, evidence("e2"))])
        assert [item.event_id for item in await unit.evidence.unmatched(1)] == ["e2"]
    assert await claimed(store) == []


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
