"""The network's own work: canaries and benchmarks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("offer_id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("seed", sa.String(64), nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column("known_digest", sa.String(64), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("given_digest", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_canaries_made_ms", "canaries", ["made_ms"])
    op.create_index("ix_canaries_stage", "canaries", ["stage"])
    op.create_table(
        "own_work",
        sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one = 1", name="ck_own_work_single"),
    )
