"""SQL databases: SQLite embedded, PostgreSQL for a hospital. The only place that knows how either is opened.

Each of the three databases (clinic, network, ledger) has its own metadata, its own Alembic history and its own
transactions; nothing ever spans two of them but an outbox.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, create_engine, event, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


# Any number that nothing else in the database uses as an advisory lock.
_MIGRATING = 0x_B17_817E


def new_metadata() -> MetaData:
    """Metadata with the house's constraint names, so that migrations can refer to them."""
    return MetaData(naming_convention=NAMING)


class Database:
    """One SQL database.

    Parameters
    ----------
    url
        A SQLAlchemy address: `sqlite:///...` or `postgresql://...` (spoken with pg8000).
    connect
        Opens one DB-API connection, in place of the driver and of the address. For another build of SQLite, or one
        whose file system a test controls; the connection behaves as one of `sqlite3`, its exceptions included.
    connections_max
        At most so many at a time; whoever wants another waits. 1 where only one process may ever open the file.
    """

    def __init__(self, url: str, connect: Callable[[], Any] | None = None, connections_max: int = 32) -> None:
        url = url.replace("postgresql://", "postgresql+pg8000://", 1)
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        arguments: dict[str, Any] = {} if connect is None else {"creator": connect}
        if self.is_sqlite and connect is None:
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            arguments["connect_args"] = {"timeout": 60, "check_same_thread": False}
        kept = min(8, connections_max)
        self.engine: Engine = create_engine(
            url, poolclass=QueuePool, pool_size=kept, max_overflow=connections_max - kept, **arguments
        )
        self._writing = threading.Lock()
        self._writer = 0
        if self.is_sqlite:
            event.listen(self.engine, "connect", _open_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "connect", _open_postgres)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one consistent snapshot.

        What PostgreSQL is told holds for this transaction alone: a session that was told would keep it in the pool.
        """
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction: committed (and synced) when the block ends, undone when it raises."""
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        assert self._writer != threading.get_ident(), "a transaction does not open another one"
        with self._writing:
            self._writer = threading.get_ident()
            try:
                with self.engine.connect() as connection:
                    connection.execution_options(bithive_write=True)
                    with connection.begin():
                        yield connection
            finally:
                self._writer = 0

    def upgrade(self, scripts: Path) -> None:
        """Bring the schema to the newest version. Processes that start together wait for each other.

        Parameters
        ----------
        scripts
            The Alembic folder of this database, for example `clinic/migrations`.
        """
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _open_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=60000",
        "cache_size=-65536",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("bithive_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN DEFERRED")


def _open_postgres(connection: Any, _record: Any) -> None:
    """What is answered is on disk, also where a server's or a role's default says otherwise; what is sent is sent.

    The driver writes a large statement in pieces and leaves Nagle's algorithm on: each would wait 40 ms for the other
    side's delayed acknowledgement. The driver has no other word for its socket.
    """
    stream = connection._usock  # noqa: SLF001
    if stream.family != socket.AF_UNIX:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    cursor = connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    connection.commit()
