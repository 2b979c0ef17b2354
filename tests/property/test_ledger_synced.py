"""No acknowledgement before the disk has it: system calls of the writer, and of PostgreSQL, traced by strace.

For every entry: its bytes were written to the write-ahead log, that log was synced after the last such write of the
same process, and only then was the acknowledgement given out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine, text

from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from economy.entry import Entry, Party
from economy.ledger import Ledger
from economy.store_sql import SqlStore
from tests.common.economy import COIN
from tests.common.servers import new_database

ROOT = Path(__file__).resolve().parents[2]
COUNT = 25
_CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\((?:\d+<([^>]*)>)?| resumed>)")
_ID = re.compile(r"w\d{5}/\d/\d{6}")
_LOGS = re.compile(r"ledger\.db-wal|/pg_wal/")


class Traced(NamedTuple):
    """Entries whose acknowledgement came after the sync, and those whose did not."""

    kept: list[str]
    broken: list[str]


def judge(lines: list[str]) -> Traced:
    """Follow the calls in the order in which they began and ended."""
    written: dict[str, str] = {}
    last_write: dict[str, int] = {}
    syncing: dict[str, int] = {}
    synced, traced = -1, Traced([], [])
    for place, line in enumerate(lines):
        match = _CALL.match(line)
        if match is None:
            continue
        process, call, path = match[1], match[2], match[3] or ""
        if call in ("write", "pwrite64", "pwritev", "writev") and _LOGS.search(path):
            last_write[process] = place
            written.update(dict.fromkeys(_ID.findall(line), process))
        elif call in ("fsync", "fdatasync"):
            if _LOGS.search(path):
                syncing[process] = place
            if line.endswith("= 0") and process in syncing:
                synced = max(synced, syncing.pop(process))
        elif call == "write" and path.endswith("answers"):
            for name in _ID.findall(line):
                whole = name in written and synced > last_write[written[name]]
                (traced.kept if whole else traced.broken).append(name)
    return traced


def trace(url: str, folder: Path, strace: str, attached: int | None = None) -> Traced:
    ids = RandomIds(SystemClock())
    parties = [ids.new("pty") for _ in range(3)]
    ledger = Ledger(SqlStore(Database(url)), SystemClock())
    ledger.post(Entry("setup/all", "setup.done", declares=(COIN, *(Party(name, "node") for name in parties))))
    ledger.close()
    asked = {"url": url, "seed": 1, "parties": parties, "answers": str(folder / "answers"), "count": COUNT}
    what = "trace=write,pwrite64,pwritev,writev,fsync,fdatasync"
    command = [
        strace,
        "-I",
        "2",
        "-f",
        "-y",
        "-s",
        "100000",
        "-e",
        what,
        "-e",
        "signal=none",
        "-o",
        str(folder / "calls"),
    ]
    command += [] if attached is None else ["-p", str(attached)]
    command += [sys.executable, "-m", "tests.common.ledger_writer"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["status"] == 0
        process.stdin.close()
        if attached is not None:
            process.terminate()
    traced = judge((folder / "calls").read_text(errors="replace").splitlines())
    said = [line.split(" ")[0] for line in (folder / "answers").read_text().splitlines()]
    assert len(said) >= COUNT - 2
    assert sorted(traced.kept + traced.broken) == sorted(said)
    return traced


@pytest.fixture
def strace(external):
    return external("strace")


def test_sqlite_is_synced_before_an_entry_is_acknowledged(strace, tmp_path):
    traced = trace(f"sqlite:///{tmp_path}/ledger.db", tmp_path, strace)
    assert traced.broken == []


def test_postgresql_is_synced_before_an_entry_is_acknowledged(strace, postgres_url, tmp_path):
    """Also where the server's own default would let it answer early."""
    url = new_database(postgres_url, f"synced{os.getpid()}")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE synced{os.getpid()} SET synchronous_commit = off"))
        server = int(connection.execute(text("SELECT pg_read_file('postmaster.pid')")).scalar_one().split("\n")[0])
    engine.dispose()
    traced = trace(url, tmp_path, strace, server)
    assert traced.broken == []


def test_an_early_acknowledgement_would_be_seen():
    wal, answers = "pwrite64(4</x/ledger.db-wal>, ", 'write(5</x/answers>, "w00001/0/000001 2\\n", 18) = 18'
    write, sync = f'7  {wal}"..w00001/0/000001..", 24, 0) = 24', "7  fdatasync(4</x/ledger.db-wal>"
    commit = f'7  {wal}"commit", 24, 24) = 24'
    name = "w00001/0/000001"
    assert judge([write, commit, f"{sync}) = 0", f"6  {answers}"]) == Traced([name], [])
    for early in (
        [write, f"6  {answers}", f"{sync}) = 0"],
        [write, f"{sync}) = 0", commit, f"6  {answers}"],
        [write, f"{sync} <unfinished ...>", f"6  {answers}", "7  <... fdatasync resumed>) = 0"],
        [write, f"{sync}) = -1 EIO (Input/output error)", f"6  {answers}"],
        [f"{sync}) = 0", f"6  {answers}"],
    ):
        assert judge(early) == Traced([], [name])
