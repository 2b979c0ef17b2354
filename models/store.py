"""The weights on this machine: files named by their SHA-256, shared by all of its processes.

A file is written beside its place, synced, renamed and its folder synced: it is whole or absent, whatever is killed.
Only the holder of the store's lock writes, so what it finds in the spool was left by somebody who died.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from models.errors import WeightsDiffer
from models.pins import PinnedFile

_CHUNK_BYTES = 1 << 20


class WeightStore:
    """Pinned files by SHA-256 under one folder.

    Parameters
    ----------
    root
        Created when first written to; reading needs no write access.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def partial(self) -> Path:
        """Where unfinished downloads wait to be resumed; unlike the spool, nobody clears it."""
        return self.root / "partial"

    def path(self, sha256: str) -> Path:
        """Where a file lies, whether or not it does."""
        return self.root / "sha256" / sha256[:2] / sha256

    def find(self, pinned: PinnedFile) -> Path | None:
        """A stored file, or None. Its bytes are read and compared with the pin every time.

        Raises
        ------
        WeightsDiffer
            If the stored bytes have changed; fetching it again mends that.
        """
        path = self.path(pinned.sha256)
        if not path.is_file():
            return None
        if not matches(path, pinned.sha256, pinned.size_bytes):
            raise WeightsDiffer("a stored file has changed; pull the bundle again")
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process of this machine that writes to the store; waits for the others."""
        spool = self.root / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in spool.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
            yield

    def put(self, pinned: PinnedFile, source: IO[bytes]) -> Path:
        """Take a file in, durably. Call it with the lock held.

        Raises
        ------
        WeightsDiffer
            If the bytes are not those that were pinned; nothing is kept.
        """
        spool = self.root / "spool" / secrets.token_hex(12)
        target = self.path(pinned.sha256)
        try:
            with spool.open("xb") as file:
                if not _copy_checked(source, file, pinned):
                    raise WeightsDiffer("the fetched file is not the one that was pinned")
                file.flush()
                os.fsync(file.fileno())
            fresh = [folder for folder in (target.parent.parent, target.parent) if not folder.is_dir()]
            target.parent.mkdir(parents=True, exist_ok=True)
            spool.rename(target)
            for folder in {target.parent, *(folder.parent for folder in fresh)}:
                sync_folder(folder)
        finally:
            spool.unlink(missing_ok=True)
        return target


def matches(path: Path, sha256: str, size_bytes: int) -> bool:
    """Whether a file is of that size and SHA-256."""
    try:
        if path.stat().st_size != size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _copy_checked(source: IO[bytes], target: IO[bytes], pinned: PinnedFile) -> bool:
    total, sha256 = 0, hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        total += len(chunk)
        if total > pinned.size_bytes:
            return False
        sha256.update(chunk)
        target.write(chunk)
    return total == pinned.size_bytes and sha256.hexdigest() == pinned.sha256


def sync_tree(folder: Path) -> None:
    """Make every file and folder below a folder durable, and itself."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
