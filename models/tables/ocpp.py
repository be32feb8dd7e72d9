"""Tables of what OCPP charge points tell: transactions, their journal, and a station's own log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, UniqueConstraint
from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class OcppTransactionRow(TableRow, table=True):
    """A transaction as told: `transaction_id` is ours (OCPP 1.6), `transaction_ref` the station's (2.x).
    `energy_wh` is known at the end, from the journal; `findings` are the checks it did not pass, by name."""

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
    energy_wh: float | None = None
    findings: str = Field(default="", sa_column_kwargs={"server_default": ""})


class OcppEventRow(TableRow, table=True):
    """The journal of transactions, append only: each message, each sample, in the order in which it came.
    What a transaction is worth is folded from it by event time. `transaction_id` None: matched to none."""

    __table_args__ = (Index("ix_ocpp_event_transaction", "transaction_id"),)
    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str
    station_id: str
    transaction_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    connector_number: int
    kind: str
    sequence: int | None = None
    observed_at: datetime = instant()
    received_at: datetime = instant(default_now=True)
    offline: bool = False
    register_wh: float | None = None
    power_kw: float | None = None
    soc_percent: float | None = None
    body: dict[str, Any] | None = document(nullable=True)


class StationEventRow(TableRow, table=True):
    """A station's log, append only: boots, faults, security events, firmware, commands and who sent them."""

    __table_args__ = (Index("ix_station_event_station", "tenant_id", "station_id", "position"),)
    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str
    station_id: str
    kind: str
    observed_at: datetime = instant()
    received_at: datetime = instant(default_now=True)
    body: dict[str, Any] = document()


class StationCertificateRow(TableRow, table=True):
    """A certificate that we signed for a station."""

    serial_hex: str = Field(primary_key=True)
    tenant_id: str
    station_id: str = Field(index=True)
    fingerprint_sha256: str
    issued_at: datetime = instant(default_now=True)
    not_after: datetime = instant()


class ChargingLimitRow(TableRow, table=True):
    """The newest limit of each (station, connector, purpose), and how far it got (models.charging_limit)."""

    tenant_id: str = Field(primary_key=True)
    station_id: str = Field(primary_key=True)
    connector_number: int = Field(primary_key=True)
    purpose: str = Field(primary_key=True)
    limit_id: str
    state: str
    changed_at: datetime = instant(default_now=True)
    body: dict[str, Any] = document()


class VendorFieldRow(TableRow, table=True):
    """Fields that a model sends and the specification does not know: inconsistent firmware made visible."""

    tenant_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    action: str = Field(primary_key=True)
    field: str = Field(primary_key=True)
    messages: int = Field(sa_column=Column(BigInteger, nullable=False))
    example: str = Field(default="", sa_column_kwargs={"server_default": ""})
    seen_at: datetime = instant(default_now=True)
