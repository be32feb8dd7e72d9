"""Blows to running processes: kill -9, two at once, or a freeze of seconds; by seed, and written down."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from workers.stack.freeze import freeze, signal_all, tree
from workers.stack.processes import Ready, Supervisor, until_ready

_LONGEST_RETURN_S = 60.0
_LOOK_S = 0.05


class BlowKind(StrEnum):
    KILL = "kill"
    PAIR = "pair"
    FREEZE = "freeze"


_KINDS = (BlowKind.KILL, BlowKind.KILL, BlowKind.PAIR, BlowKind.FREEZE, BlowKind.FREEZE, BlowKind.KILL)


@dataclass(frozen=True)
class PlannedBlow:
    """`after_s`: since the blow before. `freeze_s`: how long (freeze only)."""

    after_s: float
    kind: BlowKind
    names: tuple[str, ...]
    freeze_s: float = 0.0


def plan_blows(
    seed: int,
    names: Sequence[str],
    *,
    gap_s: tuple[float, float] = (2.0, 6.0),
    freeze_s: tuple[float, float] = (1.0, 8.0),
) -> Iterator[PlannedBlow]:
    """Without end. The same seed gives the same blows; kinds and names come from bags that are emptied
    before they are filled again, so that a short morning, too, meets all of them."""
    rng = random.Random(f"chaos:{seed}")
    kinds: list[BlowKind] = []
    bag: list[str] = []

    def draw(but: Sequence[str] = ()) -> str:
        if not any(name not in but for name in bag):
            bag.extend(rng.sample(list(names), len(names)))
        return bag.pop(next(i for i, name in enumerate(bag) if name not in but))

    while True:
        if not kinds:
            kinds = rng.sample(_KINDS, len(_KINDS))
        kind = kinds.pop()
        struck = (draw(),)
        if kind is BlowKind.PAIR and len(names) > 1:
            struck = (*struck, draw(struck))
        lasts_s = round(rng.uniform(*freeze_s), 1) if kind is BlowKind.FREEZE else 0.0
        yield PlannedBlow(round(rng.uniform(*gap_s), 1), kind, struck, lasts_s)


class Victim(Protocol):
    """A process that comes back by itself."""

    @property
    def pid(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    async def stands(self) -> bool:
        """It runs and serves, as far as one can see from outside."""
        ...


@dataclass(frozen=True)
class Child:
    """A child of a supervisor; `ready`: its own sign of readiness, where it has one."""

    supervisor: Supervisor
    name: str
    ready: Ready | None = None

    @property
    def pid(self) -> int:
        return self.supervisor.pid(self.name)

    @property
    def restarts(self) -> int:
        return self.supervisor.restarts(self.name)

    async def stands(self) -> bool:
        return self.supervisor.runs(self.name) and (self.ready is None or await self.ready())


@dataclass
class Blow:
    """One blow that was struck. `back_s`: until all it hit stood again; None: not yet, or never. `settled`:
    nobody waits for that any more."""

    at: datetime
    planned: PlannedBlow
    back_s: float | None = None
    settled: bool = False

    def line(self) -> str:
        names = " and ".join(self.planned.names)
        how = "killed (kill -9)"
        if self.planned.kind is BlowKind.FREEZE:
            how = f"frozen (SIGSTOP) for {self.planned.freeze_s:.1f} s"
        back = "not back yet" if self.back_s is None else f"back after {self.back_s:.1f} s"
        return f"{self.at:%H:%M:%S} {names} {how}, {back}"


@dataclass
class Chaos:
    """Strikes `victims` by `plan` for as long as `striking` lasts, at most `most` times."""

    victims: Mapping[str, Victim]
    plan: Iterator[PlannedBlow]
    most: int | None = None
    blows: list[Blow] = field(default_factory=lambda: [], init=False)
    _returning: set[asyncio.Task[None]] = field(default_factory=lambda: set(), init=False)

    @property
    def never_back(self) -> list[Blow]:
        return [blow for blow in self.blows if blow.back_s is None]

    @asynccontextmanager
    async def striking(self) -> AsyncGenerator[None]:
        """On leaving nothing is frozen, and all that was struck stands again (or had a minute for that)."""
        running = asyncio.create_task(self._run(), name="chaos")
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await asyncio.gather(*self._returning, return_exceptions=True)

    async def _run(self) -> None:
        for planned in self.plan:
            if self.most is not None and len(self.blows) >= self.most:
                return
            await asyncio.sleep(planned.after_s)
            with suppress(TimeoutError):  # a blow on what lies already still counts
                await until_ready(
                    lambda names=planned.names: self._all_stand(names), str(planned), _LONGEST_RETURN_S
                )
            await self._strike(planned)

    async def _all_stand(self, names: Sequence[str]) -> bool:
        # What was killed this moment still looks alive: it stands once the blow before is settled.
        if any(not blow.settled and set(names) & set(blow.planned.names) for blow in self.blows):
            return False
        return all([await self.victims[name].stands() for name in names])

    async def _strike(self, planned: PlannedBlow) -> None:
        struck = [self.victims[name] for name in planned.names]
        blow = Blow(datetime.now(UTC), planned)
        began = time.monotonic()
        before = [victim.restarts for victim in struck]
        self.blows.append(blow)
        if planned.kind is BlowKind.FREEZE:
            frozen = [freeze(victim.pid, planned.freeze_s) for victim in struck]
            try:
                await asyncio.sleep(planned.freeze_s)
            finally:  # also where the morning ends in the middle of it
                for each in frozen:
                    each.thaw()
                self._expect_back(blow, struck, [number - 1 for number in before], began)  # as it stands
            return
        for victim in struck:
            signal_all(tree(victim.pid), signal.SIGKILL)
        self._expect_back(blow, struck, before, began)

    def _expect_back(self, blow: Blow, struck: Sequence[Victim], before: Sequence[int], began: float) -> None:
        returning = asyncio.create_task(self._await_return(blow, struck, before, began))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)

    async def _await_return(
        self, blow: Blow, struck: Sequence[Victim], before: Sequence[int], began: float
    ) -> None:
        for victim, restarts in zip(struck, before, strict=True):
            while not (victim.restarts > restarts and await victim.stands()):
                if time.monotonic() - began > _LONGEST_RETURN_S + blow.planned.freeze_s:
                    break
                await asyncio.sleep(_LOOK_S)
            else:
                continue
            break
        else:
            blow.back_s = time.monotonic() - began
        blow.settled = True
