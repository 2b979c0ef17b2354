"""Which bundles this machine can run, as its store changes, and how one is loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.log import get
from cluster.errors import WorkFailed
from cluster.work import Warm
from inference.memory import loaded_bytes
from models.bundle import Bundle
from models.catalog import BUNDLES, Catalog
from models.install import FOLDER
from models.nearby import STARTS_WITH

POLL_S = 3.0
"""How often the store is looked at for a change."""


@dataclass(frozen=True, slots=True)
class Loader:
    """How bundles are loaded on this node.

    Attributes
    ----------
    store
        The content-addressed store of weights.
    engine, threads
        As for `inference.run.load`.
    """

    store: Path
    engine: str
    threads: int

    def load(self, bundle: Bundle, weights: Mapping[str, Path]) -> Warm:
        """A bundle whose weights are here, loaded. Raises what `inference.run.load` does."""
        from inference import run

        calibration = self.store / "calibration"
        loaded = run.load(bundle, weights, engine=self.engine, threads=self.threads, calibration=calibration)
        return Warm(bundle, loaded)


class Stock:
    """The bundles whose weights are on this machine and are what was pinned. For any thread.

    Parameters
    ----------
    opened
        Opens the catalogue anew.
    store
        The folder that it reads; looked at for changes.
    clock
        Says when to look again.
    verify
        Leave out what has no weights here, or others than were pinned; `find` verifies in any case.

    Attributes
    ----------
    changes
        Counts the changes of the store that were seen.
    """

    def __init__(self, opened: Callable[[], Catalog], store: Path, clock: Clock, *, verify: bool = True) -> None:
        self._opened, self._store, self._clock, self._verify = opened, store, clock, verify
        self._catalog = opened()
        self._found: dict[str, Bundle] = {}
        self._stamp: tuple[tuple[str, int], ...] | None = None
        self._looked_s = -POLL_S
        self._looking = threading.Lock()
        self.changes = 0

    def bundles(self) -> dict[str, Bundle]:
        """By SHA-256. While another thread looks again, what was there before."""
        if self._looking.acquire(blocking=self._stamp is None):
            try:
                if self._clock.monotonic_s() - self._looked_s >= POLL_S:
                    self._look()
            finally:
                self._looking.release()
        return dict(self._found)

    def find(self, sha256: str) -> tuple[Bundle, dict[str, Path]]:
        """A bundle with its weights, verified now.

        Raises
        ------
        WorkFailed
            `bundle-unknown`.
        BundleUnsigned, BundleChanged, BadBundle, WeightsAbsent, WeightsDiffer
            As `Catalog.bundle` and `Catalog.weights`.
        """
        with self._looking:
            if sha256 not in self._found:
                self._look()
            bundle, catalog = self._found.get(sha256), self._catalog
        now = None if bundle is None else catalog.bundle(bundle.name)
        if now is None or now.sha256 != sha256:
            raise WorkFailed("bundle-unknown")
        return now, catalog.weights(now)

    def _look(self) -> None:
        self._looked_s = self._clock.monotonic_s()
        stamp = _stamp(self._store)
        if stamp == self._stamp:
            return
        catalog = self._opened()
        try:
            listed = catalog.bundles()
        except BitHiveError as error:
            get().warning("catalog.unreadable", code=error.code)
            return
        known = self._found.keys() if self._verify else {bundle.sha256 for bundle in listed.values()}
        self._found = {
            bundle.sha256: bundle
            for bundle in listed.values()
            if bundle.sha256 in known or _has_weights(catalog, bundle)
        }
        self._catalog, self._stamp = catalog, stamp
        self.changes += 1


def fetch(catalog: Catalog) -> list[str]:
    """Make sure of the weights that can be had; the names of the bundles whose weights are on this machine.

    What every cell starts with is fetched from wherever it is; of the rest, what mirror folders have is taken, and
    nobody is asked over a network: `bithive models pull` does that, and a running cell notices.
    """
    names = []
    for name in sorted(catalog.bundles()):
        try:
            here = bool(catalog.pull(name)) if name in STARTS_WITH else catalog.gather(name)
        except BitHiveError as error:
            get().warning("bundle.absent", bundle=name, code=error.code)
            continue
        if here:
            names.append(name)
        else:
            get().info("bundle.not_pulled", bundle=name)
    return names


def load(store: Path, names: Sequence[str], engine: str, threads: int) -> list[Warm]:
    """Load bundles by name whose weights are here: for a cell without replicas."""
    catalog, loader = Catalog(store), Loader(store, engine, threads)
    bundles = [catalog.bundle(name) for name in names]
    return [loader.load(bundle, catalog.weights(bundle)) for bundle in bundles]


def in_order(bundles: Mapping[str, Bundle]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SHA-256 of the bundles to load before the first Attempt, and of those to load when there is time.

    What every cell starts with is first; then the smaller before the larger, names in order among equals.
    """
    order = sorted(bundles.values(), key=lambda bundle: (loaded_bytes(bundle), bundle.name))
    first = [item.sha256 for item in order if item.name in STARTS_WITH and item.folder.parent == BUNDLES]
    return tuple(first), tuple(bundle.sha256 for bundle in order if bundle.sha256 not in first)


def _has_weights(catalog: Catalog, bundle: Bundle) -> bool:
    if not catalog.ready(bundle):
        return False
    try:
        catalog.weights(bundle)
    except BitHiveError as error:
        get().warning("bundle.absent", bundle=bundle.name, code=error.code)
        return False
    return True


def _stamp(store: Path) -> tuple[tuple[str, int], ...]:
    """Changes whenever a bundle's file changes, or a file of weights comes, goes or is replaced."""
    found = [store / "sha256", *(store / "sha256").glob("*")]
    for folder, _, files in os.walk(store / FOLDER):
        found += [Path(folder), *(Path(folder, name) for name in files)]
    stamps = []
    for path in found:
        with suppress(FileNotFoundError):  # there is none, or it went while we looked
            stamps.append((path.relative_to(store).as_posix(), path.lstat().st_mtime_ns))
    return tuple(sorted(stamps))
