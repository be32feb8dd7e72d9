"""Nothing crosses tenants: raw SQL under the application's role, on every table that the migrations make."""

from __future__ import annotations

import uuid
from typing import Any, LiteralString, cast

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from models.activity_messages import SessionGoal
from models.charging_limit import ChargingLimit, LimitPeriod, LimitPurpose, LimitReply, LimitState
from models.ids import TenantId
from models.policy import Policy
from models.station import StationEvent, StationEventKind
from models.vehicle import ConnectorStandard, VehicleModel
from store.database import Store
from store.journal import JournalEvent
from store.partners import PartnerConnection
from store.stations import VendorField
from tests.store.conftest import Raw
from tests.store.store_samples import (
    NOW,
    attempt,
    charger,
    command,
    decision,
    evidence,
    intent,
    record,
    view,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Written out: a new table must be put here, and so be thought about (test_every_table_is_listed).
TABLES = (
    "api_key", "attempt", "charger", "charging_limit", "command", "decision", "evidence", "ocpp_event",
    "ocpp_transaction", "outbox", "partner_connection", "partner_object", "policy", "quarantine", "route",
    "session_progress", "station", "station_certificate", "station_event", "stop", "stop_event", "tenant",
    "vehicle_model", "vendor_field",
)  # fmt: skip
APPEND_ONLY = {"ocpp_event", "station_event", "stop_event"}
PLATFORM_TABLES = {
    "api_key", "attempt", "evidence", "partner_connection", "route", "session_progress", "station", "stop",
    "tenant",
}  # fmt: skip


async def fill(store: Store, tenant: TenantId) -> None:
    """At least one row of the tenant in every table, written the way the application does."""
    mark = uuid.uuid4().hex[:12]
    async with store.platform() as platform:
        await platform.ensure_tenant(tenant)
        await platform.add_api_key(tenant, "key", f"hash-{mark}", frozenset({"stops:read"}))
        await platform.add_station(tenant, f"st-{mark}", "hash")
        await platform.claim_routes([(tenant, f"st-{mark}", "queue", "g1", "ocpp1.6")])
    async with store.tenant(tenant) as unit:
        stop = view(tenant)
        await unit.stops.record(record(stop, 1, decisions=(decision(stop),)))
        await unit.attempts.open(intent(attempt(stop.stop_id), stop.stop_id))
        await unit.commands.begin(command(tenant, f"command-{mark}"))
        await unit.evidence.append([(stop.stop_id, evidence(f"event-{mark}"))])
        goal = {"target_kwh": 20.0, "target_soc_percent": 80.0, "stall_s": 600.0}
        named = {"tenant_id": tenant, "stop_id": stop.stop_id, "attempt_id": attempt(stop.stop_id).attempt_id}
        await unit.progress.follow(SessionGoal.model_validate({**goal, **named}))
        await unit.chargers.upsert([charger()])
        model = VehicleModel(
            model_id="m1", name="Van", battery_usable_kwh=60, connectors=(ConnectorStandard.CCS_2,)
        )
        await unit.vehicles.upsert_models([model])
        await unit.policies.put(Policy())
        await unit.sessions.open_transaction(f"st-{mark}", 1, "FLEET017", NOW, 0, None)
        await unit.partners.save(
            PartnerConnection(tenant_id=tenant, partner_id="NL-ABC", token_ours_hash=f"token-{mark}")
        )
        await unit.partners.put_object("NL-ABC", "session", "s1", {"id": "s1"}, NOW)
        await unit.quarantine.keep("ocpp", "not_json", b"{", "")
        await unit.journal.append([JournalEvent(f"st-{mark}", None, 1, "meter", NOW, register_wh=1.0)])
        await unit.stations.note(
            [(f"st-{mark}", StationEvent(kind=StationEventKind.BOOT, observed_at=NOW, body={"a": 1}))]
        )
        await unit.stations.add_certificate(f"st-{mark}", f"serial-{mark}", "print", NOW)
        limit = ChargingLimit(
            limit_id=mark,
            tenant_id=tenant,
            station_id=f"st-{mark}",
            connector_number=1,
            purpose=LimitPurpose.DEFAULT,
            periods=(LimitPeriod(limit_kw=11),),
        )
        await unit.stations.put_limit(limit, LimitReply(limit_id=mark, state=LimitState.APPLIED))
        await unit.stations.count_fields(
            [VendorField(model="V M", action="Heartbeat", field="x", messages=2)]
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two_tenants(store: Store) -> tuple[TenantId, TenantId]:
    ours, theirs = (TenantId(f"{name}-{uuid.uuid4().hex[:8]}") for name in ("ours", "theirs"))
    await fill(store, ours)
    await fill(store, theirs)
    return ours, theirs


def statement(text: LiteralString, table: str) -> sql.Composed:
    return sql.SQL(text).format(table=sql.Identifier(table))


def enter(connection: psycopg.Connection[Any], role: str, tenant: str | None = None) -> None:
    connection.execute("SELECT set_config('role', %s, true)", [role])
    if tenant is not None:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [tenant])


def number_of(connection: psycopg.Connection[Any], text: LiteralString, table: str, *values: str) -> int:
    row = connection.execute(statement(text, table), values).fetchone()
    assert row is not None
    return cast(int, row[0])


COUNT: LiteralString = "SELECT count(*) FROM {table}"
COUNT_OF: LiteralString = "SELECT count(*) FROM {table} WHERE tenant_id = %s"


async def test_every_table_is_listed_and_locked(raw: Raw, two_tenants: tuple[TenantId, TenantId]) -> None:
    with raw() as connection:
        found = connection.execute(
            """SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
            AND relname <> 'backstop_migration' ORDER BY relname"""
        ).fetchall()
        roles = connection.execute(
            """SELECT rolname FROM pg_roles WHERE rolname IN ('backstop_app', 'backstop_platform')
            AND NOT rolbypassrls AND NOT rolsuper ORDER BY rolname"""
        ).fetchall()
    assert found == [(table, True) for table in TABLES]
    assert roles == [("backstop_app",), ("backstop_platform",)]


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_reads_only_its_own_rows(
    raw: Raw, two_tenants: tuple[TenantId, TenantId], table: str
) -> None:
    ours, theirs = two_tenants
    with raw() as connection:
        there = {name: number_of(connection, COUNT_OF, table, name) for name in two_tenants}
        assert min(there.values()) >= 1  # without rows of both, the rest would prove nothing
        enter(connection, "backstop_app", ours)
        assert number_of(connection, COUNT, table) == there[ours]
        assert number_of(connection, COUNT_OF, table, theirs) == 0


async def test_it_is_the_policy_that_hides_them(raw: Raw, two_tenants: tuple[TenantId, TenantId]) -> None:
    """Negative control: with the lock off, the same reading finds the other tenant's rows."""
    ours, theirs = two_tenants
    with raw() as connection:
        connection.execute("ALTER TABLE stop DISABLE ROW LEVEL SECURITY")
        enter(connection, "backstop_app", ours)
        assert number_of(connection, COUNT_OF, "stop", theirs) >= 1
        connection.rollback()


@pytest.mark.parametrize("tenant", [None, ""], ids=["unset", "empty"])
@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_nothing_is_seen(
    raw: Raw, two_tenants: tuple[TenantId, TenantId], table: str, tenant: str | None
) -> None:
    with raw() as connection:
        enter(connection, "backstop_app", tenant)
        assert number_of(connection, COUNT, table) == 0


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_changes_no_row_of_another(
    raw: Raw, two_tenants: tuple[TenantId, TenantId], table: str
) -> None:
    ours, theirs = two_tenants
    with raw() as connection:
        enter(connection, "backstop_app", ours)
        for text in (
            "UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = %s",
            "DELETE FROM {table} WHERE tenant_id = %s",
        ):
            try:
                with connection.transaction():
                    assert connection.execute(statement(text, table), [theirs]).rowcount == 0
            except psycopg.errors.InsufficientPrivilege:
                assert table in APPEND_ONLY  # for everybody
        connection.rollback()


@pytest.mark.parametrize("table", sorted(set(TABLES) - APPEND_ONLY))
async def test_a_row_cannot_be_given_to_another_tenant(
    raw: Raw, two_tenants: tuple[TenantId, TenantId], table: str
) -> None:
    ours, theirs = two_tenants
    with raw() as connection:
        enter(connection, "backstop_app", ours)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(statement("UPDATE {table} SET tenant_id = %s", table), [theirs])
        connection.rollback()


async def test_the_log_is_append_only(raw: Raw, two_tenants: tuple[TenantId, TenantId]) -> None:
    for text in (
        "UPDATE stop_event SET type = 'x'",
        "DELETE FROM stop_event",
        "UPDATE ocpp_event SET kind = 'x'",
        "DELETE FROM ocpp_event",
        "UPDATE station_event SET kind = 'x'",
        "DELETE FROM station_event",
    ):
        with raw() as connection:
            enter(connection, "backstop_app", two_tenants[0])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(text))
            connection.rollback()


async def test_an_event_cannot_be_written_for_another_tenant(
    raw: Raw, two_tenants: tuple[TenantId, TenantId]
) -> None:
    with raw() as connection:
        enter(connection, "backstop_app", two_tenants[0])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(
                "INSERT INTO stop_event (tenant_id, stop_id, seq, type, at, body) "
                "VALUES (%s, 's', 99, 'x', now(), '{}')",
                [two_tenants[1]],
            )
        connection.rollback()


@pytest.mark.parametrize("table", TABLES)
async def test_the_platform_role_reads_its_few_tables_only(
    raw: Raw, two_tenants: tuple[TenantId, TenantId], table: str
) -> None:
    with raw() as connection:
        there = number_of(connection, COUNT, table)
        enter(connection, "backstop_platform")
        if table in PLATFORM_TABLES:
            assert number_of(connection, COUNT, table) == there
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                number_of(connection, COUNT, table)
            connection.rollback()


async def test_repositories_give_another_tenants_stop_to_nobody(
    store: Store, two_tenants: tuple[TenantId, TenantId]
) -> None:
    ours, theirs = two_tenants
    async with store.tenant(theirs) as unit:
        stop = (await unit.stops.list(limit=1))[0]
    async with store.tenant(ours) as unit:
        assert await unit.stops.get(stop.stop_id) is None
        assert await unit.stops.timeline(stop.stop_id) == []
        assert await unit.stops.request_of(stop.stop_id) is None
        assert await unit.attempts.find(attempt(stop.stop_id).attempt_id) is None
        assert {seen.tenant_id for seen in await unit.stops.list(limit=100)} == {ours}


async def test_a_pooled_connection_carries_neither_role_nor_tenant_on(
    database_url: str, schema: str, two_tenants: tuple[TenantId, TenantId]
) -> None:
    single = Store(database_url, schema=schema, pool_size=1)
    try:
        async with single.tenant(two_tenants[0]) as unit:
            assert len(await unit.stops.list(limit=100)) == 1
        async with single.platform() as platform:
            assert await platform.find_route("no-such-station") is None
        async with single.tenant(two_tenants[1]) as unit:
            assert {seen.tenant_id for seen in await unit.stops.list(limit=100)} == {two_tenants[1]}
    finally:
        await single.dispose()
