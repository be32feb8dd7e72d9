"""Stops that cannot lie: runs, row-first starts, holds told apart, and what the reconciler needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def _force(forced: bool) -> None:
    """Row-level security binds the tables' owner, too, and gives him no row: not while he moves data."""
    for table in ("stop", "stop_event", "attempt"):
        op.execute(f"ALTER TABLE {table} {'FORCE' if forced else 'NO FORCE'} ROW LEVEL SECURITY")


def upgrade() -> None:
    op.add_column("stop", sa.Column("run_id", sa.String(), server_default="", nullable=False))
    op.add_column("stop", sa.Column("began_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "stop",
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column("stop", sa.Column("seq_offset", sa.Integer(), server_default="0", nullable=True))
    op.add_column("stop", sa.Column("last_seq", sa.Integer(), server_default="0", nullable=False))
    op.add_column("stop", sa.Column("cancel_wanted", postgresql.JSONB(), nullable=True))
    _force(False)
    # Rows of before were written by their workflow, and by the run that the view names.
    op.execute("UPDATE stop SET began_at = created_at, run_id = coalesce(view->>'run_id', '')")
    op.execute(
        """
        UPDATE stop AS s SET last_seq = told.last_seq
        FROM (SELECT stop_id, max(seq) AS last_seq FROM stop_event GROUP BY stop_id) AS told
        WHERE told.stop_id = s.stop_id
        """
    )

    op.add_column("attempt", sa.Column("holds_vehicle", sa.Boolean(), nullable=True))
    op.add_column("attempt", sa.Column("holds_charger", sa.Boolean(), nullable=True))
    op.execute("UPDATE attempt SET holds_vehicle = live, holds_charger = live")
    _force(True)
    op.alter_column("attempt", "holds_vehicle", nullable=False)
    op.alter_column("attempt", "holds_charger", nullable=False)
    op.add_column(
        "attempt", sa.Column("start_counted", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.drop_index("uq_attempt_live_vehicle", table_name="attempt")
    op.drop_index("uq_attempt_live_charger", table_name="attempt")
    op.drop_column("attempt", "live")
    for thing in ("vehicle", "charger"):
        op.create_index(
            f"uq_attempt_holds_{thing}",
            "attempt",
            ["tenant_id", f"{thing}_id"],
            unique=True,
            postgresql_where=sa.text(f"holds_{thing}"),
        )

    # The reconciler goes through the stops of all tenants: it reads them, and notes that it has looked.
    op.execute("GRANT UPDATE (seen_at) ON stop TO backstop_platform")
    op.execute("CREATE POLICY platform_rows ON attempt TO backstop_platform USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON attempt TO backstop_platform")


def downgrade() -> None:
    op.execute("REVOKE SELECT ON attempt FROM backstop_platform")
    op.execute("DROP POLICY platform_rows ON attempt")
    op.execute("REVOKE UPDATE (seen_at) ON stop FROM backstop_platform")
    op.add_column("attempt", sa.Column("live", sa.Boolean(), nullable=True))
    _force(False)
    op.execute("UPDATE attempt SET live = holds_vehicle AND holds_charger")
    _force(True)
    op.alter_column("attempt", "live", nullable=False)
    for thing in ("vehicle", "charger"):
        op.drop_index(f"uq_attempt_holds_{thing}", table_name="attempt")
        op.create_index(
            f"uq_attempt_live_{thing}",
            "attempt",
            ["tenant_id", f"{thing}_id"],
            unique=True,
            postgresql_where=sa.text("live"),
        )
    for column in ("start_counted", "holds_charger", "holds_vehicle"):
        op.drop_column("attempt", column)
    for column in ("cancel_wanted", "last_seq", "seq_offset", "seen_at", "began_at", "run_id"):
        op.drop_column("stop", column)
