"""Group commit: what many callers want in the same moment is done in one transaction.

While one group is under way, the next gathers; nobody waits for a timer. Under load the groups grow and the
price of a commit is shared, at rest each caller is a group of his own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """`run(items)` does them all, durably, and returns a result for each, in order. Where a group fails, each
    of its items is tried alone, so that a bad one fails alone; `lanes` groups may be under way at once."""

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[list[Result]]], *, most: int = 512, lanes: int = 1
    ) -> None:
        self._run, self._most, self._lanes = run, most, lanes
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Returns once durable; raises what doing this item raised."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._under_way < self._lanes:
            self._under_way += 1
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._do(group)
        finally:
            self._under_way -= 1

    async def _do(self, group: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        # Whose caller has gone (its socket closed) is done all the same: it was told to us.
        try:
            results = await self._run([item for item, _ in group])
        except Exception as error:  # noqa: BLE001  it is raised where the items came from
            if len(group) == 1:
                if not group[0][1].done():
                    group[0][1].set_exception(error)
                return
            for one in group:
                await self._do([one])
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
