"""Cuts of a hub whose databases are PostgreSQL's, all or some."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import create_engine, text

from api.backup.errors import BackupBusy, RestoreRefused, ToolAbsent
from api.backup.live_sql import LivePostgresql, column, tool
from api.backup.restoring import Wish, restore, verify
from api.backup.taking import ALL_BLOBS, Backup
from bithive.blobs import FileBlobs
from bithive.database_sql import Database
from bithive.settings import AccountSettings, ClinicSettings, NetworkSettings
from economy.check import check
from economy.entry import Entry, move
from economy.store_sql import SqlStore
from tests.common.backups import State
from tests.common.servers import new_database


def sections(postgres_url, prefix):
    """Settings with the clinic and the ledger in PostgreSQL, the network and the accounts in SQLite."""
    return {
        "clinic": ClinicSettings(database_url=new_database(postgres_url, f"{prefix}clinic")),
        "network": NetworkSettings(ledger_database_url=new_database(postgres_url, f"{prefix}ledger")),
        "accounts": AccountSettings(),
    }


@pytest.fixture
def state(postgres_url, tmp_path):
    state = State(tmp_path, **sections(postgres_url, "one"))
    yield state
    state.close()


def test_a_cut_across_both_kinds_comes_back(state, postgres_url):
    house = state.ledger()
    house.fund(0, 500)
    digests = [state.store(number, bytes([number]) * 70_000) for number in range(2)]
    with Backup.opened(state.means(), follow=True) as backup:
        cut = backup.cut()
        house.fund(0, 7, "fund/2")
        state.delete(0)
        third = state.store(3, b"third")
        more = backup.cut(full=False)
    kinds = {name: part.kind for name, part in cut.databases.items()}
    assert kinds == {"accounts": "sqlite", "network": "sqlite", "clinic": "postgresql", "ledger": "postgresql"}
    assert more.databases["ledger"].kind == "postgresql-mark"
    assert more.databases["network"].kind == "sqlite-pages"
    assert cut.databases["ledger"].restore_point == f"bithive-{cut.cut_id}"
    assert column(state.settings.database_url("clinic"), ALL_BLOBS) == sorted([digests[1], third])
    vault = state.means().vault
    assert list(verify(vault, [cut, more])) == []
    target = state.settings.model_copy(update={"state": state.folder / "out", **sections(postgres_url, "two")})
    with pytest.raises(RestoreRefused, match="PostgreSQL's to recover"):
        restore(vault, target, Wish())
    done = restore(vault, target, Wish(at_ms=cut.at_ms))
    assert done.blobs == 2
    assert column(target.database_url("clinic"), ALL_BLOBS) == sorted(digests)
    assert all(FileBlobs(target.state / "blobs").path(digest).exists() for digest in digests)
    store = SqlStore(Database(target.database_url("ledger")))
    assert check(store).findings == []
    with store.reading() as snapshot:
        assert [row.entry_id for row in snapshot.log()] == ["setup/all", "fund/1"]
    store.close()
    with pytest.raises(RestoreRefused, match="tables"):
        restore(vault, target.model_copy(update={"state": state.folder / "out2"}), Wish(at_ms=cut.at_ms))
    elsewhere = state.settings.model_copy(update={"state": state.folder / "out3", "network": NetworkSettings()})
    with pytest.raises(RestoreRefused, match="settings say otherwise"):
        restore(vault, elsewhere, Wish(at_ms=cut.at_ms))
    done = restore(vault, target.model_copy(update={"state": state.folder / "out4"}), Wish(postgresql=False))
    assert done.blobs == 3
    house.ledger.close()


def test_a_file_deleted_between_two_cuts_is_kept_for_the_log(state):
    """PostgreSQL can go back to any moment between two cuts: what lay in the archive then must be in the backup."""
    with Backup.opened(state.means(), follow=True) as backup:
        backup.cut()
        digest = state.store(1, b"here for a moment")
        state.delete(1)
        backup.cut(full=False)
    assert state.means().vault.blob_path(digest).read_bytes() == b"here for a moment"


def test_a_ledger_that_writes_all_the_time_is_held_still(state):
    house, stop, failed = state.ledger(), threading.Event(), []

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                house.ledger.post(Entry(f"e/{number}", "test.done", (move(house.source(), house.wallet(0), 1),)))
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(1)]
    for thread in threads:
        thread.start()
    try:
        with Backup.opened(state.means(), follow=True) as backup:
            cuts = [backup.cut(), *(backup.cut(full=False) for _ in range(5))]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        house.ledger.close()
    assert failed == []
    assert [bool(cut.base) for cut in cuts] == [False] + [True] * 5
    assert cuts[-1].databases["ledger"].lsn != cuts[0].databases["ledger"].lsn


def test_a_table_that_stays_locked_is_told(postgres_url):
    url = new_database(postgres_url, "locked")
    engine, live = create_engine(url), LivePostgresql(url)
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE a (n int)"))
            connection.execute(text("CREATE TABLE b (n int)"))
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO b VALUES (1)"))
            assert not live.lock(1.0)
            connection.rollback()
        assert live.lock(1.0)
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL lock_timeout = 50"))
            assert connection.execute(text("SELECT count(*) FROM a")).scalar() == 0
            with pytest.raises(Exception, match="lock timeout"):
                connection.execute(text("INSERT INTO a VALUES (1)"))
    finally:
        live.close()
        engine.dispose()
    with pytest.raises(ToolAbsent):
        tool("pg_nothing")
    gone = LivePostgresql(url.replace("/locked", "/nowhere"))
    with pytest.raises(BackupBusy):
        gone.lock(1.0)
    gone.close()
