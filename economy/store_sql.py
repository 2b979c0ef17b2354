# ruff: noqa: S608 - statements are put together from this file's own constants; every value is a parameter
"""The ledger in SQL: SQLite embedded, PostgreSQL for a network.

Every batch is one transaction and a handful of set-based statements, whatever its size. A writer holds SQLite's write
lock or a PostgreSQL advisory lock, so that several processes may write, one at a time, and nothing read for a decision
can have changed when it is written. Names that never change (account, asset and party numbers) are remembered between
batches; balances never are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bithive.database_sql import Database
from economy import tables_sql as tables
from economy.book import (
    Balance,
    Book,
    Changes,
    Declared,
    EntryRow,
    Head,
    Known,
    Pending,
    Seal,
    TransferRow,
    Wanted,
    batch_time_us,
)
from economy.chart import Limit
from economy.entry import Account, Asset, Party, PendingRef, Policy
from economy.errors import LedgerFault, LedgerUnavailable, SealConflict

_LOCK = 4_703_119_025_117_301
_CLOCK_SLACK_US = 1_000_000
_MIGRATIONS = Path(__file__).parent / "migrations"

_HEAD = """
    SELECT COALESCE((SELECT MAX(seq) FROM entry), 0),
           COALESCE((SELECT recorded_us FROM entry ORDER BY seq DESC LIMIT 1), 0),
           COALESCE((SELECT MAX(id) FROM account), 0),
           COALESCE((SELECT MAX(id) FROM asset), 0),
           COALESCE((SELECT MAX(id) FROM party), 0)
"""
_ACCOUNT = """
    SELECT account.id, party.code, account.code, asset.code, asset_id, limit_mode,
           debit_pending, debit_posted, credit_pending, credit_posted, version
    FROM account JOIN party ON party.id = party_id JOIN asset ON asset.id = asset_id
"""
_PENDING = """
    SELECT transfer.entry_seq, transfer.leg, entry.id, debit_id, credit_id, amount, expires_us,
           EXISTS (SELECT 1 FROM transfer AS done WHERE done.pending_seq = transfer.entry_seq
                   AND done.pending_leg = transfer.leg AND done.phase IN (2, 3)) AS resolved
    FROM transfer JOIN entry ON entry.seq = transfer.entry_seq
"""
_ENTRY = "SELECT seq, id, kind, request_hash, recorded_us, effective_ms, content, leaf_hash FROM entry"
_TRANSFER = """
    SELECT entry_seq, leg, asset_id, debit_id, credit_id, amount, phase, pending_seq, pending_leg, expires_us
    FROM transfer WHERE entry_seq > :after AND entry_seq <= :upto ORDER BY entry_seq, leg
"""
_TOTALS = ("debit_pending", "debit_posted", "credit_pending", "credit_posted")


class SqlStore:
    """A ledger in one database.

    Parameters
    ----------
    database
        Brought to the newest schema at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False
        self._numbers: dict[Account, int] = {}
        self._parties: dict[str, tuple[int, str]] = {}
        self._assets: dict[str, tuple[int, Asset]] = {}
        database.upgrade(_MIGRATIONS)

    @contextmanager
    def writing(self) -> Iterator[_SqlTransaction]:
        with self._translated(), self._database.write() as connection:
            if not self._database.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield _SqlTransaction(connection, self._numbers, self._parties, self._assets)

    @contextmanager
    def reading(self) -> Iterator[_SqlSnapshot]:
        with self._translated(), self._database.read() as connection:
            if not self._database.is_sqlite:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield _SqlSnapshot(connection)

    def party(self, kind: str, ref: str) -> str | None:
        with self._translated(), self._database.read() as connection:
            query = text("SELECT code FROM party WHERE kind = :kind AND ref = :ref")
            code = connection.execute(query, {"kind": kind, "ref": ref}).scalar()
            return None if code is None else str(code)

    def add_seal(self, seal: Seal) -> None:
        try:
            with self._translated(), self._database.write() as connection:
                _insert(connection, tables.SEAL, [seal])
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
        except SQLAlchemyError as error:
            raise (LedgerFault if _breaks_a_rule(error) else LedgerUnavailable) from error


class _SqlTransaction:
    def __init__(
        self,
        connection: Connection,
        numbers: dict[Account, int],
        parties: dict[str, tuple[int, str]],
        assets: dict[str, tuple[int, Asset]],
    ) -> None:
        self._connection, self._numbers, self._parties, self._assets = connection, numbers, parties, assets

    def load(self, wanted: Wanted, now_ms: int) -> Book:
        connection = self._connection
        head = Head(*connection.execute(text(_HEAD)).one())
        book = Book(head, batch_time_us(now_ms, head))
        for row in connection.execute(
            text(f"SELECT id, seq, request_hash, recorded_us FROM entry WHERE id IN {_members(connection, 'text')}"),
            {"items": json.dumps(list(wanted.entry_ids))},
        ):
            book.known[row[0]] = Known(row[1], row[2], row[3])
        self._load_assets(book)
        self._load_accounts(book, wanted)
        self._load_parties(book, wanted)
        self._load_pendings(book, wanted)
        if wanted.policies:
            book.policies = {(item.kind, item.version): item for item in _policies(connection)}
        return book

    def _load_assets(self, book: Book) -> None:
        if len(self._assets) < book.head.asset_id:
            self._assets.update({asset.code: (number, asset) for number, asset in _assets(self._connection).items()})
        book.assets = dict(self._assets)

    def _load_accounts(self, book: Book, wanted: Wanted) -> None:
        known = {self._numbers[name] for name in wanted.accounts & self._numbers.keys()}
        self._read_accounts(book, known)
        owners = sorted({name.owner for name in wanted.accounts - self._numbers.keys()})
        if owners:
            codes = sorted({name.code for name in wanted.accounts})
            owned = f"party.code IN {_members(self._connection, 'text')}"
            coded = f"account.code IN {_members(self._connection, 'text', 'codes')}"
            values = {"items": json.dumps(owners), "codes": json.dumps(codes)}
            for balance in _balances(self._connection, f"WHERE {owned} AND {coded}", values):
                self._numbers[balance.account] = balance.account_id
                book.balances.setdefault(balance.account, balance)

    def _read_accounts(self, book: Book, numbers: Collection[int]) -> None:
        if numbers:
            where = f"WHERE account.id IN {_members(self._connection, 'bigint')}"
            for balance in _balances(self._connection, where, {"items": json.dumps(list(numbers))}):
                self._numbers[balance.account] = balance.account_id
                book.balances.setdefault(balance.account, balance)

    def _load_parties(self, book: Book, wanted: Wanted) -> None:
        named = wanted.parties | {name.owner for name in wanted.accounts if name not in book.balances}
        if missing := named - self._parties.keys():
            query = f"SELECT code, id, kind FROM party WHERE code IN {_members(self._connection, 'text')}"
            for code, number, kind in self._connection.execute(text(query), {"items": json.dumps(sorted(missing))}):
                self._parties[code] = (number, kind)
        book.parties = {code: self._parties[code] for code in named & self._parties.keys()}

    def _load_pendings(self, book: Book, wanted: Wanted) -> None:
        connection = self._connection
        rows: list[Any] = []
        if wanted.pending_ids:
            where = f"WHERE phase = 1 AND entry.id IN {_members(connection, 'text')}"
            values = {"items": json.dumps(list(wanted.pending_ids))}
            rows += connection.execute(text(_PENDING + where), values).all()
        window = {"since": book.head.recorded_us - _CLOCK_SLACK_US, "until": book.now_us}
        where = "WHERE phase = 1 AND expires_us > :since AND expires_us <= :until"
        due = connection.execute(text(f"{_PENDING} {where} ORDER BY expires_us, entry_seq, leg"), window).all()
        rows += due
        loaded = {balance.account_id for balance in book.balances.values()}
        self._read_accounts(book, {number for row in rows for number in row[3:5]} - loaded)
        by_id = {balance.account_id: balance for balance in book.balances.values()}
        for row in rows:
            pair = (by_id[row[3]], by_id[row[4]])
            item = Pending(row[0], row[1], row[2], *pair, row[5], row[6], bool(row[7]))
            book.pendings.setdefault(PendingRef(row[2], row[1]), item)
        book.due = [book.pendings[PendingRef(row[2], row[1])] for row in due]

    def write(self, changes: Changes) -> None:
        connection = self._connection
        assets = [(number, item.code, item.scale, item.kind, item.caip19) for number, item in changes.assets]
        _insert(connection, tables.ASSET, assets)
        parties = [(number, item.party_id, item.kind, item.ref) for number, item in changes.parties]
        _insert(connection, tables.PARTY, parties)
        policies = [(item.kind, item.version, item.effective_from_ms, item.content) for item in changes.policies]
        _insert(connection, tables.POLICY, policies)
        _insert(connection, tables.ACCOUNT, self._opened(changes))
        _insert(connection, tables.ENTRY, changes.entries)
        _insert(connection, tables.TRANSFER, changes.transfers)
        opened = {balance.account_id for balance in changes.opened}
        _update_accounts(connection, [item for number, item in changes.touched.items() if number not in opened])

    def _opened(self, changes: Changes) -> list[tuple[Any, ...]]:
        fresh = {item.party_id: number for number, item in changes.parties}
        rows = []
        for item in changes.opened:
            owner = item.account.owner
            party = fresh[owner] if owner in fresh else self._parties[owner][0]
            name = (item.account_id, item.asset_id, party, item.account.code, int(item.limit))
            rows.append((*name, *_totals(item), 1))
        return rows


class _SqlSnapshot:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def head(self) -> Head:
        return Head(*self._connection.execute(text(_HEAD)).one())

    def find(self, entry_ids: Collection[str]) -> dict[str, EntryRow]:
        query = f"{_ENTRY} WHERE id IN {_members(self._connection, 'text')}"
        rows = self._connection.execute(text(query), {"items": json.dumps(list(entry_ids))})
        return {row[1]: EntryRow(*row) for row in rows}

    def log(self, after_seq: int = 0, limit: int = 10_000, kind: str | None = None) -> list[EntryRow]:
        where = "WHERE seq > :after" + ("" if kind is None else " AND kind = :kind")
        values = {"after": after_seq, "limit": limit} | ({} if kind is None else {"kind": kind})
        rows = self._connection.execute(text(f"{_ENTRY} {where} ORDER BY seq LIMIT :limit"), values)
        return [EntryRow(*row) for row in rows]

    def transfers(self, after_seq: int, to_seq: int) -> list[TransferRow]:
        rows = self._connection.execute(text(_TRANSFER), {"after": after_seq, "upto": to_seq})
        return [TransferRow(*row) for row in rows]

    def accounts(self, names: Collection[Account] | None = None) -> list[Balance]:
        if names is None:
            return _balances(self._connection, "", {})
        owners = {"items": json.dumps(sorted({name.owner for name in names}))}
        found = _balances(self._connection, f"WHERE party.code IN {_members(self._connection, 'text')}", owners)
        asked = set(names)
        return [balance for balance in found if balance.account in asked]

    def seals(self) -> list[Seal]:
        columns = ", ".join(Seal._fields[1:])
        rows = self._connection.execute(text(f"SELECT id, {columns} FROM seal ORDER BY id"))
        return [Seal(*row) for row in rows]

    def declared(self) -> Declared:
        rows = self._connection.execute(text("SELECT id, code, kind, ref FROM party ORDER BY id"))
        parties = {row[0]: Party(*row[1:]) for row in rows}
        return Declared(_assets(self._connection), parties, _policies(self._connection))


def _members(connection: Connection, kind: str, name: str = "items") -> str:
    """A set given as a JSON array: one parameter, however large."""
    if connection.dialect.name == "sqlite":
        return f"(SELECT value FROM json_each(:{name}))"
    return f"(SELECT CAST(value AS {kind}) FROM jsonb_array_elements_text(CAST(:{name} AS jsonb)))"


def _insert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", list(map(tuple, rows)))
        return
    columns = [column.name for column in table.columns]
    records = json.dumps([dict(zip(columns, row, strict=True)) for row in rows])
    query = f"INSERT INTO {table.name} SELECT * FROM json_populate_recordset(NULL::{table.name}, CAST(:rows AS json))"
    connection.execute(text(query), {"rows": records})


def _update_accounts(connection: Connection, balances: Sequence[Balance]) -> None:
    if not balances:
        return
    rows = [(*_totals(item), item.account_id, item.version) for item in balances]
    if connection.dialect.name == "sqlite":
        sets = ", ".join(f"{name} = ?" for name in _TOTALS)
        query = f"UPDATE account SET {sets}, version = version + 1 WHERE id = ? AND version = ?"
        count = connection.exec_driver_sql(query, rows).rowcount
    else:
        names = (*_TOTALS, "id", "version")
        sets = ", ".join(f"{name} = new.{name}" for name in _TOTALS)
        shape = ", ".join(f"{name} bigint" for name in names)
        query = (
            f"UPDATE account SET {sets}, version = account.version + 1"
            f" FROM json_to_recordset(CAST(:rows AS json)) AS new ({shape})"
            " WHERE account.id = new.id AND account.version = new.version"
        )
        records = json.dumps([dict(zip(names, row, strict=True)) for row in rows])
        count = connection.execute(text(query), {"rows": records}).rowcount
    assert count == len(balances), "an account changed under the writer's lock"


def _totals(item: Balance) -> tuple[int, int, int, int]:
    """In the order of `_TOTALS`."""
    return item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted


def _balances(connection: Connection, where: str, values: dict[str, Any]) -> list[Balance]:
    rows = connection.execute(text(f"{_ACCOUNT} {where} ORDER BY account.id"), values)
    return [Balance(row[0], Account(row[1], row[2], row[3]), row[4], Limit(row[5]), *row[6:]) for row in rows]


def _assets(connection: Connection) -> dict[int, Asset]:
    rows = connection.execute(text("SELECT id, code, scale, kind, caip19 FROM asset ORDER BY id"))
    return {row[0]: Asset(*row[1:]) for row in rows}


def _policies(connection: Connection) -> list[Policy]:
    rows = connection.execute(
        text("SELECT kind, version, effective_from_ms, content FROM policy ORDER BY kind, version")
    )
    return [Policy(*row) for row in rows]


def _breaks_a_rule(error: SQLAlchemyError) -> bool:
    """Whether a constraint refused it (SQLSTATE class 23 or P0001), rather than the database failing."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    detail = error.orig.args[0] if error.orig.args else ""
    if isinstance(detail, dict):
        return str(detail.get("C", "")).startswith(("23", "P0001"))
    return type(error.orig).__name__ == "IntegrityError"
