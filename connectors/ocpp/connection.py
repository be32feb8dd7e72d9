"""One live socket of a station, and the gateway's word to it."""

from __future__ import annotations

import secrets
from datetime import datetime

from websockets.asyncio.server import ServerConnection

from connectors.ocpp.action import ActionTable
from connectors.ocpp.door.entry import Bucket
from connectors.ocpp.limits.control import LimitControl
from connectors.ocpp.session import StationSession
from connectors.ocpp.v2x import NOT_SERVED_21, NOT_SERVED_201, V21, V201
from connectors.ocpp.v16 import ACTIONS as V16
from connectors.ocpp.wire.rpc import Rpc
from connectors.ocpp.wire.schemas import Version

TABLES: dict[Version, ActionTable] = {Version.V16: V16, Version.V201: V201, Version.V21: V21}
TOLD_BY_STATIONS: dict[Version, frozenset[str]] = {
    Version.V16: frozenset(V16),
    Version.V201: frozenset(V201) | NOT_SERVED_201,
    Version.V21: frozenset(V21) | NOT_SERVED_21,
}
BEFORE_ACCEPTED = ("BootNotification",)


class Connection:
    """`generation` names it: only the newest of a station counts. `is_claimed`: the house knows that.
    `password_undecided`: a new password is out, and the station has not said what it made of it."""

    __slots__ = (
        "_limits", "bucket", "generation", "is_claimed", "password_undecided", "renewal_asked_at",
        "rpc", "session", "socket",
    )  # fmt: skip

    def __init__(self, socket: ServerConnection, session: StationSession, rpc: Rpc) -> None:
        self.socket = socket
        self.session = session
        self.rpc = rpc
        self._limits: LimitControl | None = None
        self.bucket = Bucket()
        self.generation = secrets.token_hex(8)
        self.is_claimed = False
        self.password_undecided = False
        self.renewal_asked_at: datetime | None = None

    @property
    def limits(self) -> LimitControl:
        """Made when it is asked for: most connections never have a limit."""
        if self._limits is None:
            self._limits = LimitControl(self.session, self.rpc)
        return self._limits

    @property
    def version(self) -> Version:
        return self.rpc.version

    @property
    def is_16(self) -> bool:
        return self.rpc.version is Version.V16
