"""One live socket of a station, and the gateway's word to it."""

from __future__ import annotations

import secrets

from websockets.asyncio.server import ServerConnection

from connectors.ocpp.action import ActionTable
from connectors.ocpp.door import Bucket
from connectors.ocpp.limits import LimitControl
from connectors.ocpp.rpc import Rpc
from connectors.ocpp.schemas import Version
from connectors.ocpp.session import StationSession
from connectors.ocpp.v2x import V21, V201
from connectors.ocpp.v16 import ACTIONS as V16

TABLES: dict[Version, ActionTable] = {Version.V16: V16, Version.V201: V201, Version.V21: V21}
BEFORE_ACCEPTED = ("BootNotification",)


class Connection:
    """`generation` names it: only the newest of a station counts."""

    __slots__ = ("bucket", "generation", "limits", "rpc", "session", "socket")

    def __init__(self, socket: ServerConnection, session: StationSession, rpc: Rpc) -> None:
        self.socket = socket
        self.session = session
        self.rpc = rpc
        self.limits = LimitControl(session, rpc)
        self.bucket = Bucket()
        self.generation = secrets.token_hex(8)

    @property
    def version(self) -> Version:
        return self.rpc.version

    @property
    def is_16(self) -> bool:
        return self.rpc.version is Version.V16
