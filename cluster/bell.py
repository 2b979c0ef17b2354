"""How threads that change something wake event loops that wait for it, without asking again and again."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from contextlib import suppress


class Bell:
    """Counts rings by name; a waiter names the count it has seen, so that no ring is missed between look and wait."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)
        self._lock = threading.Lock()
        self._closed = False

    def count(self, name: str) -> int:
        """How often it rang."""
        with self._lock:
            return self._counts[name]

    def ring(self, name: str) -> None:
        """Wake everyone who waits for that name. From any thread."""
        with self._lock:
            self._counts[name] += 1
            waiting = self._waiting.pop(name, set())
        for loop, event in waiting:
            with suppress(RuntimeError):  # the loop of a server that has ended
                loop.call_soon_threadsafe(event.set)

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def close(self) -> None:
        """Wake everyone, and let nobody wait any more: the server is asked to stop."""
        self._closed = True
        for name in list(self._waiting):
            self.ring(name)

    async def wait(self, name: str, seen: int, timeout_s: float) -> bool:
        """Wait until it rang more often than `seen`; whether it did within the time."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            if self._counts[name] > seen or self._closed:
                return True
            self._waiting[name].add(entry)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting[name].discard(entry)
        return True
