# ruff: noqa: S608 - statements are put together from this file's own constants; every value is a parameter
"""The ledger in SQL: SQLite embedded, PostgreSQL for a network.

Every batch is one transaction and a handful of set-based statements, whatever its size. A writer holds SQLite's write
lock or a PostgreSQL advisory lock, so that several processes may write, one at a time, and nothing read for a decision
can have changed when it is written. What a batch reads and writes is in `economy.batch_sql`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pg8000.exceptions import Error as PostgresError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bithive.database_sql import Database
from economy import rows_sql
from economy import tables_sql as tables
from economy.batch_sql import Names, SqlTransaction
from economy.book import (
    Balance,
    Declared,
    EntryRow,
    Head,
    Seal,
    TransferRow,
)
from economy.entry import Account, Asset, Party, Policy
from economy.errors import LedgerFault, LedgerUnavailable, SealConflict
from economy.proof_store_sql import SqlProofs, SqlProofSnapshot

_LOCK = 4_703_119_025_117_301
_MIGRATIONS = Path(__file__).parent / "migrations"

_ENTRY = "SELECT seq, id, kind, request_hash, recorded_us, effective_ms, content, leaf_hash FROM entry"
_TRANSFER = """
    SELECT entry_seq, leg, asset_id, debit_id, credit_id, amount, phase, pending_seq, pending_leg, expires_us
    FROM transfer WHERE entry_seq > :after AND entry_seq <= :upto
"""


class SqlStore(SqlProofs):
    """A ledger in one database.

    Parameters
    ----------
    database
        Brought to the newest schema at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False
        self._names, self._turn = Names(), threading.RLock()
        database.upgrade(_MIGRATIONS)

    @contextmanager
    def writing(self) -> Iterator[SqlTransaction]:
        with self._turn:
            with self._translated(), self._database.write() as connection:
                if not self._database.is_sqlite:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                transaction = SqlTransaction(connection, self._names)
                yield transaction
            transaction.committed()

    @contextmanager
    def reading(self) -> Iterator[_SqlSnapshot]:
        with self._translated(), self._database.read() as connection:
            yield _SqlSnapshot(connection)

    def party(self, kind: str, ref: str) -> str | None:
        with self._translated(), self._database.read() as connection:
            query = text("SELECT code FROM party WHERE kind = :kind AND ref = :ref")
            code = connection.execute(query, {"kind": kind, "ref": ref}).scalar()
            return None if code is None else str(code)

    def add_seal(self, seal: Seal) -> None:
        try:
            with self._translated(), self._database.write() as connection:
                rows_sql.insert(connection, tables.SEAL, [seal])
        except LedgerFault:
            raise SealConflict from None

    def close(self) -> None:
        self._closed = True
        self._database.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise LedgerUnavailable
        try:
            yield
        except (SQLAlchemyError, PostgresError) as error:
            raise (LedgerFault if _breaks_a_rule(error) else LedgerUnavailable) from error


class _SqlSnapshot(SqlProofSnapshot):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def head(self) -> Head:
        return Head(*self._connection.execute(text(rows_sql.HEAD)).one()[:-1])

    def find(self, entry_ids: Collection[str]) -> dict[str, EntryRow]:
        query = f"{_ENTRY} WHERE id IN {rows_sql.members(self._connection, 'text')}"
        rows = self._connection.execute(text(query), {"items": json.dumps(list(entry_ids))})
        return {row[1]: EntryRow(*row) for row in rows}

    def log(self, after_seq: int = 0, limit: int = 10_000, kind: str | None = None) -> list[EntryRow]:
        where = "WHERE seq > :after" + ("" if kind is None else " AND kind = :kind")
        values = {"after": after_seq, "limit": limit} | ({} if kind is None else {"kind": kind})
        rows = self._connection.execute(text(f"{_ENTRY} {where} ORDER BY seq LIMIT :limit"), values)
        return list(map(EntryRow._make, rows.cursor.fetchall()))

    def transfers(self, after_seq: int, to_seq: int, account_ids: Collection[int] | None = None) -> list[TransferRow]:
        values: dict[str, Any] = {"after": after_seq, "upto": to_seq}
        touching = ""
        if account_ids is not None:
            members = rows_sql.members(self._connection, "bigint")
            touching = f"AND (debit_id IN {members} OR credit_id IN {members})"
            values["items"] = json.dumps(list(account_ids))
        rows = self._connection.execute(text(f"{_TRANSFER} {touching} ORDER BY entry_seq, leg"), values)
        return list(map(TransferRow._make, rows.cursor.fetchall()))

    def accounts(
        self,
        names: Collection[Account] | None = None,
        after_id: int = 0,
        limit: int | None = None,
        code: str | None = None,
    ) -> list[Balance]:
        wheres, values = ["account.id > :after"], dict[str, Any](after=after_id)
        if code is not None:
            wheres.append("account.code = :code")
            values["code"] = code
        if names is not None:
            wheres.append(f"party.code IN {rows_sql.members(self._connection, 'text')}")
            values["items"] = json.dumps(sorted({name.owner for name in names}))
        page = f" LIMIT {int(limit)}" if names is None and limit is not None else ""
        found = rows_sql.balances(self._connection, f"WHERE {' AND '.join(wheres)}", values, page)
        asked = None if names is None else set(names)
        return [balance for balance in found if asked is None or balance.account in asked][:limit]

    def seals(self) -> list[Seal]:
        columns = ", ".join(Seal._fields[1:])
        rows = self._connection.execute(text(f"SELECT id, {columns} FROM seal ORDER BY id"))
        return [Seal(*row) for row in rows]

    def assets(self) -> dict[int, Asset]:
        return rows_sql.assets(self._connection)

    def parties(
        self, ids: Collection[str] | None = None, after_id: int = 0, limit: int | None = None, kind: str | None = None
    ) -> dict[int, Party]:
        wheres, values = ["id > :after"], dict[str, Any](after=after_id)
        if kind is not None:
            wheres.append("kind = :kind")
            values["kind"] = kind
        if ids is not None:
            wheres.append(f"code IN {rows_sql.members(self._connection, 'text')}")
            values["items"] = json.dumps(sorted(set(ids)))
        page = "" if limit is None else f" LIMIT {int(limit)}"
        query = f"SELECT id, code, kind, ref FROM party WHERE {' AND '.join(wheres)} ORDER BY id{page}"
        return {row[0]: Party(*row[1:]) for row in self._connection.execute(text(query), values)}

    def policies(self) -> list[Policy]:
        return rows_sql.policies(self._connection)

    def closed_until_ms(self) -> int:
        query = text("SELECT COALESCE(MAX(closed_until_ms), 0) FROM period")
        return int(self._connection.execute(query).scalar_one())

    def declared(self) -> Declared:
        known = (self.assets(), self.parties(), self.policies())
        return Declared(*known, rows_sql.keys(self._connection), self.closed_until_ms())


def _breaks_a_rule(error: SQLAlchemyError | PostgresError) -> bool:
    """Whether a constraint refused it (SQLSTATE class 23 or P0001), rather than the database failing."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    detail = cause.args[0] if cause is not None and cause.args else ""
    if isinstance(detail, dict):
        return str(detail.get("C", "")).startswith(("23", "P0001"))
    return type(cause).__name__ == "IntegrityError"
