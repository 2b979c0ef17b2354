"""Following a SQLite database by its log: no page is missed, whatever writers, readers and checkpoints do meanwhile."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from api.backup import wal
from api.backup.errors import BackupBusy, BackupDamaged
from api.backup.live import NotFollowed
from api.backup.live_sqlite import LiveSqlite, write_changes, write_whole
from api.backup.vault import Vault


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, pad BLOB)")
    return path


def connect(path):
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


@pytest.fixture
def writer(tmp_path):
    with Vault.create(tmp_path / "vault").writing() as writer:
        yield writer


def cut(live, writer, full=False):
    assert live.lock(2.0)
    live.mark("cut")
    live.unlock()
    part = live.part(writer, full)
    writer.seal_pack(f"p{random.getrandbits(60):x}")
    return part


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT n, pad FROM t ORDER BY n").fetchall()


def rebuilt(tmp_path, writer, parts):
    out = tmp_path / "out.db"
    for part in parts:
        write = write_whole if part.kind == "sqlite" else write_changes
        write(out, writer.vault.read(part.chunks), part)
    return out


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 200))])
def test_any_history_of_writes_checkpoints_and_readers(path, tmp_path, writer, seed):
    """Twenty-five cuts between random writes, big and small, rolled back or not, vacuums, checkpoints and readers."""
    chance = random.Random(seed)
    live = LiveSqlite(path, follow=True, log_frames_max=chance.choice([1, 40, 4000]))
    parts, expected, others = [], [], []
    connection = connect(path)
    connection.execute("PRAGMA cache_size=10")  # pages spill into the log before the commit, or the rollback

    def act():
        deed = chance.randrange(9)
        if deed < 5:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(chance.choice([1, 3, 150])):
                connection.execute("INSERT INTO t (pad) VALUES (?)", (chance.randbytes(chance.choice([10, 3000])),))
            if chance.random() < 0.3:
                connection.execute("DELETE FROM t WHERE n % 3 = ?", (chance.randrange(3),))
            connection.execute(chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        elif deed == 5 and not others:
            connection.execute("VACUUM")
        elif deed == 6:
            mode = chance.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
            connection.execute("PRAGMA busy_timeout=1")
            connection.execute(f"PRAGMA wal_checkpoint({mode})")
        elif deed == 7 and len(others) < 3:
            others.append(connect(path))
            others[-1].execute("BEGIN")
            others[-1].execute("SELECT count(*) FROM t").fetchone()
        elif others:
            others.pop(chance.randrange(len(others))).close()

    with closing(live), closing(connection):
        for number in range(25):
            for _ in range(chance.randrange(4)):
                act()
            assert live.lock(2.0)
            live.mark("cut")
            expected.append(connection.execute("SELECT n, pad FROM t ORDER BY n").fetchall())
            live.unlock()
            for _ in range(chance.randrange(4)):
                act()
            parts.append(live.part(writer, number == 0))
            writer.seal_pack(f"p{number}")
        for other in others:
            other.close()
    assert [part.kind for part in parts] == ["sqlite"] + ["sqlite-pages"] * 24
    for last in range(len(parts)):
        same = rows(rebuilt(tmp_path, writer, parts[: last + 1])) == expected[last]
        assert same, f"cut {last} of seed {seed}"


HALFWAY = """
import sqlite3, sys, os
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA cache_size=5")
c.execute("BEGIN IMMEDIATE")
for k in range(400):
    c.execute("INSERT INTO t (pad) VALUES (randomblob(3000))")
os.write(1, b"spilled\\n")
sys.stdin.read()
"""


def test_what_a_killed_writer_left_in_the_log_is_not_taken(path, tmp_path, writer):
    with closing(LiveSqlite(path, follow=True)) as live, closing(connect(path)) as connection:
        parts = [cut(live, writer, full=True)]
        process = subprocess.Popen([sys.executable, "-c", HALFWAY, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"spilled\n"
        process.kill()
        process.communicate()
        assert path.with_name("some.db-wal").stat().st_size > 300 * 4096
        parts.append(cut(live, writer))
        assert parts[-1].chunks == ()
        connection.execute("INSERT INTO t (pad) VALUES ('after')")
        parts.append(cut(live, writer))
        expected = connection.execute("SELECT n, pad FROM t").fetchall()
    assert rows(rebuilt(tmp_path, writer, parts)) == expected == [(1, "after")]


def test_the_log_does_not_grow_without_end(path, writer):
    with closing(LiveSqlite(path, follow=True, log_frames_max=50)) as live, closing(connect(path)) as connection:
        cut(live, writer, full=True)
        for _ in range(20):
            for _ in range(40):
                connection.execute("INSERT INTO t (pad) VALUES (randomblob(3000))")
            cut(live, writer)
        assert path.with_name("some.db-wal").stat().st_size < 400 * 4096


def test_a_writer_is_kept_out_and_keeps_out(path):
    with closing(LiveSqlite(path)) as live, closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert not live.lock(0.01)
        live.unlock()
        connection.execute("ROLLBACK")
        assert live.lock(0.01)
        connection.execute("PRAGMA busy_timeout=1")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connection.execute("BEGIN IMMEDIATE")
        live.unlock()
        connection.execute("INSERT INTO t (pad) VALUES ('x')")


def test_what_is_not_followed_is_taken_whole(path, writer):
    with closing(LiveSqlite(path)) as live:
        with pytest.raises(NotFollowed):
            cut(live, writer)
        assert cut(live, writer, full=True).kind == "sqlite"
        with pytest.raises(NotFollowed):
            cut(live, writer)
    with pytest.raises(BackupBusy):
        LiveSqlite(path.with_name("absent.db"))


def test_a_database_without_a_log_is_refused(tmp_path):
    path = tmp_path / "plain.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (n)")
        connection.commit()
    with closing(LiveSqlite(path, follow=True)) as live:
        assert live.lock(0.1)
        with pytest.raises(BackupBusy, match="write-ahead"):
            live.mark("cut")


@pytest.mark.parametrize("place", [2, 40, 44, 56, 60, 2000, -1])
def test_a_changed_byte_of_the_log_is_found(path, place):
    with closing(connect(path)) as connection:
        for _ in range(10):
            connection.execute("INSERT INTO t (pad) VALUES (randomblob(3000))")
        frames = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        content = bytearray(path.with_name("some.db-wal").read_bytes())
    copy = path.with_name("copy-wal")
    copy.write_bytes(content)
    assert len(read(copy, frames)) == frames
    content[place] ^= 0x40
    copy.write_bytes(content)
    with pytest.raises(BackupDamaged):
        read(copy, frames)
    copy.write_bytes(content[: len(content) // 2])
    with pytest.raises(BackupDamaged):
        read(copy, frames)


def read(path, frames):
    handle = os.open(path, os.O_RDONLY)
    try:
        return list(wal.pages(handle, wal.Position(), wal.end(handle, frames)))
    finally:
        os.close(handle)
