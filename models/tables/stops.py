"""Tables of stops: read model, event log, attempts, decisions, command ledger, evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, UniqueConstraint, text
from sqlmodel import Field

from models.tables.columns import TableRow, document, instant


class StopRow(TableRow, table=True):
    """One stop as it stands (`view`), with the columns that lists and look-ups need.

    `run_id`: the run of its workflow that the row follows; empty until one has opened it, and
    `released:<run>` once the stop was closed without its workflow. `began_at`: when a workflow opened it.
    `seen_at`: when its workflow last wrote, or the reconciler last looked. `seq_offset`: event number in the
    log minus number in the run; null while a run that took over has not told its first event.
    `cancel_wanted`: a cancel (models.stop.CancelRequest) that no worker has taken yet."""

    __table_args__ = (
        UniqueConstraint("tenant_id", "business_key", name="uq_stop_business_key"),
        Index("ix_stop_list", "tenant_id", "created_at", "stop_id"),
        Index("ix_stop_live_vehicle", "tenant_id", "vehicle_id", postgresql_where=text("outcome IS NULL")),
        Index("ix_stop_live_charger", "tenant_id", "charger_id", postgresql_where=text("outcome IS NULL")),
        Index(
            "ix_stop_live_telematics", "tenant_id", "telematics_id", postgresql_where=text("outcome IS NULL")
        ),
        Index("ix_stop_closed", "updated_at", postgresql_where=text("outcome IS NOT NULL")),
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
    run_id: str = Field(default="", sa_column_kwargs={"server_default": ""})
    began_at: datetime | None = instant(nullable=True)
    seen_at: datetime = instant(default_now=True)
    seq_offset: int | None = Field(default=0, sa_column_kwargs={"server_default": "0"})
    last_seq: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = instant()
    updated_at: datetime = instant()
    view: dict[str, Any] = document()
    request: dict[str, Any] | None = document(nullable=True)
    cancel_wanted: dict[str, Any] | None = document(nullable=True)


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
    """An attempt's intent, written before anything is sent.

    `holds_vehicle`: it is the one that is wanted. `holds_charger`: a session of its may occupy the connector.
    `start_counted`: what came of its start was counted for ranking."""

    __table_args__ = (
        Index(
            "uq_attempt_holds_vehicle",
            "tenant_id",
            "vehicle_id",
            unique=True,
            postgresql_where=text("holds_vehicle"),
        ),
        Index(
            "uq_attempt_holds_charger",
            "tenant_id",
            "charger_id",
            unique=True,
            postgresql_where=text("holds_charger"),
        ),
        Index("ix_attempt_start", "tenant_id", text("lower(station_id)"), text("lower(token_uid)")),
        Index("ix_attempt_session", "tenant_id", text("lower(session_ref)")),
        Index("ix_attempt_charger", "tenant_id", "charger_id", "opened_at"),
        # Nobody has proved that its session is over: few, however many stops have closed.
        Index(
            "ix_attempt_unproven",
            "stop_id",
            postgresql_where=text("holds_charger OR body->>'session' NOT IN ('ended', 'never_began')"),
        ),
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
    holds_vehicle: bool = True
    holds_charger: bool = True
    start_counted: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
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
    """Evidence as heard, once for each stop it concerns. Without a stop it is kept, not delivered.

    `claimed_until`: a process is telling the stop. `next_try_at`: after failed tries. `quarantined_at`: it
    cannot be read; nobody tries again until somebody says so."""

    __table_args__ = (
        UniqueConstraint(
            "tenant_id", "event_id", "stop_id", name="uq_evidence_event", postgresql_nulls_not_distinct=True
        ),
        Index(
            "ix_evidence_due",
            "position",
            postgresql_where=text("delivered_at IS NULL AND stop_id IS NOT NULL AND quarantined_at IS NULL"),
        ),
        # Meters are most of the table, and nobody looks around for them.
        Index(
            "ix_evidence_charger",
            "tenant_id",
            "charger_id",
            "observed_at",
            postgresql_where=text("charger_id IS NOT NULL AND kind <> 'meter'"),
        ),
        Index(
            "ix_evidence_vehicle",
            "tenant_id",
            "telematics_id",
            "observed_at",
            postgresql_where=text("telematics_id IS NOT NULL AND kind <> 'meter'"),
        ),
    )
    position: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    tenant_id: str
    event_id: str
    stop_id: str | None = Field(default=None, index=True)
    attempt_id: str | None = None
    charger_id: str | None = None
    telematics_id: str | None = None
    kind: str
    observed_at: datetime = instant()
    received_at: datetime = instant(default_now=True)
    delivered_at: datetime | None = instant(nullable=True)
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    next_try_at: datetime | None = instant(nullable=True)
    claimed_until: datetime | None = instant(nullable=True)
    quarantined_at: datetime | None = instant(nullable=True)
    quarantine_reason: str = Field(default="", sa_column_kwargs={"server_default": ""})
    body: dict[str, Any] = document()


class SessionProgressRow(TableRow, table=True):
    """The live figures of one followed session, its goal, and the turns that were told of it.

    By our own clock: followed, began, progress, heard, silent_told. By the peer's: sampled, suspended."""

    __table_args__ = (
        Index("ix_session_progress_stop", "tenant_id", "stop_id"),
        # No column that every meter changes: its updates stay within the page.
        Index(
            "ix_session_progress_watched",
            "tenant_id",
            postgresql_where=text("began_at IS NOT NULL AND NOT ended AND NOT given_up"),
        ),
    )
    attempt_id: str = Field(primary_key=True)
    tenant_id: str
    stop_id: str
    target_kwh: float
    target_soc_percent: float
    stall_s: float
    goal_number: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    followed_at: datetime = instant(default_now=True)
    began_at: datetime | None = instant(nullable=True)
    energy_kwh: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    power_kw: float | None = None
    soc_percent: float | None = None
    sampled_at: datetime | None = instant(nullable=True)
    heard_at: datetime | None = instant(nullable=True)
    progress_at: datetime | None = instant(nullable=True)
    progress_kwh: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    progress_soc_percent: float | None = None
    suspended_at: datetime | None = instant(nullable=True)
    start_told: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    flowing: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    ended: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    given_up: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    flows_told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    halves_told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    goal_told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    late_told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    silences_told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    silent_told_at: datetime | None = instant(nullable=True)
