"""The outbox as a table, in the database of the change that its events speak of."""

from __future__ import annotations

import json

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from bithive.database_sql import Database
from bithive.outbox import Event

# Any number that nothing else in the database uses as an advisory lock.
_APPENDING = 0x4248_4F42


def outbox_table(metadata: MetaData, name: str = "outbox") -> Table:
    """Declare the table in a package's metadata."""
    return Table(
        name,
        metadata,
        Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("topic", String(64), nullable=False),
        Column("key", String(200), nullable=False),
        Column("body", Text, nullable=False),
        Column("taken", Integer, nullable=False, default=0, index=True),
        UniqueConstraint("topic", "key"),
    )


class SqlOutbox:
    """Events in one table of one database."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database, self._table = database, table

    def append(self, connection: Connection, event: Event) -> None:
        """Store an event in the caller's transaction; the same topic and key twice is one event.

        On PostgreSQL the transactions that append wait for each other from here to their commit: a place in the outbox
        is taken when a row is inserted and seen when it is committed, and without it an event could appear behind one
        that was taken already. Append last.
        """
        if connection.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(_APPENDING)))
        insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(self._table)
        values = {"topic": event.topic, "key": event.key, "body": json.dumps(event.body), "taken": 0}
        connection.execute(insert.values(**values).on_conflict_do_nothing())

    def waiting(self, limit: int = 100) -> list[Event]:
        query = select(self._table).where(self._table.c.taken == 0).order_by(self._table.c.seq).limit(limit)
        with self._database.read() as connection:
            return [Event(row.topic, row.key, json.loads(row.body), row.seq) for row in connection.execute(query)]

    def taken(self, seq: int) -> None:
        with self._database.write() as connection:
            connection.execute(update(self._table).where(self._table.c.seq == seq).values(taken=1))
