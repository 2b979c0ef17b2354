"""A ledger moves between databases and stays the same to the last byte."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.settings import Mode, NetworkSettings, load
from economy import moving_sql
from economy.check import check
from economy.economy import Economy
from economy.entry import Entry, PendingRef, hold, move, settle
from economy.errors import LedgerMoved, LedgerNotEmpty, MoveDiffers
from economy.metadata_sql import METADATA
from economy.moving_sql import digests_of, is_fenced, refuse_moved
from economy.seal import make_seal
from economy.store_sql import SqlStore
from tests.common.economy import House
from tests.common.servers import new_database
from tests.common.tree import ROOT

KEY = SigningKey(b"m" * 32)
ODD = 'quote " comma , newline \n backslash \\N \\. é 漢 \\N'


@pytest.fixture
def ledger(tmp_path):
    """The address of a SQLite ledger with holds, facts that are hard to write, and seals."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    house = House(SqlStore(Database(url)))
    house.fund(0, 1_000)
    legs = (hold(house.wallet(0), house.wallet(1), 100, None), move(house.wallet(0), house.wallet(2), 1))
    house.ledger.post(Entry("hold/1", "test.done", legs))
    make_seal(house.store, KEY, house.clock)
    house.ledger.post(Entry("settle/1", "test.done", (settle(PendingRef("hold/1", 0), 60),), facts={"odd": ODD}))
    many = [Entry(f"m/{k}", "test.done", (move(house.source(), house.wallet(k % 3), k + 1),)) for k in range(500)]
    house.ledger.post_all(many)
    make_seal(house.store, KEY, house.clock)
    house.ledger.close()
    return url


def everything(url):
    database = Database(url)
    try:
        with database.read() as connection:
            return digests_of(connection)
    finally:
        database.close()


def moved(source, target, **more):
    here, there = Database(source), Database(target)
    try:
        return moving_sql.move(here, there, **more)
    finally:
        here.close()
        there.close()


def seals_and_findings(url):
    store = SqlStore(Database(url))
    try:
        with store.reading() as snapshot:
            return snapshot.seals(), check(store).findings
    finally:
        store.close()


def test_to_postgresql_and_back_again(ledger, postgres_url, tmp_path):
    before, (seals, findings) = everything(ledger), seals_and_findings(ledger)
    assert len(seals) == 2
    assert findings == []
    there = new_database(postgres_url, "moved")
    lines = []
    done = moved(ledger, there, tell=lines.append)
    assert done.digests == before == everything(there)
    assert done.rows["entry"] == 504
    assert not done.before
    assert len(lines) == len(METADATA.tables)
    assert seals_and_findings(there) == (seals, [])
    back = f"sqlite:///{tmp_path}/back.db"
    assert moved(there, back).digests == before
    assert seals_and_findings(back) == (seals, [])


def test_the_new_one_goes_on_and_the_old_one_does_not(ledger, tmp_path):
    target = f"sqlite:///{tmp_path}/new.db"
    moved(ledger, target)
    for url, goes_on in ((target, True), (ledger, False)):
        database = Database(url)
        try:
            with database.read() as connection:
                assert is_fenced(connection) is not goes_on
            if goes_on:
                refuse_moved(database)
            else:
                with pytest.raises(LedgerMoved):
                    refuse_moved(database)
                for statement in (
                    "UPDATE account SET version = version + 1",
                    "INSERT INTO asset VALUES (9,'X',0,'t',NULL)",
                ):
                    with pytest.raises(DBAPIError, match="moved to another"), database.write() as connection:
                        connection.execute(text(statement))
        finally:
            database.close()
    assert seals_and_findings(ledger)[1] == []
    store = SqlStore(Database(target))
    assert make_seal(store, KEY, ManualClock()) is None
    store.close()


def test_a_hub_does_not_start_on_a_ledger_that_was_moved(ledger, tmp_path):
    moved(ledger, f"sqlite:///{tmp_path}/new.db")
    settings, clock = load(mode=Mode.DEMO, state=tmp_path), ManualClock()
    with pytest.raises(LedgerMoved, match="LEDGER_DATABASE_URL"):
        Economy.open(settings, clock, SeededIds(1, clock))
    section = NetworkSettings(ledger_database_url=f"sqlite:///{tmp_path}/new.db")
    Economy.open(settings.model_copy(update={"network": section}), clock, SeededIds(1, clock)).close()


def test_again_is_nothing_new_and_another_target_is_refused(ledger, tmp_path):
    target = f"sqlite:///{tmp_path}/new.db"
    assert not moved(ledger, target).before
    assert moved(ledger, target).before
    with pytest.raises(LedgerMoved):
        moved(ledger, f"sqlite:///{tmp_path}/third.db")
    assert sum(moved_rows(f"sqlite:///{tmp_path}/third.db").values()) == 0


def moved_rows(url):
    database = Database(url)
    try:
        with database.read() as connection:
            return {name: connection.execute(text(f"SELECT COUNT(*) FROM {name}")).scalar() for name in METADATA.tables}
    finally:
        database.close()


def test_another_ledger_is_never_mixed_with_this_one(ledger, postgres_url, tmp_path):
    for target in (f"sqlite:///{tmp_path}/other.db", new_database(postgres_url, "other")):
        house = House(SqlStore(Database(target)))
        house.ledger.close()
        before = everything(target)
        with pytest.raises(LedgerNotEmpty):
            moved(ledger, target)
        assert everything(target) == before
    assert moved_rows(ledger)["entry"] == 504
    database = Database(ledger)
    with database.read() as connection:
        assert not is_fenced(connection)
    database.close()


def test_a_target_that_changes_what_it_is_given_gets_nothing(ledger, postgres_url):
    """PostgreSQL with a trigger that rounds amounts, as a meddling extension might."""
    url = new_database(postgres_url, "meddling")
    SqlStore(Database(url)).close()
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.kind := NEW.kind || ' '; RETURN NEW; END $$"
        )
        connection.exec_driver_sql("CREATE TRIGGER m BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION meddle()")
    database.close()
    with pytest.raises(MoveDiffers, match="entry"):
        moved(ledger, url)
    assert sum(moved_rows(url).values()) == 0
    assert moved(ledger, ledger.replace("ledger.db", "good.db")).rows["entry"] == 504


KILLED = """
import sys, os, signal
from bithive.database_sql import Database
from economy import moving_sql
moving_sql.move(Database(sys.argv[1]), Database(sys.argv[2]), lambda line: os.write(1, line.encode() + b"\\n"))
"""


@pytest.mark.parametrize("place", [3, *(pytest.param(place, marks=pytest.mark.soak) for place in (0, 1, 5, 8, 20))])
def test_killed_halfway_it_has_moved_nothing_or_all(ledger, postgres_url, place):
    url = new_database(postgres_url, f"killed{place}")
    before = everything(ledger)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, ledger, url], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    for _ in range(place):
        if not process.stdout.readline():
            break
    process.kill()
    process.stdout.close()
    process.wait(20)
    time.sleep(0.05)
    assert moved(ledger, url).digests == before == everything(url)
    assert seals_and_findings(url)[1] == []
