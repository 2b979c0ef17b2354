"""What a cell's agent knows of its replicas: which bundles each has loaded, and which could not be loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShelfState:
    """What a replica says of itself.

    Attributes
    ----------
    replica
        A name of its own, new at each start.
    warm
        SHA-256 of what it has loaded.
    unloadable
        SHA-256 of what it could not load since it last said so, each with the code of the reason.
    """

    replica: str
    warm: tuple[str, ...]
    unloadable: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class News:
    """What is different from what a replica said before: SHA-256 of bundles."""

    loaded: frozenset[str]
    dropped: frozenset[str]


class Shelves:
    """The replicas' shelves taken together. For any thread."""

    def __init__(self) -> None:
        self._warm: dict[str, tuple[str, ...]] = {}
        self._unloadable: set[str] = set()
        self._changes = 0
        self._lock = threading.Lock()

    def learn(self, state: ShelfState) -> News:
        """A replica has said how it is."""
        with self._lock:
            before, now = frozenset(self._warm.get(state.replica, ())), frozenset(state.warm)
            self._warm[state.replica] = state.warm
            self._unloadable.update(sha256 for sha256, _ in state.unloadable)
        return News(now - before, before - now)

    def forget(self) -> None:
        """A replica has died, nobody knows which: what is warm is learnt anew."""
        with self._lock:
            self._warm.clear()

    def warm(self) -> tuple[str, ...]:
        """SHA-256 of what any replica has loaded."""
        with self._lock:
            return tuple(sorted({sha256 for warm in self._warm.values() for sha256 in warm}))

    def runnable(self, found: Iterable[str], changes: int) -> list[str]:
        """What of all that was found can be run: not what could not be loaded, until the store has changed.

        Parameters
        ----------
        found
            SHA-256 of each bundle in the store.
        changes
            How often the store has changed.
        """
        with self._lock:
            if changes != self._changes:
                self._changes = changes
                self._unloadable.clear()
            return [sha256 for sha256 in found if sha256 not in self._unloadable]
