"""Tables of who may speak to us, and of which process holds which charger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class TenantRow(TableRow, table=True):
    tenant_id: str = Field(primary_key=True)
    created_at: datetime = instant(default_now=True)


class ApiKeyRow(TableRow, table=True):
    """Only the SHA-256 of a key is kept."""

    key_hash: str = Field(primary_key=True)
    tenant_id: str = Field(index=True)
    name: str
    scopes: str
    created_at: datetime = instant(default_now=True)


class StationRow(TableRow, table=True):
    """An OCPP charge point that may connect. `next_password_hash`: told to the station, its yes is
    not heard yet; either password opens until then. `body`: models.station.StationRecord's further fields."""

    station_id: str = Field(primary_key=True)
    tenant_id: str = Field(index=True)
    password_hash: str
    next_password_hash: str | None = None
    protocol_pin: str | None = None
    security_profile: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    admission: str = Field(default="accepted", sa_column_kwargs={"server_default": "accepted"})
    booted_at: datetime | None = instant(nullable=True)
    created_at: datetime = instant(default_now=True)
    body: dict[str, Any] | None = document(nullable=True)


class RouteRow(TableRow, table=True):
    """Which gateway holds a station's socket. `generation` names the connection: an old one's end never
    removes a newer one."""

    station_id: str = Field(primary_key=True)
    tenant_id: str
    queue: str
    generation: str
    protocol_version: str = ""
    seen_at: datetime = instant(default_now=True)
