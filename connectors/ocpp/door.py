"""Who may knock, and how often: limits on handshakes, and what a request shows.

Sources: OCPP 2.0.1 part 2 A00 and part 4 section 3; the pattern of the 2026 advisories (docs/ocpp.md).
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

from websockets.http11 import Request

from connectors.ocpp.ports import Credentials

_PATH = re.compile(r"^/ocpp/([A-Za-z0-9*\-_=|@.]{1,48})$")
_FAILURES_OF_ONE, _FAILURES_OF_ALL = 10, 100
_FIRST_BAR_S, _LONGEST_BAR_S = 30.0, 900.0
_FORGET_S = 1800.0
_MOST_KEPT = 50_000


class _Tally:
    __slots__ = ("barred_until", "bars", "failures", "last")

    def __init__(self) -> None:
        self.failures, self.bars = 0, 0
        self.barred_until = self.last = 0.0


class Knocks:
    """Failed handshakes, by address and by (address, station).

    A depot's stations share one address: one of them with a wrong password bars itself, not the others. Only
    many different failures bar an address. Each bar is twice as long as the one before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, str], _Tally] = OrderedDict()

    def is_barred(self, address: str, station_id: str) -> bool:
        now = self._clock()
        return any(
            tally is not None and now < tally.barred_until
            for tally in (self._tallies.get((address, station_id)), self._tallies.get((address, "")))
        )

    def failed(self, address: str, station_id: str) -> None:
        self._count((address, station_id), _FAILURES_OF_ONE)
        self._count((address, ""), _FAILURES_OF_ALL)

    def succeeded(self, address: str, station_id: str) -> None:
        self._tallies.pop((address, station_id), None)

    def _count(self, key: tuple[str, str], allowed: int) -> None:
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


def station_of(request: Request) -> str:
    """The station id of the URL; empty where it is none."""
    found = _PATH.match(unquote(request.path.partition("?")[0]))
    return found.group(1) if found else ""


def credentials_of(request: Request, *, encrypted: bool, subject: tuple[str, str] | None) -> Credentials:
    user, password = _basic(request.headers.get("Authorization", ""))
    return Credentials(
        station_id=station_of(request), user=user, password=password, encrypted=encrypted, subject=subject
    )


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
