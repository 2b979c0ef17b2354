"""What goes wrong in a year: a wall clock that is set, a store that fails or dies, a post that loses and repeats."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bithive.outbox import Event
from economy.errors import LedgerUnavailable

_HOUR_MS = 3_600_000


class WallClock:
    """A clock that moves only when told to, also back, as a machine's does when it is set."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = self._start_ms = now_ms
        self._gone_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._gone_ms / 1000

    def advance_ms(self, ms: int) -> None:
        """Time passes."""
        self._now_ms += ms
        self._gone_ms += ms

    def set_ms(self, now_ms: int) -> None:
        """Somebody sets the clock; no time passes."""
        self._now_ms = now_ms

    async def sleep(self, seconds: float) -> None:
        self.advance_ms(round(seconds * 1000))
        await asyncio.sleep(0)


class FaultyStore:
    """A store as one process sees it. Everything but the faults goes to the store within.

    Attributes
    ----------
    down
        Nothing can be read or written.
    lose_answer
        The next write is kept, and its caller is told that the ledger is not available.
    writes_left
        So many more writes, then the process is dead: `down` for good.
    """

    def __init__(self, within: Any, release: Callable[[], None]) -> None:
        self._within, self._release = within, release
        self.down = self.lose_answer = self.dead = False
        self.writes_left: int | None = None

    def __getattr__(self, name: str) -> Any:
        self._alive()
        return getattr(self._within, name)

    def _alive(self) -> None:
        if self.down or self.dead:
            raise LedgerUnavailable

    def _before_write(self) -> None:
        self._alive()
        if self.writes_left == 0:
            self.dead = True
            raise LedgerUnavailable

    def _after_write(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
        if self.lose_answer:
            self.lose_answer = False
            raise LedgerUnavailable

    @contextmanager
    def writing(self) -> Iterator[Any]:
        self._before_write()
        with self._within.writing() as transaction:
            yield transaction
        self._after_write()

    def add_seal(self, *words: Any, **more: Any) -> None:
        self._before_write()
        self._within.add_seal(*words, **more)
        self._after_write()

    def close(self) -> None:
        self.dead = True
        self._release()


@dataclass(frozen=True, slots=True)
class Weather:
    """How often what goes wrong, as probabilities.

    Attributes
    ----------
    lost, doubled, late
        Of an event: sent again after hours; delivered once more later; weeks under way.
    refused
        Of a delivery: the ledger is not available, before or after its first write.
    outage, kill_taking, kill_closing, clock_set
        Of a step: nothing is reachable; the process dies among deliveries, or during an epoch's close; somebody sets
        the clock.
    """

    lost: float = 0.02
    doubled: float = 0.03
    late: float = 0.003
    refused: float = 0.005
    outage: float = 0.02
    kill_taking: float = 0.01
    kill_closing: float = 0.3
    clock_set: float = 0.01


FAIR = Weather(0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class Courier:
    """Delivers events as a bad network does: late, twice, out of order; but each in the end.

    Attributes
    ----------
    counts
        Of each thing that happened to an event.
    """

    chance: random.Random
    weather: Weather
    counts: dict[str, int]
    _under_way: list[tuple[int, int, Event]] = field(default_factory=list)
    _sent: int = 0

    def send(self, event: Event, now_ms: int) -> None:
        """Take an event that its producer has committed."""
        chance, delay_ms = self.chance, int(self.chance.expovariate(1 / 20_000))
        if chance.random() < self.weather.lost:
            self.counts["lost"] += 1
            delay_ms += chance.randrange(_HOUR_MS, 30 * _HOUR_MS)
        elif chance.random() < self.weather.late:
            self.counts["late"] += 1
            delay_ms += chance.randrange(3 * 24 * _HOUR_MS, 45 * 24 * _HOUR_MS)
        self._put(event, now_ms + delay_ms)

    def deliver(self, now_ms: int, take: Callable[[Event], None]) -> None:
        """Hand over what is due, in the order in which it happens to come."""
        while self._under_way and self._under_way[0][0] <= now_ms:
            _, _, event = heapq.heappop(self._under_way)
            try:
                take(event)
            except LedgerUnavailable:
                self.counts["asked again"] += 1
                self._put(event, now_ms + self.chance.randrange(1, 2 * _HOUR_MS))
                continue
            self.counts["taken"] += 1
            if self.chance.random() < self.weather.doubled:
                self.counts["doubled"] += 1
                self._put(event, now_ms + self.chance.randrange(1, 48 * _HOUR_MS))

    def flush(self, now_ms: int) -> None:
        """Let everything still under way arrive now, once."""
        self.weather = FAIR
        self._under_way = [(now_ms, number, event) for _, number, event in sorted(self._under_way)]

    @property
    def waiting(self) -> int:
        return len(self._under_way)

    def _put(self, event: Event, when_ms: int) -> None:
        self._sent += 1
        heapq.heappush(self._under_way, (when_ms, self._sent, event))
