"""Brings a database to this version of the code. Safe to run from several processes at once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from store.database import engine_url

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 704_117_003  # one migration at a time per database, whoever starts it


@contextmanager
def _connected(url: str, schema: str | None) -> Generator[tuple[Config, Connection], None, None]:
    options = f"-csearch_path={schema}" if schema else ""
    engine = create_engine(engine_url(url), connect_args={"options": options})
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            if schema:
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
            connection.commit()
            try:
                config = Config()
                config.set_main_option("script_location", str(_SCRIPTS))
                config.attributes["connection"] = connection
                yield config, connection
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
                connection.commit()
    finally:
        engine.dispose()


def migrate(url: str, schema: str | None = None) -> None:
    """Upgrade to head. `url`: a role that may create tables and roles. `schema`: made where missing."""
    with _connected(url, schema) as (config, _):
        command.upgrade(config, "head")


def downgrade(url: str, schema: str | None = None, revision: str = "base") -> None:
    """Step back; for tests and emergencies."""
    with _connected(url, schema) as (config, _):
        command.downgrade(config, revision)


def autogenerate(url: str, message: str, schema: str | None = None) -> None:
    """Draft a migration from the difference between tables and database. Read what it writes."""
    with _connected(url, schema) as (config, _):
        command.revision(config, message=message, autogenerate=True)
