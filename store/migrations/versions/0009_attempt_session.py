"""Attempts are found by a partner's session without reading all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NAME = "ix_attempt_session"


def upgrade() -> None:
    op.create_index(_NAME, "attempt", ["tenant_id", sa.text("lower(session_ref)")])


def downgrade() -> None:
    op.drop_index(_NAME, table_name="attempt")
