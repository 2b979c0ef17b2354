"""The catalogue: which bundles there are, and their weights on this machine.

Listing bundles reads a few small files. Nothing is downloaded until somebody pulls, and nothing after that. Bundles come
with BitHive, or were installed into the store; an installed one is listed only while its signed manifest holds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from bithive.clock import Clock, SystemClock
from bithive.errors import BadSettings, BitHiveError
from bithive.keys import SigningKey
from bithive.log import get
from bithive.settings import Settings
from models import manifest
from models.audit import Audit, Judge
from models.bundle import Bundle
from models.converters import convert
from models.errors import BundleAbsent, WeightsAbsent, WeightsDiffer
from models.fetch import checked, from_mirrors, in_mirror, member, wheel
from models.install import FOLDER, inspect
from models.nearby import gather
from models.pins import AddressSource, BundledSource, ConvertedSource, Part, PinnedFile, WheelSource
from models.pull import Found, Puller
from models.samples import SAMPLES, Sample
from models.store import WeightStore, matches

BUNDLES = Path(__file__).parent / "bundles"

Progress = Callable[[str, float], None]


def _silent(_what: str, _fraction: float) -> None:
    pass


def _accepting(_parts: object) -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Installed:
    """One folder of the store, sound or not.

    Attributes
    ----------
    name
        What it is installed as.
    bundle
        None when it is not sound.
    error
        Why not, else None.
    manifest
        As it stands; empty when there is none.
    """

    name: str
    bundle: Bundle | None
    error: BitHiveError | None
    manifest: dict[str, Any]


class Catalog:
    """Bundles by name, and where their weights are.

    Parameters
    ----------
    store
        Content-addressed store of weights (`settings.model_store`).
    mirrors
        Folders searched before any download (`settings.model_mirrors`).
    folder
        Where the declarations lie of the bundles that come with BitHive: one folder each.
    trusted_keys
        Public keys whose bundles are trusted besides those of `key_path`, and of `keys/models.key` beside the store: the
        key of the hub that this cell's store belongs to.
    key_path
        What this installation signs with, made when it is first needed; the one beside the store when absent.
    clock
        Says when something was installed.
    loopback
        Accept addresses of plain HTTP on this machine itself: for tests.
    """

    def __init__(
        self,
        store: Path,
        mirrors: Sequence[Path] = (),
        folder: Path = BUNDLES,
        trusted_keys: Sequence[str] = (),
        *,
        key_path: Path | None = None,
        clock: Clock | None = None,
        loopback: bool = False,
    ) -> None:
        self._loopback = loopback
        self._store = WeightStore(store)
        self._mirrors = tuple(mirrors)
        self._folder = folder
        self._trusted_keys = tuple(trusted_keys)
        self._beside = store.absolute().parent / "keys" / "models.key"
        self._key_path = key_path or self._beside
        self._clock = clock or SystemClock()
        self._built_in: dict[str, Bundle] | None = None
        self._installed: dict[str, tuple[object, Installed]] = {}

    @classmethod
    def of(cls, settings: Settings) -> Catalog:
        """The catalogue of a process's settings."""
        return cls(
            settings.model_store,
            settings.model_mirrors,
            trusted_keys=settings.models.trusted_keys,
            key_path=settings.state / "keys" / "models.key",
        )

    def bundles(self) -> dict[str, Bundle]:
        """Every sound bundle by name, as the store stands now; what is not sound is left out and logged.

        Raises
        ------
        BadBundle
            If one that comes with BitHive is malformed.
        """
        found = self.built_in()
        for name, item in self.installed().items():
            if item.bundle is not None:
                found.setdefault(name, item.bundle)
        return found

    def built_in(self) -> dict[str, Bundle]:
        """The bundles that come with BitHive, by name. Raises `BadBundle` if one is malformed."""
        if self._built_in is None:
            folders = sorted(path for path in self._folder.iterdir() if (path / "configs").is_dir())
            self._built_in = {path.name: Bundle.load(path) for path in folders}
        return dict(self._built_in)

    def installed(self) -> dict[str, Installed]:
        """What was installed, sound or not, by name; read again when a file of it changed."""
        bundles = self._store.root / FOLDER
        links = sorted(path for path in _listed(bundles) if not path.name.startswith("."))
        trusted = self.trusted()
        fresh = {}
        for link in links:
            folder = link.resolve()
            mark = (folder, trusted, manifest.stamp(folder))
            known = self._installed.get(link.name)
            fresh[link.name] = known if known and known[0] == mark else (mark, self._read(link.name, folder, trusted))
        self._installed = fresh
        return {name: item for name, (_, item) in fresh.items()}

    def trusted(self) -> frozenset[str]:
        """Public keys whose manifests hold here: this installation's own, the store's, and those of the settings."""
        keys = set(self._trusted_keys)
        for path in {self._key_path, self._beside}:
            try:
                if path.exists():
                    keys.add(SigningKey.load_or_create(path).public_hex)
            except (BadSettings, OSError) as error:
                get().warning("models.key_unreadable", exc_type=type(error).__name__)
        return frozenset(keys)

    def bundle(self, name: str) -> Bundle:
        """One bundle.

        Raises
        ------
        BundleAbsent
            If there is none of that name.
        BundleUnsigned, BundleChanged, BadBundle
            If it is installed and not sound.
        """
        found = self.bundles().get(name)
        if found is None:
            broken = self.installed().get(name)
            raise (broken.error if broken and broken.error else None) or BundleAbsent("no bundle of that name")
        return found

    def manifest(self, bundle: Bundle) -> dict[str, Any]:
        """The signed manifest of an installed bundle; empty for one that comes with BitHive."""
        found = self.installed().get(bundle.name)
        return found.manifest if found is not None and found.bundle is not None and bundle.form == "zoo" else {}

    def samples(self) -> dict[str, Sample]:
        """Every sample image by name."""
        return dict(SAMPLES)

    def pull(
        self,
        name: str,
        progress: Progress = _silent,
        *,
        sha256: str | None = None,
        judge: Judge = _accepting,
        renew: bool = False,
    ) -> str:
        """Make sure that a bundle and its weights, or a sample, are in the store. Safe in several processes at once.

        Parameters
        ----------
        name
            Of a bundle or a sample; or a bundle's folder, its zip, or an HTTPS address of its zip.
        progress
            Told what is fetched, and the fraction of it that has arrived.
        sha256
            Of the zip, where the operator knows it.
        judge
            Says whether what is to be installed can be carried out; see `models.audit.audit`.
        renew
            Install again what is installed, when the zoo's table names another version or its weights are lost.

        Returns
        -------
        str
            The name of the bundle or sample.

        Raises
        ------
        BundleAbsent, DownloadFailed, DownloadTooLarge, WeightsDiffer
            There is no such name; it could not be fetched; what was fetched is not what was pinned.
        Refused, BundleTooLarge, BundleExists
            With its code: the bundle is not one that may be installed.
        """
        puller = Puller(self._store, self._mirrors, self._key_path, self._clock, judge)
        item = self._installed_soundly(name)
        current = item is not None and not sha256 and (not renew or puller.is_current(item))
        if name in SAMPLES or name in self.built_in() or current:
            if self._complete(name, progress):
                progress(name, 1.0)
                return name
            if not renew:
                raise WeightsAbsent(f"run `bithive models pull {name}`: it has to be installed again", bundle=name)
        puller.refuse_names({*SAMPLES, *self.built_in()})
        with self._store.locked(), puller.source(name, item, sha256, progress, loopback=self._loopback) as found:
            return puller.take(found, progress).name

    def gather(self, name: str) -> bool:
        """Complete a bundle's weights from mirrors, never over a network; whether they are. Raises `BundleAbsent`."""
        bundle = self.bundle(name)
        if not self.ready(bundle):
            gather([pinned for pinned in bundle.weights if self._absent(pinned)], self._store, self._mirrors)
        return self.ready(bundle)

    def audit(self, name: str, judge: Judge = _accepting) -> Audit:
        """The static audit of a folder, a zip, or a bundle that a mirror has; nothing is kept.

        Raises
        ------
        BundleAbsent
            If it is none of them.
        ArchiveRefused, BundleTooLarge, BadBundle
            As `models.archive.take`.
        """
        puller = Puller(self._store, self._mirrors, self._key_path, self._clock, judge)
        found: Found | None = puller.nearby(name)
        if found is None:
            raise BundleAbsent("no folder or zip of that name, and no mirror has it")
        with self._store.locked():
            return inspect(found.path, self._store.root / "spool", judge)

    def weights(self, bundle: Bundle) -> dict[str, Path]:
        """The verified files of a bundle by the path that its configuration gives them.

        Raises
        ------
        WeightsAbsent
            If one was not pulled yet.
        WeightsDiffer
            If one has changed since.
        """
        return {pinned.file: self._weight(pinned, bundle) for pinned in bundle.weights}

    def ready(self, bundle: Bundle) -> bool:
        """Whether every file of its weights is here with the pinned size: cheap, so without reading them.

        A bundle that is ready may still turn out to have changed: `weights` says so before anything runs.
        """
        return all(self._place(pinned, bundle.folder)[1] for pinned in bundle.weights)

    def sample(self, name: str) -> Path:
        """The verified file of a sample. Raises as `weights`, or `BundleAbsent`."""
        return self._found(self._pinned(name)[0], name)

    def _read(self, name: str, folder: Path, trusted: frozenset[str]) -> Installed:
        about: dict[str, Any] = {}
        try:
            about = manifest.read(folder)
            about = manifest.check(folder, trusted, name)
            bundle = Bundle.load(folder)
        except BitHiveError as error:
            get().warning("bundle.left_out", bundle=name[:64], code=error.code)
            return Installed(name, None, error, about)
        return Installed(name, bundle, None, about)

    def _installed_soundly(self, name: str) -> Installed | None:
        found = self.installed().get(name)
        return found if found is not None and found.bundle is not None else None

    def _complete(self, name: str, progress: Progress) -> bool:
        """Fetch what is missing of the weights; False when only installing again can bring it."""
        wanted = self._pinned(name)
        if any(self._absent(pinned) for pinned in wanted):
            with self._store.locked():
                return self._fetch([pinned for pinned in wanted if self._absent(pinned)], progress)
        return True

    def _pinned(self, name: str) -> tuple[PinnedFile, ...]:
        if name in SAMPLES:
            return (SAMPLES[name].pinned,)
        return self.bundle(name).weights

    def _place(self, pinned: PinnedFile, folder: Path) -> tuple[Path, bool]:
        """Where a file lies, and whether one of its size lies there."""
        bundled = isinstance(pinned.source, BundledSource)
        path = folder / pinned.file if bundled else self._store.path(pinned.sha256)
        try:
            return path, path.stat().st_size == pinned.size_bytes
        except OSError:
            return path, False

    def _weight(self, pinned: PinnedFile, bundle: Bundle) -> Path:
        if not isinstance(pinned.source, BundledSource):
            return self._found(pinned, bundle.name)
        path, _ = self._place(pinned, bundle.folder)
        if not matches(path, pinned.sha256, pinned.size_bytes):
            raise WeightsDiffer("a network that comes with BitHive has changed or is missing: install BitHive again")
        return path

    def _found(self, pinned: PinnedFile, name: str) -> Path:
        path = self._store.find(pinned)
        if path is None:
            raise WeightsAbsent(f"run `bithive models pull {name}` first", bundle=name)
        return path

    def _absent(self, pinned: PinnedFile) -> bool:
        if isinstance(pinned.source, BundledSource):
            return False
        try:
            return self._store.find(pinned) is None
        except WeightsDiffer:
            return True

    def _fetch(self, wanted: Sequence[PinnedFile], progress: Progress) -> bool:
        by_wheel: dict[WheelSource, list[PinnedFile]] = {}
        lost = False
        for pinned in wanted:
            with from_mirrors(pinned, self._mirrors) as file:
                if file is not None:
                    self._store.put(pinned, file)
                    continue
            if isinstance(pinned.source, WheelSource):
                by_wheel.setdefault(replace(pinned.source, member=""), []).append(pinned)
            elif isinstance(pinned.source, AddressSource):
                with self._downloaded(pinned, pinned.source.address, progress) as file:
                    self._store.put(pinned, file)
            elif isinstance(pinned.source, ConvertedSource):
                parts = {part.file: self._part(part, progress) for part in pinned.source.parts}
                self._store.put(pinned, io.BytesIO(convert(pinned.source.converter, parts)))
            else:
                lost = True
        for source, group in by_wheel.items():
            with wheel(source, self._store.root / "spool", progress) as path:
                for pinned in group:
                    with member(path, pinned) as file:
                        self._store.put(pinned, file)
        return not lost

    def _part(self, part: Part, progress: Progress) -> bytes:
        """The verified content of a published file, from a mirror or from where it is published."""
        for mirror in self._mirrors:
            path = in_mirror(mirror, part)
            if path is not None:
                return checked(path.read_bytes(), part)
        with self._downloaded(part, part.address, progress) as file:
            return checked(file.read(part.size_bytes + 1), part)

    @contextmanager
    def _downloaded(self, pinned: PinnedFile | Part, address: str, progress: Progress) -> Iterator[IO[bytes]]:
        from models.fetch_http import Expected, downloaded

        expected = Expected(sha256=pinned.sha256, size_bytes=pinned.size_bytes)
        place, loopback = self._store.partial, self._loopback
        with downloaded(address, place, expected, progress, clock=self._clock, loopback=loopback) as path:
            with path.open("rb") as file:
                yield file


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
