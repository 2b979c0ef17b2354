"""Loads bundles from the catalogue so that they are warm before the first Attempt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bithive.errors import BitHiveError
from bithive.log import get
from cluster.work import Warm
from models.catalog import Catalog


def fetch(catalog: Catalog) -> list[str]:
    """Make sure that weights are on this machine; the names of the bundles whose weights are."""
    names = []
    for name in sorted(catalog.bundles()):
        try:
            catalog.pull(name)
        except BitHiveError as error:
            get().warning("bundle.absent", bundle=name, code=error.code)
        else:
            names.append(name)
    return names


def load(store: Path, names: Sequence[str], engine: str, threads: int) -> list[Warm]:
    """Load bundles whose weights are here.

    Parameters
    ----------
    store
        The content-addressed store of weights.
    names
        Which bundles.
    engine, threads
        As for `inference.run.load`.
    """
    from inference import run

    catalog = Catalog(store)
    bundles = [catalog.bundle(name) for name in names]
    return [Warm(bundle, run.load(bundle, catalog.weights(bundle), engine, threads)) for bundle in bundles]
