"""Stops: what a record writes, what a repeat does not, and a feed that loses nothing."""

from __future__ import annotations

import asyncio

import pytest

from models.ids import TenantId
from models.reason_codes import ReasonCode
from models.stop import AttemptState, StopOutcome, StopPhase
from store.database import Store
from tests.store.conftest import Raw
from tests.store.store_samples import after, attempt, decision, intent, newer, record, request, view

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_record_is_read_back_whole(store: Store, tenant: TenantId, raw: Raw) -> None:
    stop = view(tenant, telematics_id="car-1")
    receipt = decision(stop)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2, decisions=(receipt,)))
    async with store.tenant(tenant) as unit:
        assert await unit.stops.get(stop.stop_id) == stop
        assert await unit.stops.request_of(stop.stop_id) == request(stop.business_key)
        assert [event.seq for event in await unit.stops.timeline(stop.stop_id)] == [1, 2]
        assert await unit.stops.decisions(stop.stop_id) == [receipt]
        assert await unit.evidence.stop_of_vehicle("car-1") == stop.stop_id
    with raw() as connection:
        keys = connection.execute(
            "SELECT business_key, vehicle_id FROM stop WHERE tenant_id = %s", [tenant]
        ).fetchall()
    assert keys == [(stop.business_key, "van-1")]


async def test_recorded_twice_is_recorded_once(store: Store, tenant: TenantId, raw: Raw) -> None:
    stop = view(tenant)
    for _ in range(2):
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(stop, 1, 2, decisions=(decision(stop),)))
    with raw() as connection:
        for table, expected in (("stop", 1), ("stop_event", 2), ("outbox", 2), ("decision", 1)):
            found = connection.execute(
                f"SELECT count(*) FROM {table} WHERE tenant_id = %s",  # pyright: ignore[reportArgumentType]
                [tenant],
            ).fetchone()
            assert found == (expected,), table


async def test_an_older_view_never_wins_but_its_events_count(store: Store, tenant: TenantId) -> None:
    first = view(tenant)
    second = newer(first, phase=StopPhase.EN_ROUTE)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(second, 2))
        await unit.stops.record(record(first, 1))
        assert await unit.stops.get(first.stop_id) == second
        assert [event.seq for event in await unit.stops.timeline(first.stop_id)] == [1, 2]


async def test_an_older_view_does_not_reopen_an_attempt(store: Store, tenant: TenantId, raw: Raw) -> None:
    """A retried activity may bring an old record late, after a newer one was written."""
    first = view(tenant)
    tried = attempt(first.stop_id)
    first = newer(first, attempts=(tried,))
    ended = tried.model_copy(
        update={
            "state": AttemptState.FAILED,
            "reason": ReasonCode.STOP_TIMEOUT,
            "session_ref": "tx-7",
            "holds_vehicle": False,
            "holds_charger": False,
        }
    )
    second = newer(first, attempts=(ended,))
    async with store.tenant(tenant) as unit:
        await unit.attempts.open(intent(tried, first.stop_id))
        await unit.stops.record(record(first, 1))
        await unit.stops.record(record(second, 2))
        await unit.stops.record(record(first, 1))
        found = await unit.attempts.find(tried.attempt_id)
        assert found is not None
        assert (found.state, found.holds_vehicle, found.holds_charger) == (AttemptState.FAILED, False, False)
        assert await unit.attempts.find_by_session("tx-7") == found


async def test_a_unit_that_fails_writes_nothing(store: Store, tenant: TenantId) -> None:
    stop = view(tenant)

    async def die_on_the_way() -> None:
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(stop, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die_on_the_way()
    async with store.tenant(tenant) as unit:
        assert await unit.stops.get(stop.stop_id) is None
        assert await unit.stops.events_after(0, 10) == []


async def test_pages_are_newest_first_and_complete(store: Store, tenant: TenantId) -> None:
    # Three share one instant: the id breaks the tie, and no page drops or repeats one.
    stops = [view(tenant, created_at=after(min(number, 3))) for number in range(6)]
    async with store.tenant(tenant) as unit:
        for stop in stops:
            await unit.stops.record(record(stop, 1))
        seen = await unit.stops.list(limit=2)
        while page := await unit.stops.list(limit=2, after=(seen[-1].created_at, seen[-1].stop_id)):
            seen += page
    assert seen == sorted(stops, key=lambda stop: (stop.created_at, stop.stop_id), reverse=True)


async def test_lists_by_phase_and_outcome(store: Store, tenant: TenantId) -> None:
    calm = view(tenant, phase=StopPhase.CHARGING)
    done = view(tenant, phase=StopPhase.CLOSED, outcome=StopOutcome.CHARGED, telematics_id="car-9")
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(calm, 1))
        await unit.stops.record(record(done, 1))
        assert await unit.stops.list(limit=9, phase=StopPhase.CHARGING) == [calm]
        assert await unit.stops.list(limit=9, outcome=StopOutcome.CHARGED) == [done]
        assert await unit.evidence.stop_of_vehicle("car-9") is None


async def test_the_feed_pages_in_order(store: Store, tenant: TenantId) -> None:
    stop = view(tenant)
    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(stop, 1, 2, 3))
    async with store.tenant(tenant) as unit:
        first = await unit.stops.events_after(0, 2)
        rest = await unit.stops.events_after(first[-1][0], 2)
    assert [event.seq for _, event in first + rest] == [1, 2, 3]


def waits_for_a_lock(raw: Raw) -> bool:
    with raw() as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        ).fetchone()
    assert found is not None
    return found[0] > 0


async def test_the_feed_passes_no_event_that_commits_late(store: Store, tenant: TenantId, raw: Raw) -> None:
    """Positions are given out before the commit. A reader that saw 2 while 1 was still open, and went on
    from there, would never see 1."""
    slow, fast = view(tenant, "slow"), view(tenant, "fast")
    read: list[str] = []
    position = 0

    async def read_on() -> None:
        nonlocal position
        async with store.tenant(tenant) as unit:
            news = await unit.stops.events_after(position, 100)
        if news:
            position = news[-1][0]
        read.extend(event.stop_id for _, event in news)

    async def write_fast() -> None:
        async with store.tenant(tenant) as unit:
            await unit.stops.record(record(fast, 1))

    async with store.tenant(tenant) as unit:
        await unit.stops.record(record(slow, 1))
        writing = asyncio.create_task(write_fast())
        # Whether the second writer waits for the first is the store's own affair.
        async with asyncio.timeout(10):
            while not writing.done() and not waits_for_a_lock(raw):
                await asyncio.sleep(0.01)
        await read_on()
    await writing
    await read_on()
    assert sorted(read) == sorted([slow.stop_id, fast.stop_id])
