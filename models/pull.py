"""From what an operator names to an installed bundle: the zoo's table, mirror folders, a folder, a zip, an address."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bithive.clock import Clock
from bithive.keys import SigningKey
from models import archive
from models.audit import Judge
from models.bundle import METADATA, Bundle
from models.errors import BadBundle, BundleAbsent, BundleExists, WeightsDiffer
from models.fetch import bundle_in_mirrors
from models.install import Origin, install
from models.pins import HEX64
from models.store import WeightStore
from models.zoo import ZooEntry, entries

Progress = Callable[[str, float], None]


class HasManifest(Protocol):
    """An installed bundle."""

    @property
    def name(self) -> str:
        """What it is installed as."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Who installed what, from where."""


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle on this machine that may be installed.

    Attributes
    ----------
    path
        A folder or a zip.
    name
        What it is to be called.
    origin
        Where it came from.
    """

    path: Path
    name: str
    origin: Origin


class Puller:
    """Finds bundles and installs them.

    Parameters
    ----------
    store, mirrors, key_path, clock, judge
        As for `models.catalog.Catalog`.
    """

    def __init__(self, store: WeightStore, mirrors: Sequence[Path], key_path: Path, clock: Clock, judge: Judge) -> None:
        self._store = store
        self._mirrors = mirrors
        self._key_path = key_path
        self._clock = clock
        self._judge = judge
        self._reserved: frozenset[str] = frozenset()

    def refuse_names(self, names: Collection[str]) -> None:
        """Names that nothing may be installed as."""
        self._reserved = frozenset(names)

    def is_current(self, item: HasManifest) -> bool:
        """Whether an installed bundle is the release that naming it means today."""
        entry = entries().get(item.name)
        named = str(item.manifest.get("origin", {}).get("named", ""))
        return entry is None or named != item.name or item.manifest.get("version") == entry.version

    @contextmanager
    def source(
        self, name: str, item: HasManifest | None, sha256: str | None, progress: Progress, *, loopback: bool = False
    ) -> Iterator[Found]:
        """A bundle to install, fetched when no mirror has it. Call it with the store's lock held.

        Parameters
        ----------
        name
            As for `models.catalog.Catalog.pull`.
        item
            What is installed under that name.
        sha256
            Of the zip, where the operator knows it.
        progress
            Told the fraction that has arrived.
        loopback
            As for `models.fetch_http.downloaded`.

        Raises
        ------
        BundleAbsent
            If it is no name, file or address of a bundle.
        DownloadFailed, DownloadTooLarge, WeightsDiffer
            As `models.fetch_http.downloaded`.
        """
        if sha256 is not None and not HEX64.fullmatch(sha256):
            raise BadBundle("a SHA-256 is 64 hexadecimal digits")
        named = str(item.manifest.get("origin", {}).get("named", "")) if item is not None else ""
        here = self.nearby(name, sha256)
        if here is not None:
            yield here
        elif name.startswith(("https://", "http://")):
            with self._address(name, None, sha256, progress, loopback) as found:
                yield found
        elif name in entries():
            with self._address(name, entries()[name], sha256, progress, loopback) as found:
                yield found
        elif named.startswith("https://"):
            with self._address(
                named, None, str(item and item.manifest["origin"]["sha256"]), progress, loopback
            ) as found:
                yield found
        else:
            raise BundleAbsent("no bundle, sample, folder, zip or address of that name", bundle=name[:100])

    def nearby(self, name: str, sha256: str | None = None) -> Found | None:
        """A bundle that is on this machine already: a path, or what a mirror folder has.

        Raises
        ------
        WeightsDiffer
            If a zip is not the one whose SHA-256 was given.
        """
        path = Path(name)
        is_path = "/" in name or path.suffix == ".zip"
        if is_path and not name.startswith(("https://", "http://")):
            return self._file(path, sha256) if path.exists() else None
        entry = entries().get(name)
        archives = (f"{name}_v{entry.version}.zip",) if entry else (f"{name}.zip", *self._versions(name))
        found = bundle_in_mirrors(name, archives, self._mirrors)
        if found is None:
            return None
        if found.is_file() and entry is not None and not sha256 and _digest(found, "sha1") != entry.sha1:
            raise WeightsDiffer("a mirror's archive is not the one that the zoo publishes", bundle=name)
        return Found(found, name, Origin(name, self._checked(found, sha256)))

    def take(self, found: Found, progress: Progress) -> Bundle:
        """Install it. Call it with the store's lock held.

        Raises
        ------
        BundleExists
            If its name is that of a bundle or sample that comes with BitHive.
        Refused
            As `models.install.install`.
        """
        if found.name in self._reserved:
            raise BundleExists(bundle=found.name)
        key = SigningKey.load_or_create(self._key_path)
        bundle = install(found.path, found.name, found.origin, self._store, key, self._clock, self._judge, progress)
        progress(found.name, 1.0)
        return bundle

    def _versions(self, name: str) -> list[str]:
        if not name.isidentifier():
            return []
        paths = [path for mirror in self._mirrors for path in mirror.glob(f"{name}_v*.zip")]
        return sorted({path.name for path in paths}, key=_version_of, reverse=True)

    def _file(self, path: Path, sha256: str | None) -> Found:
        if path.is_dir() and not (path / METADATA).is_file():
            raise BadBundle("the folder holds no configs/metadata.json")
        name = archive.name_of(path.resolve() if path.is_dir() else path)
        kind = "folder" if path.is_dir() else "archive"
        return Found(path, name, Origin(kind, self._checked(path, sha256)))

    def _checked(self, path: Path, sha256: str | None) -> str:
        if path.is_dir():
            if sha256:
                raise BadBundle("a folder has no SHA-256; name the zip")
            return ""
        found = _digest(path, "sha256")
        if sha256 and found != sha256:
            raise WeightsDiffer("the zip is not the one whose SHA-256 was given")
        return found

    @contextmanager
    def _address(
        self, name: str, entry: ZooEntry | None, sha256: str | None, progress: Progress, loopback: bool
    ) -> Iterator[Found]:
        from models.fetch_http import Expected, downloaded

        address = entry.address if entry else name
        expected = Expected(sha256=sha256 or None, sha1=entry.sha1 if entry and not sha256 else None)
        with downloaded(address, self._store.partial, expected, progress, clock=self._clock, loopback=loopback) as path:
            bundle = entry.name if entry else archive.name_of(path, address.rsplit("/", 1)[-1])
            yield Found(path, bundle, Origin(name, _digest(path, "sha256")))


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _version_of(name: str) -> tuple[int, ...]:
    numbers = name.removesuffix(".zip").rsplit("_v", 1)[-1].split(".")
    return tuple(int(number) if number.isdecimal() else 0 for number in numbers)
