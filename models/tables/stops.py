"""Tables of stops: read model, event log, attempts, decisions, command ledger, evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, UniqueConstraint, text
from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class StopRow(TableRow, table=True):
    """One stop as it stands (`view`), with the columns that lists and look-ups need."""

    __table_args__ = (
        UniqueConstraint("tenant_id", "business_key", name="uq_stop_business_key"),
        Index("ix_stop_list", "tenant_id", "created_at", "stop_id"),
        Index("ix_stop_live_vehicle", "tenant_id", "vehicle_id", postgresql_where=text("outcome IS NULL")),
        Index("ix_stop_live_charger", "tenant_id", "charger_id", postgresql_where=text("outcome IS NULL")),
    )
    stop_id: str = Field(primary_key=True)
    tenant_id: str
    business_key: str
    workflow_id: str
    vehicle_id: str
    telematics_id: str | None = None
    phase: str
    outcome: str | None = None
    reason: str | None = None
    charger_id: str | None = None
    fingerprint: str
    version: int
    created_at: datetime = instant()
    updated_at: datetime = instant()
    view: dict[str, Any] = document()
    request: dict[str, Any] | None = document(nullable=True)


class StopEventRow(TableRow, table=True):
    """The event log: append only. `position` orders the tenant's feed."""

    __table_args__ = (UniqueConstraint("stop_id", "seq", name="uq_stop_event_seq"),)
    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str = Field(index=True)
    stop_id: str
    seq: int
    type: str
    at: datetime = instant()
    body: dict[str, Any] = document()


class OutboxRow(TableRow, table=True):
    """What others must be told; written in the transaction that made it true."""

    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str = Field(index=True)
    topic: str
    payload: dict[str, Any] = document()
    created_at: datetime = instant(default_now=True)
    published_at: datetime | None = instant(nullable=True)


class AttemptRow(TableRow, table=True):
    """An attempt's intent, written before anything is sent. `live` holds vehicle and connector."""

    __table_args__ = (
        Index(
            "uq_attempt_live_vehicle", "tenant_id", "vehicle_id", unique=True, postgresql_where=text("live")
        ),
        Index(
            "uq_attempt_live_charger", "tenant_id", "charger_id", unique=True, postgresql_where=text("live")
        ),
        Index("ix_attempt_start", "tenant_id", "station_id", "token_uid"),
        Index("ix_attempt_remote_start", "tenant_id", "station_id", "remote_start_id"),
    )
    attempt_id: str = Field(primary_key=True)
    tenant_id: str
    stop_id: str = Field(index=True)
    number: int
    vehicle_id: str
    charger_id: str
    station_id: str
    evse_uid: str
    connector_number: int
    token_uid: str
    remote_start_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    session_ref: str | None = None
    state: str
    reason: str | None = None
    live: bool = True
    opened_at: datetime = instant()
    window_ends_at: datetime = instant()
    body: dict[str, Any] = document()


class DecisionRow(TableRow, table=True):
    """A planner's decision with its receipt."""

    decision_id: str = Field(primary_key=True)
    tenant_id: str
    stop_id: str = Field(index=True)
    inputs_hash: str
    policy_version: str
    planner_version: str
    created_at: datetime = instant(default_now=True)
    body: dict[str, Any] = document()


class CommandRow(TableRow, table=True):
    """The command ledger: the id is written before sending, the reply after."""

    command_id: str = Field(primary_key=True)
    tenant_id: str
    attempt_id: str = Field(index=True)
    kind: str
    begun_at: datetime = instant(default_now=True)
    finished_at: datetime | None = instant(nullable=True)
    reply: dict[str, Any] | None = document(nullable=True)


class EvidenceRow(TableRow, table=True):
    """Evidence as heard. Without a stop it is kept, not delivered."""

    __table_args__ = (
        UniqueConstraint("tenant_id", "event_id", name="uq_evidence_event"),
        Index(
            "ix_evidence_due",
            "position",
            postgresql_where=text("delivered_at IS NULL AND stop_id IS NOT NULL"),
        ),
    )
    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str
    event_id: str
    stop_id: str | None = Field(default=None, index=True)
    attempt_id: str | None = None
    kind: str
    observed_at: datetime = instant()
    received_at: datetime = instant(default_now=True)
    delivered_at: datetime | None = instant(nullable=True)
    body: dict[str, Any] = document()
