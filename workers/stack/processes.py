"""Child processes: output in files, watched, restarted, and ended with us however we end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import httpx

from workers.stack.ports import free_port as free_port
from workers.stack.ports import free_ports as free_ports

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.1
_LONGEST_BACK_OFF_S = 5.0
_SETTLED_S = 5.0  # a child that lived this long starts its back-off afresh

# Loaded before any fork: a fork in a process with threads must not load libraries.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, output appended to `log`.

    `death_signal`: what the kernel sends when we end, however we end (Linux; elsewhere stop() does it). The
    default takes no chances with a child that would drain for ever; ours survive kill -9 by design.
    `user`: run as this user (needs root). Raises RuntimeError outside the main thread: the death signal
    follows the thread that started the child, so a worker thread's end would kill it."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are started in the main thread")
    parent = os.getpid()

    def follow_parent() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603  our own commands
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            start_new_session=True,
            preexec_fn=follow_parent,
        )


def end(
    child: subprocess.Popen[bytes], grace_s: float = 15.0, first: signal.Signals = signal.SIGTERM
) -> None:
    """`first` signal, a grace, then SIGKILL to the child's whole group."""
    if child.poll() is not None:
        return
    child.send_signal(first)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


Ready = Callable[[], Awaitable[bool]]


async def until_ready(ready: Ready, what: str, seconds: float = 60.0) -> None:
    """Wait for a condition. Raises TimeoutError naming what did not come."""
    deadline = time.monotonic() + seconds
    while not await ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not become ready within {seconds:.0f} s")
        await asyncio.sleep(_LOOK_S)


def http_ready(url: str) -> Ready:
    """A GET is answered with 2xx."""

    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
                return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False

    return ready


class ChildFailed(RuntimeError):
    """A child keeps ending before it is ready; the message ends with its last output."""


@dataclass(frozen=True)
class UnexpectedExit:
    """One death that nobody ordered. `code`: exit code, negative for a signal."""

    name: str
    code: int
    at: datetime


@dataclass
class _Kept:
    spawn: Callable[[], subprocess.Popen[bytes]]
    child: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals
    started_at: float
    restarts: int = 0
    in_a_row: int = 0
    watcher: asyncio.Task[None] | None = None


@dataclass
class Supervisor:
    """Keeps named children running: one that ends unexpectedly is back at once, with a growing pause where it
    ends again and again. Use as an async context manager, or call stop_all()."""

    log_folder: Path
    env: dict[str, str] = field(default_factory=lambda: {})
    exits: list[UnexpectedExit] = field(default_factory=lambda: [])
    on_exit: Callable[[UnexpectedExit], None] | None = None
    _kept: dict[str, _Kept] = field(default_factory=lambda: {}, init=False)

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_all()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        user: str | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Output goes to `<log_folder>/<name>.log`. Raises ValueError where the name is taken."""
        if name in self._kept:
            raise ValueError(f"{name} is already started")
        log = self.log_folder / f"{name}.log"
        full = {**self.env, **(env or {})}

        def again() -> subprocess.Popen[bytes]:
            return spawn(argv, log=log, env=full, user=user, cwd=cwd, death_signal=death_signal)

        kept = _Kept(again, again(), log, stop_signal, time.monotonic())
        self._kept[name] = kept
        kept.watcher = asyncio.get_running_loop().create_task(self._watch(name, kept))

    async def _watch(self, name: str, kept: _Kept) -> None:
        while True:
            while (code := kept.child.poll()) is None:  # noqa: ASYNC110  a Popen has nothing to await
                await asyncio.sleep(_LOOK_S)
            seen = UnexpectedExit(name, code, datetime.now(UTC))
            self.exits.append(seen)
            if self.on_exit is not None:
                self.on_exit(seen)
            settled = time.monotonic() - kept.started_at > _SETTLED_S
            kept.in_a_row = 0 if settled else kept.in_a_row + 1
            await asyncio.sleep(min(_LOOK_S * (2**kept.in_a_row - 1), _LONGEST_BACK_OFF_S))
            kept.child, kept.started_at = kept.spawn(), time.monotonic()
            kept.restarts += 1

    def names(self) -> list[str]:
        return list(self._kept)

    def pid(self, name: str) -> int:
        """Of the child as it is now; after a death it changes."""
        return self._kept[name].child.pid

    def runs(self, name: str) -> bool:
        """It has not ended (it may be frozen)."""
        return self._kept[name].child.poll() is None

    def restarts(self, name: str) -> int:
        return self._kept[name].restarts

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """For drills: the child comes back."""
        self._kept[name].child.send_signal(number)

    async def wait_restarted(self, name: str, restarts: int, seconds: float = 30.0) -> None:
        """Wait until the child came back more than `restarts` times. Raises TimeoutError."""

        async def came_back() -> bool:
            return self.restarts(name) > restarts

        await until_ready(came_back, f"another start of {name}", seconds)

    async def wait_ready(self, name: str, ready: Ready, seconds: float = 60.0) -> None:
        """Wait for the child's own sign of readiness. Raises ChildFailed where it ends three times on the
        way, TimeoutError where it is only slow."""
        kept = self._kept[name]
        before = len(self.exits)

        async def ready_or_failed() -> bool:
            if await ready():
                return True
            if sum(1 for seen in self.exits[before:] if seen.name == name) >= 3:
                raise ChildFailed(f"{name} keeps ending; from {kept.log}:\n{tail(kept.log)}")
            return False

        await until_ready(ready_or_failed, f"{name} (its output: {kept.log})", seconds)

    async def stop(self, name: str, grace_s: float = 15.0) -> None:
        """Ask it to end; SIGKILL after the grace. A name that is not running is fine."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        if kept.watcher is not None:
            kept.watcher.cancel()
            with suppress(asyncio.CancelledError):
                await kept.watcher
        await asyncio.to_thread(end, kept.child, grace_s, kept.stop_signal)

    async def stop_all(self, grace_s: float = 15.0) -> None:
        """All drain side by side; nothing is left."""
        await asyncio.gather(*(self.stop(name, grace_s) for name in self.names()))


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a child's output, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
