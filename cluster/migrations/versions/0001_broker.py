"""Offers, Attempts, notices, Cells, Nodes, strikes and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _outbox()
    _offers()
    _attempts()
    _notices()
    _cells()


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sa.UniqueConstraint("topic", "key", name="uq_outbox_topic_key"),
    )
    op.create_index("ix_outbox_taken", "outbox", ["taken"])


def _offers() -> None:
    op.create_table(
        "offers",
        sa.Column("offer_id", sa.String(40), nullable=False),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("urgency_rank", sa.Integer(), nullable=False),
        sa.Column("retry_rank", sa.Integer(), nullable=False),
        sa.Column("deadline_ms", _BIG, nullable=False),
        sa.Column("received_ms", _BIG, nullable=False),
        sa.Column("ready_ms", _BIG, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("payload_key", sa.LargeBinary()),
        sa.Column("digest_key", sa.LargeBinary()),
        sa.Column("terms_digest", sa.String(64), nullable=False),
        sa.Column("sealed_bytes", _BIG, nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("opened", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("offer_id", name="pk_offers"),
    )
    queue = ["state", "urgency_rank", "retry_rank", "deadline_ms", "received_ms"]
    op.create_index("ix_offers_queue", "offers", queue)
    op.create_index("ix_offers_deadline", "offers", ["state", "deadline_ms"])
    op.create_index("ix_offers_institution", "offers", ["institution", "state"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("offer_id", sa.String(40), nullable=False),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("leased_ms", _BIG, nullable=False),
        sa.Column("expires_ms", _BIG, nullable=False),
        sa.Column("ended_ms", _BIG, nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("fraction", sa.Float(), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("receipt", sa.Text()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_attempts"),
        sa.UniqueConstraint("offer_id", "fencing_token", name="uq_attempts_offer_id_fencing_token"),
    )
    op.create_index("ix_attempts_expiry", "attempts", ["state", "expires_ms"])


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("offer_id", sa.String(40), nullable=False),
        sa.Column("topic", sa.String(40), nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_notices"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_institution", "notices", ["institution", "seq"])


def _cells() -> None:
    op.create_table(
        "cells",
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("institution", sa.String(40)),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("cell_key", sa.String(64), nullable=False),
        sa.Column("data_class_max", sa.String(2), nullable=False),
        sa.Column("vetted", sa.Boolean(), nullable=False),
        sa.Column("bundles", sa.Text(), nullable=False),
        sa.Column("seen_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("cell", name="pk_cells"),
    )
    op.create_table(
        "nodes",
        sa.Column("node", sa.String(40), nullable=False),
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("node_key", sa.String(64), nullable=False),
        sa.Column("threads", _BIG, nullable=False),
        sa.Column("memory_bytes", _BIG, nullable=False),
        sa.Column("gpus", _BIG, nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_nodes"),
        sa.UniqueConstraint("cell", "node_key", name="uq_nodes_cell_node_key"),
    )
    op.create_table(
        "strikes",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("attempt_id", sa.String(40), nullable=False),
        sa.Column("cell", sa.String(40), nullable=False),
        sa.Column("node", sa.String(40), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_strikes"),
    )
    op.create_index("ix_strikes_cell", "strikes", ["cell"])
