"""The folder of a backup: pieces by their SHA-256, the archive's files by theirs, and one manifest for each cut.

Everything is written once. A cut exists from the moment its manifest has its name, and that comes last, after all that
it needs is on the disk: a backup that is killed, or whose disk is full, leaves no cut and harms none. Pieces are
compressed and gathered in packs, one file and one index for each cut that adds any. What is left over by a backup that
died is removed when the next one begins.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from api.backup.cut import FORMAT, Cut, born_ms
from api.backup.errors import BackupAbsent, BackupBusy, BackupDamaged, BackupFull, BackupNewer
from bithive.blobs import FileBlobs, sync_folder

CHUNK_BYTES = 64 * 1024
_COPY_BYTES = 1024 * 1024
_MARK = "bithive-backup.json"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Place(NamedTuple):
    pack: str
    offset: int
    size_bytes: int


class Vault:
    """One backup folder.

    Parameters
    ----------
    folder
        Made by `Vault.create`.

    Raises
    ------
    BackupAbsent
        If it is not a backup folder.
    BackupNewer
        If its format is not known here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            form = json.loads((folder / _MARK).read_text())["format"]
        except FileNotFoundError:
            raise BackupAbsent("the folder is not one of backups") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BackupDamaged(f"{_MARK} cannot be read") from error
        if form != FORMAT:
            raise BackupNewer(f"its format is {str(form)[:40]!r}; this version reads {FORMAT!r}")
        self.places: dict[str, _Place] = {}
        self.blind_packs: list[str] = []
        self._read_indexes()

    @classmethod
    def create(cls, folder: Path) -> Vault:
        """Open the folder, made if it is absent or empty.

        Raises
        ------
        BackupAbsent
            If it holds something else.
        """
        if not (folder / _MARK).exists():
            if folder.exists() and any(folder.iterdir()):
                raise BackupAbsent("the folder holds something else; give an empty one for backups")
            with room():
                for name in ("packs", "cuts", "blobs"):
                    (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
                _write_durably(folder / _MARK, json.dumps({"format": FORMAT}).encode())
        return cls(folder)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """The right to add cuts, for one process at a time; what a dead one left is removed.

        Raises
        ------
        BackupBusy
            If another process writes here.
        BackupFull
            If the disk of the backup is full.
        """
        with (self.folder / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BackupBusy("another process writes into this backup") from None
            self._read_indexes()
            self._clear_leftovers()
            with room():
                yield Writer(self)

    def _clear_leftovers(self) -> None:
        for draft in (*self.folder.glob("*.draft"), *self.folder.glob("*/*.draft")):
            draft.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "spool", ignore_errors=True)
        named = {path.stem for path in (self.folder / "packs").glob("*.json")}
        for pack in (self.folder / "packs").glob("*.pack"):
            if pack.stem not in named:
                pack.unlink()

    def _read_indexes(self) -> None:
        self.places.clear()
        self.blind_packs = []
        for path in sorted((self.folder / "packs").glob("*.json")):
            try:
                index = json.loads(path.read_text())
                places = {digest: _Place(path.stem, int(at), int(size)) for digest, (at, size) in index.items()}
            except (ValueError, TypeError, AttributeError):
                self.blind_packs.append(path.stem)
            else:
                self.places.update(places)

    def has(self, digest: str) -> bool:
        """Whether a piece is here."""
        return digest in self.places

    def get(self, digest: str) -> bytes:
        """A piece, checked against its name.

        Raises
        ------
        BackupDamaged
            If it is absent, or not what was written.
        """
        place = self.places.get(digest)
        if place is None:
            raise BackupDamaged(f"a piece is missing: {digest[:16]}")
        try:
            with (self.folder / "packs" / f"{place.pack}.pack").open("rb") as file:
                file.seek(place.offset)
                content = zlib.decompress(file.read(place.size_bytes))
        except (OSError, zlib.error) as error:
            raise BackupDamaged(f"a piece cannot be read: {digest[:16]}, in the pack {place.pack}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise BackupDamaged(f"a piece has changed: {digest[:16]}, in the pack {place.pack}")
        return content

    def read(self, digests: Iterable[str]) -> Iterator[bytes]:
        """Pieces in order."""
        return (self.get(digest) for digest in digests)

    def blob_path(self, digest: str) -> Path:
        """Where a file of the archive lies, whether or not it is here."""
        return self.folder / "blobs" / digest[:2] / digest

    def names(self) -> list[str]:
        """Ids of all cuts, in the order of time."""
        return sorted(path.stem for path in (self.folder / "cuts").glob("cut_*.json"))

    def cut(self, cut_id: str) -> Cut:
        """One cut.

        Raises
        ------
        BackupAbsent, BackupDamaged, BackupNewer
            If it is absent, not what was written, or of a format that is not known here.
        """
        try:
            text = (self.folder / "cuts" / f"{cut_id}.json").read_text(errors="replace")
        except OSError:
            raise BackupAbsent(f"there is no {cut_id}") from None
        try:
            cut = Cut.from_text(text)
        except BackupDamaged as error:
            raise BackupDamaged(f"{cut_id}: {error.detail}") from error
        except BackupNewer as error:
            raise BackupNewer(f"{cut_id}: {error.detail}") from error
        if cut.cut_id != cut_id:
            raise BackupDamaged(f"{cut_id} bears the name of another cut")
        return cut

    def forget(self, cut_id: str) -> None:
        """Remove a manifest; the cut is gone, and what it needed lies there until it is swept."""
        (self.folder / "cuts" / f"{cut_id}.json").unlink()
        sync_folder(self.folder / "cuts")

    def chain(self, cut: Cut) -> list[Cut]:
        """The cut with those it builds on, the one that stands alone first.

        Raises
        ------
        BackupDamaged, BackupNewer
            If one of them is absent or cannot be read.
        """
        found = [cut]
        while base := found[0].base:
            try:
                before = self.cut(base)
            except BackupAbsent:
                raise BackupDamaged(f"{cut.cut_id} builds on {base}, which is absent") from None
            if base >= found[0].cut_id:
                raise BackupDamaged(f"{found[0].cut_id} builds on a later cut")
            found.insert(0, before)
        return found

    def at(self, at_ms: int | None) -> Cut:
        """The newest cut that is not later than a time.

        Raises
        ------
        BackupAbsent
            If there is none.
        BackupDamaged, BackupNewer
            If it cannot be read: name an earlier time to take the one before.
        """
        fit = [name for name in self.names() if at_ms is None or born_ms(name) <= at_ms]
        if not fit:
            raise BackupAbsent("there is no cut" + ("" if at_ms is None else " that early"))
        return self.cut(fit[-1])


class Writer:
    """Adds to a vault, and takes cuts out of it. Made by `Vault.writing`."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._blobs: FileBlobs | None = None
        self._pack: IO[bytes] | None = None
        self._index: dict[str, _Place] = {}

    def spool(self) -> Path:
        """A folder for what is needed for a moment."""
        folder = self.vault.folder / "spool"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def put(self, content: bytes) -> str:
        """Add a piece; its SHA-256. The same piece twice is one."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.vault.has(digest) and digest not in self._index:
            if self._pack is None:
                self._pack = (self.vault.folder / "packs" / "next.draft").open("wb")
            packed = zlib.compress(content, 1)
            self._index[digest] = _Place("", self._pack.tell(), len(packed))
            self._pack.write(packed)
        return digest

    def put_all(self, content: Iterable[bytes]) -> tuple[str, ...]:
        """Add content of any length, given in pieces of any size, as pieces of equal size."""
        found, rest = [], bytearray()
        for piece in content:
            rest += piece
            while len(rest) >= CHUNK_BYTES:
                found.append(self.put(bytes(rest[:CHUNK_BYTES])))
                del rest[:CHUNK_BYTES]
        if rest:
            found.append(self.put(bytes(rest)))
        return tuple(found)

    def put_blobs(self, digests: Iterable[str], find: Callable[[str], Path | None]) -> list[str]:
        """Copy files of the archive that are not here yet; those that are absent or not what their name says."""
        if self._blobs is None:
            self._blobs = FileBlobs(self.vault.folder / "blobs")
        bad, batch = [], []
        for digest in digests:
            if self.vault.blob_path(digest).exists():
                continue
            spool = self._blobs.spool()
            try:
                _copy(find(digest), spool.write)
            except FileNotFoundError:
                bad.append(digest)
                spool.discard()
                continue
            except BaseException:
                spool.discard()
                raise
            if spool.finish() == digest:
                batch.append(spool)
            else:
                bad.append(digest)
                spool.discard()
            if len(batch) >= 64:
                self._blobs.commit(batch)
                batch = []
        if batch:
            self._blobs.commit(batch)
        return bad

    def commit(self, cut: Cut) -> None:
        """Make a cut with all that it needs durable, and then known."""
        self.seal_pack(cut.cut_id)
        _write_durably(self.vault.folder / "cuts" / f"{cut.cut_id}.json", cut.to_text().encode())

    def seal_pack(self, name: str) -> None:
        """Make the pieces that were added durable, as a pack of that name."""
        if self._pack is None:
            return
        packs = self.vault.folder / "packs"
        with self._pack as file:
            file.flush()
            os.fsync(file.fileno())
        (packs / "next.draft").rename(packs / f"{name}.pack")
        index = {digest: [place.offset, place.size_bytes] for digest, place in self._index.items()}
        _write_durably(packs / f"{name}.json", json.dumps(index).encode())
        self.vault.places.update({digest: place._replace(pack=name) for digest, place in self._index.items()})
        self._pack, self._index = None, {}

    def repack(self, needed: Collection[str]) -> int:
        """Remove pieces that are not needed; how many. A pack is written anew when less than half of it is."""
        packs: dict[str, list[str]] = {}
        for digest, place in self.vault.places.items():
            packs.setdefault(place.pack, []).append(digest)
        gone = 0
        for pack, digests in sorted(packs.items()):
            alive = [digest for digest in digests if digest in needed]
            if 2 * len(alive) >= len(digests):
                continue
            contents = {digest: self.vault.get(digest) for digest in alive}
            for digest in digests:
                del self.vault.places[digest]
            for content in contents.values():
                self.put(content)
            self.seal_pack(f"{pack}-a")
            for suffix in ("json", "pack"):
                (self.vault.folder / "packs" / f"{pack}.{suffix}").unlink(missing_ok=True)
            gone += len(digests) - len(alive)
        return gone

    def discard(self) -> None:
        """Forget pieces that no cut has been made of."""
        if self._pack is not None:
            self._pack.close()
            (self.vault.folder / "packs" / "next.draft").unlink(missing_ok=True)
        self._pack, self._index = None, {}


def _copy(source: Path | None, write: Callable[[bytes], None]) -> None:
    if source is None:
        raise FileNotFoundError
    with source.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            write(piece)


def _write_durably(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


@contextmanager
def room() -> Iterator[None]:
    """Say a full disk by its name."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise BackupFull("the disk of the backup is full; older cuts are untouched") from error
        raise
