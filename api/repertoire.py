"""What can be run now. The store of bundles is looked at again and again, so that one that was pulled while the hub runs
is matched without a restart, whichever process pulled it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from bithive.clock import Clock
from bithive.log import get
from bithive.settings import Settings
from models.bundle import Bundle
from models.catalog import Catalog
from models.licence import accepted
from pipelines.catalog import Repertoire, pipelines

LOOK_PERIOD_S = 2.0


class InstalledRepertoire:
    """The declared tasks and those of installed bundles, as the store has them.

    Parameters
    ----------
    settings
        `model_store`, and the licences that are accepted.
    clock
        Of this hub.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._licences, self._clock = settings.models.licences, clock
        self._catalog = Catalog.of(settings)
        self._lock = threading.Lock()
        self._look_at_s = 0.0
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
        if before is not None and _digests(bundles) == _digests(before.bundles):
            return before
        found = Repertoire(bundles, pipelines(bundles, lambda bundle: accepted(bundle, self._licences)))
        get().info("repertoire.read", count=len(bundles), pipelines=len(found.pipelines))
        return found


def _digests(bundles: Mapping[str, Bundle]) -> dict[str, str]:
    return {name: bundle.sha256 for name, bundle in bundles.items()}
