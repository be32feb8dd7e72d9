"""Many stations of one tenant in PostgreSQL, written in bulk; with a session of our attempt at each."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.ocpp_load import PASSWORD, station_id
from models.charger import Charger, Protocol
from models.ids import TenantId
from models.place import Place
from models.station_passwords import hash_password
from models.stop import Attempt
from models.vehicle import ConnectorStandard
from store.migration import migrate
from workers.stack.postgres import Postgres

TENANT = TenantId("bench")
STARTED_AT = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
_NAME = "'bench-' || lpad(n::text, 5, '0')"  # as ocpp_load.station_id


@asynccontextmanager
async def postgres_with(stations: int, *, sessions: bool) -> AsyncGenerator[tuple[str, dict[int, int]], None]:
    """(URL, open transaction by station number); the server is durable (fsync on)."""
    with tempfile.TemporaryDirectory() as folder:
        async with Postgres(Path(folder)) as postgres:
            migrate(postgres.url)
            async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
                transactions = await _fill(connection, stations, sessions)
            yield postgres.url, transactions


async def _fill(connection: psycopg.AsyncConnection, stations: int, sessions: bool) -> dict[int, int]:
    async def execute(statement: str, **values: object) -> None:
        text = sql.SQL(statement.replace("@name", _NAME))  # pyright: ignore
        await connection.execute(text, {"tenant": TENANT, "last": stations - 1, **values})

    await execute("INSERT INTO tenant (tenant_id) VALUES (%(tenant)s)")
    await execute(
        """INSERT INTO station (station_id, tenant_id, password_hash)
           SELECT @name, %(tenant)s, %(hash)s FROM generate_series(0, %(last)s) AS n""",
        hash=hash_password(PASSWORD),
    )
    charger = Charger(
        charger_id="c",
        site_id="site",
        operator="Op",
        network="Net",
        place=Place(latitude=51.0, longitude=6.0),
        protocol=Protocol.OCPP,
        station_id="s",
        connector_number=1,
        standard=ConnectorStandard.CCS_2,
        power_kw=150,
    )
    await execute(
        """INSERT INTO charger (tenant_id, charger_id, site_id, station_id, evse_uid, connector_number,
               protocol, latitude, longitude, status, start_successes, start_failures, body)
           SELECT %(tenant)s, @name || '-1', 'site', @name, '', 1, 'ocpp', 51, 6, 'unknown', 0, 0,
               CAST(%(body)s AS jsonb) || jsonb_build_object('charger_id', @name || '-1', 'station_id', @name)
           FROM generate_series(0, %(last)s) AS n""",
        body=charger.model_dump_json(),
    )
    if not sessions:
        return {}
    attempt = Attempt(
        attempt_id="a",
        number=1,
        charger_id="c",
        site_id="site",
        operator="Op",
        protocol="ocpp",
        opened_at=STARTED_AT,
    )
    await execute(
        """INSERT INTO attempt (attempt_id, tenant_id, stop_id, number, vehicle_id, charger_id, station_id,
               evse_uid, connector_number, token_uid, remote_start_id, state, live, opened_at,
               window_ends_at, body)
           SELECT 'attempt-' || n, %(tenant)s, 'stop-' || n, 1, 'van-' || n, @name || '-1', @name, '', 1,
               'TAG', n, %(state)s, true, %(at)s, %(at)s,
               CAST(%(body)s AS jsonb) || jsonb_build_object('attempt_id', 'attempt-' || n)
           FROM generate_series(0, %(last)s) AS n""",
        state=str(attempt.state),
        at=STARTED_AT,
        body=attempt.model_dump_json(),
    )
    await execute(
        """INSERT INTO ocpp_transaction (tenant_id, station_id, connector_number, id_tag, attempt_id,
               started_at, meter_start_wh, meter_wh)
           SELECT %(tenant)s, @name, 1, 'TAG', 'attempt-' || n, %(at)s, 0, 0
           FROM generate_series(0, %(last)s) AS n""",
        at=STARTED_AT,
    )
    found = await connection.execute("SELECT station_id, transaction_id FROM ocpp_transaction")
    known = {str(row[0]): int(row[1]) for row in await found.fetchall()}
    return {number: known[station_id(number)] for number in range(stations)}


async def count(url: str, table: str) -> int:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        text = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = await (await connection.execute(text)).fetchone()
        return int(row[0]) if row else 0
