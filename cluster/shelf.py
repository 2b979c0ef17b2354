"""The bundles that one process has loaded: which stay, which go, and whether there is room to run.

A node is not to be brought down by what it is asked to do. Before anything is loaded or run its predicted peak is held
against what the machine has free now and what this slot may take; other bundles go first, the least recently used one
before the rest; where that is not enough the Attempt fails, and nothing has happened to the machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cluster import measure
from cluster.errors import WorkFailed
from cluster.work import Warm


@dataclass(frozen=True, slots=True)
class Room:
    """Memory at one moment, in bytes.

    Attributes
    ----------
    free_bytes
        What the machine would give now.
    resident_bytes
        What this process has.
    slot_bytes
        The most that this process may have.
    """

    free_bytes: int
    resident_bytes: int
    slot_bytes: int

    def lacking(self, peak_bytes: int, others_bytes: int) -> int:
        """How much more must be freed before something can run; 0 or less when it can.

        Parameters
        ----------
        peak_bytes
            Predicted resident size of a process that runs this and has nothing else loaded.
        others_bytes
            What other bundles that are loaded here take.
        """
        own = self.resident_bytes - others_bytes
        return max(peak_bytes - own - self.free_bytes, others_bytes + peak_bytes - self.slot_bytes)


def room(slot_bytes: int) -> Room:
    """As it is now."""
    return Room(measure.free_bytes(), measure.resident_bytes(), slot_bytes)


class Shelf:
    """Loaded bundles, the least recently used first. For one thread, which also runs them; any may ask what is warm.

    Parameters
    ----------
    load
        Loads a bundle by its SHA-256. What it raises is passed on.
    look
        How much room there is now.
    warm_max
        Bundles at once.
    give_back
        Returns to the machine what a dropped bundle took.
    """

    def __init__(
        self,
        load: Callable[[str], Warm],
        look: Callable[[], Room],
        warm_max: int,
        give_back: Callable[[], None] = measure.give_back,
    ) -> None:
        self._load, self._look, self._warm_max, self._give_back = load, look, warm_max, give_back
        self._warm: OrderedDict[str, Warm] = OrderedDict()

    def warm(self) -> tuple[str, ...]:
        """SHA-256 of each bundle that is loaded, the least recently used first."""
        return tuple(self._warm)

    def take(self, sha256: str, peak_bytes: int) -> Warm:
        """A bundle, loaded, with room to run it.

        Parameters
        ----------
        sha256
            Which.
        peak_bytes
            Predicted for this very run.

        Raises
        ------
        WorkFailed
            `out-of-memory`: even with every other bundle gone it would not fit.
        """
        while self._look().lacking(peak_bytes, self._others_bytes(sha256)) > 0:
            if not self._drop_oldest(but=sha256):
                raise WorkFailed("out-of-memory")
        if sha256 not in self._warm:
            while len(self._warm) >= self._warm_max:
                self._drop_oldest(but=sha256)
            self._put(sha256)
        self._warm.move_to_end(sha256)
        return self._warm[sha256]

    def keep(self, sha256: str, peak_bytes: int) -> bool:
        """Load a bundle ahead of time unless another would have to go for it; whether it is loaded."""
        if sha256 in self._warm:
            return True
        if len(self._warm) >= self._warm_max or self._look().lacking(peak_bytes, self._others_bytes(sha256)) > 0:
            return False
        self._put(sha256)
        self._warm.move_to_end(sha256, last=False)
        return True

    def _put(self, sha256: str) -> None:
        try:
            self._warm[sha256] = self._load(sha256)
        except BaseException:
            self._give_back()  # what was loaded half
            raise

    def _others_bytes(self, sha256: str) -> int:
        return sum(item.engine.memory_bytes for other, item in list(self._warm.items()) if other != sha256)

    def _drop_oldest(self, but: str) -> bool:
        oldest = next((sha256 for sha256 in self._warm if sha256 != but), None)
        if oldest is None:
            return False
        del self._warm[oldest]
        self._give_back()
        return True
