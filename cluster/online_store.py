"""Where it is kept who was there: the port, and the store in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Span = tuple[int, int]
"""From and until, milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """An hour of a Node's, while it is not told to the ledger yet.

    Attributes
    ----------
    node, cell
        Whose.
    from_ms
        When the hour begins.
    since_ms
        From when on the Node was known in it.
    timetable
        What its contributor had declared when the hour began, as JSON: a change counts from the next hour on.
    heard_ms
        When it was last heard of, in this hour or before.
    left_ms
        When it said within its declared time that it goes; 0 while it stays.
    spans
        When it was there, in order.
    """

    node: str
    cell: str
    from_ms: int
    since_ms: int
    timetable: str
    heard_ms: int = 0
    left_ms: int = 0
    spans: tuple[Span, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """What makes it one."""
        return self.node, self.from_ms


class OnlineStore(Protocol):
    """Open stretches, and when the network side itself was there to see."""

    def stretches(self) -> Sequence[Stretch]:
        """All that are open."""

    def watches(self) -> Sequence[Span]:
        """When the network side ran, in order."""

    def save(self, stretches: Iterable[Stretch], watch: Span) -> None:
        """Write stretches as they are now, and until when the network side has run since it started. One transaction."""

    def drop(self, keys: Iterable[tuple[str, int]], watched_before_ms: int) -> None:
        """Forget stretches that were told, and watches that ended before a time."""


class MemoryOnlineStore:
    """Both in dictionaries: for tests and simulations."""

    def __init__(self) -> None:
        self._stretches: dict[tuple[str, int], Stretch] = {}
        self._watches: dict[int, int] = {}

    def stretches(self) -> Sequence[Stretch]:
        return list(self._stretches.values())

    def watches(self) -> Sequence[Span]:
        return sorted(self._watches.items())

    def save(self, stretches: Iterable[Stretch], watch: Span) -> None:
        self._stretches |= {stretch.key: stretch for stretch in stretches}
        self._watches[watch[0]] = watch[1]

    def drop(self, keys: Iterable[tuple[str, int]], watched_before_ms: int) -> None:
        for key in keys:
            self._stretches.pop(key, None)
        self._watches = {start: end for start, end in self._watches.items() if end >= watched_before_ms}
