"""The tables of the network database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from bithive.outbox_sql import outbox_table
from cluster.metadata_sql import METADATA

_Seq = BigInteger().with_variant(Integer, "sqlite")

OUTBOX = outbox_table(METADATA)

OFFERS = Table(
    "offers",
    METADATA,
    Column("offer_id", String(40), primary_key=True),
    Column("institution", String(40), nullable=False),
    Column("state", String(20), nullable=False),
    Column("urgency_rank", Integer, nullable=False),
    Column("retry_rank", Integer, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("ready_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("payload_key", LargeBinary),
    Column("digest_key", LargeBinary),
    Column("terms_digest", String(64), nullable=False),
    Column("sealed_bytes", BigInteger, nullable=False),
    Column("fencing_token", Integer, nullable=False),
    Column("attempt_id", String(40), nullable=False),
    Column("opened", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("ix_offers_queue", "state", "urgency_rank", "retry_rank", "deadline_ms", "received_ms"),
    Index("ix_offers_deadline", "state", "deadline_ms"),
    Index("ix_offers_institution", "institution", "state"),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("attempt_id", String(40), primary_key=True),
    Column("offer_id", String(40), nullable=False),
    Column("institution", String(40), nullable=False),
    Column("cell", String(40), nullable=False),
    Column("node", String(64), nullable=False),
    Column("fencing_token", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("leased_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("stage", String(20), nullable=False),
    Column("fraction", Float, nullable=False),
    Column("code", String(64), nullable=False),
    Column("receipt", Text),
    Column("revision", Integer, nullable=False),
    Column("flag", String(64), nullable=False, server_default=""),
    # Two cells can never hold the same token of an Offer, whatever the code above does.
    UniqueConstraint("offer_id", "fencing_token"),
    Index("ix_attempts_expiry", "state", "expires_ms"),
    Index("ix_attempts_node", "node", "ended_ms"),
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("institution", String(40), nullable=False),
    Column("offer_id", String(40), nullable=False),
    Column("topic", String(40), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_notices_institution", "institution", "seq"),
    sqlite_autoincrement=True,
)

CELLS = Table(
    "cells",
    METADATA,
    Column("cell", String(40), primary_key=True),
    Column("institution", String(40)),
    Column("operator", String(64), nullable=False),
    Column("cell_key", String(64), nullable=False),
    Column("data_class_max", String(2), nullable=False),
    Column("vetted", Boolean, nullable=False),
    Column("bundles", Text, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False, server_default="0"),
    Column("tier", String(16)),
    Column("residency", String(2), nullable=False, server_default=""),
    Column("revoked_ms", BigInteger, nullable=False, server_default="0"),
    Column("attested_ms", BigInteger, nullable=False, server_default="0"),
    Column("box_key", String(64), nullable=False, server_default=""),
)

REGISTRATIONS = Table(
    "registrations",
    METADATA,
    Column("cell", String(40), primary_key=True),
    Column("cell_key", String(64), nullable=False),
    Column("terms", Text),
    Column("operator", String(64), nullable=False),
    Column("bound_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=False),
)

INVITES = Table(
    "invites",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("cell", String(40), nullable=False),
    Column("account", String(64), nullable=False),
    Column("terms", Text, nullable=False),
    Column("operator", String(64), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("cell_key", String(64), nullable=False),
)

NODES = Table(
    "nodes",
    METADATA,
    Column("node", String(40), primary_key=True),
    Column("cell", String(40), nullable=False),
    Column("node_key", String(64), nullable=False),
    Column("threads", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpus", BigInteger, nullable=False),
    Column("labels", Text, nullable=False),
    Column("machine_memory_bytes", BigInteger, nullable=False, server_default="0"),
    Column("told", Text, nullable=False, server_default="{}"),
    Column("former_key", String(64), nullable=False, server_default=""),
    Column("former_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("revoked_ms", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("cell", "node_key"),
)

STRIKES = Table(
    "strikes",
    METADATA,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("attempt_id", String(40), nullable=False),
    Column("cell", String(40), nullable=False, index=True),
    Column("node", String(40), nullable=False),
    Column("code", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
