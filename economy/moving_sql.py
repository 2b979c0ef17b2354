# ruff: noqa: S608 - statements are put together from the tables' own names
"""Moving a ledger from one database to another: SQLite to PostgreSQL, and back.

Every row of every table goes over as it is, so that roots, seals and cosignatures stay what they are. The writers of
the source are kept out until the end; the target is filled in one transaction, which is committed only after its rows
were read back and have the same digests. Then the source is fenced: triggers refuse any further row, so that one ledger
cannot go on as two. Whoever interrupts it finds either nothing in the target, or all of it, and may begin again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bithive.database_sql import Database
from economy import tables_sql
from economy.errors import LedgerMoved, LedgerNotEmpty, MoveDiffers
from economy.metadata_sql import METADATA

_MIGRATIONS = Path(__file__).parent / "migrations"
_PAGE = 5_000
_FENCE = "ledger_moved"
_SAID = "this ledger was moved to another database"


class Moved(NamedTuple):
    """What went over.

    Attributes
    ----------
    rows
        By table.
    digests
        SHA-256 over each table's rows, the same on both sides.
    before
        Whether it was all there already, and only the fence was set.
    """

    rows: dict[str, int]
    digests: dict[str, str]
    before: bool


def tables() -> list[Table]:
    """The ledger's tables, each after those that it refers to."""
    assert tables_sql.ENTRY in METADATA.sorted_tables, "the tables are declared"
    return METADATA.sorted_tables


def move(source: Database, target: Database, tell: Callable[[str], None] = lambda _line: None) -> Moved:
    """Move a ledger.

    Parameters
    ----------
    source
        The ledger as it is; brought to this version's schema first.
    target
        A database without a ledger, or with this very one.
    tell
        Takes a line on each table that went over.

    Raises
    ------
    LedgerMoved
        If the source was moved before, to a database other than the target.
    LedgerNotEmpty
        If the target holds another ledger.
    MoveDiffers
        If the target does not give back what it was given; nothing is kept of it.
    """
    for database in (source, target):
        database.upgrade(_MIGRATIONS)
    with source.write() as here:
        _hold(here)
        with target.write() as there:
            _hold(there)
            before = any(there.execute(text(f"SELECT 1 FROM {table.name} LIMIT 1")).first() for table in tables())
            if is_fenced(there):
                raise LedgerMoved("the target was itself moved to another database")
            if is_fenced(here) and not before:
                raise LedgerMoved
            rows = {}
            for table in tables():
                rows[table.name] = _copy(here, there, table) if not before else _count(here, table)
                tell(f"{table.name}: {rows[table.name]} rows")
            digests, arrived = digests_of(here), digests_of(there)
            if digests != arrived:
                raise (LedgerNotEmpty if before else MoveDiffers)(_differing(digests, arrived))
        if not is_fenced(here):
            _fence(here)
    return Moved(rows, digests, before)


def digests_of(connection: Connection) -> dict[str, str]:
    """SHA-256 over each table's rows in the order of its key, each row a line of JSON: the same on every database."""
    found = {}
    for table in tables():
        hashed = hashlib.sha256()
        for page in _pages(connection, table):
            hashed.update("".join(json.dumps(list(row)) + "\n" for row in page).encode())
        found[table.name] = hashed.hexdigest()
    return found


def is_fenced(connection: Connection) -> bool:
    """Whether this ledger was moved away."""
    if connection.dialect.name == "sqlite":
        query = f"SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = '{_FENCE}_entry_insert'"
    else:
        query = (
            "SELECT 1 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            f" WHERE tgname = '{_FENCE}_entry' AND relnamespace = current_schema()::regnamespace"
        )
    return connection.execute(text(query)).first() is not None


def refuse_moved(database: Database) -> None:
    """Raise `LedgerMoved` if this ledger was moved away; an absent or unreachable database is for others to report."""
    try:
        with database.read() as connection:
            fenced = inspect(connection).has_table("entry") and is_fenced(connection)
    except SQLAlchemyError:
        return
    if fenced:
        raise LedgerMoved("give the address it was moved to: BITHIVE_NETWORK__LEDGER_DATABASE_URL")


def _hold(connection: Connection) -> None:
    """Keep other writers out until the transaction ends; SQLite's write lock does so already."""
    if connection.dialect.name != "sqlite":
        names = ", ".join(table.name for table in tables())
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _copy(here: Connection, there: Connection, table: Table) -> int:
    insert = _insert_sqlite if there.dialect.name == "sqlite" else _insert_postgresql
    count = 0
    for page in _pages(here, table):
        insert(there, table, page)
        count += len(page)
    return count


def _pages(connection: Connection, table: Table) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows in the order of the key, a page at a time."""
    columns, keys = _columns(table), ", ".join(column.name for column in table.primary_key.columns)
    query = f"SELECT {columns} FROM {table.name} ORDER BY {keys}"
    if connection.dialect.name == "sqlite":
        yield from connection.execute(text(query)).partitions(_PAGE)
        return
    connection.execute(text(f"DECLARE moving NO SCROLL CURSOR FOR {query}"))
    while page := connection.execute(text(f"FETCH {_PAGE} FROM moving")).all():
        yield page
    connection.execute(text("CLOSE moving"))


def _columns(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(text(f"SELECT COUNT(*) FROM {table.name}")).scalar_one())


def _insert_sqlite(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({marks})", [tuple(row) for row in rows]
    )


def _insert_postgresql(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    lines = "".join(",".join(map(_cell, row)) + "\n" for row in rows)
    command = f"COPY {table.name} ({_columns(table)}) FROM STDIN WITH (FORMAT csv, NULL '\\N')"
    cursor = connection.connection.cursor()
    try:
        cursor.execute(command, stream=io.BytesIO(lines.encode()))  # type: ignore[call-arg]
    finally:
        cursor.close()


def _cell(value: Any) -> str:
    if value is None:
        return "\\N"
    return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else str(value)


def _differing(one: dict[str, str], other: dict[str, str]) -> str:
    names = sorted(name for name in one if one[name] != other.get(name))
    return f"these tables differ: {', '.join(names)}"


def _fence(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for table in tables():
            for verb in ("INSERT", "UPDATE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER {_FENCE}_{table.name}_{verb.lower()} BEFORE {verb} ON {table.name}"
                    f" BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
                )
        return
    connection.exec_driver_sql(
        f"CREATE FUNCTION {_FENCE}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_SAID}'; END $$"
    )
    for table in tables():
        connection.exec_driver_sql(
            f"CREATE TRIGGER {_FENCE}_{table.name} BEFORE INSERT OR UPDATE ON {table.name}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {_FENCE}()"
        )
