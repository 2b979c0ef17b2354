"""Workitems, watched series, the log of every study, the inbox, places in the network's stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _workitems()
    _series()
    _events()
    op.create_table(
        "inbox",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("taken_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "network_cursor",
        sa.Column("institution", sa.String(40), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _workitems() -> None:
    op.create_table(
        "workitem",
        sa.Column("workitem_id", sa.String(40), primary_key=True),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("offer_id", sa.String(40), nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("duty", sa.String(16)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("members", sa.Text, nullable=False),
    )
    op.create_index("ix_workitem_offer_id", "workitem", ["offer_id"])
    op.create_index("ix_workitem_duty", "workitem", ["duty"])
    op.create_index("ix_workitem_state", "workitem", ["state"])
    op.create_index("ix_workitem_study", "workitem", ["institution", "study_uid"])
    op.create_index("ix_workitem_series", "workitem", ["institution", "series_uid"])


def _series() -> None:
    op.create_table(
        "series_watch",
        sa.Column("institution", sa.String(40), primary_key=True),
        sa.Column("series_uid", sa.String(64), primary_key=True),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("one_request", sa.Integer, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("pending", sa.Integer, nullable=False),
        sa.Column("input_digest", sa.String(64), nullable=False),
        sa.Column("unmatched", sa.Text, nullable=False),
        sa.Column("geometry", sa.String(40), nullable=False),
    )
    op.create_index("ix_series_watch_pending", "series_watch", ["pending"])
    op.create_index("ix_series_watch_study", "series_watch", ["institution", "study_uid"])


def _events() -> None:
    op.create_table(
        "study_event",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("institution", sa.String(40), nullable=False),
        sa.Column("study_uid", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_study_event_study", "study_event", ["institution", "study_uid", "seq"])
