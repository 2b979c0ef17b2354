"""The transactional outbox: an event leaves with the commit that made it, and is taken once.

A producer appends events in the same transaction as the change they speak of. A `Relay` hands them, in order, to a
taker that must be idempotent on `key`; an event is marked taken only after the taker returned. A taker that fails is
asked again later and never blocks the producer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bithive.log import get


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    topic
        Dotted name in the past tense: `attempt.accepted`.
    key
        What makes it unique, for ever: the taker's idempotency key.
    body
        Plain values only.
    seq
        Its place in the outbox; 0 before it is stored.
    """

    topic: str
    key: str
    body: dict[str, Any]
    seq: int = 0


class Outbox(Protocol):
    """Events that wait to be taken."""

    def waiting(self, limit: int = 100) -> list[Event]:
        """The oldest events not yet taken, in order."""

    def taken(self, seq: int) -> None:
        """Mark one as taken."""


class MemoryOutbox:
    """An outbox in a list: for tests and demonstrations."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._taken: set[int] = set()
        self._keys: set[tuple[str, str]] = set()

    def append(self, event: Event) -> None:
        """Store an event; the same topic and key twice is one event."""
        if (event.topic, event.key) not in self._keys:
            self._keys.add((event.topic, event.key))
            self._events.append(Event(event.topic, event.key, event.body, len(self._events) + 1))

    def waiting(self, limit: int = 100) -> list[Event]:
        return [event for event in self._events if event.seq not in self._taken][:limit]

    def taken(self, seq: int) -> None:
        self._taken.add(seq)


class Relay:
    """Hands the events of one outbox to one taker.

    Parameters
    ----------
    outbox
        Where events wait.
    take
        Called with each event, in order; idempotent on its key.
    """

    def __init__(self, outbox: Outbox, take: Callable[[Event], None]) -> None:
        self._outbox, self._take = outbox, take

    def drain(self) -> int:
        """Hand over what waits, until one fails or none is left; how many were taken."""
        count = 0
        while batch := self._outbox.waiting():
            for event in batch:
                try:
                    self._take(event)
                except Exception as error:  # noqa: BLE001 - whatever a taker does, the event is kept and asked again
                    get().warning("event.refused", kind=event.topic, seq=event.seq, exc_info=error)
                    return count
                self._outbox.taken(event.seq)
                count += 1
        return count
