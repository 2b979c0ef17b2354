"""What can be run now. The store of bundles is looked at again and again, so that one that was pulled while the hub runs
is matched without a restart, whichever process pulled it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from bithive.clock import Clock
from bithive.log import get
from bithive.settings import Role, Settings
from models.bundle import Bundle
from models.catalog import Catalog
from models.licence import accepted
from models.nearby import STARTS_WITH
from pipelines.catalog import Repertoire, declared, pipelines
from pipelines.site import Site, site, stamp
from pipelines.spec import Pipeline

LOOK_PERIOD_S = 2.0


class InstalledRepertoire:
    """The declared tasks and those of installed bundles, as the store has them.

    Parameters
    ----------
    settings
        `model_store`, the licences that are accepted, which pipelines are on, and whether this hub has a cell of its own.
    clock
        Of this hub.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._licences, self._clock = settings.models.licences, clock
        self._wanted = frozenset(settings.clinic.pipelines)
        # A hub without a cell of its own cannot see what weights are where the work is done: what it names is on.
        self._files = settings.pipeline_files
        self._cell_elsewhere = settings.role is Role.CLINICAL or not settings.cell.embedded
        self._catalog = Catalog.of(settings)
        self._lock = threading.Lock()
        self._look_at_s = 0.0
        self._seen: object = None
        self._unknown: frozenset[str] = frozenset()
        self._found: Repertoire | None = None

    def now(self) -> Repertoire:
        """What can be run; the very same object as long as nothing changed. Looks at most every `LOOK_PERIOD_S`.

        Raises
        ------
        BadBundle
            If one that comes with BitHive is malformed; others that are not sound are left out.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._found is None or now_s >= self._look_at_s:
                self._found = self._look(self._found)
                self._look_at_s = now_s + LOOK_PERIOD_S
            return self._found

    def _look(self, before: Repertoire | None) -> Repertoire:
        bundles = self._catalog.bundles()
        ready = {name for name, bundle in bundles.items() if name in STARTS_WITH or self._catalog.ready(bundle)}
        seen = ({name: bundle.sha256 for name, bundle in bundles.items()}, ready, stamp(self._files))
        if before is not None and seen == self._seen:
            return before
        self._seen = seen
        own = site(self._files, bundles, declared())
        found = Repertoire(bundles, self._pipelines(bundles, ready, own.pipelines))
        on = [pipeline for pipeline in found.pipelines.values() if not pipeline.withheld]
        get().info("repertoire.read", count=len(bundles), pipelines=len(found.pipelines), on=len(on))
        self._warn(found, own)
        return found

    def _pipelines(
        self, bundles: Mapping[str, Bundle], ready: Collection[str], own: Mapping[str, Pipeline]
    ) -> dict[str, Pipeline]:
        return pipelines(
            bundles,
            accepted=lambda bundle: accepted(bundle, self._licences),
            ready=lambda bundle: bundle.name in ready or (self._cell_elsewhere and bool(self._wanted)),
            own=own,
            wanted=self._wanted,
        )

    def _warn(self, found: Repertoire, own: Site) -> None:
        """Say which files declare nothing and why, and which names of the settings are no pipeline's: they may be
        misspelt, or of a bundle that is not here.
        """
        for problem in own.problems:
            get().warning("pipeline.file_refused", file=problem.file, line=problem.line, code=problem.code)
        unknown = self._wanted.difference(found.pipelines)
        for name in sorted(unknown - self._unknown):
            get().warning("pipeline.unknown", pipeline=name)
        self._unknown = unknown
