"""Table of studies that were declared public, in the clinic's database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table

from clinic.metadata_sql import METADATA

PUBLIC_STUDIES = Table(
    "public_study",
    METADATA,
    Column("institution", String(40), primary_key=True),
    Column("study_uid", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("licence", String(64), nullable=False),
    Column("basis", String(16), nullable=False),
    Column("account", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
