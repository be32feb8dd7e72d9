"""Group commit: callers share a transaction, a bad one fails alone, nobody is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from workers.gateway.group_commit import GroupCommit


class Ledger:
    """Commits groups one after the other; `gate` holds the one under way."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, items: list[int]) -> list[int]:
        await self.gate.wait()
        if any(item < 0 for item in items):
            raise ValueError("negative")
        self.groups.append(items)
        return [item * 10 for item in items]


@pytest.mark.asyncio
async def test_what_comes_while_one_group_is_under_way_is_the_next_group() -> None:
    ledger = Ledger()
    group = GroupCommit[int, int](ledger.run)
    ledger.gate.clear()
    first = asyncio.create_task(group.submit(1))
    await asyncio.sleep(0)
    others = [asyncio.create_task(group.submit(n)) for n in range(2, 10)]
    await asyncio.sleep(0)
    ledger.gate.set()
    assert await first == 10
    assert await asyncio.gather(*others) == [n * 10 for n in range(2, 10)]
    assert ledger.groups == [[1], list(range(2, 10))]


@pytest.mark.asyncio
async def test_a_bad_item_fails_alone_and_the_others_are_done() -> None:
    ledger = Ledger()
    group = GroupCommit[int, int](ledger.run)
    results = await asyncio.gather(*(group.submit(n) for n in (1, -2, 3)), return_exceptions=True)
    assert results[0] == 10
    assert isinstance(results[1], ValueError)
    assert results[2] == 30
    assert sorted(n for done in ledger.groups for n in done) == [1, 3]


@pytest.mark.asyncio
async def test_a_caller_that_goes_away_takes_nobody_with_him_and_his_item_is_done() -> None:
    ledger = Ledger()
    group = GroupCommit[int, int](ledger.run)
    ledger.gate.clear()
    leaving = asyncio.create_task(group.submit(1))
    staying = asyncio.create_task(group.submit(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    ledger.gate.set()
    assert await staying == 20
    assert sorted(n for done in ledger.groups for n in done) == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("lanes", [1, 3])
async def test_everybody_gets_his_own_answer(lanes: int) -> None:
    ledger = Ledger()
    group = GroupCommit[int, int](ledger.run, most=7, lanes=lanes)
    assert await asyncio.gather(*(group.submit(n) for n in range(100))) == [n * 10 for n in range(100)]
    assert sorted(n for done in ledger.groups for n in done) == list(range(100))
    assert max(len(done) for done in ledger.groups) <= 7
