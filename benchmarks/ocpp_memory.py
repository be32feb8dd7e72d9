"""What an idle station costs: memory of the gateway's process for each, and 10,000 of them over some minutes.

1. Growth of the process's resident memory with 2,000 and 10,000 authenticated connections that say nothing,
after their greeting is over: our gateway over PostgreSQL; the `ocpp` package on `websockets` defaults (the
stations offer compression, as most clients do) and at its best. 2. The 10,000 at our gateway, each with a
StatusNotification (another status each time) and a Heartbeat once a minute: latency, processor share, and
that nothing is lost.

Run: python -m benchmarks.ocpp_memory (about 8 minutes; `memory` or `minutes` alone by that word)
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from datetime import UTC, datetime

import psycopg

from benchmarks.ocpp_load import Depot, ServerProcess, frame, percentile, run, serving
from benchmarks.ocpp_stations import postgres_with

SIZES = (2_000, 10_000)
ROUNDS = 3
SETTLE_S = 7.0
MINUTES = 2.5
SERVERS = {"house": "backstop", "stock": "ocpp, defaults", "stock-lean": "ocpp at its best"}


async def kib_each(server: ServerProcess, size: int, *, compression: bool) -> float:
    first = Depot(server.port, compression=compression)
    await first.connect(range(100))  # what is loaded with the first connections is not theirs alone
    await first.close()
    await asyncio.sleep(2.0)
    before = server.rss_kib()
    depot = Depot(server.port, compression=compression)
    await depot.connect(range(size))
    await asyncio.sleep(SETTLE_S)
    lost = depot.heard.counts["lost"]
    each = (server.rss_kib() - before) / size
    await depot.close()
    if lost:
        print(f"    {lost} connections were lost")
    return each


async def memory() -> None:
    print("resident memory per idle authenticated connection, KiB")
    for kind, label in SERVERS.items():
        for size in SIZES:
            found: list[float] = []
            for _ in range(ROUNDS):
                async with (
                    postgres_with(size, sessions=False) as (url, _),
                    serving(kind, *([url] if kind == "house" else [])) as server,
                ):
                    found.append(await kib_each(server, size, compression=kind == "stock"))
            print(
                f"  {label:18} {size:6,} stations  {statistics.median(found):5.1f} KiB"
                f" ({min(found):.1f} to {max(found):.1f})"
            )


async def minutes(size: int) -> None:
    """Open loop: each station's turn comes when it comes, whatever became of the others."""
    async with postgres_with(size, sessions=False) as (url, _), serving("house", url) as server:
        depot = Depot(server.port)
        await depot.connect(range(size))
        await asyncio.sleep(SETTLE_S)
        depot.heard.clear()
        per_s, whole = 2 * size / 60, int(MINUTES * 2 * size)
        began, cpu = time.perf_counter(), server.cpu_s()
        for number in range(whole):
            due = began + number / per_s
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            turn, station = divmod(number, size)
            depot.stations[station].send(_message(turn))
        await asyncio.sleep(3.0)
        spent, used = time.perf_counter() - began, server.cpu_s() - cpu
        counts, latencies = depot.heard.counts, sorted(depot.heard.latencies_s)
        print(
            f"{size:,} stations, {MINUTES} minutes, {whole / spent:,.0f} messages/s:"
            f" p50 {percentile(latencies, 0.5) * 1000:.1f} ms,"
            f" p99 {percentile(latencies, 0.99) * 1000:.1f} ms,"
            f" longest {latencies[-1] * 1000:.0f} ms; {used / spent:.1%} of a core;"
            f" sent {counts['sent']:,}, answered {counts['answers']:,}, errors {counts['errors']},"
            f" connections lost {counts['lost']}"
        )
        async with await psycopg.AsyncConnection.connect(url) as connection:
            found = await connection.execute("SELECT status, count(*) FROM charger GROUP BY status")
            print(f"  statuses in the store: {dict(await found.fetchall())}")
        await depot.close()


def _message(turn: int) -> bytes:
    """Status, Heartbeat, the other status, Heartbeat, ..."""
    if turn % 2:
        return frame(json.dumps([2, f"m{turn}", "Heartbeat", {}]))
    word = "Preparing" if turn % 4 else "Available"
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    body = {"connectorId": 1, "errorCode": "NoError", "status": word, "timestamp": at}
    return frame(json.dumps([2, f"m{turn}", "StatusNotification", body]))


async def main() -> None:
    if "minutes" not in sys.argv:
        await memory()
    if "memory" not in sys.argv:
        await minutes(SIZES[-1])


if __name__ == "__main__":
    run(main)
