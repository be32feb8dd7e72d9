"""PostgreSQL's NOTIFY between our processes: what is worth telling and not worth keeping."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import psycopg
from psycopg import sql


async def listen(url: str, channels: Sequence[str]) -> AsyncGenerator[tuple[str, str], None]:
    """(channel, text) as they come. Raises psycopg.OperationalError when the server goes away."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        for channel in channels:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        async for notice in connection.notifies():
            yield notice.channel, notice.payload
