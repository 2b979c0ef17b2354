"""One contract for every access log: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bithive.clock import ManualClock
from bithive.database_sql import Database
from clinic.access_log import Access, AccessLog, MemoryAccessStore
from clinic.access_log_sql import SqlAccessStore
from clinic.errors import AccessLogBroken
from clinic.metadata_sql import MIGRATIONS
from tests.common import servers

OURS, THEIRS = "ins_00000000000000000000000001", "ins_00000000000000000000000002"


def opened(request, tmp_path):
    url = f"sqlite:///{tmp_path}/clinic.db"
    if request.param == "postgres":
        url = servers.new_database(request.getfixturevalue("postgres_url"), "access")
    database = Database(url)
    database.upgrade(MIGRATIONS)
    return database


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    database = opened(request, tmp_path)
    yield database
    database.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def log(request, tmp_path):
    if request.param == "memory":
        yield AccessLog(MemoryAccessStore(), ManualClock())
        return
    database = opened(request, tmp_path)
    yield AccessLog(SqlAccessStore(database), ManualClock())
    database.close()


def test_rows_are_chained_and_read_by_institution(log):
    log.record(OURS, "acc_1", Access.OPENED, "1.2")
    log.record(THEIRS, "acc_2", Access.SEARCHED)
    log.record(OURS, "acc_1", Access.EXPORTED, "1.2")
    rows = log.read(OURS)
    assert [(row.seq, row.kind, row.study_uid) for row in rows] == [
        (1, Access.OPENED, "1.2"),
        (3, Access.EXPORTED, "1.2"),
    ]
    assert [row.seq for row in log.read(OURS, after=1)] == [3]
    assert rows[0].previous == ""
    assert log.check() == 3


def test_many_at_once_make_one_unbroken_chain(log):
    threads = [
        threading.Thread(target=lambda: [log.record(OURS, "acc_1", Access.OPENED, "1.2") for _ in range(10)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.check() == 80


@pytest.mark.parametrize("statement", ["UPDATE access_log SET account = 'x'", "DELETE FROM access_log"])
def test_the_database_refuses_every_change(database, statement):
    log = AccessLog(SqlAccessStore(database), ManualClock())
    log.record(OURS, "acc_1", Access.OPENED, "1.2")
    with pytest.raises(SQLAlchemyError, match="append-only"), database.write() as connection:
        connection.execute(text(statement))
    assert log.check() == 1


def test_postgres_refuses_to_empty_the_table(postgres_url):
    database = Database(servers.new_database(postgres_url, "emptied"))
    database.upgrade(MIGRATIONS)
    with pytest.raises(SQLAlchemyError, match="append-only"), database.write() as connection:
        connection.execute(text("TRUNCATE access_log"))
    database.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE access_log SET account = 'acc_9' WHERE seq = 2",
        "DELETE FROM access_log WHERE seq = 2",
        "UPDATE access_log SET seq = 9 WHERE seq = 3",
    ],
)
def test_tampering_breaks_the_chain(tmp_path, tampering):
    database = Database(f"sqlite:///{tmp_path}/clinic.db")
    database.upgrade(MIGRATIONS)
    log = AccessLog(SqlAccessStore(database), ManualClock())
    for _ in range(3):
        log.record(OURS, "acc_1", Access.OPENED, "1.2")
    with database.write() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER access_log_no_{verb}"))
        connection.execute(text(tampering))
    with pytest.raises(AccessLogBroken):
        log.check()
    database.close()


def test_a_store_that_fails_tells_everyone_who_waits():
    class Full(MemoryAccessStore):
        def append(self, rows):
            raise OSError

    with pytest.raises(OSError):
        AccessLog(Full(), ManualClock()).record(OURS, "acc_1", Access.OPENED, "1.2")
