"""Column kinds shared by all tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import declared_attr
from sqlmodel import Field, SQLModel


def utc_now() -> datetime:
    return datetime.now(UTC)


def instant(*, default_now: bool = False, nullable: bool = False, index: bool = False) -> Any:
    """An aware UTC instant (timestamptz)."""
    # The server's clock: repositories write through Core, where a default of the model is not asked.
    if default_now:
        clock = Column(DateTime(timezone=True), nullable=nullable, index=index, server_default=func.now())
        return Field(default_factory=utc_now, sa_column=clock)
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable, index=index))


def document(*, nullable: bool = False) -> Any:
    """A JSON document whose shape is a model's."""
    return Field(default=None, sa_column=Column(JSONB, nullable=nullable))


class TableRow(SQLModel):
    """Base of all tables: the table is called after the class (`StopEventRow` is `stop_event`)."""

    @declared_attr.directive  # pyright: ignore[reportArgumentType]
    def __tablename__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Row")).lower()
