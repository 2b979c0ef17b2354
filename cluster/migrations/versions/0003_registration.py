"""Cells with a key and terms of their own, invites, and Nodes whose key may be replaced or revoked.

Cells from before have no registration: they go on without a signature until their first signed hello. What a Node says
of itself beyond the first version of the protocol is JSON in one column.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cells", sa.Column("tier", sa.String(16)))
    op.add_column("cells", sa.Column("residency", sa.String(2), nullable=False, server_default=""))
    op.add_column("cells", sa.Column("revoked_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("cells", sa.Column("attested_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("told", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("nodes", sa.Column("former_key", sa.String(64), nullable=False, server_default=""))
    op.add_column("nodes", sa.Column("former_until_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("revoked_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "registrations",
        sa.Column("cell", sa.String(40), primary_key=True),
        sa.Column("cell_key", sa.String(64), nullable=False),
        sa.Column("terms", sa.Text()),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("bound_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "invites",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("cell_key", sa.String(64), nullable=False),
    )
