"""Who was there, in the network database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bithive.database_sql import Database
from cluster.online_store import Span, Stretch
from cluster.tables_receipts_sql import STRETCHES, WATCHES


class SqlOnlineStore:
    """Open stretches and watches on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def stretches(self) -> Sequence[Stretch]:
        with self._database.read() as connection:
            return [_stretch(row._asdict()) for row in connection.execute(select(STRETCHES))]

    def watches(self) -> Sequence[Span]:
        with self._database.read() as connection:
            return [
                (row.from_ms, row.until_ms) for row in connection.execute(select(WATCHES).order_by(WATCHES.c.from_ms))
            ]

    def save(self, stretches: Iterable[Stretch], watch: Span) -> None:
        rows = [_values(stretch) for stretch in stretches]
        with self._database.write() as connection:
            _replace(connection, STRETCHES, rows)
            _replace(connection, WATCHES, [{"from_ms": watch[0], "until_ms": watch[1]}])

    def drop(self, keys: Iterable[tuple[str, int]], watched_before_ms: int) -> None:
        with self._database.write() as connection:
            for node, from_ms in keys:
                same = (STRETCHES.c.node == node) & (STRETCHES.c.from_ms == from_ms)
                connection.execute(delete(STRETCHES).where(same))
            connection.execute(delete(WATCHES).where(WATCHES.c.until_ms < watched_before_ms))


def _replace(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    adding = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: adding.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def _values(stretch: Stretch) -> dict[str, Any]:
    return {
        "node": stretch.node,
        "from_ms": stretch.from_ms,
        "cell": stretch.cell,
        "since_ms": stretch.since_ms,
        "heard_ms": stretch.heard_ms,
        "left_ms": stretch.left_ms,
        "timetable": stretch.timetable,
        "spans": json.dumps(stretch.spans),
    }


def _stretch(row: dict[str, Any]) -> Stretch:
    return Stretch(**{**row, "spans": tuple((start, end) for start, end in json.loads(row["spans"]))})
