"""Tables of the network database that say what became of Receipts, and who was there."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, UniqueConstraint

from cluster.metadata_sql import METADATA

COUNTER_RECEIPTS = Table(
    "counter_receipts",
    METADATA,
    Column("subject", String(40), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt_id", String(40), nullable=False),
    Column("verdict", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", Text, nullable=False),
    # A verdict is given once, however often a Receipt is handed in.
    UniqueConstraint("attempt_id", "verdict"),
)

SIGHTINGS = Table(
    "sightings",
    METADATA,
    Column("bundle_sha256", String(64), primary_key=True),
    Column("findings", String(64), primary_key=True),
    Column("input_part", String(64), primary_key=True),
    Column("attempt_id", String(40), nullable=False),
    Column("period", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_sightings_period", "period"),
)

STRETCHES = Table(
    "stretches",
    METADATA,
    Column("node", String(40), primary_key=True),
    Column("from_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("cell", String(40), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("heard_ms", BigInteger, nullable=False),
    Column("left_ms", BigInteger, nullable=False),
    Column("timetable", Text, nullable=False),
    Column("spans", Text, nullable=False),
    Index("ix_stretches_from", "from_ms"),
)

WATCHES = Table(
    "watches",
    METADATA,
    Column("from_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("until_ms", BigInteger, nullable=False),
)
