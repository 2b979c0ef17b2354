"""Who opened, exported or deleted which study: append-only, each row chained to the one before it.

A row's digest is the SHA-256 of its canonical form, the previous digest included, so that a row that was changed, left
out or put in breaks the chain from there on. Rows are durable before the answer they speak of leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from bithive.canonical import digest
from bithive.clock import Clock
from clinic.errors import AccessLogBroken

NO_STUDY = ""
_PAGE = 1000


class Access(StrEnum):
    """What was done."""

    SEARCHED = "searched"
    """A list was asked for; the row names no study."""
    OPENED = "opened"
    """Headers, frames, rendered images or the page of a study were shown."""
    EXPORTED = "exported"
    """Instances of a study left as DICOM files."""
    DELETED = "deleted"
    """A study was removed."""
    PUBLISHED = "published"
    """A study was declared public: its images may be computed on by anybody."""


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One row.

    Attributes
    ----------
    at_ms
        When, milliseconds since the epoch.
    institution, account
        Whose study, and who did it (`ins_...`, `acc_...`).
    kind
        What was done.
    study_uid
        Which study; empty for a search.
    seq, previous, digest
        Its place, from 1 without gaps; the digest of the row before it; its own. Set by the store.
    """

    at_ms: int
    institution: str
    account: str
    kind: Access
    study_uid: str
    seq: int = 0
    previous: str = ""
    digest: str = ""

    def chained(self, last: AccessRow | None) -> AccessRow:
        """The same row, as the one that follows `last`."""
        row = replace(self, seq=last.seq + 1 if last else 1, previous=last.digest if last else "", digest="")
        return replace(row, digest=row.expected())

    def expected(self) -> str:
        """The digest that this row has to have."""
        members: dict[str, Any] = {
            "at_ms": self.at_ms,
            "institution": self.institution,
            "account": self.account,
            "kind": str(self.kind),
            "study_uid": self.study_uid,
            "seq": self.seq,
            "previous": self.previous,
        }
        return digest(members)


class AccessStore(Protocol):
    """Rows that can be added and read, and nothing else."""

    def append(self, rows: Sequence[AccessRow]) -> None:
        """Chain rows to the last one and make them durable, in one transaction."""

    def read(self, institution: str | None = None, after: int = 0, limit: int = _PAGE) -> list[AccessRow]:
        """Rows with `seq` above `after`, in order; of one institution or of all."""


class MemoryAccessStore:
    """Rows in a list: for tests and demonstrations."""

    def __init__(self) -> None:
        self._rows: list[AccessRow] = []
        self._lock = threading.Lock()

    def append(self, rows: Sequence[AccessRow]) -> None:
        with self._lock:
            for row in rows:
                self._rows.append(row.chained(self._rows[-1] if self._rows else None))

    def read(self, institution: str | None = None, after: int = 0, limit: int = _PAGE) -> list[AccessRow]:
        return [row for row in self._rows[after:] if institution in {None, row.institution}][:limit]


class AccessLog:
    """Writes and reads the access log. Requests that come together share one commit.

    Parameters
    ----------
    store
        Where rows are.
    clock
        When it is.
    """

    def __init__(self, store: AccessStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._writing = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[tuple[AccessRow, Future[None]]] = []

    def record(self, institution: str, account: str, kind: Access, study_uid: str = NO_STUDY) -> None:
        """Note what somebody does. Returns once the row is durable.

        Parameters
        ----------
        institution, account
            Whose study it is, and who does it.
        kind
            What is done.
        study_uid
            Which study; empty for a search.
        """
        done: Future[None] = Future()
        row = AccessRow(self._clock.now_ms(), institution, account, kind, study_uid)
        with self._queue_lock:
            self._queue.append((row, done))
        with self._writing:
            if not done.done():
                self._flush()
        done.result()

    def read(self, institution: str, after: int = 0, limit: int = _PAGE) -> list[AccessRow]:
        """Rows of one institution with `seq` above `after`, in order."""
        return self._store.read(institution, after, limit)

    def check(self) -> int:
        """Recompute the whole chain; how many rows it has.

        Raises
        ------
        AccessLogBroken
            If a row was changed, left out or put in.
        """
        last: AccessRow | None = None
        for row in self._all():
            if row != replace(row, digest="").chained(last) or row.digest != row.expected():
                raise AccessLogBroken("the chain breaks", seq=row.seq)
            last = row
        return last.seq if last else 0

    def _all(self) -> Iterator[AccessRow]:
        after = 0
        while page := self._store.read(None, after):
            yield from page
            after = page[-1].seq

    def _flush(self) -> None:
        with self._queue_lock:
            waiting, self._queue = self._queue, []
        try:
            self._store.append([row for row, _ in waiting])
        except BaseException as error:
            for _, done in waiting:
                done.set_exception(error)
            raise
        for _, done in waiting:
            done.set_result(None)
