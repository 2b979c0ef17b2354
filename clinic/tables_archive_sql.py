"""Tables of the archive, its outbox and the access log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text, UniqueConstraint

from bithive.outbox_sql import outbox_table
from clinic.attributes import INDEXED, TEXT_MATCH_CHARACTERS_MAX, Level
from clinic.metadata_sql import METADATA

_OWN_COLUMNS = {"study_uid", "series_uid", "sop_uid", "sop_class", "modalities", "patient_id", "issuer"}


def _indexed(level: Level) -> list[Column[object]]:
    """A column for every indexed attribute of a level that the table does not name itself."""
    kinds = {"IS": Integer(), "US": Integer()}
    return [
        Column(attribute.column, kinds.get(attribute.vr, String(TEXT_MATCH_CHARACTERS_MAX)))
        for attribute in INDEXED
        if attribute.level is level and attribute.column not in _OWN_COLUMNS
    ]


STUDIES = Table(
    "studies",
    METADATA,
    Column("institution", String(30), primary_key=True),
    Column("study_uid", String(64), primary_key=True),
    Column("patient_id", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("modalities", Text, nullable=False),
    Column("series", Integer, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    *_indexed(Level.STUDY),
    Index(None, "institution", "created_ms"),
    Index(None, "institution", "study_date"),
    Index(None, "institution", "accession_number"),
    Index(None, "institution", "patient_name"),
)

SERIES = Table(
    "series",
    METADATA,
    Column("institution", String(30), primary_key=True),
    Column("series_uid", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("attributes", Text, nullable=False),
    Column("instances", Integer, nullable=False),
    *_indexed(Level.SERIES),
    ForeignKeyConstraint(["institution", "study_uid"], ["studies.institution", "studies.study_uid"]),
    Index(None, "institution", "study_uid"),
)

INSTANCES = Table(
    "instances",
    METADATA,
    Column("institution", String(30), primary_key=True),
    Column("sop_uid", String(64), primary_key=True),
    Column("series_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("sop_class", String(64), nullable=False),
    Column("transfer_syntax", String(64), nullable=False),
    Column("blob", String(64), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pixel_offset", BigInteger),
    Column("pixel_length", BigInteger),
    Column("received_ms", BigInteger, nullable=False),
    Column("batch", String(30), nullable=False),
    Column("own", Integer, nullable=False),
    *_indexed(Level.INSTANCE),
    Column("header", Text, nullable=False),
    ForeignKeyConstraint(["institution", "series_uid"], ["series.institution", "series.series_uid"]),
    Index(None, "institution", "series_uid"),
    Index(None, "institution", "study_uid"),
)

OUTBOX = outbox_table(METADATA)

ACCESS_LOG = Table(
    "access_log",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("institution", String(30), nullable=False),
    Column("account", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index(None, "institution", "study_uid"),
    UniqueConstraint("digest"),
)
