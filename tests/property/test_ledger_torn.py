"""Power cuts and torn writes beneath the ledger: what was acknowledged is there, and nothing else is.

The product's own store runs over a file system of the tests (`tests.common.torn`). That these tests can fail is tested
as well: a disk that lies about its syncs, and a store that does not ask for them, must be caught.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event

from bithive.clock import ManualClock
from bithive.database_sql import Database
from economy.check import check
from economy.store_sql import SqlStore
from tests.common.apsw_connection import ApswConnection
from tests.common.counts import seeds
from tests.common.economy import House
from tests.common.ledger_databases import Migrated
from tests.common.torn import TornDisk, TornVfs
from tests.common.torn_ledger import MEMBERS, Broken, Life

_MIGRATIONS = Path(SqlStore.__init__.__code__.co_filename).parent / "migrations"
_BEFORE = ("asset", "party", "policy", "account", "entry", "transfer")


def test_power_cuts_lose_nothing_and_invent_nothing():
    for seed in seeds("torn writes", 0, 100):
        Life(seed).run()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_power_cuts_lose_nothing_and_invent_nothing(capsys):
    for seed in seeds("torn writes", 0, 10_000, capsys):
        Life(seed, eras=2 + seed % 2).run()


def _caught(first: int, count: int, **how: Any) -> int:
    found = 0
    for seed in range(first, first + count):
        try:
            Life(seed, eras=1, **how).run()
        except Broken:
            found += 1
    return found


def test_a_disk_that_lies_is_caught():
    assert _caught(0, 12, lies=True) > 6


class Careless(Migrated):
    """Asks SQLite for less than the product does."""

    pragma = ""

    def __init__(self, *of: Any, **more: Any) -> None:
        super().__init__(*of, **more)
        event.listen(self.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {self.pragma}"))


class NotSynced(Careless):
    pragma = "synchronous=OFF"


class SyncedAtCheckpoints(Careless):
    pragma = "synchronous=NORMAL"


@pytest.mark.parametrize("database", [NotSynced, SyncedAtCheckpoints])
def test_a_store_that_does_not_sync_is_caught(database):
    assert _caught(0, 16, database=database) > 1


def _old_ledger(folder: Path) -> bytes:
    """A ledger as the first schema left it, with two entries."""
    new, old = folder / "new.db", folder / "old.db"
    house = House(SqlStore(Database(f"sqlite:///{new}")), ManualClock(), MEMBERS)
    house.fund(0, 500)
    house.ledger.close()
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    database = Database(f"sqlite:///{old}")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.close()
    with sqlite3.connect(old) as connection:
        connection.execute("ATTACH ? AS new", (str(new),))
        for table in _BEFORE:
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
    connection.close()
    return old.read_bytes()


@pytest.fixture(scope="module")
def old_ledger():
    with tempfile.TemporaryDirectory() as folder:
        return _old_ledger(Path(folder))


@pytest.mark.parametrize("version", ["empty", "old"])
def test_power_cuts_while_the_schema_is_brought_up(version, request):
    files = {} if version == "empty" else {"schema.db": request.getfixturevalue("old_ledger")}
    for seed in range(10):
        _upgrade_through_a_cut(files, seed)


def _upgrade_through_a_cut(files: dict[str, bytes], seed: int) -> None:
    vfs = TornVfs(f"schema{seed}")
    vfs.disk = disk = TornDisk(files, seed, cut_at=seed * 17 + 1)
    database = Database(
        "sqlite:///schema.db", lambda: ApswConnection("schema.db", vfs.name, ("locking_mode=EXCLUSIVE",)), 1
    )
    try:
        SqlStore(database)
    except Exception:
        assert disk.is_dead
    left = disk.cut()
    database.close()
    vfs.disk = TornDisk(left)
    house = House(SqlStore(database), ManualClock(), MEMBERS)
    house.fund(0, 500)
    assert house.net(house.wallet(0)) == 500
    assert check(house.store).findings == []
    house.ledger.close()
    vfs.unregister()
