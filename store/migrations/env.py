"""Alembic's environment. The connection comes from store.migration: there is no ini file."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import models.tables

assert models.tables.__all__  # imported for its effect: it registers every table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
    compare_type=True,
    version_table="backstop_migration",
)
with context.begin_transaction():
    context.run_migrations()
