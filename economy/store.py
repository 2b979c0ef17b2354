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
from heapq import heappop, heappush
from itertools import islice
from typing import Protocol

from economy.book import (
    Balance,
    Book,
    Changes,
    Declared,
    EntryRow,
    Head,
    KeyRow,
    Known,
    Pending,
    Seal,
    TransferRow,
    Wanted,
    batch_time_us,
)
from economy.entry import Account, Asset, Party, PendingRef, Phase, Policy
from economy.errors import LedgerUnavailable, SealConflict
from economy.proof_store import MemoryProofs, ProofSnapshot, ProofStore


class Transaction(Protocol):
    """An exclusive right to write: no other writer, in this process or another, until it ends."""

    def load(self, wanted: Wanted, now_ms: int) -> Book:
        """What a batch needs to be decided."""

    def write(self, changes: Changes) -> None:
        """Store what was decided; durable when the transaction ends."""


class Snapshot(ProofSnapshot, Protocol):
    """The ledger at one moment."""

    def head(self) -> Head:
        """The end of the log."""

    def find(self, entry_ids: Collection[str]) -> dict[str, EntryRow]:
        """Entries by id; what is not recorded is left out."""

    def log(self, after_seq: int = 0, limit: int = 10_000, kind: str | None = None) -> list[EntryRow]:
        """Entries in order, of one kind if asked."""

    def transfers(self, after_seq: int, to_seq: int, account_ids: Collection[int] | None = None) -> list[TransferRow]:
        """Transfers of the entries `after_seq < seq <= to_seq`, in order; only those that touch an account asked for."""

    def accounts(
        self,
        names: Collection[Account] | None = None,
        after_id: int = 0,
        limit: int | None = None,
        code: str | None = None,
    ) -> list[Balance]:
        """Accounts in the order they were opened: all of them, or those named that exist.

        Parameters
        ----------
        after_id, limit
            A page of them: what was opened after this number, at most so many.
        code
            Only accounts of this code.
        """

    def seals(self) -> list[Seal]:
        """Seals in order."""

    def policies(self) -> list[Policy]:
        """Policies that entries declared, in force or not."""

    def closed_until_ms(self) -> int:
        """Value dates before this one are closed; 0 when no period has been closed."""

    def declared(self) -> Declared:
        """Assets, parties, policies, keys and what is closed."""

    def assets(self) -> dict[int, Asset]:
        """Assets alone, by number."""

    def parties(
        self, ids: Collection[str] | None = None, after_id: int = 0, limit: int | None = None, kind: str | None = None
    ) -> dict[int, Party]:
        """Parties in the order they were declared: those named, or a page of all or of one kind."""


class Store(ProofStore, Protocol):
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


def seq_at(snapshot: Snapshot, recorded_us: int) -> int:
    """The last entry recorded before a time, in microseconds since the epoch; 0 when there is none."""
    below, above = 0, snapshot.head().seq + 1
    while above - below > 1:
        middle = (below + above) // 2
        if snapshot.log(middle - 1, 1)[0].recorded_us < recorded_us:
            below = middle
        else:
            above = middle
    return below


class MemoryStore(MemoryProofs):
    """A ledger in lists and dictionaries: for tests, simulations and demonstrations."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._closed = False
        self._head = Head()
        self._entries: list[EntryRow] = []
        self._transfers: list[TransferRow] = []
        self._seqs: list[int] = []
        self._known: dict[str, int] = {}
        self._kinds: dict[str, list[int]] = {}
        self._balances: dict[Account, Balance] = {}
        self._accounts: list[Account] = []
        self._codes: dict[str, list[Account]] = {}
        self._pendings: dict[PendingRef, Pending] = {}
        self._open_legs: dict[str, list[PendingRef]] = {}
        self._expiring: list[tuple[int, int, int, PendingRef]] = []
        self._assets: dict[int, Asset] = {}
        self._parties: dict[int, Party] = {}
        self._party_ids: dict[tuple[str, str | None], str] = {}
        self._party_rows: dict[str, tuple[int, str]] = {}
        self._policies: dict[tuple[str, int], Policy] = {}
        self._keys: dict[str, KeyRow] = {}
        self._closed_until_ms = 0
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
        owners = wanted.parties | {account.owner for account in wanted.accounts}
        book.parties = {name: self._party_rows[name] for name in owners & self._party_rows.keys()}
        book.policies = dict(self._policies)
        book.keys, book.closed_until_ms = dict(self._keys), self._closed_until_ms
        for name in wanted.accounts & self._balances.keys():
            book.balances[name] = _copied(self._balances[name])
        due = self._overdue(book.now_us)
        for ref in (*due, *(ref for name in wanted.pending_ids for ref in self._open_legs.get(name, ()))):
            if ref not in book.pendings:
                book.pendings[ref] = self._lend(book, self._pendings[ref])
        book.due = [book.pendings[ref] for ref in due]
        for entry_id in wanted.pending_ids & self._known.keys():
            row = self._entries[self._known[entry_id] - 1]
            for transfer in self.transfers(row.seq - 1, row.seq):
                ref = PendingRef(entry_id, transfer.leg)
                if transfer.phase == Phase.PENDING and ref not in book.pendings:
                    book.pendings[ref] = self._lend_resolved(book, entry_id, transfer)
        return book

    def _overdue(self, now_us: int) -> list[PendingRef]:
        """What is due and open, in the order of expiry; what was resolved meanwhile is forgotten."""
        found = []
        while self._expiring and self._expiring[0][0] <= now_us:
            item = heappop(self._expiring)
            if item[-1] in self._pendings:
                found.append(item)
        for item in found:
            heappush(self._expiring, item)
        return [item[-1] for item in found]

    def _remembered(self, name: str) -> Known:
        row = self._entries[self._known[name] - 1]
        return Known(row.seq, row.request_hash, row.recorded_us)

    def _lend(self, book: Book, pending: Pending) -> Pending:
        return replace(pending, debit=self._lent(book, pending.debit), credit=self._lent(book, pending.credit))

    def _lent(self, book: Book, balance: Balance) -> Balance:
        return book.balances.setdefault(balance.account, _copied(self._balances[balance.account]))

    def _lend_resolved(self, book: Book, name: str, row: TransferRow) -> Pending:
        names = (self._accounts[row.debit_id - 1], self._accounts[row.credit_id - 1])
        pair = (self._lent(book, self._balances[names[0]]), self._lent(book, self._balances[names[1]]))
        return Pending(row.entry_seq, row.leg, name, *pair, row.amount, row.expires_us, resolved=True)

    def write(self, changes: Changes) -> None:
        for number, asset in changes.assets:
            self._assets[number] = asset
        for number, party in changes.parties:
            self._parties[number] = party
            self._party_rows[party.party_id] = (number, party.kind)
            self._party_ids.setdefault((party.kind, party.ref), party.party_id)
        for policy in changes.policies:
            self._policies[policy.kind, policy.version] = policy
        for key in (*changes.keys, *changes.revoked):
            self._keys[key.public_key] = key
        for closed_until_ms, _ in changes.closed:
            self._closed_until_ms = closed_until_ms
        self._accounts += [balance.account for balance in changes.opened]
        for balance in changes.opened:
            self._codes.setdefault(balance.account.code, []).append(balance.account)
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
                self._open_legs.setdefault(ref.entry_id, []).append(ref)
                if row.expires_us is not None:
                    heappush(self._expiring, (row.expires_us, row.entry_seq, row.leg, ref))
            elif row.pending_seq is not None and row.pending_leg is not None:
                place = row.pending_seq
                name = names[place] if place in names else self._entries[place - 1].entry_id
                ref = PendingRef(name, row.pending_leg)
                del self._pendings[ref]
                self._open_legs[name].remove(ref)
                if not self._open_legs[name]:
                    del self._open_legs[name]
        for entry in changes.entries:
            self._entries.append(entry)
            self._known[entry.entry_id] = entry.seq
            self._kinds.setdefault(entry.kind, []).append(entry.seq)
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
        if kind is None:
            return self._entries[after_seq : after_seq + limit]
        seqs = self._kinds.get(kind, [])
        start = bisect_right(seqs, after_seq)
        return [self._entries[seq - 1] for seq in seqs[start : start + limit]]

    def transfers(self, after_seq: int, to_seq: int, account_ids: Collection[int] | None = None) -> list[TransferRow]:
        rows = self._transfers[bisect_right(self._seqs, after_seq) : bisect_right(self._seqs, to_seq)]
        if account_ids is None:
            return rows
        asked = set(account_ids)
        return [row for row in rows if row.debit_id in asked or row.credit_id in asked]

    def accounts(
        self,
        names: Collection[Account] | None = None,
        after_id: int = 0,
        limit: int | None = None,
        code: str | None = None,
    ) -> list[Balance]:
        if names is None:
            names = self._accounts[after_id:] if code is None else self._codes.get(code, ())
        found = (self._balances[name] for name in names if name in self._balances)
        asked = (item for item in found if item.account_id > after_id and code in (None, item.account.code))
        return [_copied(item) for item in sorted(asked, key=lambda item: item.account_id)[:limit]]

    def seals(self) -> list[Seal]:
        return list(self._seals)

    def policies(self) -> list[Policy]:
        return list(self._policies.values())

    def closed_until_ms(self) -> int:
        return self._closed_until_ms

    def declared(self) -> Declared:
        known = (dict(self._assets), dict(self._parties), list(self._policies.values()))
        return Declared(*known, dict(self._keys), self._closed_until_ms)

    def assets(self) -> dict[int, Asset]:
        return dict(self._assets)

    def parties(
        self, ids: Collection[str] | None = None, after_id: int = 0, limit: int | None = None, kind: str | None = None
    ) -> dict[int, Party]:
        asked = None if ids is None else set(ids)
        found = (
            (number, item)
            for number, item in self._parties.items()
            if number > after_id and kind in (None, item.kind) and (asked is None or item.party_id in asked)
        )
        return dict(islice(found, limit))

    def party(self, kind: str, ref: str) -> str | None:
        with self._lock:
            self._open()
            return self._party_ids.get((kind, ref))

    def add_seal(self, seal: Seal) -> None:
        with self._lock:
            self._open()
            if seal.seal_id != len(self._seals) + 1:
                raise SealConflict
            self._seals.append(seal)


def _copied(item: Balance) -> Balance:
    """As `replace`, at a tenth of its cost."""
    totals = (item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted)
    return Balance(item.account_id, item.account, item.asset_id, item.limit, *totals, item.version)
