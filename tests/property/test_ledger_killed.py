"""Kill -9 the writer: whatever it had acknowledged is there, nothing is half there, and the ledger adds up."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from economy.check import check
from economy.entry import Entry, Party
from economy.ledger import Ledger
from economy.store_sql import SqlStore
from tests.common.economy import COIN
from tests.common.servers import new_database

ROOT = Path(__file__).resolve().parents[2]


def run_and_kill(url: str, seed: int, parties: list[str]) -> set[str]:
    """Let the writer work for a moment; the ids it had acknowledged when it was killed."""
    command = [sys.executable, "-m", "tests.common.ledger_writer", url, f"w{seed}", *parties]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline()]
        acknowledged += [process.stdout.readline() for _ in range(random.Random(seed).randrange(200))]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    whole = [line.decode().strip() for line in acknowledged if line.endswith(b"\n")]
    return set(whole)


def kill_often(url: str, times: int) -> None:
    ids = RandomIds(SystemClock())
    parties = [ids.new("pty") for _ in range(3)]
    store = SqlStore(Database(url))
    ledger = Ledger(store, SystemClock())
    ledger.post(Entry("setup/all", "setup.done", declares=(COIN, *(Party(party, "node") for party in parties))))
    ledger.close()
    acknowledged: set[str] = set()
    for seed in range(times):
        acknowledged |= run_and_kill(url, seed, parties)
    store = SqlStore(Database(url))
    with store.reading() as snapshot:
        assert acknowledged == snapshot.find(acknowledged).keys()
        beyond = snapshot.head().seq - 1 - len(acknowledged)
    assert 0 <= beyond <= times * 4, "at most one unacknowledged entry for each thread of each kill"
    checked = check(store)
    assert checked.findings == []
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_writer_loses_nothing(kind, request, tmp_path):
    kill_often(_url(kind, request, tmp_path), 4)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_writer_killed_a_thousand_times_loses_nothing(kind, request, tmp_path):
    kill_often(_url(kind, request, tmp_path), 500)


def _url(kind, request, tmp_path):
    if kind == "postgres":
        return new_database(request.getfixturevalue("postgres_url"), "killed")
    return f"sqlite:///{tmp_path}/ledger.db"
