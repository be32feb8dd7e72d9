"""The store: PostgreSQL, one transaction per unit of work, tenant-scoped twice.

Every query of a TenantUnit filters by tenant; beneath, row-level security under the role `backstop_app`
does so again, so that a forgotten filter finds nothing (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import structlog
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from models.ids import TenantId
from store.attempts import AttemptRepository
from store.chargers import ChargerRepository, PolicyRepository, VehicleRepository
from store.commands import CommandRepository
from store.evidence import EvidenceRepository
from store.journal import JournalRepository
from store.json_text import SafeTextDumper, json_text, safe_text
from store.partners import PartnerRepository, QuarantineRepository
from store.platform import PlatformUnit
from store.progress import ProgressRepository
from store.scope import TenantScope
from store.sessions import SessionRepository
from store.stations import StationRepository
from store.stops import StopRepository

APP_ROLE = "backstop_app"
PLATFORM_ROLE = "backstop_platform"

# Whoever waits for a lock gives up before the activity that waits for him (10 s), and is tried again; whoever
# holds one and says nothing (a frozen process, a host that vanished) is thrown out by the server.
_LOCK_S, _STATEMENT_S, _IDLE_S = 3.0, 6.0, 8.0

_USED = "backstop_used"
_log = structlog.get_logger(__name__)


def engine_url(url: str) -> str:
    """The URL with our driver (psycopg 3), whatever flavour of PostgreSQL URL was given."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _make_text_safe(connection: Any, record: object) -> None:
    del record
    connection.driver_connection.adapters.register_dumper(str, SafeTextDumper)


class TenantUnit:
    """One transaction in one tenant's scope."""

    def __init__(self, scope: TenantScope) -> None:
        self.connection = scope.connection
        self.tenant_id = scope.tenant_id
        self.stops = StopRepository(scope)
        self.attempts = AttemptRepository(scope)
        self.commands = CommandRepository(scope)
        self.progress = ProgressRepository(scope)
        self.evidence = EvidenceRepository(scope)
        self.chargers = ChargerRepository(scope)
        self.vehicles = VehicleRepository(scope)
        self.policies = PolicyRepository(scope)
        self.sessions = SessionRepository(scope)
        self.journal = JournalRepository(scope)
        self.stations = StationRepository(scope)
        self.partners = PartnerRepository(scope)
        self.quarantine = QuarantineRepository(scope)


class Store:
    """`schema`: for tests that share a server. `pool_size`: connections held at most. `wait_s`: for a
    connection, from the pool or the server; nothing here waits much longer for a server that is away.
    `prepare`: statements are prepared on the server after a few uses; off behind a pooler that cannot keep
    them (PgBouncer before 1.21, or without max_prepared_statements). `statement_s`: a statement takes at most
    so long; more for imports of whole files."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        schema: str | None = None,
        wait_s: float = 5.0,
        prepare: bool = True,
        statement_s: float = _STATEMENT_S,
    ) -> None:
        self._url = url
        self._wait_s = wait_s
        self._limits = "; ".join(
            f"SET LOCAL {name} = {round(seconds * 1000)}"
            for name, seconds in (
                ("lock_timeout", _LOCK_S),
                ("statement_timeout", statement_s),
                ("idle_in_transaction_session_timeout", _IDLE_S),
            )
        )
        # One tenant has half the connections at most: while its transactions wait, others go on.
        self._share = max(1, pool_size // 2)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        options = f"-csearch_path={schema}" if schema else ""
        self._engine = create_async_engine(
            engine_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=wait_s,
            json_serializer=json_text,
            connect_args={
                "options": options,
                "connect_timeout": max(2, round(wait_s)),
                "prepare_threshold": 5 if prepare else None,
                # We begin transactions ourselves, together with their scope; commit and rollback end them.
                "autocommit": True,
                # A server that vanished (no FIN, no RST) is noticed by TCP, not by whoever waits longest.
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
            },
        )
        event.listen(self._engine.sync_engine, "connect", _make_text_safe)

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncGenerator[TenantUnit, None]:
        async with (
            self._share_of(tenant_id),
            self._transaction(APP_ROLE, tenant_id) as connection,
        ):
            yield TenantUnit(TenantScope(connection, tenant_id))

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[PlatformUnit, None]:
        async with self._transaction(PLATFORM_ROLE, "") as connection:
            yield PlatformUnit(connection)

    @asynccontextmanager
    async def _share_of(self, tenant_id: TenantId) -> AsyncGenerator[None]:
        """Raises sqlalchemy.exc.TimeoutError, as the pool does where all its connections are in use."""
        # Kept here while it is used or waited for; then nobody holds it, and it is gone from the dictionary.
        share = self._shares.setdefault(tenant_id, asyncio.Semaphore(self._share))
        try:
            async with asyncio.timeout(self._wait_s):
                await share.acquire()
        except TimeoutError as error:
            raise PoolTimeout("all of the tenant's connections are in use") from error
        try:
            yield
        finally:
            share.release()

    @asynccontextmanager
    async def _transaction(self, role: str, tenant: str) -> AsyncGenerator[AsyncConnection, None]:
        connection = await self._entered(role, tenant)
        try:
            yield connection
            await connection.commit()
        finally:
            # Back into the pool, which rolls back what was not committed; also for a task that is cancelled.
            await asyncio.shield(asyncio.create_task(connection.close()))

    async def _entered(self, role: str, tenant: str) -> AsyncConnection:
        """A connection within a new transaction in this scope: one round trip. All settings are local to the
        transaction, so that a pooled connection carries none on.

        A pooled connection may have died with its server. Nothing has been done on it yet, so the next one is
        asked: that costs nothing while all is well, where a ping would cost a round trip each time."""
        enter = (
            f"BEGIN; {self._limits}; SELECT set_config('role', {sql.quote(role)}, true), "
            f"set_config('app.tenant_id', {sql.quote(safe_text(tenant))}, true)"
        )
        while True:
            connection = await self._engine.connect()
            pooled = _USED in connection.info
            try:
                await connection.exec_driver_sql(enter, execution_options={"no_parameters": True})
                connection.info[_USED] = True
                return connection
            except BaseException as error:
                await asyncio.shield(asyncio.create_task(connection.close()))
                dead = isinstance(error, DBAPIError) and error.connection_invalidated
                if not (pooled and dead):
                    raise
                _log.info("a pooled connection was dead")

    @property
    def url(self) -> str:
        """For those who hold a connection of their own, to LISTEN (store.notices). Holds the password."""
        return make_url(self._url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def ping(self) -> None:
        """Raises what the driver raises when the database is away."""
        async with self.platform():
            pass

    async def dispose(self) -> None:
        await self._engine.dispose()
