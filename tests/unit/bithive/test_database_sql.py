import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, Table, func, insert, select
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database, new_metadata
from tests.common.servers import new_database

METADATA = new_metadata()
ROWS = Table("rows", METADATA, Column("n", Integer, primary_key=True))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/deep/er/a.db"
        if request.param == "sqlite"
        else (new_database(request.getfixturevalue("postgres_url"), "kernel").replace("+pg8000", ""))
    )
    database = Database(url)
    with database.write() as connection:
        METADATA.create_all(connection)
    yield database
    database.close()


def count(database):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(ROWS)).scalar_one()


def test_a_block_is_one_transaction(database):
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(ROWS).values(n=1))
        connection.execute(insert(ROWS).values(n=1))
    assert count(database) == 0
    with database.write() as connection:
        connection.execute(insert(ROWS).values(n=1))
    assert count(database) == 1


def test_a_reader_sees_one_snapshot(database):
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(ROWS)).scalar_one()
        with database.write() as writer:
            writer.execute(insert(ROWS).values(n=1))
        assert connection.execute(select(func.count()).select_from(ROWS)).scalar_one() == before
    assert count(database) == before + 1


def test_writers_take_turns_and_lose_nothing(database):
    failures = []

    def add(base):
        try:
            for number in range(25):
                with database.write() as connection:
                    connection.execute(insert(ROWS).values(n=base + number))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert count(database) == 100


def test_on_sqlite_a_writer_reads_what_it_will_change(tmp_path):
    """Read, then write: two processes that add one never overwrite each other."""
    url = f"sqlite:///{tmp_path}/a.db"
    database = Database(url)
    with database.write() as connection:
        METADATA.create_all(connection)
        connection.execute(insert(ROWS).values(n=0))
    program = (
        "import sys; from bithive.database_sql import Database\n"
        "database = Database(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with database.write() as c:\n"
        "        n = c.exec_driver_sql('SELECT n FROM rows').scalar_one()\n"
        "        c.exec_driver_sql(f'UPDATE rows SET n = {n + 1}')\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], cwd=Path(__file__).parents[3]) for _ in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with database.read() as connection:
        assert connection.execute(select(ROWS.c.n)).scalar_one() == 60
    database.close()


def test_a_transaction_inside_a_transaction_is_our_bug(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(AssertionError), database.write(), database.write():
        pass
    with database.write():
        pass
    database.close()


def test_sqlite_is_opened_durable(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.read() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()


MIGRATION = {
    "env.py": (
        "from alembic import context\n"
        "connection = context.config.attributes['connection']\n"
        "context.configure(connection=connection, target_metadata=None, render_as_batch=True)\n"
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    ),
    "versions/0001_first.py": (
        "from alembic import op\nimport sqlalchemy as sa\n"
        "revision, down_revision = '0001', None\n"
        "def upgrade():\n    op.create_table('made', sa.Column('n', sa.Integer, primary_key=True))\n"
    ),
}


def test_processes_that_start_together_migrate_once(database, tmp_path):
    folder = tmp_path / "100%" / "migrations"
    for name, text in MIGRATION.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    others = [Database(database.url) for _ in range(3)]
    failures = []

    def upgrade(each):
        program = "import sys, pathlib; from bithive.database_sql import Database\nDatabase(sys.argv[1]).upgrade(pathlib.Path(sys.argv[2]))"
        ended = subprocess.run(
            [sys.executable, "-c", program, each.url, str(folder)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        if ended.returncode:
            failures.append(ended.stderr)

    threads = [threading.Thread(target=upgrade, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    database.upgrade(folder)
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO made VALUES (1)")
    for other in others:
        other.close()


def test_a_migration_that_fails_leaves_nothing(database, tmp_path):
    for name, text in MIGRATION.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(
            text + ("    raise RuntimeError('half way')\n" if name.startswith("versions") else "")
        )
    with pytest.raises(RuntimeError, match="half way"):
        database.upgrade(tmp_path)
    with database.read() as connection:
        assert not database.engine.dialect.has_table(connection, "made")
