"""Alembic migrations; run through store.migration.migrate."""
