"""Freezing a process with all its children, for drills: SIGSTOP now, SIGCONT in any case."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

_GUARD_LATER_S = 2.0


def tree(pid: int) -> list[int]:
    """The process and all that descend from it, parents first. PostgreSQL's children have groups of their
    own, so a signal to the group does not reach them."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)  # noqa: S607
    children: dict[int, list[int]] = {}
    for line in listed.stdout.splitlines():
        child, parent = line.split()
        children.setdefault(int(parent), []).append(int(child))
    found = [pid]
    for each in found:  # grows while it is read: breadth first
        found += children.get(each, [])
    return found


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Those that are gone by now are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class Frozen:
    """A frozen tree. `thaw` may be called twice; leaving the interpreter thaws, and so does a small process
    of its own `at_most_s` later, should we be killed in between."""

    pids: list[int]
    _guard: subprocess.Popen[bytes] = field(repr=False)

    def thaw(self) -> None:
        signal_all(self.pids, signal.SIGCONT)
        atexit.unregister(self.thaw)
        if self._guard.poll() is None:
            os.killpg(self._guard.pid, signal.SIGKILL)  # with its sleep
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


def freeze(pid: int, at_most_s: float) -> Frozen:
    """Stop the tree of `pid`: parents first, so that nobody is born who is not stopped."""
    stopped: list[int] = []
    # Whom to wake waits in the pipe, written before each signal: it is read even when we are gone by then.
    guard = subprocess.Popen(  # noqa: S603
        ["sh", "-c", f"sleep {at_most_s + _GUARD_LATER_S}; kill -CONT $(cat)"],  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends us must not end it
        bufsize=0,
    )
    frozen = Frozen(stopped, guard)
    atexit.register(frozen.thaw)
    try:
        known = tree(pid)
        while fresh := [each for each in known if each not in stopped]:
            stopped += fresh
            if guard.stdin is not None:
                guard.stdin.write("".join(f"{each} " for each in fresh).encode())
            signal_all(fresh, signal.SIGSTOP)
            known = tree(pid)
    except BaseException:
        frozen.thaw()
        raise
    return frozen
