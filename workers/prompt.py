"""For commands that a person types: a server that is away is said in one line, soon, not in a traceback."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer
from sqlalchemy.exc import OperationalError
from temporalio.client import Client

from workers.bootstrap import connect_temporal
from workers.settings import Settings

_PATIENCE_S = 8.0


class TemporalAway(Exception):
    """Carries the address that does not answer."""


async def reach_temporal(settings: Settings, service: str) -> Client:
    """As `connect_temporal`, for somebody who waits at a prompt. Raises TemporalAway."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await connect_temporal(settings, service)
    except TimeoutError:
        raise TemporalAway(settings.temporal_address) from None


def leave(code: int = 0) -> NoReturn:
    """Ends the process without taking the interpreter down. One of the SDK's threads may still release the
    interpreter's lock then, which aborts the process (seen: SIGABRT after a clean drain, and 134 in place of
    a command's own exit code)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def at_the_prompt() -> Generator[None]:
    """Ends the command with 1 and one line where PostgreSQL or Temporal cannot be reached."""
    try:
        yield
    except OperationalError as error:
        typer.echo(f"PostgreSQL cannot be used (BACKSTOP_DATABASE_URL): {str(error.orig).strip()}", err=True)
    except TemporalAway as error:
        typer.echo(f"Temporal does not answer at {error} (BACKSTOP_TEMPORAL_ADDRESS)", err=True)
    else:
        return
    leave(1)
