"""Tenants with stops that hear, and relays of our own: each test delivers by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from temporalio.client import Client

from store.database import Store
from tests.relay.town import Town, Trouble, troubled
from workers.evidence_relay import EvidenceRelay

NewTown = Callable[[], Town]


@pytest.fixture
def database(database_url: str, schema: str) -> Callable[[], psycopg.Connection[Any]]:
    return lambda: psycopg.connect(database_url, options=f"-csearch_path={schema}")


@pytest.fixture(autouse=True)
def nothing_waits(store: Store, database: Callable[[], psycopg.Connection[Any]]) -> None:
    """Other tests of this run may have left evidence behind."""
    with database() as connection:
        connection.execute("UPDATE evidence SET delivered_at = now() WHERE delivered_at IS NULL")
        connection.execute("UPDATE session_progress SET ended = true")


@pytest.fixture
def new_town(
    store: Store, temporal_client: Client, database: Callable[[], psycopg.Connection[Any]]
) -> NewTown:
    return lambda: Town(store, temporal_client, database)


@pytest.fixture
def town(new_town: NewTown) -> Town:
    return new_town()


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def relay(store: Store, temporal_client: Client, trouble: Trouble) -> EvidenceRelay:
    return EvidenceRelay(store, troubled(temporal_client, trouble))
