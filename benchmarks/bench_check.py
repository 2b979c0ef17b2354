"""How fast `bithive ledger check` replays a sealed ledger: realistic entries of one or two legs, and full epoch parts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.common import ROOT, console, machine
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from economy.entry import Account, Entry, Party, PendingRef, hold, move, settle
from economy.ledger import Ledger
from economy.money import ASSETS
from economy.seal import make_seal
from economy.store_sql import SqlStore

STUDIES, PARTIES, PARTS, PART_LEGS, CHUNK = 100_000, 5_000, 400, 1_000, 20_000
TARGET = 100_000
PROGRAM = """
import json, resource, sys, time
from bithive.database_sql import Database
from economy.check import check
from economy.store_sql import SqlStore
store = SqlStore(Database(sys.argv[1]))
before = time.perf_counter()
checked = check(store)
seconds = time.perf_counter() - before
store.close()
peaks = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([checked.entries, checked.transfers, len(checked.findings), seconds, *peaks]))
"""


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    return ""


def main() -> None:
    """Run and print."""
    console.print(f"Checking a ledger on {machine()}, SQLite, two processes")
    with tempfile.TemporaryDirectory() as folder:
        for name, entries in (("one or two legs", studies), ("1,000 legs", parts)):
            url = f"sqlite:///{Path(folder) / name.replace(' ', '-').replace(',', '')}.db"
            _fill(url, entries)
            _check(name, url)


def _check(name: str, url: str) -> None:
    best: list[float] = []
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, url], cwd=ROOT, capture_output=True, text=True, check=True
        )
        entries, transfers, findings, seconds, *peaks = json.loads(ended.stdout)
        assert findings == 0, f"{findings} findings"
        best.append(transfers / seconds)
    rate = sorted(best)[1]
    verdict = "reached" if rate >= TARGET else "MISSED"
    console.print(
        f"{name}: {entries:,} entries, {transfers:,} transfers; {rate:,.0f} transfers/s and"
        f" {rate * entries / transfers:,.0f} entries/s (median of {', '.join(f'{item:,.0f}' for item in best)});"
        f" peak memory {peaks[0]} MiB and {peaks[1]} MiB; target {TARGET:,} transfers/s: {verdict}"
    )


def studies(names: list[str]) -> Iterator[Entry]:
    """What studies leave: a hold, a charge that posts it and passes it on, a receipt's work."""
    network, *others = names
    clearing, issue = Account(network, "clearing", "EUR"), Account(network, "work-issue", "WU")
    for number in range(STUDIES):
        payer, node = others[number % 100], others[number * 7 % len(others)]
        key = f"{number:026d}"
        facts = {"bundle": "intracranial_t1", "bundle_version": "1.0.0", "offer": f"off_{key}", "work_units": 1460}
        pending = hold(Account(payer, "credit", "EUR"), clearing, 180_000, 4_000_000)
        yield Entry(f"offer/off_{key}/hold", "charge.held", (pending,), {**facts, "rate_card": 1, "amount": 180_000})
        legs = (
            settle(PendingRef(f"offer/off_{key}/hold", 0), 170_000),
            move(clearing, Account(node, "payable", "EUR"), 170_000),
        )
        yield Entry(
            f"offer/off_{key}/charge", "charge.settled", legs, {**facts, "attempt": f"att_{key}", "reason": "actual"}
        )
        work = (move(issue, Account(node, "work", "WU"), 1460),)
        yield Entry(f"receipt/{number:064x}", "work.measured", work, {**facts, "attempt": f"att_{key}"})


def parts(names: list[str]) -> Iterator[Entry]:
    """What an epoch's close leaves: entries of a thousand legs."""
    network, *others = names
    pool = Account(network, "issuance", "BTT")
    for number in range(PARTS):
        nodes = [others[(number * PART_LEGS + leg) % len(others)] for leg in range(PART_LEGS)]
        legs = tuple(move(pool, Account(node, "payable", "BTT"), 1_000 + leg) for leg, node in enumerate(nodes))
        yield Entry(f"epoch/1/part/{number}", "test.paid", legs, {"epoch": 1})


def _fill(url: str, entries: Callable[[list[str]], Iterator[Entry]]) -> None:
    clock = ManualClock()
    ids = SeededIds(5, clock)
    names = [ids.new("pty") for _ in range(PARTIES)]
    store = SqlStore(Database(url))
    ledger = Ledger(store, clock)
    declared = [Entry("asset/all", "asset.declared", declares=ASSETS)]
    declared += [Entry(f"party/{name}", "party.declared", declares=(Party(name, "node"),)) for name in names]
    funds = [
        Entry(
            f"credit/{name}/1",
            "credit.granted",
            (move(Account(names[0], "credit-issue", "EUR"), Account(name, "credit", "EUR"), 10**12),),
        )
        for name in names[1:101]
    ]
    waiting = [*declared, *funds]
    for entry in entries(names):
        waiting.append(entry)
        if len(waiting) >= (CHUNK if entry.kind != "test.paid" else 20):
            _post(ledger, waiting)
            clock.advance_s(1)
            waiting = []
    _post(ledger, waiting)
    make_seal(store, SigningKey(b"b" * 32), clock)
    ledger.close()


def _post(ledger: Ledger, entries: list[Entry]) -> None:
    for answer in ledger.post_all(entries):
        if isinstance(answer, BitHiveError):
            raise answer


if __name__ == "__main__":
    main()
