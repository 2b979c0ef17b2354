"""Durable entries a second, and how long one waits, beside a ledger that locks rows.

Ours: the hub's process. Eight client threads in it make entries (canonical JSON, request hash) and hand them over 500 at
a time; the writer decides, numbers, hashes and commits them. The rival: PL/pgSQL on the same PostgreSQL that locks both
accounts and commits every transfer alone, asked by pgbench with eight connections and prepared statements, which costs
it no Python at all. Both have the durability that they ship with: what is answered is synced. Runs alternate.
"""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rich.table import Table

from benchmarks.common import RUNS, console, machine
from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.ids import SeededIds
from bithive.interpreter import tune_interpreter
from economy.entry import Account, Asset, Entry, Party, move
from economy.ledger import Ledger
from economy.store_sql import SqlStore
from tests.common.external import find
from tests.common.servers import new_database, postgres

ACCOUNTS, CLIENTS, HANDED = 1_000, 8, 500
ENTRIES = CLIENTS * HANDED * 12
RIVAL_S = 4
OFFERED_PER_S, OFFERED_S, OFFERING = 5_000, 4, 100
TARGET_PER_S, TARGET_P99_MS = 20_000, 15.0
COIN = Asset("COIN", 2, "test")
WAYS = ("spread", "hot")
_RIVAL = Path(__file__).parent / "rival_rowlock.sql"


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    absent = [name for name in ("initdb", "postgres", "pgbench", "psql") if find(name) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


@dataclass(slots=True)
class Series:
    """What one ledger did in one way: entries a second of each run, milliseconds of each acceptance."""

    per_s: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.per_s)

    def waits(self, percent: int) -> float:
        """A percentile of the acceptances, ms."""
        ordered = sorted(self.waited_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class Ours:
    """A ledger with a thousand funded accounts, and clients on it."""

    def __init__(self, url: str) -> None:
        clock = SystemClock()
        self.ledger = Ledger(SqlStore(Database(url)), clock)
        ids = SeededIds(7, clock)
        owners = [ids.new("pty") for _ in range(ACCOUNTS + 1)]
        parties = [Party(owner, "node") for owner in owners]
        self.ledger.post(Entry("setup/parties", "setup.done", declares=(COIN, *parties)))
        source = Account(owners[-1], "issuance", COIN.code)
        self.accounts = [Account(owner, "credit", COIN.code) for owner in owners[:-1]]
        self.ledger.post(Entry("setup/funds", "setup.done", tuple(move(source, one, 10**12) for one in self.accounts)))
        self._made = 0

    def pair(self, way: str, chance: random.Random) -> tuple[Account, Account]:
        if way == "hot":
            return self.accounts[0], self.accounts[chance.randrange(1, ACCOUNTS)]
        debit, credit = chance.sample(self.accounts, 2)
        return debit, credit

    def run(self, way: str, series: Series) -> None:
        """All clients at once, each as fast as it is answered."""
        self._made += 1
        clients = [threading.Thread(target=self._client, args=(way, number, series)) for number in range(CLIENTS)]
        before = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        series.per_s.append(ENTRIES / (time.perf_counter() - before))

    def _client(self, way: str, number: int, series: Series) -> None:
        chance = random.Random(number)
        for start in range(0, ENTRIES // CLIENTS, HANDED):
            begun = time.perf_counter()
            entries = [
                Entry(f"pay/{self._made}/{number}/{place}", "payment.made", (move(*self.pair(way, chance), 5),))
                for place in range(start, start + HANDED)
            ]
            for answer in self.ledger.post_all(entries):
                assert not isinstance(answer, BitHiveError), answer
            series.waited_ms.append((time.perf_counter() - begun) * 1000)

    def offer(self, way: str) -> Series:
        """Entries that come one by one at a steady rate, whether or not the last is answered."""
        series = Series()
        self._made += 1
        first = time.perf_counter() + 0.2
        threads = [threading.Thread(target=self._offering, args=(way, n, first, series)) for n in range(OFFERING)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        series.per_s.append(OFFERED_PER_S * OFFERED_S / (time.perf_counter() - first))
        return series

    def _offering(self, way: str, number: int, first: float, series: Series) -> None:
        """Waits are counted from when the entry was due: a client that is late does not hide it."""
        chance = random.Random(number)
        for place in range(number, OFFERED_PER_S * OFFERED_S, OFFERING):
            due = first + place / OFFERED_PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            entry = Entry(f"one/{self._made}/{place}", "payment.made", (move(*self.pair(way, chance), 5),))
            self.ledger.post(entry)
            series.waited_ms.append((time.perf_counter() - due) * 1000)


class Rival:
    """The row-lock ledger, asked by pgbench."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder, parts = folder, urlsplit(url)
        self._to = ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username)]
        self._name = parts.path.lstrip("/")
        psql = [find("psql") or "", *self._to, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(_RIVAL), self._name]
        subprocess.run(psql, check=True)
        debit = {"spread": f"random(1, {ACCOUNTS})", "hot": "1"}
        for way in WAYS:
            text = (
                f"\\set debit {debit[way]}\n"
                f"\\set credit 1 + (:debit + random(0, {ACCOUNTS - 2})) % {ACCOUNTS}\n"
                "SELECT make_transfer(:debit, :credit, 5);\n"
            )
            (folder / way).write_text(text)

    def run(self, way: str, series: Series) -> None:
        """Eight connections for some seconds."""
        for log in self._folder.glob("log.*"):
            log.unlink()
        counts = ["-c", str(CLIENTS), "-j", "2", "-T", str(RIVAL_S), "-M", "prepared", "-n"]
        logged = ["-l", f"--log-prefix={self._folder / 'log'}", "-f", str(self._folder / way)]
        command = [find("pgbench") or "", *self._to, *counts, *logged, self._name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"tps = ([\d.]+)", said)
        assert found is not None, said
        series.per_s.append(float(found[1]))
        for log in self._folder.glob("log.*"):
            series.waited_ms += [int(line.split()[2]) / 1000 for line in log.read_text().splitlines()]


@contextmanager
def _houses(folder: Path) -> Iterator[tuple[dict[str, Ours], Rival]]:
    (folder / "rival").mkdir()
    with postgres(folder / "postgres") as url:
        rival = Rival(new_database(url, "rival"), folder / "rival")
        ours = {"PostgreSQL": Ours(new_database(url, "ours")), "SQLite": Ours(f"sqlite:///{folder}/ledger.db")}
        try:
            yield ours, rival
        finally:
            for one in ours.values():
                one.ledger.close()


def main() -> None:
    """Run and print."""
    tune_interpreter()
    console.print(f"Ledger on {machine()}, load before {_load()}")
    with tempfile.TemporaryDirectory() as folder, _houses(Path(folder)) as (ours, rival):
        found = {(name, way): Series() for name in ("row locks, PostgreSQL", *ours) for way in WAYS}
        for number in range(RUNS + 1):
            kept = found if number else {key: Series() for key in found}
            for way in WAYS:
                rival.run(way, kept["row locks, PostgreSQL", way])
                for name, house in ours.items():
                    house.run(way, kept[name, way])
        _show(found)
        _show_offered({(name, way): house.offer(way) for name, house in ours.items() for way in WAYS})


def _load() -> str:
    return Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "unknown"


def _show(found: dict[tuple[str, str], Series]) -> None:
    columns = ("ledger", "accounts", *(f"run {number}" for number in range(1, RUNS + 1)), "median/s", "p50", "p99")
    table = Table(*columns, title=f"Durable entries of one transfer a second; {CLIENTS} clients, {ACCOUNTS} accounts")
    for (name, way), series in found.items():
        runs = (f"{value:,.0f}" for value in series.per_s)
        waits = (f"{series.waits(percent):.1f} ms" for percent in (50, 99))
        table.add_row(name, way, *runs, f"{series.median:,.0f}", *waits)
    console.print(table)
    console.print(
        f"p50, p99: of one transfer with row locks, of {HANDED} entries made, handed over and answered with ours"
    )
    for (name, way), series in found.items():
        if not name.startswith("row"):
            times = series.median / found["row locks, PostgreSQL", way].median
            verdict = "reached" if series.median >= TARGET_PER_S else "MISSED"
            console.print(
                f"{name}, {way}: {times:.1f} times the row locks; target {TARGET_PER_S:,}/s: {verdict} (load {_load()})"
            )


def _show_offered(found: dict[tuple[str, str], Series]) -> None:
    title = f"Acceptance of single entries, {OFFERED_PER_S:,}/s offered by {OFFERING} threads"
    table = Table("ledger", "accounts", "taken/s", "p50", "p99", f"target p99 {TARGET_P99_MS:.0f} ms", title=title)
    for (name, way), series in found.items():
        verdict = "reached" if series.waits(99) <= TARGET_P99_MS else "MISSED"
        waits = (f"{series.waits(percent):.1f} ms" for percent in (50, 99))
        table.add_row(name, way, f"{series.per_s[0]:,.0f}", *waits, verdict)
    console.print(table)
