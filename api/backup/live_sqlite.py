"""A SQLite database beside its writers, whole or by what changed.

Following rests on what SQLite promises about its write-ahead log (sqlite.org, "WAL-mode file format"):

- The log begins anew, over what it held, only when every frame has been copied into the database and no reader needs
  one. A reader whose snapshot ends in the log keeps it from beginning anew. A reader whose snapshot is the database
  alone, since everything had been copied, does not; but it keeps anything from being copied into the database, so
  that the log can begin anew once, and not again.
- So whoever always holds one reader, and takes the next before leaving the last, finds at every mark either the log it
  knows, longer, or its one successor from the start. No committed frame is missed.

How many frames are committed is asked of SQLite itself (a passive checkpoint says it), under the write lock: frames of
a writer that was killed in the middle are not counted.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from api.backup import wal
from api.backup.cut import Part
from api.backup.errors import BackupBusy, BackupDamaged
from api.backup.live import NotFollowed
from api.backup.vault import CHUNK_BYTES, Writer

LOG_FRAMES_MAX = 4_096
"""Beyond this many frames the log is copied under the lock, so that it can begin anew."""

PIECE_BYTES = 1024 * 1024
_COPY_BYTES = 1024 * 1024
# SQLite's own way of waiting for a lock sleeps longer and longer: beside a writer that never rests it would seldom win.
_POLL_S = 0.0005
_ASK_TIMES_MAX = 10_000


class LiveSqlite:
    """One database.

    Parameters
    ----------
    path
        Its file, which must exist. This file itself is never opened but by SQLite: closing it would end SQLite's locks.
    follow
        Whether increments will be asked for; then writers' log may grow up to `log_frames_max` and a little.
    """

    def __init__(self, path: Path, follow: bool = False, log_frames_max: int = LOG_FRAMES_MAX) -> None:
        self.path, self._follow, self._log_frames_max = path, follow, log_frames_max
        self._lock = self._connect()
        self._asking = self._connect()
        self._reader: sqlite3.Connection | None = None
        self._before: sqlite3.Connection | None = None
        self._read, self._upto = wal.Position(), wal.Position()
        self._carried: dict[int, bytes] = {}
        self._known = False
        self._pause = threading.Event()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise BackupBusy(f"{self.path.name} cannot be opened") from error
        connection.execute("PRAGMA busy_timeout=0")
        return connection

    def lock(self, timeout_s: float) -> bool:
        if self._known:
            self._advance()
        for _ in range(1 + round(timeout_s / _POLL_S)):
            try:
                self._lock.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise BackupBusy(f"{self.path.name}: {error}") from error
                self._pause.wait(_POLL_S)
            else:
                return True
        return False

    def mark(self, name: str) -> None:
        assert self._lock.in_transaction, f"{name} is taken under the lock"
        if self._follow:
            frames = self._frames()
            with self._log() as file:
                self._upto = wal.end(file.number, frames)
                if frames > self._log_frames_max and self._known:
                    self._carry(file.number, self._upto)
                    self._end(self._reader)
                    self._reader = None
                    self._frames()
        self._end(self._before)
        self._before, self._reader = self._reader, self._snapshot()

    def unlock(self) -> None:
        if self._lock.in_transaction:
            self._lock.execute("ROLLBACK")

    def part(self, writer: Writer, full: bool) -> Part:
        try:
            part = self._whole(writer) if full else self._changed(writer)
        except (NotFollowed, BackupDamaged):
            self._known = False
            raise
        finally:
            self._end(self._before)
            self._before, self._carried, self._read = None, {}, self._upto
        self._known = self._follow
        return part

    def digests(self, query: str) -> Iterator[str]:
        assert self._reader is not None, "nothing is marked"
        return (str(row[0]) for row in self._reader.execute(query))

    def close(self) -> None:
        self.unlock()
        for connection in (self._before, self._reader, self._asking, self._lock):
            if connection is not None:
                connection.close()
        self._before = self._reader = None

    def _whole(self, writer: Writer) -> Part:
        assert self._reader is not None, "nothing is marked"
        draft = writer.spool() / f"{self.path.name}.copy"
        draft.unlink(missing_ok=True)
        try:
            copy = sqlite3.connect(draft, isolation_level=None)
            try:
                copy.execute("PRAGMA synchronous=OFF")
                self._reader.backup(copy)
            except sqlite3.Error as error:
                raise _as_full(error) from error
            finally:
                copy.close()
            return Part("sqlite", self._revision(), writer.put_all(_pieces(draft)), *self._size())
        finally:
            draft.unlink(missing_ok=True)

    def _changed(self, writer: Writer) -> Part:
        if not self._known:
            raise NotFollowed
        with self._log() as file:
            self._carry(file.number, self._upto)
        latest = self._carried
        size_bytes, page_bytes = self._size()
        chunks = [writer.put(piece) for piece in _page_pieces(latest, size_bytes // page_bytes)]
        return Part("sqlite-pages", self._revision(), tuple(chunks), size_bytes, page_bytes)

    def _advance(self) -> None:
        """Before the lock is asked for, read what is committed by now and let it be copied into the database.

        What is left for the moment under the lock is what is committed from here on. The next reader is taken before
        the last one is left. Frames are counted between two looks at the header: when both find one generation, the
        number belongs to it.
        """
        reader = self._snapshot()
        with self._log() as file:
            before, frames, after = wal.read_header(file.number), self._frames(), wal.read_header(file.number)
            if before is not None and before == after and frames:
                self._carry(file.number, wal.end(file.number, frames))
        self._end(self._reader)
        self._reader = reader
        self._frames()

    def _carry(self, log: int, upto: wal.Position) -> None:
        """Remember the pages that were committed up to a position."""
        self._carried.update((page, content) for page, _, content in wal.pages(log, self._read, upto))
        if upto.frames:
            self._read = upto

    def _size(self) -> tuple[int, int]:
        assert self._reader is not None, "nothing is marked"
        count = int(self._reader.execute("PRAGMA page_count").fetchone()[0])
        page_bytes = int(self._reader.execute("PRAGMA page_size").fetchone()[0])
        return count * page_bytes, page_bytes

    def _revision(self) -> str:
        with suppress(sqlite3.OperationalError):
            return next(self.digests("SELECT version_num FROM alembic_version"), "")
        return ""

    def _snapshot(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection

    @staticmethod
    def _end(connection: sqlite3.Connection | None) -> None:
        if connection is not None:
            connection.close()

    def _frames(self) -> int:
        """Committed frames in the log; what no reader needs there is copied into the database meanwhile."""
        for _ in range(_ASK_TIMES_MAX):
            busy, frames, _ = self._asking.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames >= 0:
                return int(frames)
            if not busy:
                raise BackupBusy(f"{self.path.name} keeps no write-ahead log")
            self._pause.wait(_POLL_S)
        raise BackupBusy(f"{self.path.name}: another process copies its log into it")

    def _log(self) -> _Log:
        return _Log(self.path.with_name(f"{self.path.name}-wal"))


class _Log:
    """The file of the log, which SQLite does not lock."""

    def __init__(self, path: Path) -> None:
        self._path, self.number = path, -1

    def __enter__(self) -> Self:
        try:
            self.number = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BackupDamaged("a database's log is not there") from None
        return self

    def __exit__(self, *_raised: object) -> None:
        os.close(self.number)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            yield piece


def _page_pieces(latest: dict[int, bytes], count: int) -> Iterator[bytes]:
    """Changed pages in pieces: each page's number in four bytes, then the page. Pages past the end are left out."""
    piece = bytearray()
    for page in sorted(latest):
        if page <= count:
            piece += page.to_bytes(4, "big") + latest[page]
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def write_whole(path: Path, pieces: Iterable[bytes], part: Part) -> None:
    """Write a database from its pieces."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        if file.tell() != part.size_bytes:
            raise BackupDamaged(f"{path.name} has another size than it had")


def write_changes(path: Path, pieces: Iterable[bytes], part: Part) -> None:
    """Bring a database from one cut to the next."""
    size_bytes = 4 + part.page_bytes
    with path.open("r+b") as file:
        for piece in pieces:
            if len(piece) % size_bytes:
                raise BackupDamaged(f"changes of {path.name} end in the middle of a page")
            for place in range(0, len(piece), size_bytes):
                file.seek((int.from_bytes(piece[place : place + 4], "big") - 1) * part.page_bytes)
                file.write(piece[place + 4 : place + size_bytes])
        file.truncate(part.size_bytes)


def _as_full(error: sqlite3.Error) -> Exception:
    full = "full" in str(error)
    return (
        OSError(28, "the disk of the backup is full") if full else BackupBusy(f"a database cannot be copied: {error}")
    )


assert CHUNK_BYTES % 65536 == 0, "a piece holds whole pages"
