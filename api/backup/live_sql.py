"""A PostgreSQL database beside its writers: a dump of one exported snapshot, and a named point in its log.

Every table is locked in SHARE mode for the moment of the cut: that waits for transactions that have written and keeps
new ones from writing, and readers never notice. Only the first table is waited for; while one is held, none is waited
for, so that no writer can be chosen as the victim of a deadlock.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from api.backup.cut import Part
from api.backup.errors import BackupBusy, RestoreRefused, ToolAbsent
from api.backup.vault import Writer
from bithive.settings import child_environment

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
_READ_BYTES = 1024 * 1024
_WAIT_MS = 500
_PAUSE_S = 0.005


class LivePostgresql:
    """One database.

    Parameters
    ----------
    url
        Its SQLAlchemy address.

    Raises
    ------
    ToolAbsent
        If `pg_dump` is not installed here.
    """

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql://", "postgresql+pg8000://", 1)
        self._program = tool("pg_dump")
        self._engine: Engine = create_engine(self._url, poolclass=NullPool)
        self._lock: Connection | None = None
        self._reader: Connection | None = None
        self._snapshot, self._point, self._lsn = "", "", ""
        self._dumped_bytes = 0
        self._pause = threading.Event()

    def lock(self, timeout_s: float) -> bool:
        for attempt in range(1 + round(timeout_s / (_WAIT_MS / 1000))):
            connection: Connection | None = None
            try:
                connection = self._engine.connect()
                names = [row[0] for row in connection.execute(text(_TABLES))]
                first = attempt % max(len(names), 1)
                connection.execute(text(f"SET LOCAL lock_timeout = {_WAIT_MS}"))
                for number, name in enumerate(names[first:] + names[:first]):
                    wait = " NOWAIT" if number else ""
                    connection.execute(text(f'LOCK TABLE "{name}" IN SHARE MODE{wait}'))
            except (SQLAlchemyError, OSError) as error:
                if connection is not None:
                    connection.close()
                if not _is_locked(error):
                    raise BackupBusy("a database cannot be reached") from error
                self._pause.wait(_PAUSE_S)
            else:
                self._lock = connection
                return True
        return False

    def mark(self, name: str) -> None:
        self._leave()
        self._reader = self._engine.connect().execution_options(isolation_level="REPEATABLE READ")
        self._snapshot = str(self._reader.execute(text("SELECT pg_export_snapshot()")).scalar())
        self._lsn = str(self._reader.execute(text("SELECT pg_current_wal_insert_lsn()::text")).scalar())
        self._point = f"bithive-{name}" if self._set_point(f"bithive-{name}") else ""

    def _set_point(self, name: str) -> bool:
        """Name this moment in the log; only a superuser may, and whoever was granted it."""
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT pg_create_restore_point(:name)"), {"name": name})
        except SQLAlchemyError:
            return False
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def part(self, writer: Writer, full: bool) -> Part:
        revision = _revision(self._reader)
        if not full:
            return Part("postgresql-mark", revision, restore_point=self._point, lsn=self._lsn)
        self._dumped_bytes = 0
        chunks, size_bytes = writer.put_all(self._dump()), self._dumped_bytes
        return Part("postgresql", revision, chunks, size_bytes, restore_point=self._point, lsn=self._lsn)

    def _dump(self) -> Iterator[bytes]:
        command = [self._program, "--format=custom", "--compress=0", "--no-owner", "--no-privileges"]
        command += [f"--snapshot={self._snapshot}", "--dbname", _plain(self._url)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(self._url))
        with process:
            assert process.stdout is not None
            while piece := process.stdout.read(_READ_BYTES):
                self._dumped_bytes += len(piece)
                yield piece
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        if process.returncode:
            raise BackupBusy(f"pg_dump ended with {process.returncode}: {said.strip()[-200:]}")

    def digests(self, query: str) -> Iterator[str]:
        assert self._reader is not None, "nothing is marked"
        return (str(row[0]) for row in self._reader.execute(text(query)))

    def close(self) -> None:
        self.unlock()
        self._leave()
        self._engine.dispose()

    def _leave(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def refuse_tables(url: str) -> None:
    """A dump goes into an empty database. Raises `RestoreRefused`."""
    engine = create_engine(url.replace("postgresql://", "postgresql+pg8000://", 1), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            count = len(connection.execute(text(_TABLES)).all())
    finally:
        engine.dispose()
    if count:
        raise RestoreRefused(f"the PostgreSQL database has {count} tables; give an empty one")


def load_dump(url: str, pieces: Iterable[bytes], draft: Path) -> None:
    """Restore a dump into an empty database, in one transaction.

    Raises
    ------
    RestoreRefused
        If there are tables, or `pg_restore` does not succeed; the database is then as empty as it was.
    ToolAbsent
        If `pg_restore` is not installed here.
    """
    program = tool("pg_restore")
    refuse_tables(url)
    with draft.open("wb") as file:
        for piece in pieces:
            file.write(piece)
    command = [program, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    command += ["--dbname", _plain(url), str(draft)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=_environment(url))
    draft.unlink()
    if ended.returncode:
        raise RestoreRefused(f"pg_restore ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")


def column(url: str, query: str) -> list[str]:
    """The first column of a query, from a database of either kind."""
    engine = create_engine(url.replace("postgresql://", "postgresql+pg8000://", 1), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return [str(row[0]) for row in connection.execute(text(query))]
    finally:
        engine.dispose()


def tool(name: str) -> str:
    """Where a program of PostgreSQL lies: on the path, or where Debian keeps its versions. Raises `ToolAbsent`."""
    found = shutil.which(name)
    if found is None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
        found = next((path for folder in folders if (path := shutil.which(name, path=str(folder)))), None)
    if found is None:
        raise ToolAbsent(f"{name} is not installed; it comes with PostgreSQL's client programs")
    return found


def _plain(url: str) -> str:
    """The address as PostgreSQL's own programs take it; the password goes by the environment, which others cannot read."""
    return make_url(url).set(drivername="postgresql", password=None).render_as_string()


def _environment(url: str) -> dict[str, str]:
    password = make_url(url).password
    return child_environment({"PGPASSWORD": str(password)} if password else {})


def _revision(connection: Connection | None) -> str:
    assert connection is not None, "nothing is marked"
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _is_locked(error: Exception) -> bool:
    """Whether somebody else held a table (SQLSTATE 55P03), or was chosen over us (40P01)."""
    origin = getattr(error, "orig", None)
    detail = origin.args[0] if origin is not None and origin.args else ""
    return isinstance(detail, dict) and str(detail.get("C")) in {"55P03", "40P01"}
