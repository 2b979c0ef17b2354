"""Tables of the accounts database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from api.metadata_sql import METADATA

ACCOUNT = Table(
    "account",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("account_id", String(40), nullable=False),
    Column("name", String(64), nullable=False),
    Column("role", String(32), nullable=False),
    Column("institution", String(40)),
    Column("cell", String(40)),
    Column("disabled", Boolean(create_constraint=False), nullable=False),
    UniqueConstraint("account_id"),
    UniqueConstraint("name"),
)

CREDENTIAL = Table(
    "credential",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("account_id", String(40), ForeignKey("account.account_id"), nullable=False, index=True),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used", Integer, nullable=False),
)

SITE = Table(
    "site",
    METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("institution", String(40), nullable=False),
    CheckConstraint("one = 1", name="single"),
)
