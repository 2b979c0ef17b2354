"""Counter-receipts, findings seen before, who was online; and a flag for Attempts that are to be recomputed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()


def upgrade() -> None:
    op.add_column("attempts", sa.Column("flag", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_attempts_node", "attempts", ["node", "ended_ms"])
    op.create_table(
        "counter_receipts",
        sa.Column("subject", sa.String(40), nullable=False),
        sa.Column("sequence", _BIG, autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("verdict", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "sequence", name="pk_counter_receipts"),
        sa.UniqueConstraint("attempt_id", "verdict", name="uq_counter_receipts_attempt_id_verdict"),
    )
    op.create_table(
        "sightings",
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("findings", sa.String(64), nullable=False),
        sa.Column("input_part", sa.String(64), nullable=False),
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("period", _BIG, nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("bundle_sha256", "findings", "input_part", name="pk_sightings"),
    )
    op.create_index("ix_sightings_period", "sightings", ["period"])
    op.create_table(
        "stretches",
        sa.Column("node", sa.String(40), nullable=False),
        sa.Column("from_ms", _BIG, autoincrement=False, nullable=False),
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("since_ms", _BIG, nullable=False),
        sa.Column("heard_ms", _BIG, nullable=False),
        sa.Column("left_ms", _BIG, nullable=False),
        sa.Column("timetable", sa.Text(), nullable=False),
        sa.Column("spans", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "from_ms", name="pk_stretches"),
    )
    op.create_index("ix_stretches_from", "stretches", ["from_ms"])
    op.create_table(
        "watches",
        sa.Column("from_ms", _BIG, autoincrement=False, nullable=False),
        sa.Column("until_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("from_ms", name="pk_watches"),
    )
