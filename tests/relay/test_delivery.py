"""Delivery: each stop by itself, in order, bounded, under a lease; nobody waits for another's trouble."""

from __future__ import annotations

import asyncio
import json

import pytest

from models.evidence import EvidenceKind
from store.database import Store
from store.evidence_delivery import LEASE_S
from tests.relay.conftest import NewTown
from tests.relay.town import Town, Trouble, running, until
from workers import evidence_delivery
from workers.evidence_delivery import CLAIM_ROWS, MOST_BYTES, MOST_ITEMS
from workers.evidence_relay import EvidenceRelay
from workers.stops_command import deliver_again

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_came_together_travels_together_in_order(town: Town, relay: EvidenceRelay) -> None:
    stop = await town.stop()
    await town.hear(stop, town.item("late", 90), town.item("early", 30), town.item("between", 60))
    assert await relay.deliver() == 3
    assert await town.signals(stop.workflow_id) == [
        [town.item("early", 30), town.item("between", 60), town.item("late", 90)]
    ]
    assert await relay.deliver() == 0
    assert town.waiting() == 0


async def test_a_signal_is_bounded(town: Town, relay: EvidenceRelay) -> None:
    many, big = await town.stop(), await town.stop()
    await town.hear(many, *(town.item(f"e{n:03}", n) for n in range(70)))
    await town.hear(big, *(town.item(f"b{n:03}", n, detail="d" * 1900) for n in range(60)))
    while await relay.deliver():
        pass
    for stop, number in ((many, 70), (big, 60)):
        signals = await town.signals(stop.workflow_id)
        assert len(await town.told(stop)) == number
        assert max(len(signal) for signal in signals) <= MOST_ITEMS
        sizes = [sum(len(item.model_dump_json()) for item in signal) for signal in signals]
        assert max(sizes) <= MOST_BYTES
    assert len(await town.signals(many.workflow_id)) >= 2
    assert len(await town.signals(big.workflow_id)) >= 2


@pytest.mark.parametrize(
    "body",
    ["{}", '"no object"', '{"event_id": "x", "kind": "plugged_in"}', '{"n": ' + "9" * 5000 + "}"],
    ids=["empty", "no-object", "incomplete", "endless-number"],
)
async def test_a_row_that_cannot_be_read_is_set_aside_alone(
    new_town: NewTown, relay: EvidenceRelay, body: str
) -> None:
    town, other = new_town(), new_town()
    stop, elsewhere = await town.stop(), await other.stop()
    good, bad = town.item("good", 1), town.item("bad", 0)
    await town.hear(stop, bad, good)
    await other.hear(elsewhere, other.item("theirs"))
    town.sql(
        "UPDATE evidence SET body = %s::jsonb WHERE tenant_id = %s AND event_id = 'bad'", body, town.tenant
    )
    await relay.deliver()
    assert await town.told(stop) == ["good"]
    assert await other.told(elsewhere) == ["theirs"]
    reason = town.sql(
        "SELECT quarantine_reason FROM evidence WHERE quarantined_at IS NOT NULL AND tenant_id = %s",
        town.tenant,
    )
    assert reason == [("unreadable",)]
    async with town.store.tenant(town.tenant) as unit:
        kept = await unit.quarantine.list(10)
    assert [(item.source, item.reason) for item in kept] == [("evidence", "unreadable")]
    assert json.loads(kept[0].raw, parse_int=str) == json.loads(body, parse_int=str)
    assert await relay.deliver() == 0

    # The way back.
    town.sql(
        "UPDATE evidence SET body = %s::jsonb WHERE tenant_id = %s AND event_id = 'bad'",
        bad.model_dump_json(),
        town.tenant,
    )
    assert (await deliver_again(town.store, town.tenant)).startswith("1 pieces")
    assert (await deliver_again(town.store, town.tenant)).startswith("0 pieces")
    await relay.deliver()
    assert await town.told(stop) == ["good", "bad"]


async def test_a_newer_versions_word_is_left_to_those_who_can_read_it(
    town: Town, relay: EvidenceRelay
) -> None:
    stop = await town.stop()
    await town.hear(stop, town.item("new"))
    town.sql(
        "UPDATE evidence SET kind = 'battery_swapped', body = body || '{\"kind\": \"battery_swapped\"}' "
        "WHERE tenant_id = %s",
        town.tenant,
    )
    await relay.deliver()
    assert town.waiting() == 1
    for _ in range(7):
        town.no_delay()
        await relay.deliver()
    assert town.waiting() == 0  # nobody could
    async with town.store.tenant(town.tenant) as unit:
        assert [item.reason for item in await unit.quarantine.list(9)] == ["unreadable"]


async def test_200_undeliverable_rows_starve_nobody(new_town: NewTown, relay: EvidenceRelay) -> None:
    flooded, other = new_town(), new_town()
    for number in range(4):
        lost = await flooded.stop(runs=False, begun=False)
        await flooded.hear(lost, *(flooded.item(f"l{number}-{n}", n) for n in range(CLAIM_ROWS // 2)))
    theirs = await other.stop()
    await other.hear(theirs, other.item("theirs"))
    healthy = await flooded.stop()
    await flooded.hear(healthy, flooded.item("healthy"))
    await relay.deliver()
    assert await other.told(theirs) == ["theirs"]  # in the very first round
    for _ in range(4):
        await relay.deliver()
    assert await flooded.told(healthy) == ["healthy"]
    assert flooded.waiting() == 2 * CLAIM_ROWS  # and nothing of it is lost


async def test_a_row_waits_longer_after_each_failure(
    town: Town, relay: EvidenceRelay, trouble: Trouble
) -> None:
    stop = await town.stop()
    trouble.failing.add(stop.workflow_id)
    await town.hear(stop, town.item("e1"))
    delays: list[float] = []
    for _ in range(9):
        await relay.deliver()
        found = town.sql(
            "SELECT extract(epoch FROM next_try_at - now()), tries, claimed_until FROM evidence "
            "WHERE tenant_id = %s",
            town.tenant,
        )
        delays.append(float(found[0][0]))
        assert found[0][2] is None
        assert await relay.deliver() == 0  # not before it is due
        town.no_delay()
    assert [round(delay) for delay in delays[:6]] == [0, 1, 2, 4, 8, 16]
    assert round(delays[-1]) == 60
    trouble.failing.clear()
    await relay.deliver()
    assert await town.told(stop) == ["e1"]


async def test_one_failing_stop_makes_nobody_hear_twice(
    new_town: NewTown, relay: EvidenceRelay, trouble: Trouble
) -> None:
    town, other = new_town(), new_town()
    stops = [await town.stop() for _ in range(3)] + [await other.stop() for _ in range(2)]
    for stop in stops:
        await (town if stop.tenant_id == town.tenant else other).hear(stop, town.item(f"e-{stop.stop_id}"))
    trouble.failing.add(stops[0].workflow_id)
    for _ in range(3):
        await relay.deliver()
        town.no_delay()
    for stop in stops[1:]:
        assert await town.told(stop) == [f"e-{stop.stop_id}"]
    assert await town.told(stops[0]) == []
    assert (town.waiting(), other.waiting()) == (1, 0)


async def test_one_slow_stop_delays_nobody_else(
    town: Town, relay: EvidenceRelay, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = await town.stop(), await town.stop()
    trouble.slow.add(slow.workflow_id)
    async with running(relay):
        await town.hear(slow, town.item("s1"))
        relay.wake()
        await until(lambda: slow.workflow_id in trouble.waiting)
        for number in range(3):  # others go on, round after round, while it hangs
            await town.hear(quick, town.item(f"q{number}", number))
            relay.wake()

            async def heard(most: int = number) -> bool:
                return await town.told(quick) == [f"q{n}" for n in range(most + 1)]

            await until(heard, 3.0)
        assert await town.told(slow) == []
        await town.hear(slow, town.item("s2", 5))  # what comes for it meanwhile waits for its turn
        trouble.slow.clear()

        async def all_told() -> bool:
            return sorted(await town.told(slow)) == ["s1", "s2"]

        await until(all_told, 2 * evidence_delivery.SIGNAL_S + 5)


async def test_a_tenant_full_of_slow_stops_leaves_room_for_others(
    new_town: NewTown, relay: EvidenceRelay, trouble: Trouble
) -> None:
    stuck, other = new_town(), new_town()
    for number in range(60):
        stop = await stuck.stop()
        trouble.slow.add(stop.workflow_id)
        await stuck.hear(stop, stuck.item(f"s{number}"))
    theirs = await other.stop()
    async with running(relay):
        await until(lambda: len(trouble.waiting) >= 16)
        await other.hear(theirs, other.item("theirs"))
        relay.wake()

        async def heard() -> bool:
            return await other.told(theirs) == ["theirs"]

        await until(heard, 3.0)
        trouble.slow.clear()


async def test_those_who_deliver_share_and_never_double(
    new_town: NewTown, store: Store, relay: EvidenceRelay
) -> None:
    town = new_town()
    stops = [await town.stop() for _ in range(12)]
    for stop in stops:
        await town.hear(stop, *(town.item(f"{stop.stop_id}-{n}", n) for n in range(20)))
    others = [EvidenceRelay(store, town.client) for _ in range(2)]

    async def work(one: EvidenceRelay) -> None:
        while town.waiting():
            await one.deliver()

    await asyncio.gather(*(work(one) for one in (relay, *others)))
    for stop in stops:
        assert sorted(await town.told(stop)) == sorted(f"{stop.stop_id}-{n}" for n in range(20))


async def test_what_a_dead_process_had_claimed_is_told_after_its_lease(
    town: Town, relay: EvidenceRelay
) -> None:
    stop = await town.stop()
    await town.hear(stop, town.item("e1"))
    async with town.store.platform() as unit:
        assert len(await unit.evidence.claim(10)) == 1
    assert await relay.deliver() == 0
    town.sql(
        "UPDATE evidence SET claimed_until = claimed_until - make_interval(secs => %s) WHERE tenant_id = %s",
        LEASE_S,
        town.tenant,
    )
    assert await relay.deliver() == 1
    assert await town.told(stop) == ["e1"]


async def test_a_process_that_ends_gives_back_what_it_holds(
    town: Town, relay: EvidenceRelay, trouble: Trouble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evidence_relay._FINISH_S", 0.1)
    stop = await town.stop()
    await town.hear(stop, town.item("e1"))
    trouble.slow.add(stop.workflow_id)
    relay.start()
    await until(lambda: stop.workflow_id in trouble.waiting)
    await relay.stop()
    assert town.sql("SELECT tries, claimed_until FROM evidence WHERE tenant_id = %s", town.tenant) == [
        (0, None)
    ]
    assert await EvidenceRelay(store, town.client).deliver() == 1
    assert await town.told(stop) == ["e1"]


async def test_a_stop_whose_workflow_has_not_begun_hears_it_when_it_has(
    town: Town, relay: EvidenceRelay
) -> None:
    """The row comes first, so that a read after 202 finds it; its evidence must not be lost in between."""
    stop = await town.stop(runs=False, begun=False)
    tried = await town.try_at(stop)
    await town.hear(
        stop,
        town.item("plug", kind=EvidenceKind.PLUGGED_IN),
        town.item("start", 1, EvidenceKind.SESSION_STARTED, attempt_id=tried.attempt_id),
    )
    await relay.deliver()
    assert town.waiting() == 2
    assert await town.kept(tried) == (None, [])
    await town.run(stop)
    town.no_delay()
    await relay.deliver()
    assert await town.told(stop) == ["plug", "start"]


async def test_what_is_for_no_stop_at_all_is_set_aside_in_the_end(town: Town, relay: EvidenceRelay) -> None:
    async with town.store.tenant(town.tenant) as unit:
        await unit.evidence.append([("stop-nowhere", town.item("e1"))])
    await relay.deliver()
    assert town.waiting() == 1
    for _ in range(19):
        town.no_delay()
        await relay.deliver()
    assert town.waiting() == 0
    async with town.store.tenant(town.tenant) as unit:
        assert [item.reason for item in await unit.quarantine.list(9)] == ["undeliverable"]


async def test_quiet_evidence_waits_for_company(town: Town, store: Store) -> None:
    stop = await town.stop()
    quiet = EvidenceRelay(store, town.client, quiet_s=3600)
    await town.hear(stop, town.item("quarter", 1, EvidenceKind.SESSION_PROGRESS, attempt_id="a"))
    assert await quiet.deliver() == 0
    await town.hear(stop, town.item("paused", 2))
    assert await quiet.deliver() == 2
    assert await town.told(stop) == ["quarter", "paused"]


@pytest.mark.parametrize("steps", range(8))
async def test_it_ends_in_whatever_moment_it_is_told_to(store: Store, town: Town, steps: int) -> None:
    """News that come together with the end: asyncio.wait_for of Python 3.11 forgets a cancel that meets what
    it waits for, and the relay (and its process) went on for ever."""
    relay = EvidenceRelay(store, town.client)
    relay.start()
    await asyncio.sleep(0)  # now it waits for news
    relay.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await relay.stop()
