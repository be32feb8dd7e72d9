"""The door: who may knock, how often, and who is let in.

Sources: OCPP 2.0.1 part 2 A00 and part 4 section 3; the pattern of the 2026 advisories (docs/ocpp.md).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from connectors.ocpp.door.transport_security import client_identity
from connectors.ocpp.ports import Credentials, House, StationInfo

_PATH = re.compile(r"/ocpp/([A-Za-z0-9*\-_=|@.]{1,48})")
_EVERYBODY = "/"  # stands in no station id
_FAILURES_OF_ONE, _FAILURES_OF_ALL = 10, 100
_FIRST_BAR_S, _LONGEST_BAR_S = 30.0, 900.0
_FORGET_S = 1800.0
_MOST_KEPT = 50_000
_HANDSHAKES_AT_ONCE = 256


class _Tally:
    __slots__ = ("barred_until", "bars", "failures", "last")

    def __init__(self) -> None:
        self.failures, self.bars = 0, 0
        self.barred_until = self.last = 0.0


class Knocks:
    """Failed handshakes, by address and by (address, station).

    A depot's stations share one address: one of them with a wrong password bars itself, and from then on
    counts for itself alone. Only failures of many stations bar an address. Each bar is twice as long as the
    one before, up to 15 minutes; half an hour without a failure forgets all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, str], _Tally] = OrderedDict()

    def is_barred(self, address: str, station_id: str) -> bool:
        now = self._clock()
        return any(
            tally is not None and now < tally.barred_until
            for tally in (self._tallies.get((address, station_id)), self._tallies.get((address, _EVERYBODY)))
        )

    def failed(self, address: str, station_id: str) -> None:
        if self._count((address, station_id), _FAILURES_OF_ONE).bars == 0:
            self._count((address, _EVERYBODY), _FAILURES_OF_ALL)

    def succeeded(self, address: str, station_id: str) -> None:
        self._tallies.pop((address, station_id), None)

    def _count(self, key: tuple[str, str], allowed: int) -> _Tally:
        now = self._clock()
        tally = self._tallies.pop(key, None)
        if tally is None or now - tally.last > _FORGET_S:
            tally = _Tally()
        self._tallies[key] = tally
        if len(self._tallies) > _MOST_KEPT:
            self._tallies.popitem(last=False)  # what an attacker's many names push out is the oldest
        tally.last = now
        tally.failures += 1
        if tally.failures >= allowed:
            tally.barred_until = now + min(_LONGEST_BAR_S, _FIRST_BAR_S * 2**tally.bars)
            tally.failures, tally.bars = 0, tally.bars + 1
        return tally


class Bucket:
    """A token bucket: how long a station has to wait before its next message is read. Nothing is dropped; a
    replay of a long outage goes through in bursts."""

    __slots__ = ("_at", "_left")
    per_s = 50.0
    burst = 1_000.0

    def __init__(self) -> None:
        self._left = self.burst
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        if self._at:
            self._left = min(self.burst, self._left + (now - self._at) * self.per_s)
        self._at = now
        self._left -= 1.0
        return 0.0 if self._left >= 0 else -self._left / self.per_s


class Entry(NamedTuple):
    """Who was let in, and from where."""

    station: StationInfo
    address: str


class Door:
    """`behind_tls_proxy`: X-Forwarded-Proto and the last address of X-Forwarded-For are our own proxy's word.
    `counts` is the gateway's."""

    def __init__(self, house: House, counts: Counter[str], *, behind_tls_proxy: bool = False) -> None:
        self.knocks = Knocks()
        self._house, self._counts, self._behind_tls_proxy = house, counts, behind_tls_proxy
        self._handshakes = asyncio.Semaphore(_HANDSHAKES_AT_ONCE)

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The refusal, or None; who is let in is found by `entry_of`.

        One answer for an unknown station, a wrong name, a wrong password, a lesser profile and a path that is
        none, after the same work."""
        address, station_id = self._address(connection, request), station_of(request)
        async with self._handshakes:
            # Asked within: of many who come at once, those who waited find what the first have brought about.
            if self.knocks.is_barred(address, station_id):
                self._counts["handshake barred"] += 1
                return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "")
            station = await self._house.authenticate(self._shown(connection, request))
            if station is None:
                self.knocks.failed(address, station_id)
        if station is None:
            self._counts["handshake refused"] += 1
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "")
            response.headers["WWW-Authenticate"] = "Basic"
            return response
        self.knocks.succeeded(address, station_id)
        cast(Any, connection).backstop_entry = Entry(station, address)
        return None

    def _address(self, connection: ServerConnection, request: Request) -> str:
        if self._behind_tls_proxy:  # else all stations would share the proxy's address, and its bar
            forwarded = ",".join(request.headers.get_all("X-Forwarded-For")).rpartition(",")[2].strip()
            if forwarded:
                return forwarded[:64]
        return str((connection.remote_address or ("",))[0])

    def _shown(self, connection: ServerConnection, request: Request) -> Credentials:
        tls = connection.transport.get_extra_info("ssl_object")
        peer = cast("dict[str, Any] | None", tls.getpeercert()) if tls is not None else None
        forwarded = self._behind_tls_proxy and _one(request, "X-Forwarded-Proto") in ("https", "wss")
        user, password = _basic(_one(request, "Authorization"))
        return Credentials(
            station_id=station_of(request),
            user=user,
            password=password,
            encrypted=tls is not None or forwarded,
            subject=client_identity(peer or None),
        )


def entry_of(connection: ServerConnection) -> Entry:
    return cast(Entry, cast(Any, connection).backstop_entry)


def station_of(request: Request) -> str:
    """The station id of the URL; empty where it is none."""
    found = _PATH.fullmatch(unquote(request.path.partition("?")[0]))
    return found.group(1) if found else ""


def _one(request: Request, name: str) -> str:
    """A header that counts only where it is said once."""
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else ""


def _basic(header: str) -> tuple[str, bytes]:
    """User and password of Basic auth; the password as bytes (1.6 passwords are raw bytes)."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""
