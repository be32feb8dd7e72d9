"""What the reconciler looks for among stops that have closed, found without reading them all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index(
        "ix_attempt_unproven",
        "attempt",
        ["stop_id"],
        postgresql_where=sa.text("holds_charger OR body->>'session' NOT IN ('ended', 'never_began')"),
    )
    op.create_index("ix_stop_closed", "stop", ["updated_at"], postgresql_where=sa.text("outcome IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_stop_closed", table_name="stop")
    op.drop_index("ix_attempt_unproven", table_name="attempt")
