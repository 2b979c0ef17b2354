"""Where counter-receipts and findings seen before are kept: the port, and the store in memory.

Both are written by `Store.commit`, in the transaction of the change that they speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.chain import Head
from cluster.counter import CounterReceipt
from cluster.duplicates import Sighting


@dataclass(frozen=True, slots=True)
class Noted:
    """What a change notes of a Receipt.

    Attributes
    ----------
    counter
        The counter-receipt. Another may have taken its place in the chain meanwhile: the change is then `Stale`.
    sighting
        Findings to remember, if they are new of this input.
    """

    counter: CounterReceipt | None = None
    sighting: Sighting | None = None


class ChainStore(Protocol):
    """Counter-receipts by subject, and findings seen before."""

    def head(self, subject: str) -> Head:
        """Where a subject's chain ends."""

    def counters(self, subject: str, after: int = 0, limit: int = 100) -> Sequence[CounterReceipt]:
        """A subject's counter-receipts beyond a sequence number, in order."""

    def of_attempt(self, attempt_id: str) -> Sequence[CounterReceipt]:
        """What was said of one Attempt's Receipts, oldest first."""

    def twin(self, sighting: Sighting) -> Sighting | None:
        """The first sighting of the same findings of the same bundle for another input, or None."""

    def forget(self, period: int) -> None:
        """Delete every sighting of another period: its key is gone."""


class MemoryChainStore:
    """Both in dictionaries: for tests and simulations."""

    def __init__(self) -> None:
        self._chains: dict[str, list[CounterReceipt]] = {}
        self._said: dict[tuple[str, str], CounterReceipt] = {}
        self._sightings: dict[tuple[str, str], dict[str, Sighting]] = {}

    def head(self, subject: str) -> Head:
        chain = self._chains.get(subject)
        return Head(chain[-1].sequence, chain[-1].digest) if chain else Head()

    def counters(self, subject: str, after: int = 0, limit: int = 100) -> Sequence[CounterReceipt]:
        return self._chains.get(subject, [])[after : after + limit]

    def of_attempt(self, attempt_id: str) -> Sequence[CounterReceipt]:
        found = (counter for (of, _), counter in self._said.items() if of == attempt_id)
        return sorted(found, key=lambda counter: (counter.arrived_ms, counter.sequence))

    def twin(self, sighting: Sighting) -> Sighting | None:
        same = self._sightings.get((sighting.bundle_sha256, sighting.findings), {})
        return next((item for part, item in same.items() if part != sighting.input_part), None)

    def forget(self, period: int) -> None:
        for place, same in list(self._sightings.items()):
            self._sightings[place] = {part: item for part, item in same.items() if item.period == period}

    def fits(self, noted: Noted) -> bool:
        """Whether nobody took the place, and nobody has given this verdict."""
        counter = noted.counter
        if counter is None:
            return True
        said = (counter.attempt_id, counter.verdict) in self._said
        return not said and counter.sequence == self.head(counter.subject).sequence + 1

    def note(self, noted: Noted) -> None:
        """Write it."""
        counter, sighting = noted.counter, noted.sighting
        if counter is not None:
            self._chains.setdefault(counter.subject, []).append(counter)
            self._said[counter.attempt_id, counter.verdict] = counter
        if sighting is not None:
            same = self._sightings.setdefault((sighting.bundle_sha256, sighting.findings), {})
            same.setdefault(sighting.input_part, sighting)
