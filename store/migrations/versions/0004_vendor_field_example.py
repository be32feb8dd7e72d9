"""One value of each field that no schema knows, so that an operator sees what a firmware says with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("vendor_field", sa.Column("example", sa.String(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("vendor_field", "example")
