"""Databases for many short ledgers: migrated once, emptied between two of them."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from bithive.database_sql import Database
from economy.metadata_sql import METADATA


class Migrated(Database):
    """A database whose schema is known to be the newest, so that nothing looks after it."""

    def upgrade(self, scripts: Path) -> None:
        pass


def emptied(database: Database) -> Database:
    """Forget all, which only PostgreSQL's administrator can: the triggers are switched off for it."""
    with database.write() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(METADATA.tables)}"))
    return database
