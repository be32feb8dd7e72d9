"""MeterValues answered once they are durable, per second, over bare multi-row INSERTs of the same rows.

Stations charge under attempts of ours (1.6, one MeterValue of four samples a message, the next one 30 s of
station time later, so that every second message is also evidence for its stop). Each message goes into the
journal and is answered after the commit. The bare INSERTs: the same ocpp_event rows, 500 to a statement and
a commit, on one connection, with no gateway and no sockets: as INSERT ... VALUES with psycopg, with the same
rows of evidence and without any; and the journal's rows by our own repository (one JSON parameter, which
costs a third). PostgreSQL is durable (fsync on) and new for each measurement. Closed loop. Delivery to
Temporal is left out.

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


def _insert(table: str, columns: str, rows: int) -> sql.SQL:
    row = "(" + ", ".join(["%s"] * len(columns.split())) + ")"
    names = ", ".join(columns.split())
    return sql.SQL(f"INSERT INTO {table} ({names}) VALUES " + ", ".join([row] * rows))  # pyright: ignore


async def plain(url: str, transactions: dict[int, int], seconds: float, *, evidence: bool) -> float:
    """Messages per second by INSERT ... VALUES (...), (...): one connection, ROWS to a commit. `evidence`:
    with the rows of evidence, too, that our gateway makes of every second message."""
    stations = sorted(transactions)
    journal = _insert(
        "ocpp_event",
        "tenant_id station_id transaction_id connector_number kind observed_at register_wh power_kw offline",
        ROWS,
    )
    facts = _insert(
        "evidence",
        "tenant_id event_id stop_id attempt_id kind observed_at body",
        ROWS // 2 if evidence else 0,
    )
    turns, done = numbers(), 0
    async with await psycopg.AsyncConnection.connect(url) as connection:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            values: list[object] = []
            told: list[object] = []
            for _ in range(ROWS):
                turn, index = divmod(next(turns), len(stations))
                at = STARTED_AT + timedelta(seconds=STEP_S * turn)
                number = stations[index]
                place = (TENANT, station_id(number), transactions[number], 1)
                values += [*place, "meter", at, 417.0 * turn, 50.0, False]
                if evidence and len(told) < 7 * (ROWS // 2):
                    event_id = f"ocpp:{station_id(number)}:{transactions[number]}:meter:{at.isoformat()}"
                    body = (
                        f'{{"event_id":"{event_id}","source":"ocpp","kind":"meter","observed_at":'
                        f'"{at.isoformat()}","attempt_id":"attempt-{number}","charger_id":"c","session_ref":'
                        f'"{number}","energy_kwh":{0.417 * turn},"power_kw":50.0,"soc_percent":54.0}}'
                    )
                    told += [TENANT, event_id, f"stop-{number}", f"attempt-{number}", "meter", at, body]
            await connection.execute(journal, values)
            if evidence:
                await connection.execute(facts, told)
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
        ratios: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in SERVERS}
        for number in range(ROUNDS):
            async with postgres_with(sockets, sessions=True) as (url, transactions):
                same = await plain(url, transactions, SECONDS / 2, evidence=True)
            async with postgres_with(sockets, sessions=True) as (url, transactions):
                values = await plain(url, transactions, SECONDS / 2, evidence=False)
                inserts = await bare(url, transactions, SECONDS / 2)
            print(
                f"  round {number + 1}  INSERT ... VALUES of the same rows {same:,.0f}/s,"
                f" of the journal's alone {values:,.0f}/s, by our repository {inserts:,.0f}/s"
            )
            for kind, label in SERVERS.items():
                async with postgres_with(sockets, sessions=True) as (url, transactions):
                    figures, evidence = await through_the_gateway(kind, url, transactions, sockets)
                found = (figures.per_s / same, figures.per_s / values, figures.per_s / inserts)
                ratios[kind].append(found)
                print(
                    f"    {label:18} {figures}  {evidence:.2f} evidence each;"
                    f" ratios {found[0]:.2f}, {found[1]:.2f}, {found[2]:.2f}",
                    flush=True,
                )
        for kind, label in SERVERS.items():
            same_rows, journal, ours = (statistics.median(each) for each in zip(*ratios[kind], strict=True))
            print(
                f"  {label}, durable messages over INSERT ... VALUES of the same rows: {same_rows:.2f};"
                f" of the journal's alone {journal:.2f}; over the journal's by our repository {ours:.2f}"
            )


if __name__ == "__main__":
    run(main)
