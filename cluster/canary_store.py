"""Where canaries are kept: the port, and the store in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from cluster.canaries import Canary, Stage

UNFINISHED = frozenset({Stage.READY, Stage.OPEN})


class CanaryStore(Protocol):
    """Canaries, the id under which the network offers them, and how far its notices were read."""

    def institution(self, proposed: str) -> str:
        """The network's own institution id: `proposed` at the first call ever, the same for ever after."""

    def keep(self, canary: Canary) -> None:
        """Store it durably, in place of what has its id."""

    def canary(self, offer_id: str) -> Canary | None:
        """One of them."""

    def unfinished(self) -> Sequence[Canary]:
        """Those that are READY or OPEN, the oldest first."""

    def made_since(self, ms: int) -> int:
        """How many were made at that time or later."""

    def cursor(self) -> int:
        """The place of the last notice that was taken."""

    def move(self, cursor: int) -> None:
        """Note that everything up to a place was taken; never back."""


class MemoryCanaryStore:
    """Canaries in a dictionary: for tests and demonstrations."""

    def __init__(self) -> None:
        self._canaries: dict[str, Canary] = {}
        self._institution, self._cursor = "", 0
        self._lock = threading.Lock()

    def institution(self, proposed: str) -> str:
        with self._lock:
            self._institution = self._institution or proposed
            return self._institution

    def keep(self, canary: Canary) -> None:
        with self._lock:
            self._canaries[canary.offer_id] = canary

    def canary(self, offer_id: str) -> Canary | None:
        return self._canaries.get(offer_id)

    def unfinished(self) -> Sequence[Canary]:
        with self._lock:
            found = [item for item in self._canaries.values() if item.stage in UNFINISHED]
        return sorted(found, key=lambda item: (item.made_ms, item.offer_id))

    def made_since(self, ms: int) -> int:
        with self._lock:
            return sum(item.made_ms >= ms for item in self._canaries.values())

    def cursor(self) -> int:
        return self._cursor

    def move(self, cursor: int) -> None:
        with self._lock:
            self._cursor = max(self._cursor, cursor)
