"""A ledger made again from nothing but its log's words, as a stranger who holds an export would."""

from __future__ import annotations

import json

from economy.book import Balance, EntryRow, Wanted
from economy.chart import CHART
from economy.entry_json import read_entry
from economy.plan import decide
from economy.seal import state_root
from economy.store import MemoryStore, Snapshot


def replayed(snapshot: Snapshot) -> tuple[list[str], bytes]:
    """The leaf hashes and the state root of a ledger decided again, entry for entry, at the recorded times."""
    store = MemoryStore()
    after = 0
    while rows := snapshot.log(after, 10_000):
        for row in rows:
            _record(store, row)
        after = rows[-1].seq
    with store.reading() as again:
        balances: list[Balance] = again.accounts()
        return [row.leaf_hash for row in again.log(0, after + 1)], state_root(balances)


def _record(store: MemoryStore, row: EntryRow) -> None:
    entry = read_entry(json.loads(row.content))
    with store.writing() as transaction:
        book = transaction.load(Wanted.by([entry]), row.recorded_us // 1000)
        decide(book, entry, CHART)
        transaction.write(book.changes)
