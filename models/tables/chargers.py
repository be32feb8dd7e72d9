"""Tables of chargers, vehicles, policies, OCPP stations and transactions, roaming partners, quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class ChargerRow(TableRow, table=True):
    """One connector (models.charger.Charger in `body`), with what is looked up by."""

    __table_args__ = (
        Index("ix_charger_place", "tenant_id", "latitude", "longitude"),
        Index("ix_charger_station", "tenant_id", "station_id"),
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


class OcppTransactionRow(TableRow, table=True):
    """A transaction as told: `transaction_id` is ours (OCPP 1.6), `transaction_ref` the station's (2.x)."""

    __table_args__ = (
        UniqueConstraint(
            "tenant_id",
            "station_id",
            "connector_number",
            "id_tag",
            "started_at",
            "meter_start_wh",
            "transaction_ref",
            name="uq_ocpp_transaction_start",
            postgresql_nulls_not_distinct=True,
        ),
        Index("uq_ocpp_transaction_ref", "tenant_id", "station_id", "transaction_ref", unique=True),
    )
    transaction_id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True, start=1000), primary_key=True)
    )
    tenant_id: str
    station_id: str
    connector_number: int
    id_tag: str
    transaction_ref: str | None = None
    attempt_id: str | None = None
    started_at: datetime = instant()
    ended_at: datetime | None = instant(nullable=True)
    meter_start_wh: float = 0.0
    meter_wh: float = 0.0
    meter_at: datetime | None = instant(nullable=True)
    reason: str | None = None


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
