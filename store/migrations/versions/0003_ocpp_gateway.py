"""OCPP gateway to reference grade: journal, station log, certificates, limits, connector health.

Columns with defaults only, and new tables: a gateway of the former version runs on beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_TABLES = ("ocpp_event", "station_event", "station_certificate", "charging_limit", "vendor_field")
_APPEND_ONLY = ("ocpp_event", "station_event")


def _instant(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, primary_key=key)


def upgrade() -> None:
    op.add_column("station", sa.Column("next_password_hash", sa.String(), nullable=True))
    op.add_column("station", sa.Column("security_profile", sa.Integer(), server_default="1", nullable=False))
    op.add_column("station", sa.Column("admission", sa.String(), server_default="accepted", nullable=False))
    op.add_column("station", _instant("booted_at", nullable=True))
    op.add_column("station", sa.Column("body", postgresql.JSONB(), nullable=True))
    op.add_column("charger", _instant("state_since", nullable=True))
    op.add_column("charger", sa.Column("changes_last_hour", sa.Integer(), server_default="0", nullable=False))
    op.add_column("charger", sa.Column("fault_code", sa.String(), server_default="", nullable=False))
    op.add_column("ocpp_transaction", sa.Column("energy_wh", sa.Float(), nullable=True))
    op.add_column("ocpp_transaction", sa.Column("findings", sa.String(), server_default="", nullable=False))
    op.create_table(
        "ocpp_event",
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False, primary_key=True),
        _text("tenant_id"),
        _text("station_id"),
        sa.Column("transaction_id", sa.BigInteger(), nullable=True),
        sa.Column("connector_number", sa.Integer(), nullable=False),
        _text("kind"),
        sa.Column("sequence", sa.Integer(), nullable=True),
        _instant("observed_at"),
        _instant("received_at", now=True),
        sa.Column("offline", sa.Boolean(), nullable=False),
        sa.Column("register_wh", sa.Float(), nullable=True),
        sa.Column("power_kw", sa.Float(), nullable=True),
        sa.Column("soc_percent", sa.Float(), nullable=True),
        sa.Column("body", postgresql.JSONB(), nullable=True),
    )
    op.create_index("ix_ocpp_event_transaction", "ocpp_event", ["transaction_id"])
    op.create_table(
        "station_event",
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False, primary_key=True),
        _text("tenant_id"),
        _text("station_id"),
        _text("kind"),
        _instant("observed_at"),
        _instant("received_at", now=True),
        sa.Column("body", postgresql.JSONB(), nullable=False),
    )
    op.create_index("ix_station_event_station", "station_event", ["tenant_id", "station_id", "position"])
    op.create_table(
        "station_certificate",
        _text("serial_hex", key=True),
        _text("tenant_id"),
        _text("station_id"),
        _text("fingerprint_sha256"),
        _instant("issued_at", now=True),
        _instant("not_after"),
    )
    op.create_index("ix_station_certificate_station_id", "station_certificate", ["station_id"])
    op.create_table(
        "charging_limit",
        _text("tenant_id", key=True),
        _text("station_id", key=True),
        sa.Column("connector_number", sa.Integer(), nullable=False, primary_key=True, autoincrement=False),
        _text("purpose", key=True),
        _text("limit_id"),
        _text("state"),
        _instant("changed_at", now=True),
        sa.Column("body", postgresql.JSONB(), nullable=False),
    )
    op.create_table(
        "vendor_field",
        _text("tenant_id", key=True),
        _text("model", key=True),
        _text("action", key=True),
        _text("field", key=True),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        _instant("seen_at", now=True),
    )
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"""
            CREATE POLICY tenant_rows ON {table} TO backstop_app
            USING (tenant_id = current_setting('app.tenant_id', true))
            WITH CHECK (tenant_id = current_setting('app.tenant_id', true))
            """
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO backstop_app")
    for table in _APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON {table} FROM backstop_app")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    for table, columns in (
        ("ocpp_transaction", ("findings", "energy_wh")),
        ("charger", ("fault_code", "changes_last_hour", "state_since")),
        ("station", ("body", "booted_at", "admission", "security_profile", "next_password_hash")),
    ):
        for column in columns:
            op.drop_column(table, column)
