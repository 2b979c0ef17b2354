"""The clinic database: archive, outbox, access log, Workitems."""

from __future__ import annotations

from pathlib import Path

from bithive.database_sql import new_metadata

METADATA = new_metadata()
MIGRATIONS = Path(__file__).parent / "migrations"
