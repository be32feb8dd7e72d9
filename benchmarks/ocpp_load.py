"""OCPP benchmarks: stations that cost little, the server's process beside them, and what is measured.

The stations are not measured: their frames are made ahead and masked with a key of zeros, which a server
unmasks like any other.
"""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import psutil
import uvloop

PASSWORD = "benchmark-password-of-a-station"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_SOURCES = 8


def station_id(number: int) -> str:
    return f"bench-{number:05}"


def frame(text: str | bytes, opcode: int = _TEXT) -> bytes:
    """A client's websocket frame."""
    body = text.encode() if isinstance(text, str) else text
    size = len(body)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + body


@dataclass
class Heard:
    """What all stations of a run were told. `latencies_s`: of answers, in the order in which they came."""

    latencies_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.latencies_s.clear()
        self.counts.clear()


class Station(asyncio.Protocol):
    """One socket. `next_frame`, where set, is sent as soon as an answer came (closed loop).

    The gateway's own CALLs are refused, its pings answered. `opened` and `answered` are told of each."""

    __slots__ = (
        "_buffer", "_sent", "answered", "connected_at", "heard", "is_open", "lost", "next_frame", "number",
        "opened", "request", "transport",
    )  # fmt: skip

    def __init__(self, number: int, heard: Heard, request: bytes) -> None:
        self.number, self.heard, self.request = number, heard, request
        self.next_frame: Callable[[], bytes] | None = None
        self.opened: Callable[[Station], None] | None = None
        self.lost: Callable[[Station], None] | None = None
        self.is_open = False
        self.answered = 0
        self.connected_at = 0.0
        self._buffer = b""
        self._sent = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # libuv's is none by class
        self.transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.counts["lost" if self.is_open else "refused"] += 1
        self.is_open = False
        if self.lost is not None:
            self.lost(self)

    def send(self, data: bytes) -> None:
        self.heard.counts["sent"] += 1
        self._sent = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self.is_open:
            buffer = self._shake_hands(buffer)
        while len(buffer) >= 2:
            size, head = buffer[1], 2
            if size == 126:
                size, head = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < head + size:
                break
            self._frame(buffer[0], buffer[head : head + size])
            buffer = buffer[head + size :]
        self._buffer = buffer

    def _shake_hands(self, buffer: bytes) -> bytes:
        head, end, rest = buffer.partition(b"\r\n\r\n")
        if not end:
            return buffer
        if not head.startswith(b"HTTP/1.1 101"):
            self.heard.counts[head[9:12].decode()] += 1
            self.transport.close()
            return b""
        self.is_open = True
        if self.opened is not None:
            self.opened(self)
        return rest

    def _frame(self, first: int, body: bytes) -> None:
        opcode = first & 0xF
        if opcode == _TEXT:
            if body.startswith(b"[2,"):
                self.heard.counts["calls"] += 1
                message_id = body.split(b'"', 2)[1]
                self.transport.write(frame(b'[4,"' + message_id + b'","NotSupported","",{}]'))
                return
            # What begins with neither was compressed by the server: an answer.
            self.heard.counts["errors" if body.startswith(b"[4,") else "answers"] += 1
            self.answered += 1
            self.heard.latencies_s.append(time.perf_counter() - self._sent)
            if self.next_frame is not None:
                self.send(self.next_frame())
        elif opcode == _PING:
            self.transport.write(frame(body, _PONG))
        elif opcode == _CLOSE:
            self.heard.counts["closed by the server"] += 1
            self.transport.close()


def upgrade(number: int, port: int, subprotocol: str, *, compression: bool = False) -> bytes:
    """The handshake's request. `compression`: permessage-deflate is offered, as most clients do."""
    name = station_id(number)
    token = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
    lines = [
        f"GET /ocpp/{name} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(number.to_bytes(16, 'big')).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {subprotocol}",
        f"Authorization: Basic {token}",
    ]
    if compression:
        lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    return "\r\n".join([*lines, "", ""]).encode()


class Depot:
    """Many stations of one server."""

    def __init__(self, port: int, subprotocol: str = "ocpp1.6", *, compression: bool = False) -> None:
        self.heard = Heard()
        self.stations: dict[int, Station] = {}
        self.handshakes_s: list[float] = []
        self._port, self._subprotocol, self._compression = port, subprotocol, compression

    async def connect(self, numbers: Sequence[int], at_once: int = 200) -> None:
        """Open them all; raises TimeoutError where one stays out."""
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with gate:
                await self.open(number)

        async with asyncio.timeout(120):
            await asyncio.gather(*(one(number) for number in numbers))

    async def open(self, number: int) -> Station:
        """Try until it is in. Measured is the try that went well, from its SYN."""
        loop = asyncio.get_running_loop()
        request = upgrade(number, self._port, self._subprotocol, compression=self._compression)
        source = (f"127.0.0.{2 + number % _SOURCES}", 0)
        while True:
            station = Station(number, self.heard, request)
            ready: asyncio.Future[bool] = loop.create_future()
            station.opened = lambda _, ready=ready: None if ready.done() else ready.set_result(True)
            station.lost = lambda _, ready=ready: None if ready.done() else ready.set_result(False)
            began = time.perf_counter()
            try:
                await loop.create_connection(lambda s=station: s, "127.0.0.1", self._port, local_addr=source)
                if await ready:
                    station.lost = None
                    station.connected_at = time.perf_counter()
                    self.handshakes_s.append(station.connected_at - began)
                    self.stations[number] = station
                    return station
            except OSError:
                pass
            self.heard.counts["tried again"] += 1
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        for station in self.stations.values():
            station.next_frame = station.lost = None
            station.transport.abort()
        self.stations.clear()
        await asyncio.sleep(0.5)


@dataclass
class Figures:
    """One closed loop. `per_core`: messages per second of the server's own processor time."""

    per_s: float
    per_core: float
    p50_ms: float
    p99_ms: float
    errors: int

    def __str__(self) -> str:
        wrong = f"  ERRORS {self.errors}" if self.errors else ""
        return (
            f"{self.per_s:8,.0f}/s {self.per_core:8,.0f} per server core   "
            f"p50 {self.p50_ms:7.2f} ms  p99 {self.p99_ms:7.2f} ms{wrong}"
        )


async def closed_loop(
    depot: Depot, server: ServerProcess, make: Callable[[int], Callable[[], bytes]], seconds: float
) -> Figures:
    """Each station sends its next message once the last one was answered. Not measured is the beginning,
    until each has been answered (its first message reads its open sessions), and a second more."""
    heard = depot.heard
    for station in depot.stations.values():
        station.answered = 0
    for number, station in depot.stations.items():
        station.next_frame = make(number)
        station.send(station.next_frame())
    async with asyncio.timeout(60):
        while any(station.answered == 0 for station in depot.stations.values()):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    heard.clear()
    began, cpu = time.perf_counter(), server.cpu_s()
    await asyncio.sleep(seconds)
    spent, used = time.perf_counter() - began, server.cpu_s() - cpu
    latencies, counts = sorted(heard.latencies_s), Counter(heard.counts)
    for station in depot.stations.values():
        station.next_frame = None
    await asyncio.sleep(0.5)
    heard.clear()
    done = counts["answers"]
    return Figures(
        per_s=done / spent,
        per_core=done / max(used, 0.01),
        p50_ms=percentile(latencies, 0.5) * 1000,
        p99_ms=percentile(latencies, 0.99) * 1000,
        errors=counts["errors"] + counts["lost"],
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


class ServerProcess:
    """A server in a process of its own: what it costs, and the signal that cuts all its sockets."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self.port = process, port
        self._measured = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        """User and system time of all its threads, as os.times tells it."""
        times = self._measured.cpu_times()
        return times.user + times.system

    def rss_kib(self) -> float:
        return self._measured.memory_info().rss / 1024

    def cut_all(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def serving(kind: str, *arguments: str) -> AsyncGenerator[ServerProcess, None]:
    """`kind`: see benchmarks.ocpp_server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.ocpp_server", kind, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        yield ServerProcess(process, int(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(main: Callable[[], object]) -> None:
    """On libuv's loop, as the servers are."""
    raise_file_limit()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())  # pyright: ignore[reportArgumentType]
