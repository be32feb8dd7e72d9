"""The store: PostgreSQL, one transaction per unit of work, tenant-scoped twice.

Every query of a TenantUnit filters by tenant; beneath, row-level security under the role `backstop_app`
does so again, so that a forgotten filter finds nothing (docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from models.ids import TenantId
from store.attempts import AttemptRepository
from store.chargers import ChargerRepository, PolicyRepository, VehicleRepository
from store.commands import CommandRepository
from store.evidence import EvidenceRepository
from store.journal import JournalRepository
from store.partners import PartnerRepository, QuarantineRepository
from store.platform import PlatformUnit
from store.scope import TenantScope
from store.sessions import SessionRepository
from store.stations import StationRepository
from store.stops import StopRepository

APP_ROLE = "backstop_app"
PLATFORM_ROLE = "backstop_platform"

# One round trip: both settings are local to the transaction, so that a pooled connection carries neither on.
_ENTER = text("SELECT set_config('role', :role, true), set_config('app.tenant_id', :tenant, true)")


def engine_url(url: str) -> str:
    """The URL with our driver (psycopg 3), whatever flavour of PostgreSQL URL was given."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


class TenantUnit:
    """One transaction in one tenant's scope."""

    def __init__(self, scope: TenantScope) -> None:
        self.connection = scope.connection
        self.tenant_id = scope.tenant_id
        self.stops = StopRepository(scope)
        self.attempts = AttemptRepository(scope)
        self.commands = CommandRepository(scope)
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
    """`schema`: for tests that share a server. `pool_size`: connections held at most."""

    def __init__(self, url: str, *, pool_size: int = 10, schema: str | None = None) -> None:
        self._url = url
        options = f"-csearch_path={schema}" if schema else ""
        self._engine = create_async_engine(
            engine_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,  # a restarted server heals instead of failing the next unit
            pool_timeout=30,
            connect_args={"options": options, "connect_timeout": 5, "prepare_threshold": None},
        )

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncGenerator[TenantUnit, None]:
        async with self._transaction(APP_ROLE, tenant_id) as connection:
            yield TenantUnit(TenantScope(connection, tenant_id))

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[PlatformUnit, None]:
        async with self._transaction(PLATFORM_ROLE, "") as connection:
            yield PlatformUnit(connection)

    @asynccontextmanager
    async def _transaction(self, role: str, tenant: str) -> AsyncGenerator[AsyncConnection, None]:
        async with self._engine.begin() as connection:
            await connection.execute(_ENTER, {"role": role, "tenant": tenant})
            yield connection

    @property
    def url(self) -> str:
        """For those who hold a connection of their own, to LISTEN (store.notices). Holds the password."""
        return make_url(self._url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def ping(self) -> None:
        """Raises what the driver raises when the database is away."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def dispose(self) -> None:
        await self._engine.dispose()
