"""PostgreSQL's word on what can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest


@pytest.fixture(scope="module")
def jsonb(database_url: str) -> Iterator[Callable[[str], Any]]:
    """The text as PostgreSQL keeps and gives it back."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def keep(text: str) -> Any:
            row = connection.execute("SELECT CAST(%s AS jsonb)", [text]).fetchone()
            assert row is not None
            return row[0]

        yield keep
