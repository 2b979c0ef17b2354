"""The key that an attested cell's payload keys are wrapped to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cells", sa.Column("box_key", sa.String(64), nullable=False, server_default=""))
