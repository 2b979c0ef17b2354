"""Content-addressed bytes: named by their SHA-256, written once, durable before they are named.

`FileBlobs` writes to a spool file, syncs it, renames it into place and syncs the directory; only then does `commit`
return. `MemoryBlobs` is the same contract for tests and demonstrations.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from bithive.errors import DigestMismatch, NotFound


class BlobAbsent(NotFound):
    code, title = "blob-absent", "The stored bytes are not there"


class Spool(Protocol):
    """Bytes being received: not yet durable, not yet named."""

    size_bytes: int

    def write(self, chunk: bytes | memoryview) -> None:
        """Append."""

    def finish(self) -> str:
        """End writing; the SHA-256 of what was written, hexadecimal."""

    def sync(self) -> None:
        """After `finish`: put the bytes on the disk ahead of `commit`, which then has less to wait for."""

    def open(self) -> IO[bytes]:
        """After `finish`: read what was written."""

    def discard(self) -> None:
        """Forget it. Safe to call more than once."""


class Blobs(Protocol):
    """A store of immutable bytes by SHA-256."""

    def spool(self) -> Spool:
        """Begin to receive bytes."""

    def commit(self, spools: Iterable[Spool]) -> list[str]:
        """Make finished spools durable and readable; their digests. Storing the same bytes twice is one blob."""

    def open(self, digest: str) -> IO[bytes]:
        """Read a blob. Raises `BlobAbsent`."""

    def size_bytes(self, digest: str) -> int:
        """Size of a blob. Raises `BlobAbsent`."""

    def delete(self, digest: str) -> None:
        """Forget a blob; nothing happens when it is absent."""


def read_verified(blobs: Blobs, digest: str) -> bytes:
    """All of a blob, checked against its name.

    Raises
    ------
    DigestMismatch
        If the stored bytes have changed.
    """
    with blobs.open(digest) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise DigestMismatch("a stored file has changed")
    return content


class _FileSpool:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self.digest = ""
        self.synced = False
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = path.open("xb", buffering=0)

    def write(self, chunk: bytes | memoryview) -> None:
        assert self._file is not None, "the spool is finished"
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self.size_bytes += len(chunk)

    def finish(self) -> str:
        self._close()
        self.digest = self.digest or self._hash.hexdigest()
        return self.digest

    def sync(self) -> None:
        assert self.digest, "the spool is still being written"
        if not self.synced:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.synced = True

    def open(self) -> IO[bytes]:
        return self.path.open("rb")

    def discard(self) -> None:
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class FileBlobs:
    """Blobs as files under `root`, in 256 folders by the first two digits of their name.

    Parameters
    ----------
    root
        A folder on one file system; spool files and blobs both live in it.
    sync_threads
        How many files are synced at once.
    """

    def __init__(self, root: Path, sync_threads: int = 8) -> None:
        self._root = root
        self._spool = root / "spool"
        self._threads = sync_threads
        self._spool.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        for fan in range(256):
            (root / f"{fan:02x}").mkdir(exist_ok=True)
        sync_folder(root)
        sync_folder(root.parent)

    def _clear_leftovers(self) -> None:
        """Remove spool files of a process that died, unless another process works in this folder now."""
        if not is_kept(self._root):
            for leftover in kept(self._root):
                leftover.unlink(missing_ok=True)
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            for leftover in self._spool.iterdir():
                leftover.unlink(missing_ok=True)
        fcntl.flock(lock, fcntl.LOCK_SH)

    def path(self, digest: str) -> Path:
        """Where a blob lies, whether or not it exists."""
        assert len(digest) == 64, "a blob is named by 64 hexadecimal digits"
        assert digest.isalnum(), "a blob's name holds no path"
        return self._root / digest[:2] / digest

    def spool(self) -> _FileSpool:
        return _FileSpool(self._spool / secrets.token_hex(12))

    def commit(self, spools: Iterable[Spool]) -> list[str]:
        batch = [spool for spool in spools if isinstance(spool, _FileSpool)]
        digests = [spool.finish() for spool in batch]
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(self._place, batch))
            list(pool.map(sync_folder, {self.path(digest).parent for digest in digests}))
        return digests

    def _place(self, spool: _FileSpool) -> None:
        spool.sync()
        spool.path.rename(self.path(spool.digest))

    def open(self, digest: str) -> IO[bytes]:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise BlobAbsent from None

    def size_bytes(self, digest: str) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise BlobAbsent from None

    def delete(self, digest: str) -> None:
        if is_kept(self._root):
            with suppress(FileNotFoundError):
                self.path(digest).rename(self._root / _KEPT / digest)
        else:
            self.path(digest).unlink(missing_ok=True)


_KEPT, _KEEP = "kept", "keep.lock"


@contextmanager
def keeping(root: Path) -> Iterator[Callable[[str], Path | None]]:
    """While the block runs, files that are deleted under `root` are put aside in `kept`, by whichever process.

    For a backup: a file that its cut names may be deleted before it is copied. The lock ends with the process, however
    it ends; what is left is removed by whoever opens the store or keeps next. Whoever deletes a file in the
    transaction that ends its row, as the archive does, asks inside that transaction: so a cut that begins after this
    block has either lost the row, or keeps the file.

    Yields
    ------
    Callable
        Where the file of a digest lies now, in place or put aside; None when it is neither.

    Raises
    ------
    BlockingIOError
        If another process keeps.
    """
    (root / _KEPT).mkdir(parents=True, exist_ok=True)
    handle = os.open(root / _KEEP, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def find(digest: str) -> Path | None:
        places = (root / digest[:2] / digest, root / _KEPT / digest, root / digest[:2] / digest)
        return next((path for path in places if path.exists()), None)

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for leftover in kept(root):
            leftover.unlink(missing_ok=True)
        yield find
        for leftover in kept(root):
            leftover.unlink(missing_ok=True)
    finally:
        os.close(handle)


def kept(root: Path) -> list[Path]:
    """Files that were deleted while a backup kept them."""
    folder = root / _KEPT
    return sorted(folder.iterdir()) if folder.is_dir() else []


def is_kept(root: Path) -> bool:
    """Whether a backup keeps deleted files at this moment."""
    try:
        handle = os.open(root / _KEEP, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _MemorySpool:
    def __init__(self) -> None:
        self.content = bytearray()
        self.size_bytes = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self.content += chunk
        self.size_bytes += len(chunk)

    def finish(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def sync(self) -> None:
        pass

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.content)

    def discard(self) -> None:
        self.content.clear()


class MemoryBlobs:
    """Blobs in a dictionary: for tests and demonstrations; gone with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def spool(self) -> _MemorySpool:
        return _MemorySpool()

    def commit(self, spools: Iterable[Spool]) -> list[str]:
        digests = []
        for spool in spools:
            assert isinstance(spool, _MemorySpool)
            digests.append(spool.finish())
            self._blobs[digests[-1]] = bytes(spool.content)
        return digests

    def open(self, digest: str) -> IO[bytes]:
        if digest not in self._blobs:
            raise BlobAbsent
        return io.BytesIO(self._blobs[digest])

    def size_bytes(self, digest: str) -> int:
        if digest not in self._blobs:
            raise BlobAbsent
        return len(self._blobs[digest])

    def delete(self, digest: str) -> None:
        self._blobs.pop(digest, None)
