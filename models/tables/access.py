"""Tables of who may speak to us, and of which process holds which charger."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from models.tables.columns import TableRow, instant


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
    """An OCPP charge point that may connect."""

    station_id: str = Field(primary_key=True)
    tenant_id: str = Field(index=True)
    password_hash: str
    protocol_pin: str | None = None
    created_at: datetime = instant(default_now=True)


class RouteRow(TableRow, table=True):
    """Which gateway holds a station's socket. `generation` names the connection: an old one's end never
    removes a newer one."""

    station_id: str = Field(primary_key=True)
    tenant_id: str
    queue: str
    generation: str
    protocol_version: str = ""
    seen_at: datetime = instant(default_now=True)
