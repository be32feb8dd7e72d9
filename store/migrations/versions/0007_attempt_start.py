"""Attempts are found by station and token without case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NAME = "ix_attempt_start"


def upgrade() -> None:
    op.drop_index(_NAME, table_name="attempt")
    folded = [sa.text("lower(station_id)"), sa.text("lower(token_uid)")]
    op.create_index(_NAME, "attempt", ["tenant_id", *folded])


def downgrade() -> None:
    op.drop_index(_NAME, table_name="attempt")
    op.create_index(_NAME, "attempt", ["tenant_id", "station_id", "token_uid"])
