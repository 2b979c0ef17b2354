"""Tables of the network's own work."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, String, Table, Text

from cluster.metadata_sql import METADATA

CANARIES = Table(
    "canaries",
    METADATA,
    Column("offer_id", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("seed", String(64), nullable=False),
    Column("offer", Text, nullable=False),
    Column("known_digest", String(64), nullable=False),
    Column("made_ms", BigInteger, nullable=False, index=True),
    Column("stage", String(16), nullable=False, index=True),
    Column("attempt_id", String(40), nullable=False),
    Column("given_digest", String(64), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
)

OWN_WORK = Table(
    "own_work",
    METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("institution", String(40), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="single"),
)
