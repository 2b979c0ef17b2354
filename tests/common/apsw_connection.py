"""APSW behind the manners of `sqlite3`, as far as SQLAlchemy's dialect uses them.

`sqlite3` cannot name a virtual file system in Python's hands; APSW can. The SQL is the product's own, word for word.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import apsw

_Answer = TypeVar("_Answer")
_BROKEN_RULE = (apsw.ConstraintError, apsw.MismatchError)


class ApswConnection:
    """One connection; its file is opened by the named VFS.

    Parameters
    ----------
    name
        The database's name in that VFS.
    vfs
        A registered VFS.
    pragmas
        Set before anything else: `locking_mode=EXCLUSIVE` lets WAL do without shared memory.
    """

    def __init__(self, name: str, vfs: str, pragmas: Sequence[str] = ("locking_mode=EXCLUSIVE",)) -> None:
        self.isolation_level: str | None = None
        self._connection = _asked(lambda: apsw.Connection(name, vfs=vfs))
        for pragma in pragmas:
            self.execute(f"PRAGMA {pragma}")

    def cursor(self) -> ApswCursor:
        return ApswCursor(self._connection)

    def execute(self, query: str, values: Sequence[Any] = ()) -> ApswCursor:
        return self.cursor().execute(query, values)

    def create_function(self, name: str, count: int, function: Callable[..., Any], *, deterministic: bool) -> None:
        self._connection.create_scalar_function(name, function, count, deterministic=deterministic)

    def commit(self) -> None:
        if self._connection.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """As in `sqlite3`, what the last checkpoint meets is nobody's answer: the WAL is still there."""
        with contextlib.suppress(apsw.Error):
            self._connection.close(True)


class ApswCursor:
    """One statement at a time; rows are read at once, so that no statement stays open behind a transaction."""

    arraysize = 1
    lastrowid = 0

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection, self._rows = connection, list[tuple[Any, ...]]()
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1

    def execute(self, query: str, values: Sequence[Any] = ()) -> ApswCursor:
        before = self._connection.total_changes()
        cursor = self._connection.cursor()
        cursor.exec_trace = self._describe
        self._rows = _asked(lambda: list(cursor.execute(query, values or None)))
        self.rowcount = self._connection.total_changes() - before
        return self

    def _describe(self, cursor: apsw.Cursor, _query: str, _values: Any) -> bool:
        """Columns are known before the first row, and also when there is none."""
        columns = cursor.get_description()
        self.description = [(column[0], *(None,) * 6) for column in columns] or None
        return True

    def executemany(self, query: str, rows: Iterable[Sequence[Any]]) -> ApswCursor:
        before = self._connection.total_changes()
        cursor = self._connection.cursor()
        _asked(lambda: [None for _ in cursor.executemany(query, rows)])
        self.description, self._rows = None, []
        self.rowcount = self._connection.total_changes() - before
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        count = size or self.arraysize
        taken, self._rows = self._rows[:count], self._rows[count:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        self._rows = []


def _asked(call: Callable[[], _Answer]) -> _Answer:
    try:
        return call()
    except apsw.Error as error:
        _translate(error)


def _translate(error: apsw.Error) -> NoReturn:
    kind = sqlite3.IntegrityError if isinstance(error, _BROKEN_RULE) else sqlite3.OperationalError
    raise kind(str(error)) from error
