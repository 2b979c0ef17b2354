"""Out of a backup: a new state folder, whole or not at all; the archive's files alone; and what a backup is worth."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from api.backup import keyring
from api.backup.cut import Cut, Part
from api.backup.errors import BackupDamaged, BackupNewer, RestoreRefused
from api.backup.live_sqlite import write_changes, write_whole
from api.backup.taking import ALL_BLOBS
from api.backup.vault import Vault
from api.databases import MIGRATIONS
from api.startup import ROOT
from bithive.blobs import FileBlobs
from bithive.settings import Settings

_COPY_BYTES = 1024 * 1024
_BATCH_BLOBS = 64
_FOLDERS = ("pipelines", "network")


class Damage(NamedTuple):
    """One thing that is not as it was written: where, and what."""

    place: str
    fault: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out.

    Attributes
    ----------
    cut
        The moment.
    blobs
        Files of the archive that were copied, each checked against its name.
    damage
        Files that the archive names and the backup does not have as they were; empty when all is well.
    known_missing
        Those of them that were missing already when the cut was made.
    has_keys
        Whether the keys came along.
    """

    cut: Cut
    blobs: int
    damage: tuple[Damage, ...]
    known_missing: int
    has_keys: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What to restore, and how.

    Attributes
    ----------
    at_ms
        The newest cut not later than this; the newest of all when None.
    passphrase
        Of the keys.
    incomplete
        Whether to go on although files of the archive are damaged or missing.
    postgresql
        Whether PostgreSQL databases are filled from the cut; otherwise they are left to PostgreSQL's own recovery.
    check
        Looks at the restored databases before they count as restored; says what is wrong.
    """

    at_ms: int | None = None
    passphrase: bytes | None = None
    incomplete: bool = False
    postgresql: bool = True
    check: Callable[[Path], Sequence[str]] = field(default=lambda _state: ())


def restore(vault: Vault, settings: Settings, wish: Wish) -> Restored:
    """Make the state folder of `settings` as it was at a cut.

    Everything is put together beside it and checked; only then it gets its name. A restore that is killed or fails
    leaves no state folder; PostgreSQL databases are filled in one transaction each, last.

    Raises
    ------
    RestoreRefused
        If the state folder holds anything, a PostgreSQL database holds tables, or databases are not where they were
        (SQLite or PostgreSQL); or the check found something.
    BackupAbsent, BackupDamaged, BackupNewer
        If there is no such cut, or it cannot be restored.
    KeysLocked
        If the passphrase does not open the keys.
    """
    cut = vault.at(wish.at_ms)
    chain, state = vault.chain(cut), settings.state
    _refuse_newer(cut)
    _refuse_elsewhere(cut, settings, wish)
    if state.exists() and any(state.iterdir()):
        raise RestoreRefused("the state folder holds something; give one that is empty or absent")
    state.parent.mkdir(parents=True, exist_ok=True)
    with _beside(state) as draft:
        for name, part in cut.databases.items():
            if part.kind.startswith("sqlite"):
                _write_database(vault, chain, name, draft / f"{name}.db")
        _write_files(vault, cut, draft)
        has_keys = bool(cut.keys) and wish.passphrase is not None
        if wish.passphrase is not None and cut.keys:
            keyring.write(draft, keyring.unlock(b"".join(vault.read(cut.keys)), wish.passphrase))
        named = _named_of(vault, chain, draft)
        copied, damage = _copy_blobs(vault, named, draft / "blobs") if "clinic" in cut.databases else (0, [])
        fresh = [item for item in damage if item.place not in cut.missing]
        if fresh and not wish.incomplete:
            raise BackupDamaged(f"{len(fresh)} files of the archive are damaged or missing; see `backup verify`")
        if found := list(wish.check(draft)):
            raise RestoreRefused(f"what was restored does not pass its check: {found[0]} ({len(found)} findings)")
        for name, part in cut.databases.items():
            if part.kind == "postgresql" and wish.postgresql:
                _load(vault, settings.database_url(name), part, draft)  # type: ignore[arg-type]
        _sync_tree(draft)
        if state.exists():
            state.rmdir()
        draft.rename(state)
        _sync(state.parent)
    return Restored(cut, copied, tuple(damage), len(damage) - len(fresh), has_keys)


def fetch_blobs(vault: Vault, root: Path, named: Iterable[str]) -> tuple[int, list[Damage]]:
    """Copy files of the archive that are absent under `root`, or not what their name says, out of the backup."""
    wanted = [digest for digest in named if _digest_of(root / digest[:2] / digest) != digest]
    return _copy_blobs(vault, wanted, root)


def verify(vault: Vault, cuts: Iterable[Cut], tell: Callable[[str], None] = lambda _line: None) -> Iterator[Damage]:
    """Read every piece and every file that cuts need, and open the databases of each that stands alone or is the last.

    Yields
    ------
    Damage
        In the order found; nothing when all is well.
    """
    cuts = list(cuts)
    yield from (Damage(pack, "index-unreadable") for pack in vault.blind_packs)
    bad = {digest for digest in sorted(set().union(*(cut.chunks() for cut in cuts))) if not _is_whole(vault, digest)}
    yield from (Damage(digest, "piece-damaged") for digest in sorted(bad))
    blobs: set[str] = set()
    for cut in cuts:
        tell(cut.cut_id)
        if bad & cut.chunks():
            yield Damage(cut.cut_id, "cut-damaged")
            continue
        blobs |= set(blobs_added(vault, cut)) - set(cut.missing)
        yield from (Damage(digest, "missing-when-cut") for digest in cut.missing)
        if not cut.base or cut is cuts[-1]:
            yield from _try_databases(vault, cut)
    for digest in sorted(blobs):
        if (found := _digest_of(vault.blob_path(digest))) != digest:
            yield Damage(digest, "blob-missing" if found is None else "blob-damaged")


def blobs_added(vault: Vault, cut: Cut) -> list[str]:
    """The archive's files that a cut adds to those of its base."""
    content = b"".join(vault.read(cut.blobs))
    return [content[place : place + 32].hex() for place in range(0, len(content), 32)]


def _try_databases(vault: Vault, cut: Cut) -> Iterator[Damage]:
    with _beside(vault.folder / "trial") as draft:
        for name, part in cut.databases.items():
            if part.kind.startswith("sqlite"):
                try:
                    _write_database(vault, vault.chain(cut), name, draft / f"{name}.db")
                except (BackupDamaged, BackupNewer) as error:
                    yield Damage(f"{cut.cut_id}/{name}", error.code)
        shutil.rmtree(draft)


def _refuse_newer(cut: Cut) -> None:
    for name, part in cut.databases.items():
        folder = ROOT / MIGRATIONS.get(name, "") / "versions"  # type: ignore[call-overload]
        known = {path.name.partition("_")[0] for path in folder.glob("*.py")}
        if part.revision and part.revision not in known:
            raise BackupNewer(
                f"the schema {part.revision} of {name} is not known to this version ({cut.version} made it)"
            )


def _refuse_elsewhere(cut: Cut, settings: Settings, wish: Wish) -> None:
    for name, part in cut.databases.items():
        here = settings.database_url(name).startswith("sqlite")  # type: ignore[arg-type]
        if here != part.kind.startswith("sqlite"):
            raise RestoreRefused(f"{name} was {part.kind.partition('-')[0]}; the settings say otherwise")
        default = f"sqlite:///{settings.state.absolute()}/{name}.db"
        if here and settings.database_url(name) != default:  # type: ignore[arg-type]
            raise RestoreRefused(f"{name} lies outside the state folder; unset its address, and move it afterwards")
        if part.kind == "postgresql-mark" and wish.postgresql:
            raise RestoreRefused(
                f"{name} is PostgreSQL's to recover, to {part.restore_point or part.lsn}; see the runbook"
            )
        if part.kind == "postgresql" and wish.postgresql:
            from api.backup.live_sql import refuse_tables

            refuse_tables(settings.database_url(name))  # type: ignore[arg-type]


def _write_database(vault: Vault, chain: Sequence[Cut], name: str, path: Path) -> None:
    for cut in chain:
        part = cut.databases.get(name)
        if part is None:
            raise BackupDamaged(f"{cut.cut_id} has no {name}")
        write = write_changes if part.kind == "sqlite-pages" else write_whole
        write(path, vault.read(part.chunks), part)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        raise BackupDamaged(f"{name} cannot be opened: {error}") from error
    finally:
        connection.close()
    if found != "ok" or broken is not None:
        raise BackupDamaged(f"{name} does not pass SQLite's own check: {str(found)[:80]}")


def _write_files(vault: Vault, cut: Cut, draft: Path) -> None:
    for quoted, pieces in cut.files.items():
        path = (draft / unquote(quoted)).resolve()
        if not any((draft / folder).resolve() in path.parents for folder in _FOLDERS):
            raise BackupDamaged("a file of the backup would lie outside its folder")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("xb") as file:
            for piece in vault.read(pieces):
                file.write(piece)


def _named_of(vault: Vault, chain: Sequence[Cut], draft: Path) -> list[str]:
    """The archive's files that the restored clinic names; of PostgreSQL, those that the cuts have listed."""
    if not (draft / "clinic.db").exists():
        return sorted({digest for cut in chain for digest in blobs_added(vault, cut)})
    connection = sqlite3.connect(draft / "clinic.db")
    try:
        return [str(row[0]) for row in connection.execute(ALL_BLOBS)]
    finally:
        connection.close()


def _copy_blobs(vault: Vault, named: Iterable[str], root: Path) -> tuple[int, list[Damage]]:
    blobs, count, damage = FileBlobs(root), 0, []
    batch = []
    for digest in named:
        spool = blobs.spool()
        try:
            with vault.blob_path(digest).open("rb") as file:
                while piece := file.read(_COPY_BYTES):
                    spool.write(piece)
        except FileNotFoundError:
            spool.discard()
            damage.append(Damage(digest, "blob-missing"))
            continue
        if spool.finish() != digest:
            spool.discard()
            damage.append(Damage(digest, "blob-damaged"))
            continue
        batch.append(spool)
        count += 1
        if len(batch) >= _BATCH_BLOBS:
            blobs.commit(batch)
            batch = []
    if batch:
        blobs.commit(batch)
    return count, damage


def _load(vault: Vault, url: str, part: Part, draft: Path) -> None:
    from api.backup.live_sql import load_dump

    load_dump(url, vault.read(part.chunks), draft / "postgresql.dump")


def _is_whole(vault: Vault, digest: str) -> bool:
    try:
        vault.get(digest)
    except BackupDamaged:
        return False
    return True


def _digest_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


class _beside:  # noqa: N801 - a context, as in contextlib
    """A folder beside the one that is to be, for one process; removed unless it took that name."""

    def __init__(self, state: Path) -> None:
        self._draft = state.absolute().with_name(f".{state.name}.restoring")
        self._lock = state.absolute().with_name(f".{state.name}.lock")

    def __enter__(self) -> Path:
        self._handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise RestoreRefused("another restore into this folder is at work") from None
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(mode=0o700)
        return self._draft

    def __exit__(self, *_raised: object) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)
        self._lock.unlink(missing_ok=True)
        os.close(self._handle)


def _sync_tree(root: Path) -> None:
    """Everything but the archive's files, which were synced one by one."""
    for folder, names, files in os.walk(root):
        if Path(folder) == root and "blobs" in names:
            names.remove("blobs")
        for name in files:
            _sync(Path(folder) / name)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
