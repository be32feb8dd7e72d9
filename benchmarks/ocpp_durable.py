"""MeterValues answered once they are durable, per second, over bare multi-row INSERTs of the same rows.

Stations charge under attempts of ours (1.6, one MeterValue of four samples a message, the next one 30 s of
station time later, so that every second message is also evidence for its stop). Each message goes into the
journal and is answered after the commit. The bare INSERTs: the same ocpp_event rows, 500 to a statement and
a commit, on one connection, with no gateway, no sockets and no evidence; once as INSERT ... VALUES with
psycopg, once by our own repository (one JSON parameter, which costs a third of that). PostgreSQL is durable
(fsync on) and new for each measurement. Closed loop. Delivery to Temporal is left out.

Run: python -m benchmarks.ocpp_durable (about 5 minutes)
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count as numbers

import psycopg
from psycopg import sql

from benchmarks.ocpp_load import Depot, Figures, closed_loop, frame, run, serving
from benchmarks.ocpp_stations import STARTED_AT, TENANT, count, postgres_with, station_id
from store.database import Store
from store.journal import JournalEvent

SOCKETS = (50, 200, 500)
SECONDS = 3.0
ROUNDS = 3
ROWS = 500
STEP_S = 30
SERVERS = {"free": "backstop"}


def charging(transactions: dict[int, int]) -> Callable[[int], Callable[[], bytes]]:
    """A station that charges with 50 kW."""

    def make(number: int) -> Callable[[], bytes]:
        turns = numbers(1)
        text = json.dumps(
            [
                2,
                "@id",
                "MeterValues",
                {
                    "connectorId": 1,
                    "transactionId": transactions[number],
                    "meterValue": [
                        {
                            "timestamp": "@at",
                            "sampledValue": [
                                {"value": "@wh", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
                                {"value": "50000.0", "measurand": "Power.Active.Import", "unit": "W"},
                                {"value": "124.5", "measurand": "Current.Import", "unit": "A"},
                                {"value": "54", "measurand": "SoC", "unit": "Percent", "location": "EV"},
                            ],
                        }
                    ],
                },
            ],
            separators=(",", ":"),
        )

        def following() -> bytes:
            turn = next(turns)
            at = STARTED_AT + timedelta(seconds=STEP_S * turn)
            filled = text.replace("@id", f"m{turn}").replace("@at", at.isoformat())
            return frame(filled.replace("@wh", str(turn * 417)))

        return following

    return make


async def plain(url: str, transactions: dict[int, int], seconds: float) -> float:
    """Rows per second by INSERT ... VALUES (...), (...): one connection, ROWS to a commit."""
    stations = sorted(transactions)
    row = "(" + ", ".join(["%s"] * 9) + ")"
    text = sql.SQL(
        "INSERT INTO ocpp_event (tenant_id, station_id, transaction_id, connector_number, kind, observed_at,"
        " register_wh, power_kw, offline) VALUES " + ", ".join([row] * ROWS)  # pyright: ignore
    )
    turns, done = numbers(), 0
    async with await psycopg.AsyncConnection.connect(url) as connection:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            values: list[object] = []
            for _ in range(ROWS):
                turn, index = divmod(next(turns), len(stations))
                at = STARTED_AT + timedelta(seconds=STEP_S * turn)
                number = stations[index]
                place = (TENANT, station_id(number), transactions[number], 1)
                values += [*place, "meter", at, 417.0 * turn, 50.0, False]
            await connection.execute(text, values)
            await connection.commit()
            done += ROWS
        return done / (time.perf_counter() - began)


async def bare(url: str, transactions: dict[int, int], seconds: float) -> float:
    """Rows per second by store.journal: one connection, ROWS to a commit."""
    store = Store(url, pool_size=1)
    stations = sorted(transactions)
    turns, done = numbers(), 0
    try:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            rows: list[JournalEvent] = []
            for _ in range(ROWS):
                turn, index = divmod(next(turns), len(stations))
                rows.append(
                    JournalEvent(
                        station_id=station_id(stations[index]),
                        transaction_id=transactions[stations[index]],
                        connector_number=1,
                        kind="meter",
                        observed_at=STARTED_AT + timedelta(seconds=STEP_S * turn),
                        register_wh=417.0 * turn,
                        power_kw=50.0,
                        soc_percent=54.0,
                    )
                )
            async with store.tenant(TENANT) as unit:
                await unit.journal.append(rows)
            done += ROWS
        return done / (time.perf_counter() - began)
    finally:
        await store.dispose()


async def through_the_gateway(
    kind: str, url: str, transactions: dict[int, int], sockets: int
) -> tuple[Figures, float]:
    """And how many rows of evidence each message made."""
    async with serving(kind, url) as server:
        depot = Depot(server.port)
        await depot.connect(range(sockets))
        figures = await closed_loop(depot, server, charging(transactions), SECONDS)
        await depot.close()
    return figures, await count(url, "evidence") / max(1, await count(url, "ocpp_event"))


async def main() -> None:
    for sockets in SOCKETS:
        print(f"{sockets} sockets")
        ratios: dict[str, list[tuple[float, float]]] = {kind: [] for kind in SERVERS}
        for number in range(ROUNDS):
            async with postgres_with(sockets, sessions=True) as (url, transactions):
                values = await plain(url, transactions, SECONDS / 2)
                inserts = await bare(url, transactions, SECONDS / 2)
            print(
                f"  round {number + 1}  INSERT ... VALUES {values:,.0f}/s, by our repository {inserts:,.0f}/s"
            )
            for kind, label in SERVERS.items():
                async with postgres_with(sockets, sessions=True) as (url, transactions):
                    figures, evidence = await through_the_gateway(kind, url, transactions, sockets)
                both = (figures.per_s / values, figures.per_s / inserts)
                ratios[kind].append(both)
                print(
                    f"    {label:18} {figures}  {evidence:.2f} evidence each;"
                    f" ratios {both[0]:.2f}, {both[1]:.2f}",
                    flush=True,
                )
        for kind, label in SERVERS.items():
            first, second = zip(*ratios[kind], strict=True)
            print(
                f"  {label}, durable messages over INSERT ... VALUES: {statistics.median(first):.2f}"
                f" ({min(first):.2f} to {max(first):.2f});"
                f" over our repository: {statistics.median(second):.2f}"
            )


if __name__ == "__main__":
    run(main)
