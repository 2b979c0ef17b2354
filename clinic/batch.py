"""Instances of one request on their way to the disk, while the rest of the request is still coming.

The receiver appends chunks; threads write, hash, read the header and sync. Small instances are read from memory, large
ones from their spool file, so that memory stays bounded whatever is sent. Nothing here is visible to anyone before
`Intake` commits it.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from bithive import limits
from bithive.blobs import Blobs, Spool
from bithive.log import get
from clinic.errors import REASONS, WARNINGS, InstanceRefused, InstanceTooLarge, NoSpace, StoreFailed, TooManyInstances
from clinic.instance import NewInstance, identify, named, with_uids
from clinic.part10 import Buffer, read

PIECE_BYTES = 1 << 20
BACKLOG_BYTES_MAX = 32 << 20


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one instance of a request.

    Attributes
    ----------
    sop_class, sop_uid, study_uid, series_uid
        Which, as far as it says so; empty texts otherwise.
    reason
        Failure Reason (0008,1197) when it was not stored, else None.
    warning
        Warning Reason (0008,1196) when it was stored with one, else None.
    code
        The documented code of the failure or warning; empty when there is none.
    blob
        SHA-256 of the file that is stored; empty when none is.
    known
        Whether it was there already.
    """

    sop_class: str
    sop_uid: str
    study_uid: str = ""
    series_uid: str = ""
    reason: int | None = None
    warning: int | None = None
    code: str = ""
    blob: str = ""
    known: bool = False

    @property
    def stored(self) -> bool:
        """Whether the archive has it now."""
        return self.reason is None


class Part:
    """One instance being received. One thread writes; see `Batch.part`."""

    def __init__(self, batch: Batch, blobs: Blobs) -> None:
        self._batch, self._blobs = batch, blobs
        self._spool: Spool | None = None
        self._lock = threading.Lock()
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = self._size_bytes = 0
        self._running = self._ended = False
        self._names = ("", "")
        self._warning = ""
        self.settled: Future[None] = Future()
        self.code = ""
        self.known = False
        self.instance: NewInstance | None = None

    def write(self, chunk: bytes | memoryview) -> None:
        """Append bytes. Returns at once; mind `Batch.backlog_bytes`."""
        self._size_bytes += len(chunk)
        if self._size_bytes > limits.INSTANCE_BYTES_MAX:
            self.refuse(InstanceTooLarge.code)
        if self.code:
            return
        self._batch.grew(len(chunk))
        with self._lock:
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
            due = self._waiting_bytes >= PIECE_BYTES
        if due:
            self._start()

    def end(self) -> None:
        """There is no more."""
        with self._lock:
            self._ended = True
        self._start()

    @property
    def spool(self) -> Spool:
        """Its bytes, once it is settled."""
        assert self._spool is not None, "an instance that is stored has bytes"
        return self._spool

    def forget(self) -> None:
        """Remove its bytes unless they were committed."""
        if self._spool is not None:
            self._spool.discard()

    def refuse(self, code: str) -> None:
        """It will not be stored; the first code stays."""
        self.code = self.code or code
        self.instance = None

    def outcome(self) -> StoreOutcome:
        """What became of it, once it is settled."""
        sop_class, sop_uid = self._names
        if self.instance is None:
            return StoreOutcome(sop_class, sop_uid, reason=REASONS[self.code], code=self.code)
        new = self.instance
        warning = WARNINGS.get(self._warning)
        return StoreOutcome(
            sop_class, sop_uid, new.study_uid, new.series_uid, None, warning, self._warning, new.blob, self.known
        )

    def _start(self) -> None:
        with self._lock:
            if self._running or self.settled.done():
                return
            self._running = True
        self._batch.run(self._work)

    def _work(self) -> None:
        whole = True
        while True:
            with self._lock:
                pieces, self._waiting = self._waiting, []
                size, self._waiting_bytes = self._waiting_bytes, 0
                ended = self._ended
                if not pieces and not ended:
                    self._running = False
                    return
            content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            whole = whole and self._spool is None
            self._guarded(self._write, content)
            if ended:
                self._guarded(self._finish, content if whole else None)
            del pieces, content
            self._batch.shrank(size)
            if ended:
                self._settle()
                return

    def _guarded(self, step: Callable[[bytes | memoryview | None], None], content: bytes | memoryview | None) -> None:
        if self.code:
            return
        try:
            step(content)
        except InstanceRefused as refused:
            self.refuse(refused.code)
        except Exception as error:  # noqa: BLE001 - one instance fails, the others go on
            self.refuse(NoSpace.code if is_full(error) else StoreFailed.code)
            get().warning("instance.failed", batch=self._batch.id, code=self.code, exc_info=error)

    def _write(self, content: bytes | memoryview | None) -> None:
        if self._spool is None:
            self._spool = self._blobs.spool()
        if content:
            self._batch.check_space()
            self.spool.write(content)

    def _finish(self, content: bytes | memoryview | None) -> None:
        digest = self.spool.finish()
        if content is not None:
            self._describe(bytes(content), digest)
        else:
            self._describe_spool(digest)
        self.spool.sync()

    def _describe_spool(self, digest: str) -> None:
        with self.spool.open() as file:
            try:
                number = file.fileno()
            except OSError:
                self._describe(file.read(), digest)
                return
            with mmap.mmap(number, 0, access=mmap.ACCESS_READ) as content:
                self._describe(content, digest)

    def _describe(self, content: Buffer, digest: str) -> None:
        file = read(content)
        self._names = named(file)
        identity = identify(file)
        self._names = (identity.sop_class, identity.sop_uid)
        self._warning = identity.warning
        self.instance = NewInstance(
            study_uid=identity.study_uid,
            series_uid=identity.series_uid,
            sop_uid=identity.sop_uid,
            sop_class=identity.sop_class,
            transfer_syntax=file.transfer_syntax,
            blob=digest,
            size_bytes=self.spool.size_bytes,
            header=with_uids(file.header, identity, self._batch.received_ms),
            pixel_offset=file.pixel_offset,
            pixel_length=file.pixel_length,
            received_ms=self._batch.received_ms,
            batch=self._batch.id,
            own=self._batch.own,
        )

    def _settle(self) -> None:
        if self.instance is None:
            self.forget()
        self.settled.set_result(None)


class Batch:
    """The instances of one request. Made by `Intake.begin`; commit it or leave the `with` block to forget it.

    Attributes
    ----------
    id
        Its identifier (`bat_...`).
    institution
        Whose instances they are.
    own
        Whether BitHive made them.
    received_ms
        When it began, milliseconds since the epoch.
    parts
        Its instances, in order.
    open
        Whether it may still bring something.
    """

    def __init__(
        self,
        identifier: str,
        institution: str,
        received_ms: int,
        blobs: Blobs,
        executor: Executor,
        has_space: Callable[[], bool],
        *,
        own: bool = False,
    ) -> None:
        self.id, self.institution, self.received_ms, self.own = identifier, institution, received_ms, own
        self.parts: list[Part] = []
        self.open = True
        self._blobs, self._executor, self._has_space = blobs, executor, has_space
        self._backlog_bytes = 0
        self._changed = threading.Condition()

    @property
    def backlog_bytes(self) -> int:
        """How much was received and is not yet written. A receiver waits when it passes `BACKLOG_BYTES_MAX`."""
        return self._backlog_bytes

    def wait(self, below_bytes: int = BACKLOG_BYTES_MAX // 2) -> None:
        """Block until the backlog is below that."""
        with self._changed:
            self._changed.wait_for(lambda: self._backlog_bytes < below_bytes)

    def part(self) -> Part:
        """Begin the next instance.

        Raises
        ------
        TooManyInstances
            If the request already holds `REQUEST_INSTANCES_MAX`.
        """
        if len(self.parts) >= limits.REQUEST_INSTANCES_MAX:
            raise TooManyInstances(limit=limits.REQUEST_INSTANCES_MAX)
        part = Part(self, self._blobs)
        self.parts.append(part)
        return part

    def settle(self) -> None:
        """Wait until every part that has ended is written, described and synced."""
        for part in self.parts:
            part.settled.result()

    def discard(self) -> None:
        """Forget everything that was not committed. Safe to call more than once."""
        self.open = False
        for part in self.parts:
            part.refuse(StoreFailed.code)
            part.end()
        self.settle()
        for part in self.parts:
            part.forget()

    def brings(self, institution: str, study_uid: str) -> bool:
        """Whether it is open and has instances of a study."""
        if not self.open or self.institution != institution:
            return False
        instances = [part.instance for part in tuple(self.parts)]
        return any(instance.study_uid == study_uid for instance in instances if instance)

    def run(self, work: Callable[[], None]) -> None:
        """Have a thread do it."""
        self._executor.submit(work)

    def check_space(self) -> None:
        """Raise `NoSpace` when the reserve would be touched."""
        if not self._has_space():
            raise NoSpace

    def grew(self, size_bytes: int) -> None:
        """Count bytes in."""
        with self._changed:
            self._backlog_bytes += size_bytes

    def shrank(self, size_bytes: int) -> None:
        """Count bytes out."""
        with self._changed:
            self._backlog_bytes -= size_bytes
            self._changed.notify_all()


def is_full(error: BaseException) -> bool:
    """Whether an error means that the disk, or the database's disk, is full."""
    import errno

    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return any(words in str(error) for words in ("disk is full", "No space left on device", "disk I/O error"))
