"""Tables of the clinical flow, in the clinic's database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from clinic.metadata_sql import METADATA

_SEQ = BigInteger().with_variant(Integer, "sqlite")

WORKITEMS = Table(
    "workitem",
    METADATA,
    Column("workitem_id", String(40), primary_key=True),
    Column("institution", String(40), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("pipeline", String(64), nullable=False),
    Column("offer_id", String(40), nullable=False, index=True),
    Column("key", LargeBinary),
    Column("state", String(16), nullable=False, index=True),
    Column("duty", String(16), index=True),
    Column("version", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("members", Text, nullable=False),
    Index("ix_workitem_study", "institution", "study_uid"),
    Index("ix_workitem_series", "institution", "series_uid"),
)
"""`members` is a JSON object of all the members that no query asks for."""

SERIES = Table(
    "series_watch",
    METADATA,
    Column("institution", String(40), primary_key=True),
    Column("series_uid", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("one_request", Integer, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("pending", Integer, nullable=False, index=True),
    Column("input_digest", String(64), nullable=False),
    Column("unmatched", Text, nullable=False),
    Column("geometry", String(40), nullable=False),
    Index("ix_series_watch_study", "institution", "study_uid"),
)

EVENTS = Table(
    "study_event",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("institution", String(40), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_study_event_study", "institution", "study_uid", "seq"),
)

INBOX = Table(
    "inbox",
    METADATA,
    Column("key", String(200), primary_key=True),
    Column("taken_ms", BigInteger, nullable=False),
)

CURSORS = Table(
    "network_cursor",
    METADATA,
    Column("institution", String(40), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
