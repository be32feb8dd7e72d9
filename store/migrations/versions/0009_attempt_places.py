"""Attempts are found by a partner's session, and by their charger, without reading all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_SESSION, _CHARGER = "ix_attempt_session", "ix_attempt_charger"


def upgrade() -> None:
    op.create_index(_SESSION, "attempt", ["tenant_id", sa.text("lower(session_ref)")])
    op.create_index(_CHARGER, "attempt", ["tenant_id", "charger_id", "opened_at"])


def downgrade() -> None:
    op.drop_index(_CHARGER, table_name="attempt")
    op.drop_index(_SESSION, table_name="attempt")
