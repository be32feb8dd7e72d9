"""Tables of chargers, vehicles, policies, roaming partners, quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary
from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class ChargerRow(TableRow, table=True):
    """One connector (models.charger.Charger in `body`), with what is looked up by."""

    __table_args__ = (
        Index("ix_charger_place", "tenant_id", "latitude", "longitude"),
        Index("ix_charger_station", "tenant_id", "station_id"),
        Index("ix_charger_site", "tenant_id", "site_id"),
    )
    tenant_id: str = Field(primary_key=True)
    charger_id: str = Field(primary_key=True)
    site_id: str
    station_id: str
    evse_uid: str
    connector_number: int
    protocol: str
    latitude: float
    longitude: float
    status: str
    status_at: datetime | None = instant(nullable=True)
    start_successes: int = 0
    start_failures: int = 0
    state_since: datetime | None = instant(nullable=True)
    changes_last_hour: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    fault_code: str = Field(default="", sa_column_kwargs={"server_default": ""})
    body: dict[str, Any] = document()


class VehicleModelRow(TableRow, table=True):
    tenant_id: str = Field(primary_key=True)
    model_id: str = Field(primary_key=True)
    body: dict[str, Any] = document()


class PolicyRow(TableRow, table=True):
    """A policy's revision; never changed, only followed by another."""

    tenant_id: str = Field(primary_key=True)
    policy_id: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    version: str
    created_at: datetime = instant(default_now=True)
    body: dict[str, Any] = document()


class PartnerConnectionRow(TableRow, table=True):
    """A roaming partner. `token_ours_hash` is the SHA-256 of the token that the partner presents to us."""

    tenant_id: str = Field(primary_key=True)
    partner_id: str = Field(primary_key=True)
    token_ours_hash: str = Field(unique=True)
    body: dict[str, Any] = document()


class PartnerObjectRow(TableRow, table=True):
    """A partner's object as received: locations, sessions, charge records, tokens, tariffs."""

    tenant_id: str = Field(primary_key=True)
    partner_id: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    object_id: str = Field(primary_key=True)
    last_updated: datetime | None = instant(nullable=True)
    received_at: datetime = instant(default_now=True)
    body: dict[str, Any] = document()


class QuarantineRow(TableRow, table=True):
    """What could not be read: raw, with source and reason."""

    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str = Field(index=True)
    source: str
    reason: str
    detail: str = ""
    fingerprint: str
    received_at: datetime = instant(default_now=True)
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
