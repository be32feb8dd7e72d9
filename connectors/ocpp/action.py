"""What an action of a version is: one row in its version's table, one file with its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json

HEARTBEAT_S = 60
PENDING_RETRY_S = 30


class Action(NamedTuple):
    """`handle` returns once what it says is durable. `repair`: for what must be answered whenever its
    essentials can be read (connectors.ocpp.wire.rpc.Rules)."""

    handle: Callable[[StationSession, Json], Awaitable[Answer]]
    repair: Callable[[Json], Json] | None = None


ActionTable = Mapping[str, Action]
