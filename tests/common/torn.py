"""A disk in memory whose power is cut: what was written and not synced is lost, torn or kept, in any order.

A file has a durable content and a list of what was written since its last sync. A cut keeps of that list what a seed
says: nothing, a beginning, any part of it, sectors or bytes of single writes, in the order written or in another one;
a sector that was being written may also be left as noise. What was synced is never touched, unless the disk lies.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Any, NamedTuple

import apsw


class Kept(StrEnum):
    """What a cut leaves of the writes that were not synced."""

    NOTHING = "nothing"
    PREFIX = "prefix"
    SUBSET = "subset"
    SHUFFLED = "shuffled"
    SECTORS = "sectors"
    BYTES = "bytes"
    NOISE = "noise"
    ALL = "all"


class _Write(NamedTuple):
    """`content` at `place`, or the file cut to `place`."""

    place: int
    content: bytes | None


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.content = bytearray(content)
        self.pending: list[_Write] = []

    def write(self, place: int, content: bytes) -> None:
        _apply(self.content, _Write(place, content))
        self.pending.append(_Write(place, content))

    def truncate(self, size: int) -> None:
        _apply(self.content, _Write(size, None))
        self.pending.append(_Write(size, None))

    def sync(self) -> None:
        for item in self.pending:
            _apply(self.durable, item)
        self.pending.clear()


class TornDisk:
    """Some files, and the moment at which the power goes.

    Parameters
    ----------
    files
        What is on the disk, durably.
    seed
        Decides what the cut leaves.
    cut_at
        The power goes at this change (write, truncation, sync or deletion), counted from 0; it is not carried out.
        Never by itself when absent.
    fails_at
        These changes fail, once, with the power on: the disk is full, or a sync did not succeed. On a disk that is
        `powersafe`, as Linux's are to SQLite, what a failed sync should have brought to the disk is never brought
        there by a later one. On another, SQLite pads the log to a sector and leaves the last padding to the next sync:
        such a disk may fail, but it does not forget as well.
    lies
        Syncs are answered and not carried out, as by a drive with a volatile cache.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        seed: object = 0,
        cut_at: int | None = None,
        fails_at: range = range(0),
        *,
        lies: bool = False,
    ) -> None:
        self.files = {name: _File(content) for name, content in files.items()}
        self.changes = 0
        self.survived: dict[str, bytes] | None = None
        self.kept: Kept | None = None
        self.failures = 0
        self._random, self._cut_at, self._fails_at, self._lies = random.Random(f"{seed}"), cut_at, fails_at, lies
        self._deleted: dict[str, _File] = {}
        self.sector = self._random.choice((512, 4096))
        self.powersafe = self._random.random() < 0.6

    @property
    def is_dead(self) -> bool:
        return self.survived is not None

    def change(self) -> None:
        """Called before every change. Raises when the power is gone, or when this change fails."""
        if self.survived is None and self.changes == self._cut_at:
            self.cut()
        self.check_power()
        self.changes += 1
        if self.changes in self._fails_at:
            self.failures += 1
            raise apsw.FullError("the disk is full")

    def check_power(self) -> None:
        if self.is_dead:
            raise apsw.IOError("the power is gone")

    def cut(self) -> dict[str, bytes]:
        """Take the power away; what is found when it is back."""
        if self.survived is None:
            chosen = self._random.choice(list(Kept))
            self.kept = chosen
            self.survived = {}
            for name in sorted(self.files.keys() | self._deleted.keys()):
                file = self.files.get(name)
                if file is None or (name in self._deleted and self._random.random() < 0.5):
                    file = self._deleted[name]
                    if self._random.random() < 0.5:
                        continue
                self.survived[name] = self._left(file, chosen)
        return self.survived

    def _left(self, file: _File, kept: Kept) -> bytes:
        content, writes = bytearray(file.durable), list(file.pending)
        if kept in (Kept.SUBSET, Kept.SHUFFLED):
            writes = [item for item in writes if self._random.random() < 0.5]
        elif kept in (Kept.PREFIX, Kept.SECTORS, Kept.BYTES, Kept.NOISE):
            del writes[self._random.randint(0, len(writes)) :]
        elif kept is Kept.NOTHING:
            writes.clear()
        if kept is Kept.SHUFFLED:
            self._random.shuffle(writes)
        for item in writes[:-1] if kept in (Kept.BYTES, Kept.NOISE) else writes:
            self._write(content, item, kept)
        if writes and kept in (Kept.BYTES, Kept.NOISE):
            self._tear(content, writes[-1], kept)
        return bytes(content)

    def _write(self, content: bytearray, item: _Write, kept: Kept) -> None:
        if kept is not Kept.SECTORS or item.content is None:
            _apply(content, item)
            return
        place, end = item.place, item.place + len(item.content)
        while place < end:
            upto = min(end, (place // self.sector + 1) * self.sector)
            if self._random.random() < 0.5:
                _apply(content, _Write(place, item.content[place - item.place : upto - item.place]))
            place = upto

    def _tear(self, content: bytearray, item: _Write, kept: Kept) -> None:
        """The last write is broken off at a byte; the rest of the sector it was in is as before, or noise."""
        if item.content is None:
            return
        size = self._random.randint(0, len(item.content))
        _apply(content, _Write(item.place, item.content[:size]))
        if kept is Kept.NOISE and size < len(item.content):
            end = min(item.place + len(item.content), ((item.place + size) // self.sector + 1) * self.sector)
            _apply(content, _Write(item.place + size, self._random.randbytes(max(end - item.place - size, 0))))

    def open(self, name: str, flags: int) -> _File:
        if name not in self.files:
            if not flags & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(name)
            self.change()
            self.files[name] = _File()
        return self.files[name]

    def sync(self, file: _File) -> None:
        try:
            self.change()
        except apsw.FullError:
            if self.powersafe:
                file.pending.clear()
            raise apsw.IOError("a sync failed") from None
        if not self._lies:
            file.sync()

    def delete(self, name: str, *, durable: bool) -> None:
        self.change()
        file = self.files.pop(name, None)
        if file is None:
            raise apsw.IOError(name)
        if not durable:
            self._deleted[name] = file


class TornVfs(apsw.VFS):  # type: ignore[misc, unused-ignore]
    """The virtual file system over `disk`, which may be exchanged between connections.

    SQLite is told the truth about it: no sector is written whole, nothing is appended safely, no order is kept; and
    whether a broken write may harm its neighbours, which it may on a disk that is not `powersafe`.
    """

    def __init__(self, name: str = "torn") -> None:
        self.name, self.disk = name, TornDisk({})
        super().__init__(name, "", maxpathname=64)

    def xOpen(self, name: Any, flags: list[int]) -> _Handle:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return _Handle(self.disk, self.disk.open(path, flags[0]))

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.disk.delete(name, durable=syncdir)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        return name in self.disk.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


class _Handle:
    """An open file."""

    def __init__(self, disk: TornDisk, file: _File) -> None:
        self._disk, self._file, self._level = disk, file, 0

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.check_power()
        return bytes(self._file.content[offset : offset + amount])

    def xWrite(self, content: bytes, offset: int) -> None:  # noqa: N802
        self._disk.change()
        self._file.write(offset, bytes(content))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.change()
        self._file.truncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._file)

    def xFileSize(self) -> int:  # noqa: N802
        self._disk.check_power()
        return len(self._file.content)

    def xLock(self, level: int) -> None:  # noqa: N802
        self._level = level

    def xUnlock(self, level: int) -> None:  # noqa: N802
        self._level = level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, _operation: int, _pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return self._disk.sector

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE if self._disk.powersafe else 0

    def xClose(self) -> None:  # noqa: N802
        self._level = 0


def _apply(content: bytearray, item: _Write) -> None:
    if item.content is None:
        if item.place < len(content):
            del content[item.place :]
        return
    if item.place > len(content):
        content.extend(bytes(item.place - len(content)))
    content[item.place : item.place + len(item.content)] = item.content
