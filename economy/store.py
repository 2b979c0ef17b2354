"""Where the ledger is kept: the port, and the store in memory.

A store decides nothing. It lends the planner a `Book` inside an exclusive transaction and writes what came of it; it
lends readers one consistent snapshot.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol

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
from economy.entry import Account, Asset, Party, PendingRef, Phase, Policy
from economy.errors import LedgerUnavailable, SealConflict


class Transaction(Protocol):
    """An exclusive right to write: no other writer, in this process or another, until it ends."""

    def load(self, wanted: Wanted, now_ms: int) -> Book:
        """What a batch needs to be decided."""

    def write(self, changes: Changes) -> None:
        """Store what was decided; durable when the transaction ends."""


class Snapshot(Protocol):
    """The ledger at one moment."""

    def head(self) -> Head:
        """The end of the log."""

    def find(self, entry_ids: Collection[str]) -> dict[str, EntryRow]:
        """Entries by id; what is not recorded is left out."""

    def log(self, after_seq: int = 0, limit: int = 10_000, kind: str | None = None) -> list[EntryRow]:
        """Entries in order, of one kind if asked."""

    def transfers(self, after_seq: int, to_seq: int) -> list[TransferRow]:
        """Transfers of the entries `after_seq < seq <= to_seq`, in order."""

    def accounts(self, names: Collection[Account] | None = None) -> list[Balance]:
        """Accounts in the order they were opened: all of them, or those named that exist."""

    def seals(self) -> list[Seal]:
        """Seals in order."""

    def declared(self) -> Declared:
        """Assets, parties and policies."""


class Store(Protocol):
    """One ledger."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """Begin to write. Raises `LedgerUnavailable` when the store cannot be reached or is closed."""

    def reading(self) -> AbstractContextManager[Snapshot]:
        """Begin to read. Raises `LedgerUnavailable`."""

    def party(self, kind: str, ref: str) -> str | None:
        """Id of the party that stands for someone known elsewhere."""

    def add_seal(self, seal: Seal) -> None:
        """Store a seal. Raises `SealConflict` when its place is taken."""

    def close(self) -> None:
        """Let go of what is held."""


class MemoryStore:
    """A ledger in lists and dictionaries: for tests, simulations and demonstrations."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._head = Head()
        self._entries: list[EntryRow] = []
        self._transfers: list[TransferRow] = []
        self._seqs: list[int] = []
        self._known: dict[str, int] = {}
        self._balances: dict[Account, Balance] = {}
        self._pendings: dict[PendingRef, Pending] = {}
        self._assets: dict[int, Asset] = {}
        self._parties: dict[int, Party] = {}
        self._policies: dict[tuple[str, int], Policy] = {}
        self._seals: list[Seal] = []

    @contextmanager
    def writing(self) -> Iterator[MemoryStore]:
        with self._lock:
            self._open()
            yield self

    @contextmanager
    def reading(self) -> Iterator[MemoryStore]:
        with self._lock:
            self._open()
            yield self

    def _open(self) -> None:
        if self._closed:
            raise LedgerUnavailable

    def close(self) -> None:
        self._closed = True

    def load(self, wanted: Wanted, now_ms: int) -> Book:
        book = Book(self._head, batch_time_us(now_ms, self._head))
        book.known = {name: self._remembered(name) for name in wanted.entry_ids if name in self._known}
        book.assets = {asset.code: (number, asset) for number, asset in self._assets.items()}
        book.parties = {party.party_id: (number, party.kind) for number, party in self._parties.items()}
        book.policies = dict(self._policies)
        for name in wanted.accounts & self._balances.keys():
            book.balances[name] = replace(self._balances[name])
        for ref, pending in self._pendings.items():
            due = pending.expires_us is not None and pending.expires_us <= book.now_us
            if ref.entry_id in wanted.pending_ids or due:
                lent = self._lend(book, pending)
                book.pendings[ref] = lent
                if due:
                    book.due.append(lent)
        book.due.sort(key=lambda item: (item.expires_us, item.seq, item.leg))
        for entry_id in wanted.pending_ids & self._known.keys():
            row = self._entries[self._known[entry_id] - 1]
            for transfer in self.transfers(row.seq - 1, row.seq):
                ref = PendingRef(entry_id, transfer.leg)
                if transfer.phase == Phase.PENDING and ref not in book.pendings:
                    book.pendings[ref] = self._lend_resolved(book, entry_id, transfer)
        return book

    def _remembered(self, name: str) -> Known:
        row = self._entries[self._known[name] - 1]
        return Known(row.seq, row.request_hash, row.recorded_us)

    def _lend(self, book: Book, pending: Pending) -> Pending:
        return replace(pending, debit=self._lent(book, pending.debit), credit=self._lent(book, pending.credit))

    def _lent(self, book: Book, balance: Balance) -> Balance:
        return book.balances.setdefault(balance.account, replace(self._balances[balance.account]))

    def _lend_resolved(self, book: Book, name: str, row: TransferRow) -> Pending:
        by_id = {balance.account_id: balance for balance in self._balances.values()}
        pair = (self._lent(book, by_id[row.debit_id]), self._lent(book, by_id[row.credit_id]))
        return Pending(row.entry_seq, row.leg, name, *pair, row.amount, row.expires_us, resolved=True)

    def write(self, changes: Changes) -> None:
        for number, asset in changes.assets:
            self._assets[number] = asset
        for number, party in changes.parties:
            self._parties[number] = party
        for policy in changes.policies:
            self._policies[policy.kind, policy.version] = policy
        for balance in changes.touched.values():
            self._balances[balance.account] = replace(balance, version=balance.version + 1)
        by_id = {balance.account_id: balance for balance in changes.touched.values()}
        names = {row.seq: row.entry_id for row in changes.entries}
        for row in changes.transfers:
            if row.phase == Phase.PENDING:
                ref = PendingRef(names[row.entry_seq], row.leg)
                pair = (by_id[row.debit_id], by_id[row.credit_id])
                self._pendings[ref] = Pending(
                    row.entry_seq, row.leg, ref.entry_id, *pair, row.amount, row.expires_us, False
                )
            elif row.pending_seq is not None and row.pending_leg is not None:
                place = row.pending_seq
                name = names[place] if place in names else self._entries[place - 1].entry_id
                del self._pendings[PendingRef(name, row.pending_leg)]
        for entry in changes.entries:
            self._entries.append(entry)
            self._known[entry.entry_id] = entry.seq
        self._transfers += changes.transfers
        self._seqs += [row.entry_seq for row in changes.transfers]
        if changes.entries:
            last = changes.entries[-1]
            numbers = (len(self._balances), len(self._assets), len(self._parties))
            self._head = Head(last.seq, last.recorded_us, *numbers)

    def head(self) -> Head:
        return self._head

    def find(self, entry_ids: Collection[str]) -> dict[str, EntryRow]:
        return {name: self._entries[self._known[name] - 1] for name in entry_ids if name in self._known}

    def log(self, after_seq: int = 0, limit: int = 10_000, kind: str | None = None) -> list[EntryRow]:
        rows = self._entries[after_seq:]
        return [row for row in rows if kind is None or row.kind == kind][:limit]

    def transfers(self, after_seq: int, to_seq: int) -> list[TransferRow]:
        return self._transfers[bisect_right(self._seqs, after_seq) : bisect_right(self._seqs, to_seq)]

    def accounts(self, names: Collection[Account] | None = None) -> list[Balance]:
        found = self._balances.values() if names is None else (self._balances[n] for n in names if n in self._balances)
        return sorted((replace(balance) for balance in found), key=lambda balance: balance.account_id)

    def seals(self) -> list[Seal]:
        return list(self._seals)

    def declared(self) -> Declared:
        return Declared(dict(self._assets), dict(self._parties), list(self._policies.values()))

    def party(self, kind: str, ref: str) -> str | None:
        with self._lock:
            self._open()
            found = (item.party_id for item in self._parties.values() if (item.kind, item.ref) == (kind, ref))
            return next(found, None)

    def add_seal(self, seal: Seal) -> None:
        with self._lock:
            self._open()
            if seal.seal_id != len(self._seals) + 1:
                raise SealConflict
            self._seals.append(seal)
