"""Every database comes to this version's schema: from nothing, and from every version before, with what is in it.

`ledger_0001.json` holds the rows of a ledger that the version before this one wrote (schema 0001): holds, charges, work
units, a closed epoch and two seals of the first kind.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from api.databases import MIGRATIONS
from api.startup import ROOT
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.check import check
from economy.entry import Entry, Party
from economy.ledger import Ledger
from economy.metadata_sql import METADATA
from economy.seal import is_signed, make_seal, seal_digest
from economy.store_sql import SqlStore
from tests.common.servers import new_database

OLD_LEDGER = json.loads((Path(__file__).parent / "ledger_0001.json").read_text())
LATER_MS = 2_000_000_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request, tmp_path):
    """Makes empty databases of one kind."""
    made = 0

    def make():
        nonlocal made
        made += 1
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path}/{made}.db"
        return new_database(request.getfixturevalue("postgres_url"), f"migrations{made}")

    return make


def revisions(name):
    return sorted(path.name.partition("_")[0] for path in (ROOT / MIGRATIONS[name] / "versions").glob("*.py"))


def to_revision(database, name, revision):
    config = Config()
    config.set_main_option("script_location", str(ROOT / MIGRATIONS[name]))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def shape(database):
    """Tables, columns, keys, indexes, triggers and checks, in words that two databases of one kind share."""
    found = inspect(database.engine)
    shown = {}
    for table in sorted(found.get_table_names()):
        columns = [(c["name"], str(c["type"]), c["nullable"], str(c["default"])) for c in found.get_columns(table)]
        indexes = sorted((i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(table))
        foreign = sorted((tuple(f["constrained_columns"]), f["referred_table"]) for f in found.get_foreign_keys(table))
        checks = sorted(str(c["name"]) for c in found.get_check_constraints(table))
        shown[table] = (columns, found.get_pk_constraint(table)["constrained_columns"], indexes, foreign, checks)
    triggers = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        if database.is_sqlite
        else "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
    )
    with database.read() as connection:
        shown["triggers"] = [tuple(row) for row in connection.execute(text(triggers))]
    return shown


def one_of(column):
    """A value that its column takes; the same for all columns of a kind, so that references hold."""
    kind = column.type.python_type
    return {int: 1, str: "x", bytes: b"x", bool: False, float: 0.5}[kind]


def filled(database):
    """A row in every table; what was written, by table."""
    metadata, written = MetaData(), {}
    metadata.reflect(database.engine)
    with database.write() as connection:
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                row = {column.name: one_of(column) for column in table.columns}
                connection.execute(insert(table).values(**row))
                written[table.name] = row
    return written


def rows_of(database, names):
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.read() as connection:
        return {name: [row._asdict() for row in connection.execute(select(metadata.tables[name]))] for name in names}


@pytest.mark.parametrize("name", sorted(MIGRATIONS))
def test_from_nothing_and_step_by_step_end_in_one_schema(name, fresh):
    whole, stepped = Database(fresh()), Database(fresh())
    try:
        whole.upgrade(ROOT / MIGRATIONS[name])
        for revision in revisions(name):
            to_revision(stepped, name, revision)
        assert shape(whole) == shape(stepped)
        before = shape(whole)
        whole.upgrade(ROOT / MIGRATIONS[name])
        assert shape(whole) == before
    finally:
        whole.close()
        stepped.close()


@pytest.mark.parametrize(
    ("name", "revision"),
    [(name, revision) for name in sorted(MIGRATIONS) if name != "ledger" for revision in revisions(name)],
)
def test_rows_of_every_version_before_are_kept(name, revision, fresh):
    database = Database(fresh())
    try:
        to_revision(database, name, revision)
        written = filled(database)
        database.upgrade(ROOT / MIGRATIONS[name])
        for table, kept in rows_of(database, written).items():
            assert len(kept) == 1, table
            assert written[table].items() <= kept[0].items(), table
    finally:
        database.close()


def old_ledger(url):
    """A ledger as the version before wrote it."""
    database = Database(url)
    to_revision(database, "ledger", "0001")
    with database.write() as connection:
        for table in ("asset", "party", "policy", "account", "entry", "transfer", "seal"):
            for row in OLD_LEDGER[table]:
                marks = ", ".join(f":p{place}" for place in range(len(row)))
                values = {f"p{place}": value for place, value in enumerate(row)}
                connection.execute(text(f"INSERT INTO {table} VALUES ({marks})"), values)
    return database


def test_an_old_ledger_opens_checks_clean_and_goes_on(fresh):
    database = old_ledger(fresh())
    store = SqlStore(database)
    try:
        with store.reading() as snapshot:
            seals, head = snapshot.seals(), snapshot.head()
            assert [row.leaf_hash for row in snapshot.log()] == [row[7] for row in OLD_LEDGER["entry"]]
        assert len(seals) == len(OLD_LEDGER["seal"]) >= 2
        assert head.seq == len(OLD_LEDGER["entry"])
        assert [list(seal)[:10] for seal in seals] == OLD_LEDGER["seal"]
        assert all(is_signed(seal) for seal in seals)
        assert seals[1].previous == seal_digest(seals[0])
        assert [finding for finding in check(store).findings if not is_notice(finding)] == []
        ledger = Ledger(store, ManualClock(LATER_MS))
        ledger.post(Entry("later/1", "test.done", declares=(Party("pty_01MCC5RM00VXASDR7P1C3M3HZZ", "node"),)))
        found = ledger.find("later/1")
        assert found is not None
        assert found.seq > head.seq, "the one before it ends a hold that fell due meanwhile"
        ledger.close()
    finally:
        store.close()


def is_notice(finding):
    """Whether a finding tells of something that is no fault, for example a key that was not declared in those days."""
    return getattr(finding.fault, "is_notice", False) or "notice" in type(finding).__name__.lower()


def test_an_old_ledger_is_sealed_anew_on_top_of_its_old_seals(fresh):
    store = SqlStore(old_ledger(fresh()))
    try:
        ledger = Ledger(store, ManualClock(LATER_MS))
        ledger.post(Entry("later/1", "test.done", declares=(Party("pty_01MCC5RM00VXASDR7P1C3M3HZZ", "node"),)))
        with store.reading() as snapshot:
            last = snapshot.seals()[-1]
        made = make_seal(store, SigningKey(b"n" * 32), ManualClock(LATER_MS))
        assert made is not None
        assert (made.seal_id, made.from_seq, made.previous) == (last.seal_id + 1, last.to_seq + 1, seal_digest(last))
        assert is_signed(made)
        ledger.close()
    finally:
        store.close()


def test_old_rows_stay_append_only(fresh):
    database = old_ledger(fresh())
    try:
        database.upgrade(ROOT / MIGRATIONS["ledger"])
        for table, column in (("entry", "kind"), ("transfer", "amount"), ("seal", "sealed_ms"), ("policy", "version")):
            for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
                with pytest.raises(DBAPIError, match="append-only"), database.write() as connection:
                    connection.execute(text(statement))
    finally:
        database.close()


def test_a_migration_that_fails_leaves_the_old_schema(fresh):
    """A column of that name is there already: the new version cannot add its own, and nothing else stays of it."""
    database = old_ledger(fresh())
    try:
        with database.write() as connection:
            connection.execute(text("ALTER TABLE seal ADD COLUMN note TEXT DEFAULT '' NOT NULL"))
        before = shape(database)
        with pytest.raises(DBAPIError):
            database.upgrade(ROOT / MIGRATIONS["ledger"])
        assert shape(database) == before
        assert rows_of(database, ["alembic_version"]) == {"alembic_version": [{"version_num": "0001"}]}
    finally:
        database.close()


def test_processes_that_migrate_together_wait_for_each_other(fresh):
    url = fresh()
    old_ledger(url).close()
    failed = []

    def upgrade():
        database = Database(url)
        try:
            database.upgrade(ROOT / MIGRATIONS["ledger"])
        except Exception as error:
            failed.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    engine = create_engine(url.replace("postgresql://", "postgresql+pg8000://"))
    assert set(METADATA.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()
