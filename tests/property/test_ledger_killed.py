"""Kill -9 the writer: whatever it had acknowledged is there, nothing is half there, and the ledger adds up."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from economy.check import check
from economy.entry import Entry, Party
from economy.ledger import Ledger
from economy.seal import seal_digest
from economy.store import Snapshot, Store
from economy.store_sql import SqlStore
from tests.common.counts import seeds, tell
from tests.common.economy import COIN
from tests.common.ledger_databases import Migrated
from tests.common.ledger_writer import entry_of, parsed
from tests.common.servers import new_database

ROOT = Path(__file__).resolve().parents[2]


class Killer:
    """Starts writers on one ledger, kills them, and holds the ledger against what they had said."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self._process, self.url, self._folder = process, url, folder
        ids = RandomIds(SystemClock())
        self.parties = [ids.new("pty") for _ in range(3)]
        ledger = Ledger(SqlStore(Database(url)), SystemClock())
        ledger.post(Entry("setup/all", "setup.done", declares=(COIN, *(Party(name, "node") for name in self.parties))))
        ledger.close()
        self.seen, self.acknowledged, self.sealed, self.unknown = 1, 0, 0, 0

    def writer(self, seed: int, **how: Any) -> list[list[str]]:
        """Let one write until it is killed (or has written `count`); what it had said."""
        answers = self._folder / f"answers{seed}"
        asked = {"url": self.url, "seed": seed, "parties": self.parties, "answers": str(answers), **how}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())["status"]
        assert status == (0 if "count" in how else signal.SIGKILL)
        text = answers.read_text() if answers.exists() else ""
        answers.unlink(missing_ok=True)
        lines = [line.split(" ") for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [[part.strip() for part in line] for line in lines]

    def kill(self, seed: int) -> None:
        rolls = random.Random(f"kill {seed}")
        late = rolls.random() < 0.75
        delay = {"delayed": "answer", "delay_s": rolls.random() * 0.05} if late else {}
        said = self.writer(seed, **(delay or {"delayed": "start", "delay_s": rolls.random() * 0.08}))
        store = SqlStore(Migrated(self.url))
        with store.reading() as snapshot:
            self.compare(seed, said, snapshot)
        store.close()

    def compare(self, seed: int, said: list[list[str]], snapshot: Snapshot) -> None:
        assert not [line for line in said if line[0] == "wrong"], f"seed {seed}: {said}"
        rows = {row.entry_id: row for row in snapshot.log(self.seen, 1_000_000)}
        entries = {line[0]: int(line[1]) for line in said if line[0] != "seal"}
        lost = {name for name, seq in entries.items() if name not in rows or rows[name].seq != seq}
        assert not lost, f"seed {seed}: acknowledged and lost: {sorted(lost)[:5]}"
        for name, row in rows.items():
            assert row.content == entry_of(*parsed(name), self.parties).content.decode(), f"seed {seed}: {name}"
        seals = {seal_digest(seal) for seal in snapshot.seals_after(self.sealed)}
        assert {line[1] for line in said if line[0] == "seal"} <= seals, f"seed {seed}: a seal is lost"
        self.sealed += len(seals)
        self.acknowledged += len(entries)
        self.unknown += len(rows) - len(entries)
        self.seen += len(rows)


@contextmanager
def killer(url: str, folder: Path) -> Iterator[Killer]:
    command = [sys.executable, "-m", "tests.common.ledger_writer"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        try:
            yield Killer(process, url, folder)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def kill_often(
    name: str, url: str, folder: Path, times: int, terminal: pytest.CaptureFixture[str] | None = None
) -> None:
    with killer(url, folder) as found:
        for number in seeds(f"kills on {name}", 0, times, terminal):
            found.kill(number)
            if number % 250 == 249:
                _assert_clean(url)
    _assert_clean(url)
    assert found.acknowledged > times, "the writers wrote"
    counts = f"{found.acknowledged} entries acknowledged, {found.unknown} written and not answered"
    tell(f"{times} kills on {name}: {counts}, {found.sealed} seals", terminal)


def _assert_clean(url: str) -> None:
    store: Store = SqlStore(Database(url))
    assert check(store).findings == []
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_writer_loses_nothing(kind, request, tmp_path):
    kill_often(kind, _url(kind, request, tmp_path), tmp_path, 15)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_writer_killed_a_thousand_times_loses_nothing(kind, request, tmp_path, capsys):
    kill_often(kind, _url(kind, request, tmp_path), tmp_path, 1000, capsys)


def _url(kind, request, tmp_path):
    if kind == "postgres":
        return new_database(request.getfixturevalue("postgres_url"), f"killed{os.getpid()}")
    return f"sqlite:///{tmp_path}/ledger.db"
