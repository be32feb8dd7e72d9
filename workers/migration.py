"""`backstop migrate`: database and Temporal, brought to what this version of the code expects."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.exc import OperationalError

from store.migration import migrate
from workers.bootstrap import connect_temporal
from workers.settings import Settings
from workers.stack.temporal_namespace import prepare_namespace

_log = structlog.get_logger(__name__)


async def run_migration(settings: Settings) -> None:
    """Waits for both servers; idempotent."""
    while True:
        try:
            await asyncio.to_thread(migrate, settings.database_url)
            break
        except OperationalError:
            _log.info("database not there yet")
            await asyncio.sleep(1)
    await prepare_namespace(await connect_temporal(settings, "migrate"))
    _log.info("database and search attributes are ready")
