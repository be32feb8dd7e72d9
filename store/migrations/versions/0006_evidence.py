"""Evidence: found again by charger and vehicle, delivered under a lease with back-off, quarantined alone; and
the progress of sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_DUE = "delivered_at IS NULL AND stop_id IS NOT NULL"
_KEY = "uq_evidence_event"


def _instant(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


def upgrade() -> None:
    op.add_column("evidence", sa.Column("charger_id", sa.String(), nullable=True))
    op.add_column("evidence", sa.Column("telematics_id", sa.String(), nullable=True))
    op.add_column("evidence", _number("tries"))
    for name in ("next_try_at", "claimed_until", "quarantined_at"):
        op.add_column("evidence", _instant(name))
    op.add_column("evidence", sa.Column("quarantine_reason", sa.String(), server_default="", nullable=False))
    # Row-level security binds the table's owner, too, and gives him no row: not while he moves data.
    op.execute("ALTER TABLE evidence NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE evidence SET charger_id = body->>'charger_id' WHERE kind <> 'meter'")
    op.execute("ALTER TABLE evidence FORCE ROW LEVEL SECURITY")
    op.drop_constraint(_KEY, "evidence")
    op.create_unique_constraint(
        _KEY, "evidence", ["tenant_id", "event_id", "stop_id"], postgresql_nulls_not_distinct=True
    )
    op.drop_index("ix_evidence_due", table_name="evidence")
    op.create_index(
        "ix_evidence_due",
        "evidence",
        ["position"],
        postgresql_where=sa.text(f"{_DUE} AND quarantined_at IS NULL"),
    )
    for thing in ("charger", "vehicle"):
        column = "charger_id" if thing == "charger" else "telematics_id"
        op.create_index(
            f"ix_evidence_{thing}",
            "evidence",
            ["tenant_id", column, "observed_at"],
            postgresql_where=sa.text(f"{column} IS NOT NULL AND kind <> 'meter'"),
        )
    op.create_index("ix_charger_site", "charger", ["tenant_id", "site_id"])
    op.create_index(
        "ix_stop_live_telematics",
        "stop",
        ["tenant_id", "telematics_id"],
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "session_progress",
        sa.Column("attempt_id", sa.String(), nullable=False, primary_key=True),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("stop_id", sa.String(), nullable=False),
        sa.Column("target_kwh", sa.Float(), nullable=False),
        sa.Column("target_soc_percent", sa.Float(), nullable=False),
        sa.Column("stall_s", sa.Float(), nullable=False),
        sa.Column("goal_number", sa.Integer(), server_default="1", nullable=False),
        _instant("followed_at", now=True),
        _instant("began_at"),
        sa.Column("energy_kwh", sa.Float(), server_default="0", nullable=False),
        sa.Column("power_kw", sa.Float(), nullable=True),
        sa.Column("soc_percent", sa.Float(), nullable=True),
        _instant("sampled_at"),
        _instant("heard_at"),
        _instant("progress_at"),
        sa.Column("progress_kwh", sa.Float(), server_default="0", nullable=False),
        sa.Column("progress_soc_percent", sa.Float(), nullable=True),
        _instant("suspended_at"),
        _flag("start_told"),
        _flag("flowing"),
        _flag("ended"),
        _flag("given_up"),
        _number("flows_told"),
        _number("halves_told"),
        _number("goal_told"),
        _number("late_told"),
        _number("silences_told"),
        _instant("silent_told_at"),
    )
    op.create_index("ix_session_progress_stop", "session_progress", ["tenant_id", "stop_id"])
    op.create_index(
        "ix_session_progress_watched",
        "session_progress",
        ["tenant_id"],
        postgresql_where=sa.text("began_at IS NOT NULL AND NOT ended AND NOT given_up"),
    )
    op.execute("ALTER TABLE session_progress ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE session_progress FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        CREATE POLICY tenant_rows ON session_progress TO backstop_app
        USING (tenant_id = current_setting('app.tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.tenant_id', true))
        """
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON session_progress TO backstop_app")
    # It asks which tenants have silent sessions; each tenant's are then told in the tenant's own scope.
    op.execute("CREATE POLICY platform_rows ON session_progress TO backstop_platform USING (true)")
    op.execute("GRANT SELECT ON session_progress TO backstop_platform")


def downgrade() -> None:
    op.drop_table("session_progress")
    op.drop_index("ix_stop_live_telematics", table_name="stop")
    op.drop_index("ix_charger_site", table_name="charger")
    for index in ("ix_evidence_vehicle", "ix_evidence_charger", "ix_evidence_due"):
        op.drop_index(index, table_name="evidence")
    op.create_index("ix_evidence_due", "evidence", ["position"], postgresql_where=sa.text(_DUE))
    op.drop_constraint(_KEY, "evidence")
    op.execute("ALTER TABLE evidence NO FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        DELETE FROM evidence AS e USING evidence AS first
        WHERE first.tenant_id = e.tenant_id AND first.event_id = e.event_id AND first.position < e.position
        """
    )
    op.execute("ALTER TABLE evidence FORCE ROW LEVEL SECURITY")
    op.create_unique_constraint(_KEY, "evidence", ["tenant_id", "event_id"])
    for column in (
        "quarantine_reason",
        "quarantined_at",
        "claimed_until",
        "next_try_at",
        "tries",
        "telematics_id",
        "charger_id",
    ):
        op.drop_column("evidence", column)
