"""The ledger's tables. What SQL can refuse, SQL refuses: it is the second line behind the planner.

A transfer names two accounts of its own asset by composite foreign keys (on PostgreSQL by a trigger that checks all rows
of a statement at once, which the migration writes: row by row they took most of a batch's time); amounts are above zero; an account's limit is
a CHECK; a pending transfer resolves at most once by a partial unique index; SQLite tables are STRICT. Entries, transfers,
seals, period closes and cosignatures can be neither changed nor deleted, and a key can only be revoked, once: triggers,
written in the migrations, refuse the rest on both databases.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from economy.metadata_sql import METADATA

BIG = BigInteger().with_variant(Integer, "sqlite")
SMALL = SmallInteger().with_variant(Integer, "sqlite")


def _key(name: str) -> Column[Any]:
    return Column(name, BIG, primary_key=True, autoincrement=False)


ASSET = Table(
    "asset",
    METADATA,
    _key("id"),
    Column("code", Text, nullable=False, unique=True),
    Column("scale", SMALL, nullable=False),
    Column("kind", Text, nullable=False),
    Column("caip19", Text, unique=True),
    CheckConstraint("scale BETWEEN 0 AND 18", name="scale"),
    sqlite_strict=True,
)

PARTY = Table(
    "party",
    METADATA,
    _key("id"),
    Column("code", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("ref", Text),
    UniqueConstraint("kind", "ref"),
    sqlite_strict=True,
)

POLICY = Table(
    "policy",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("version", BIG, primary_key=True, autoincrement=False),
    Column("effective_from_ms", BIG, nullable=False),
    Column("content", Text, nullable=False),
    sqlite_strict=True,
)

ACCOUNT = Table(
    "account",
    METADATA,
    _key("id"),
    Column("asset_id", BIG, ForeignKey("asset.id"), nullable=False),
    Column("party_id", BIG, ForeignKey("party.id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("limit_mode", SMALL, nullable=False),
    Column("debit_pending", BIG, nullable=False),
    Column("debit_posted", BIG, nullable=False),
    Column("credit_pending", BIG, nullable=False),
    Column("credit_posted", BIG, nullable=False),
    Column("version", BIG, nullable=False),
    UniqueConstraint("party_id", "asset_id", "code"),
    UniqueConstraint("id", "asset_id"),
    CheckConstraint("limit_mode BETWEEN -1 AND 1", name="limit_mode"),
    CheckConstraint(
        "debit_pending >= 0 AND debit_posted >= 0 AND credit_pending >= 0 AND credit_posted >= 0", name="not_negative"
    ),
    CheckConstraint("limit_mode <> 1 OR debit_pending + debit_posted <= credit_posted", name="credit_limit"),
    CheckConstraint("limit_mode <> -1 OR credit_pending + credit_posted <= debit_posted", name="debit_limit"),
    sqlite_strict=True,
)

ENTRY = Table(
    "entry",
    METADATA,
    _key("seq"),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("recorded_us", BIG, nullable=False),
    Column("effective_ms", BIG, nullable=False),
    Column("content", Text, nullable=False),
    Column("leaf_hash", Text, nullable=False),
    CheckConstraint("length(request_hash) = 64 AND length(leaf_hash) = 64", name="hashes"),
    Index("ix_entry_kind_seq", "kind", "seq"),
    sqlite_strict=True,
)

TRANSFER = Table(
    "transfer",
    METADATA,
    Column("entry_seq", BIG, primary_key=True, autoincrement=False),
    Column("leg", SMALL, primary_key=True, autoincrement=False),
    Column("asset_id", BIG, nullable=False),
    Column("debit_id", BIG, nullable=False),
    Column("credit_id", BIG, nullable=False),
    Column("amount", BIG, nullable=False),
    Column("phase", SMALL, nullable=False),
    Column("pending_seq", BIG),
    Column("pending_leg", SMALL),
    Column("expires_us", BIG),
    ForeignKeyConstraint(["entry_seq"], ["entry.seq"]).ddl_if(dialect="sqlite"),
    ForeignKeyConstraint(["debit_id", "asset_id"], ["account.id", "account.asset_id"]).ddl_if(dialect="sqlite"),
    ForeignKeyConstraint(["credit_id", "asset_id"], ["account.id", "account.asset_id"]).ddl_if(dialect="sqlite"),
    ForeignKeyConstraint(["pending_seq", "pending_leg"], ["transfer.entry_seq", "transfer.leg"]).ddl_if(
        dialect="sqlite"
    ),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("debit_id <> credit_id", name="two_accounts"),
    CheckConstraint("phase BETWEEN 0 AND 3", name="phase"),
    CheckConstraint(
        "(phase IN (2, 3)) = (pending_seq IS NOT NULL) AND (pending_seq IS NULL) = (pending_leg IS NULL)",
        name="resolves",
    ),
    CheckConstraint("phase = 1 OR expires_us IS NULL", name="expires"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

Index(
    "ix_transfer_one_resolution",
    TRANSFER.c.pending_seq,
    TRANSFER.c.pending_leg,
    unique=True,
    sqlite_where=text("phase IN (2, 3)"),
    postgresql_where=text("phase IN (2, 3)"),
)
Index(
    "ix_transfer_expires_us",
    TRANSFER.c.expires_us,
    sqlite_where=text("expires_us IS NOT NULL"),
    postgresql_where=text("expires_us IS NOT NULL"),
)

SEAL = Table(
    "seal",
    METADATA,
    _key("id"),
    Column("from_seq", BIG, nullable=False),
    Column("to_seq", BIG, nullable=False, unique=True),
    Column("log_root", Text, nullable=False),
    Column("state_root", Text, nullable=False),
    Column("frontier", Text, nullable=False),
    Column("previous", Text, nullable=False, unique=True),
    Column("sealed_ms", BIG, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("version", SMALL, nullable=False, server_default=text("1")),
    Column("note", Text, nullable=False, server_default=text("''")),
    CheckConstraint("from_seq >= 1 AND to_seq >= from_seq", name="range"),
    sqlite_strict=True,
)

SIGNING_KEY = Table(
    "signing_key",
    METADATA,
    Column("public_key", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("party", Text, ForeignKey("party.code"), nullable=False),
    Column("declared_seq", BIG, ForeignKey("entry.seq"), nullable=False),
    Column("revoked_seq", BIG, ForeignKey("entry.seq")),
    CheckConstraint("length(public_key) = 64", name="public_key"),
    CheckConstraint("purpose IN ('seal', 'officer')", name="purpose"),
    CheckConstraint("revoked_seq IS NULL OR revoked_seq > declared_seq", name="revoked"),
    sqlite_strict=True,
)

PERIOD = Table(
    "period",
    METADATA,
    _key("closed_until_ms"),
    Column("seq", BIG, ForeignKey("entry.seq"), nullable=False),
    CheckConstraint("closed_until_ms > 0", name="closed_until_ms"),
    sqlite_strict=True,
)

SUBTREE = Table(
    "subtree",
    METADATA,
    Column("height", SMALL, primary_key=True, autoincrement=False),
    Column("place", BIG, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    CheckConstraint("length(hash) = 64", name="hash"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

COSIGNATURE = Table(
    "cosignature",
    METADATA,
    Column("seal_id", BIG, ForeignKey("seal.id"), primary_key=True, autoincrement=False),
    Column("public_key", Text, primary_key=True),
    Column("signature", Text, nullable=False),
    Column("witnessed_ms", BIG, nullable=False),
    sqlite_strict=True,
)
