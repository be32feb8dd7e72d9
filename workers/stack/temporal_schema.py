"""Temporal's own tables in PostgreSQL, made and updated with the server's own tool."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from workers.stack.temporal_config import PostgresDatabases
from workers.stack.temporal_source import StockBuild

_VERSIONED = "postgresql/v12"


class SchemaFailed(RuntimeError):
    """Temporal's tables could not be made; the text ends with its tool's output."""


async def create_databases(build: StockBuild, databases: PostgresDatabases) -> None:
    """Make Temporal's two databases, or bring them to this server's version. Idempotent. Raises SchemaFailed.

    The visibility tables want the extension btree_gin, which the embedded PostgreSQL does not carry. There
    the same tables get indexes without the namespace column: same answers, slower with many namespaces."""
    await _prepare(build, databases, databases.default, ["--schema-name", f"{_VERSIONED}/temporal"])
    if await asyncio.to_thread(_has_btree_gin, databases):
        await _prepare(build, databases, databases.visibility, ["--schema-name", f"{_VERSIONED}/visibility"])
        return
    with tempfile.TemporaryDirectory(prefix="backstop-schema-") as folder:
        plain = await asyncio.to_thread(_without_btree_gin, build.schema / "visibility", Path(folder))
        await _prepare(build, databases, databases.visibility, ["--schema-dir", str(plain)])


async def _prepare(
    build: StockBuild, databases: PostgresDatabases, database: str, versions: list[str]
) -> None:
    await _sql_tool(build, databases, database, "create")
    # Makes the version table; on a database that has one it changes nothing.
    await _sql_tool(build, databases, database, "setup-schema", "-v", "0.0")
    await _sql_tool(build, databases, database, "update-schema", *versions)


def _has_btree_gin(databases: PostgresDatabases) -> bool:
    with psycopg.connect(
        host=databases.host,
        port=databases.port,
        user=databases.user,
        password=databases.password,
        dbname="postgres",
    ) as connection:
        found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'btree_gin'")
        return found.fetchone() is not None


def _without_btree_gin(schema: Path, folder: Path) -> Path:
    """A copy of the versioned schema whose indexes need core PostgreSQL only."""
    copy = folder / "versioned"
    shutil.copytree(schema / "versioned", copy)
    for file in copy.rglob("*.sql"):
        text = file.read_text().replace("CREATE EXTENSION btree_gin;", "NULL;")
        file.write_text(re.sub(r"USING GIN \(namespace_id, ", "USING GIN (", text))
    return copy


async def _sql_tool(build: StockBuild, databases: PostgresDatabases, database: str, *command: str) -> None:
    tool = await asyncio.create_subprocess_exec(
        str(build.sql),
        *("--plugin", "postgres12", "--endpoint", databases.host, "--port", str(databases.port)),
        *("--user", databases.user, "--database", database),
        *command,
        # Not an argument: every user of the machine can read those.
        env={"SQL_PASSWORD": databases.password},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await tool.communicate()
    if tool.returncode != 0:
        raise SchemaFailed(f"{command[0]} of {database}: {output.decode(errors='replace')[-800:]}")
