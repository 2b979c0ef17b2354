"""Sealed payloads and findings on disk, from when they arrive until the Offer ends.

Everything here is encrypted; the keys lie in the database, so that neither alone says anything. A file is received
under a temporary name and takes its own only when it is whole. Payloads are not synced: the institution has the source
and is asked again when one is lost. Findings are synced with their folder before anybody is told that they are here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bithive.blobs import sync_folder
from bithive.ids import is_id
from bithive.limits import MIB
from cluster.errors import PayloadSizeDiffers

_PARTIAL = ".part"
_CHUNK_BYTES = 4 * MIB


def payload_name(offer_id: str) -> str:
    """The name of an Offer's payload."""
    assert is_id(offer_id, "off"), "not an Offer"
    return f"{offer_id}.payload"


def findings_name(attempt_id: str, receipt_digest: str) -> str:
    """The name of an Attempt's findings: each Receipt has its own, so that no later one can replace them."""
    assert is_id(attempt_id, "att"), "not an Attempt"
    assert len(receipt_digest) == 64, "not a digest"
    return f"{attempt_id}.{receipt_digest}.findings"


class Incoming:
    """A file being received.

    Parameters
    ----------
    folder
        Where it will lie.
    size_bytes
        How long it must be; one more byte is refused at once.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder, self.size_bytes, self.received_bytes = folder, size_bytes, 0
        self._path = folder / f"{secrets.token_hex(12)}{_PARTIAL}"
        self._file: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Append, in as few system calls as possible. Raises `PayloadSizeDiffers`."""
        assert self._file is not None, "the file is finished"
        self.received_bytes += sum(len(chunk) for chunk in chunks)
        if self.received_bytes > self.size_bytes:
            self.discard()
            raise PayloadSizeDiffers("more came than was announced", size_bytes=self.size_bytes)
        views = [memoryview(chunk) for chunk in chunks if len(chunk)]
        while views:
            written = os.writev(self._file, views[:512])
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def chunks(self) -> Iterator[bytes]:
        """What was received, from its start. Raises `PayloadSizeDiffers`."""
        self._check_whole()
        assert self._file is not None, "the file is finished"
        place = 0
        while chunk := os.pread(self._file, _CHUNK_BYTES, place):
            place += len(chunk)
            yield chunk

    def finish(self, name: str, *, durable: bool) -> None:
        """Give it its name, replacing what has it. Raises `PayloadSizeDiffers`."""
        self._check_whole()
        assert self._file is not None, "the file is finished"
        if durable:
            os.fsync(self._file)
        self._close()
        self._path.rename(self._folder / name)
        if durable:
            sync_folder(self._folder)

    def discard(self) -> None:
        """Forget it. Safe to call at any time, also after `finish`."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _check_whole(self) -> None:
        if self.received_bytes != self.size_bytes:
            self.discard()
            raise PayloadSizeDiffers("less came than was announced", size_bytes=self.size_bytes)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Spool:
    """A folder of sealed files.

    Parameters
    ----------
    root
        For example `state/network/spool`; created if absent. Files that were being received are discarded.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in root.glob(f"*{_PARTIAL}"):
            leftover.unlink(missing_ok=True)

    def receive(self, size_bytes: int) -> Incoming:
        """Begin to receive a file of that size."""
        return Incoming(self._root, size_bytes)

    def path(self, name: str) -> Path:
        """Where a file lies, whether or not it exists."""
        assert "/" not in name, "a name, not a path"
        return self._root / name

    def size_bytes(self, name: str) -> int | None:
        """Its size, or None when it is not here."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Forget a file; nothing happens when it is absent."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, keep: Callable[[str], bool]) -> int:
        """Delete every file that `keep` does not want; how many."""
        count = 0
        for path in sorted(self._root.iterdir()):
            if not path.name.endswith(_PARTIAL) and not keep(path.name):
                path.unlink(missing_ok=True)
                count += 1
        return count
