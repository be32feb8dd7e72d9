"""The herd: all stations lose their sockets in one moment and come back at once, with Basic auth.

Our gateway over PostgreSQL aborts every socket; each station connects again as soon as it sees that, without
pause, and then sends a Heartbeat. Printed: seconds until the last one is back and answered, handshakes per
second, the handshake's p50 and p99 (from SYN to 101), and how many tries did not go through. The stations
share the two cores with the server and PostgreSQL.

Run: python -m benchmarks.ocpp_herd (about 2 minutes)
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.ocpp_load import Depot, ServerProcess, Station, frame, percentile, run, serving
from benchmarks.ocpp_stations import postgres_with

SIZES = (1_000, 10_000)
ROUNDS = 3
SETTLE_S = 5.0
HEARTBEAT = frame('[2,"beat","Heartbeat",{}]')


async def herd(depot: Depot, server: ServerProcess) -> str:
    size = len(depot.stations)
    numbers, depot.stations = list(depot.stations.values()), {}
    depot.handshakes_s.clear()
    depot.heard.clear()
    tasks: list[asyncio.Task[Station]] = []
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def back(number: int) -> Station:
        station = await depot.open(number)
        station.send(HEARTBEAT)
        return station

    def lost(station: Station) -> None:
        tasks.append(asyncio.create_task(back(station.number)))
        if len(tasks) == size and not gone.done():
            gone.set_result(None)

    for station in numbers:
        station.lost = lost
    cpu, began = server.cpu_s(), time.perf_counter()
    server.cut_all()
    async with asyncio.timeout(180):
        await gone
        all_lost = time.perf_counter() - began
        stations = await asyncio.gather(*tasks)
        shaken = max(station.connected_at for station in stations) - began
        while depot.heard.counts["answers"] < size:
            await asyncio.sleep(0.01)
    answered, used = time.perf_counter() - began, server.cpu_s() - cpu
    latencies = sorted(depot.handshakes_s)
    return (
        f"all gone {all_lost:5.2f} s, all in {shaken:5.2f} s, all answered {answered:5.2f} s;"
        f" {size / shaken:6,.0f} handshakes/s ({size / used:,.0f} per server core);"
        f" p50 {percentile(latencies, 0.5) * 1000:,.0f} ms, p99 {percentile(latencies, 0.99) * 1000:,.0f} ms;"
        f" tries that failed {depot.heard.counts['tried again']}"
    )


async def main() -> None:
    for size in SIZES:
        print(f"{size:,} stations")
        async with postgres_with(size, sessions=False) as (url, _), serving("house", url) as server:
            depot = Depot(server.port)
            await depot.connect(range(size))
            for number in range(ROUNDS):
                await asyncio.sleep(SETTLE_S)
                print(f"  round {number + 1}  {await herd(depot, server)}", flush=True)
            await depot.close()


if __name__ == "__main__":
    run(main)
