"""The access log in SQL; the migration adds triggers that refuse every change of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, func, insert, select

from bithive.database_sql import Database
from clinic.access_log import Access, AccessRow
from clinic.tables_archive_sql import ACCESS_LOG

_PAGE = 1000
_LOCK = 7_311_506


class SqlAccessStore:
    """Rows in the clinic database.

    Parameters
    ----------
    database
        The clinic database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, rows: Sequence[AccessRow]) -> None:
        last_one = select(ACCESS_LOG).order_by(ACCESS_LOG.c.seq.desc()).limit(1)
        with self._database.write() as connection:
            if not self._database.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            known = connection.execute(last_one).first()
            last = _row(known) if known else None
            chained = []
            for row in rows:
                last = row.chained(last)
                chained.append(asdict(last) | {"kind": str(last.kind)})
            connection.execute(insert(ACCESS_LOG), chained)

    def read(self, institution: str | None = None, after: int = 0, limit: int = _PAGE) -> list[AccessRow]:
        statement = select(ACCESS_LOG).where(ACCESS_LOG.c.seq > after).order_by(ACCESS_LOG.c.seq).limit(limit)
        if institution is not None:
            statement = statement.where(ACCESS_LOG.c.institution == institution)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(statement)]


def _row(row: Row[Any]) -> AccessRow:
    members: dict[str, Any] = {name: getattr(row, name) for name in ACCESS_LOG.c.keys()}  # noqa: SIM118 - a collection of columns, not a mapping
    return AccessRow(**(members | {"kind": Access(row.kind)}))
