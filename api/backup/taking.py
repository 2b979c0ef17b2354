"""Taking cuts: all databases of a hub at one moment, then the archive's files that they name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import bithive
from api.backup import keyring
from api.backup.cut import Cut, Part, born_ms
from api.backup.errors import BackupBusy, BackupDamaged
from api.backup.live import Live, NotFollowed
from api.backup.live_sqlite import LiveSqlite
from api.backup.vault import Vault, Writer, room
from api.databases import OF_ROLE, Name
from bithive.blobs import keeping, kept
from bithive.clock import Clock
from bithive.ids import Ids
from bithive.log import get
from bithive.settings import Settings

ALL_BLOBS = "SELECT DISTINCT blob FROM instances ORDER BY blob"
_LOCK_S, _TRIES = 1.0, 60
_FINDINGS_HELD_MAX = 512
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Means:
    """What a backup works with.

    Attributes
    ----------
    settings
        Of the hub; its state folder and databases are read, and nothing in them is changed.
    vault
        Where cuts go.
    clock, ids
        The moment, and its name.
    passphrase
        For the keys; without it they stay out of the backup.
    """

    settings: Settings
    vault: Vault
    clock: Clock
    ids: Ids
    passphrase: bytes | None = None


class Backup:
    """Takes cuts of one hub, which may run meanwhile. Made by `opened`.

    Parameters
    ----------
    means
        What it works with.
    writer
        The right to write.
    databases
        By name, in the order in which they are locked.
    """

    def __init__(self, means: Means, writer: Writer, databases: dict[Name, Live], stack: ExitStack) -> None:
        self._means, self.writer, self._databases = means, writer, databases
        self._state = means.settings.state
        self._find: Callable[[str], Path | None] = lambda _digest: None
        if "clinic" in databases:
            self._find = stack.enter_context(keeping(self._state / "blobs"))
        self._last: Cut | None = None
        self._named: set[str] = set()
        self._findings: dict[str, tuple[str, ...]] = {}

    @classmethod
    @contextmanager
    def opened(cls, means: Means, follow: bool = False) -> Iterator[Self]:
        """Everything that a cut needs, for as long as the block runs.

        Raises
        ------
        BackupBusy
            If another backup is at work, or a database is not there.
        ToolAbsent
            If a database is PostgreSQL's and `pg_dump` is not here.
        """
        with ExitStack() as stack:
            writer = stack.enter_context(means.vault.writing())
            databases: dict[Name, Live] = {}
            for name in reversed(OF_ROLE[means.settings.role]):
                databases[name] = live = _live(means.settings, name, follow)
                stack.callback(live.close)
            try:
                yield cls(means, writer, databases, stack)
            except BlockingIOError:
                raise BackupBusy("another backup of this hub is at work") from None

    def cut(self, full: bool = True) -> Cut:
        """Take one.

        Parameters
        ----------
        full
            Whether it stands alone; otherwise it adds to the one before, where that is possible.

        Raises
        ------
        BackupBusy
            If the databases could not be held still, or the clock stands before the newest cut.
        BackupFull
            If the disk of the backup is full. No cut is made; those before are untouched.
        """
        base, self._last = None if full else self._last, None
        aside = kept(self._state / "blobs")
        try:
            with room():
                self._last = self._take(base)
        except BaseException:
            self.writer.discard()
            raise
        for path in aside:
            path.unlink(missing_ok=True)
        return self._last

    def _take(self, base: Cut | None) -> Cut:
        with ExitStack() as files:
            cut_id, held_ms, findings = self._moment(files)
            try:
                databases = {name: live.part(self.writer, base is None) for name, live in self._databases.items()}
            except (NotFollowed, BackupDamaged) as error:
                if base is None:
                    raise
                get().warning("backup.whole", code=getattr(error, "code", "not-followed"), reason=str(error))
                return self._take(None)
            cut = self._whole(cut_id, held_ms, base, databases, findings)
        self.writer.commit(cut)
        return cut

    def _moment(self, files: ExitStack) -> tuple[str, int, dict[str, int]]:
        """Hold all databases still, and take their snapshots."""
        for _ in range(_TRIES):
            held = ExitStack()
            with held:
                if not all(self._hold(live, held) for live in self._databases.values()):
                    continue
                start_s = self._means.clock.monotonic_s()
                cut_id = self._means.ids.new("cut")
                newest = self._means.vault.names()[-1:]
                if newest and born_ms(newest[0]) >= born_ms(cut_id):
                    raise BackupBusy("the clock is not after the newest cut of this backup")
                for live in self._databases.values():
                    live.mark(cut_id)
                findings = self._open_findings(files)
            return cut_id, round((self._means.clock.monotonic_s() - start_s) * 1000), findings
        raise BackupBusy("the databases could not be held still for a moment; is one being migrated?")

    @staticmethod
    def _hold(live: Live, held: ExitStack) -> bool:
        held.callback(live.unlock)
        return live.lock(_LOCK_S)

    def _open_findings(self, files: ExitStack) -> dict[str, int]:
        """Findings that wait for their institution, kept open: they are deleted once it has them."""
        folder = self._state / "network" / "spool"
        found: dict[str, int] = {}
        if "network" in self._databases and folder.is_dir():
            for path in sorted(folder.glob("*.findings"))[:_FINDINGS_HELD_MAX]:
                name = str(path.relative_to(self._state))
                if name not in self._findings:
                    found[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    files.callback(os.close, found[name])
                else:
                    found[name] = -1
        return found

    def _whole(
        self, cut_id: str, held_ms: int, base: Cut | None, databases: dict[Name, Part], findings: dict[str, int]
    ) -> Cut:
        if base is None:
            self._named.clear()
        named = set(self._blobs_named())
        added = sorted(named - self._named)
        missing = self.writer.put_blobs(sorted({*added, *(base.missing if base else ())} & named), self._find)
        if self._any_postgresql():
            self.writer.put_blobs(sorted(path.name for path in kept(self._state / "blobs")), self._find)
        self._named = named
        for name, handle in findings.items():
            if handle >= 0:
                self._findings[name] = self.writer.put_all(_read(handle))
        self._findings = {name: self._findings[name] for name in findings}
        keys: tuple[str, ...] = ()
        if base is not None:
            keys = base.keys
        elif self._means.passphrase is not None:
            keys = self.writer.put_all([keyring.lock(keyring.of_state(self._state), self._means.passphrase)])
        return Cut(
            cut_id=cut_id,
            base=base.cut_id if base else "",
            version=bithive.__version__,
            databases={str(name): part for name, part in databases.items()},
            blobs=self.writer.put_all([bytes.fromhex("".join(added))]),
            blob_count=len(named),
            missing=tuple(missing),
            files={**self._own_pipelines(), **{quote(name): pieces for name, pieces in self._findings.items()}},
            keys=keys,
            held_ms=held_ms,
        )

    def _blobs_named(self) -> Iterable[str]:
        return self._databases["clinic"].digests(ALL_BLOBS) if "clinic" in self._databases else ()

    def _any_postgresql(self) -> bool:
        return any(not isinstance(live, LiveSqlite) for live in self._databases.values())

    def _own_pipelines(self) -> dict[str, tuple[str, ...]]:
        folder = self._means.settings.pipeline_files
        paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
        return {quote(f"pipelines/{path.name}"): self.writer.put_all([path.read_bytes()]) for path in paths}


def _live(settings: Settings, name: Name, follow: bool) -> Live:
    url = settings.database_url(name)
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.exists():
            raise BackupBusy(f"{path.name} is not there: is this the state folder of a hub of that role?")
        return LiveSqlite(path, follow)
    from api.backup.live_sql import LivePostgresql

    return LivePostgresql(url)


def _read(handle: int) -> Iterator[bytes]:
    place = 0
    while piece := os.pread(handle, _PIECE_BYTES, place):
        place += len(piece)
        yield piece
