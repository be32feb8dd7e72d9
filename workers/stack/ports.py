"""Ports of loopback for servers that come back on the same port after a crash."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

_LOWEST, _HIGHEST = 20_000, 32_000
# Below the range that systems hand to outgoing connections: a restarting server finds its port still free.


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return _bound(probe, port)


def free_port() -> int:
    """A port that was free a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports, all free at the same moment. Raises OSError where there are none."""
    with ExitStack() as held:
        found: list[int] = []
        for port in random.sample(range(_LOWEST, _HIGHEST), k=min(50 * count, _HIGHEST - _LOWEST)):
            probe = held.enter_context(socket.socket())
            if _bound(probe, port):
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST} on loopback")


def _bound(probe: socket.socket, port: int) -> bool:
    # As servers do: a port whose old connections still linger (TIME_WAIT) is free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
