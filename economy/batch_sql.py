# ruff: noqa: S608 - statements are put together from this package's own constants; every value is a parameter
"""What one batch reads and writes in SQL: a handful of set-based statements, whatever its size.

What has been met is kept between batches, up to a limit (`Names`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from bithive.limits import LEDGER_NAMES_MAX
from economy import rows_sql, tables_sql
from economy.book import Balance, Book, Changes, Head, Known, Pending, Wanted, batch_time_us
from economy.entry import Account, Asset, PendingRef
from economy.rows_sql import members

_CLOCK_SLACK_US = 1_000_000
_PENDING = """
    SELECT transfer.entry_seq, transfer.leg, entry.id, debit_id, credit_id, amount, expires_us,
           EXISTS (SELECT 1 FROM transfer AS done WHERE done.pending_seq = transfer.entry_seq
                   AND done.pending_leg = transfer.leg AND done.phase IN (2, 3)) AS resolved
    FROM transfer JOIN entry ON entry.seq = transfer.entry_seq
"""


class Names:
    """What batches have met: numbers by name, accounts by number.

    Everything but an account's totals and version is right for ever. Those are right for the accounts in `current`, and
    only while the log's end is still `head`: under the writer's lock, a log that has not grown since is the proof that
    no balance has changed. Whoever fails to commit leaves `current` empty, and what is needed is read again. So it is
    when there are more than `LEDGER_NAMES_MAX` accounts.
    """

    def __init__(self) -> None:
        self.numbers: dict[Account, int] = {}
        self.accounts: dict[int, Balance] = {}
        self.current: set[int] = set()
        self.head = (0, 0)
        self.parties: dict[str, tuple[int, str]] = {}
        self.assets: dict[str, tuple[int, Asset]] = {}

    def remember(self, balance: Balance) -> None:
        """Keep an account."""
        self.numbers[balance.account] = balance.account_id
        self.accounts[balance.account_id] = balance

    def trim(self) -> None:
        """Between two batches."""
        if len(self.accounts) > LEDGER_NAMES_MAX:
            self.numbers, self.accounts, self.current = {}, {}, set()
        if len(self.parties) > LEDGER_NAMES_MAX:
            self.parties = {}


class SqlTransaction:
    """The writer's side of a transaction.

    Parameters
    ----------
    connection
        In a transaction that excludes every other writer.
    names
        The store's.
    """

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection, self._names = connection, names
        self._current, names.current = names.current, set()
        self._book: Book | None = None

    def load(self, wanted: Wanted, now_ms: int) -> Book:
        """What a batch needs to be decided."""
        connection = self._connection
        *place, closed_until_ms = connection.execute(text(rows_sql.HEAD)).one()
        head = Head(*place)
        book = self._book = Book(head, batch_time_us(now_ms, head), closed_until_ms=closed_until_ms)
        if self._names.head != head[:2]:
            self._current.clear()
        self._load_known(book, wanted)
        self._load_assets(book)
        self._load_accounts(book, wanted)
        self._load_parties(book, wanted)
        self._load_pendings(book, wanted)
        if wanted.policies:
            book.policies = {(item.kind, item.version): item for item in rows_sql.policies(connection)}
        if wanted.keys:
            book.keys = rows_sql.keys(connection)
        return book

    def _load_known(self, book: Book, wanted: Wanted) -> None:
        if not wanted.entry_ids:
            return
        within = members(self._connection, "text")
        query = text(f"SELECT id, seq, request_hash, recorded_us FROM entry WHERE id IN {within}")
        rows = self._connection.execute(query, {"items": json.dumps(list(wanted.entry_ids))})
        book.known = {row[0]: Known(row[1], row[2], row[3]) for row in rows}

    def _load_assets(self, book: Book) -> None:
        known = self._names.assets
        if len(known) < book.head.asset_id:
            known.update({asset.code: (number, asset) for number, asset in rows_sql.assets(self._connection).items()})
        book.assets = dict(known)

    def _load_accounts(self, book: Book, wanted: Wanted) -> None:
        numbers = self._names.numbers
        self._read_accounts(book, [numbers[name] for name in wanted.accounts if name in numbers])
        missing = [name for name in wanted.accounts if name not in numbers]
        if missing:
            owned = f"party.code IN {members(self._connection, 'text')}"
            coded = f"account.code IN {members(self._connection, 'text', 'codes')}"
            owners, codes = sorted({name.owner for name in missing}), sorted({name.code for name in missing})
            values = {"items": json.dumps(owners), "codes": json.dumps(codes)}
            self._take(book, rows_sql.balances(self._connection, f"WHERE {owned} AND {coded}", values))

    def _read_accounts(self, book: Book, numbers: Collection[int]) -> None:
        """Accounts by their numbers: as they are kept, or their totals read again, or all of them read."""
        known, current = self._names.accounts, self._current
        for number in numbers:
            if number in current:
                book.balances[known[number].account] = known[number]
        stale = [number for number in numbers if number in known and number not in current]
        for number, *totals in rows_sql.totals_of(self._connection, stale):
            balance = known[number]
            rows_sql.set_totals(balance, *totals)
            book.balances[balance.account] = balance
        current.update(stale)
        if fresh := [number for number in numbers if number not in known]:
            where = f"WHERE account.id IN {members(self._connection, 'bigint')}"
            self._take(book, rows_sql.balances(self._connection, where, {"items": json.dumps(fresh)}))

    def _take(self, book: Book, balances: list[Balance]) -> None:
        for balance in balances:
            if balance.account not in book.balances:
                self._names.remember(balance)
                self._current.add(balance.account_id)
                book.balances[balance.account] = balance

    def _load_parties(self, book: Book, wanted: Wanted) -> None:
        known = self._names.parties
        named = wanted.parties | {name.owner for name in wanted.accounts if name not in book.balances}
        if missing := [name for name in named if name not in known]:
            query = text(f"SELECT code, id, kind FROM party WHERE code IN {members(self._connection, 'text')}")
            for code, number, kind in self._connection.execute(query, {"items": json.dumps(sorted(missing))}):
                known[code] = (number, kind)
        book.parties = {code: known[code] for code in named if code in known}

    def _load_pendings(self, book: Book, wanted: Wanted) -> None:
        connection = self._connection
        rows: list[Any] = []
        if wanted.pending_ids:
            where = f"WHERE phase = 1 AND entry.id IN {members(connection, 'text')}"
            values = {"items": json.dumps(list(wanted.pending_ids))}
            rows += connection.execute(text(_PENDING + where), values).all()
        window = {"since": book.head.recorded_us - _CLOCK_SLACK_US, "until": book.now_us}
        where = "WHERE phase = 1 AND expires_us > :since AND expires_us <= :until"
        due = connection.execute(text(f"{_PENDING} {where} ORDER BY expires_us, entry_seq, leg"), window).all()
        rows += due
        loaded = {balance.account_id for balance in book.balances.values()} if rows else set()
        self._read_accounts(book, {number for row in rows for number in row[3:5]} - loaded)
        by_id = {balance.account_id: balance for balance in book.balances.values()} if rows else {}
        for row in rows:
            pair = (by_id[row[3]], by_id[row[4]])
            item = Pending(row[0], row[1], row[2], *pair, row[5], row[6], bool(row[7]))
            book.pendings.setdefault(PendingRef(row[2], row[1]), item)
        book.due = [book.pendings[PendingRef(row[2], row[1])] for row in due]

    def write(self, changes: Changes) -> None:
        """Store what was decided; durable when the transaction ends."""
        connection, put, tables = self._connection, rows_sql.insert, tables_sql
        put(connection, tables.ASSET, [(number, a.code, a.scale, a.kind, a.caip19) for number, a in changes.assets])
        put(connection, tables.PARTY, [(number, p.party_id, p.kind, p.ref) for number, p in changes.parties])
        policies = [(item.kind, item.version, item.effective_from_ms, item.content) for item in changes.policies]
        put(connection, tables.POLICY, policies)
        put(connection, tables.ACCOUNT, self._opened(changes))
        put(connection, tables.ENTRY, changes.entries)
        put(connection, tables.TRANSFER, changes.transfers)
        opened = {balance.account_id for balance in changes.opened}
        rows_sql.update_totals(connection, [item for number, item in changes.touched.items() if number not in opened])
        put(connection, tables.SIGNING_KEY, changes.keys)
        for key in changes.revoked:
            query = text("UPDATE signing_key SET revoked_seq = :seq WHERE public_key = :key")
            connection.execute(query, {"seq": key.revoked_seq, "key": key.public_key})
        put(connection, tables.PERIOD, changes.closed)

    def committed(self) -> None:
        """What was decided is in the database: the accounts in memory are as they are there."""
        if self._book is None:
            return
        changes, names = self._book.changes, self._names
        for balance in changes.touched.values():
            balance.version += 1
        for balance in changes.opened:
            names.remember(balance)
            self._current.add(balance.account_id)
        names.head, names.current = self._book.head[:2], self._current
        names.trim()

    def _opened(self, changes: Changes) -> list[tuple[Any, ...]]:
        fresh = {item.party_id: number for number, item in changes.parties}
        rows = []
        for item in changes.opened:
            owner = item.account.owner
            party = fresh[owner] if owner in fresh else self._names.parties[owner][0]
            name = (item.account_id, item.asset_id, party, item.account.code, int(item.limit))
            rows.append((*name, *rows_sql.totals(item), 1))
        return rows
