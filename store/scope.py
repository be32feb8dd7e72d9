"""The scope of a unit of work: one connection, one transaction, one tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from models.ids import TenantId


@dataclass(frozen=True)
class TenantScope:
    """Every repository gets one; every query filters by its tenant, and row-level security does so again."""

    connection: AsyncConnection
    tenant_id: TenantId


def table_of(row: type[SQLModel]) -> Table:
    """The Core table of a row class."""
    return cast(Table, cast(Any, row).__table__)
