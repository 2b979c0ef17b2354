"""Seals and proofs of a log of ten million entries, on SQLite: making a seal, proofs of entries, consistency, balances.

The entries are made by the database itself (their leaves are numbers, which a Merkle tree does not mind), but for those
that are proven; seal and proofs are the product's own.
"""

from __future__ import annotations

import hashlib
import resource
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from benchmarks.common import console, machine
from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.entry import leaf_bytes
from economy.merkle import leaf_hash
from economy.proofs import Proofs
from economy.seal import log_keys, make_seal
from economy.store_sql import SqlStore
from economy.verify import parse_proof, path_of, verify_proof
from tests.common.economy import House

ENTRIES = 10_000_000
ACCOUNTS = 1_500_000
_SAMPLES = 200
_FILL = """
    WITH RECURSIVE place (seq) AS (SELECT :first UNION ALL SELECT seq + 1 FROM place WHERE seq < :last)
    INSERT INTO entry (seq, id, kind, request_hash, recorded_us, effective_ms, content, leaf_hash)
    SELECT seq, 'fill/' || seq, 'fill.done', printf('%064x', 0), :time + seq, 0, '{}', printf('%064x', seq)
    FROM place WHERE seq NOT IN (SELECT seq FROM proven)
"""
_PARTIES = """
    WITH RECURSIVE place (number) AS (SELECT :first UNION ALL SELECT number + 1 FROM place WHERE number < :last)
    INSERT INTO party SELECT number, 'pty_' || printf('%026d', number), 'node', NULL FROM place
"""
_ACCOUNTS = """
    INSERT INTO account SELECT id - :shift, 1, id, 'credit', 1, 0, 0, 0, id, 1 FROM party WHERE id >= :first
"""


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    return ""


def main() -> None:
    """Run and print."""
    console.print(f"proofs in a log of {ENTRIES:,} entries on {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/ledger.db")
        store = SqlStore(database)
        house = House(store)
        house.fund(0, 1_000)
        proven = _fill(database)
        _open_accounts(database)
        started = time.perf_counter()
        seal = make_seal(store, SigningKey(b"k" * 32), SystemClock())
        assert seal is not None
        size = Path(folder, "ledger.db").stat().st_size
        console.print(
            f"seal over {seal.to_seq:,} entries and {ACCOUNTS:,} accounts: {time.perf_counter() - started:.1f} s, file {size >> 20} MiB"
        )
        _prove(store, proven)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        console.print(f"peak memory {peak >> 10} MiB")
        house.ledger.close()


def _open_accounts(database: Database) -> None:
    """Accounts up to `ACCOUNTS`, each of a party of its own."""
    with database.write() as connection:
        parties, accounts = connection.execute(text("SELECT (SELECT MAX(id) FROM party), MAX(id) FROM account")).one()
        shift = parties - accounts
        connection.execute(text(_PARTIES), {"first": parties + 1, "last": ACCOUNTS + shift})
        connection.execute(text(_ACCOUNTS), {"first": parties + 1, "shift": shift})


def _fill(database: Database) -> list[int]:
    """Entries up to `ENTRIES`; those of some places with leaves that are their own."""
    with database.read() as connection:
        first, recorded_us = connection.execute(text("SELECT MAX(seq) + 1, MAX(recorded_us) FROM entry")).one()
    proven = sorted({first, ENTRIES, *(first + number * 49_999 for number in range(_SAMPLES))})
    with database.write() as connection:
        connection.execute(text("CREATE TEMP TABLE proven (seq INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO proven VALUES (:seq)"), [{"seq": seq} for seq in proven])
        connection.execute(text(_FILL), {"first": first, "last": ENTRIES, "time": recorded_us})
        rows = []
        for seq in proven:
            content = f'{{"id":"proven/{seq}","kind":"test.done"}}'
            leaf = leaf_hash(leaf_bytes(content.encode(), recorded_us + seq, seq)).hex()
            request = hashlib.sha256(content.encode()).hexdigest()
            row = {"seq": seq, "id": f"proven/{seq}", "request": request, "time": recorded_us + seq}
            rows.append({**row, "content": content, "leaf": leaf})
        query = "INSERT INTO entry VALUES (:seq, :id, 'test.done', :request, :time, 0, :content, :leaf)"
        connection.execute(text(query), rows)
    return proven


def _prove(store: SqlStore, proven: list[int]) -> None:
    proofs = Proofs(store)
    with store.reading() as snapshot:
        keys = log_keys(snapshot)
        accounts = [item.account for number in range(_SAMPLES) for item in snapshot.accounts(None, number * 7_000, 1)]
    for name, make, asked in (
        ("entry", proofs.entry, proven),
        ("consistency", proofs.consistency, proven),
        ("balance", proofs.balance, accounts),
    ):
        started = time.perf_counter()
        make(asked[0])
        console.print(f"{name}: the first took {(time.perf_counter() - started) * 1000:.0f} ms")
        made, checked, sizes = [], [], []
        for item in asked:
            started = time.perf_counter()
            file = make(item)
            made.append(time.perf_counter() - started)
            started = time.perf_counter()
            verify_proof(file, keys)
            checked.append(time.perf_counter() - started)
            sizes.append(32 * len(path_of(parse_proof(file))))
        console.print(
            f"{name}: made in {_ms(made)}, verified in {_ms(checked)}, path {max(sizes)} bytes, file {len(file)} bytes"
        )


def _ms(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1000:.2f} ms (p99 {ordered[int(len(ordered) * 0.99)] * 1000:.2f} ms)"
