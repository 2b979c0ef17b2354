"""The one clock. Nothing else may import `time` or ask `datetime` for the present."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC. For records; may jump."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never go back. For durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to: for tests and simulations."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._start_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return (self._now_ms - self._start_ms) / 1000

    def advance_s(self, seconds: float) -> None:
        assert seconds >= 0, "time does not go back"
        self._now_ms += round(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        self.advance_s(seconds)
        await asyncio.sleep(0)


def process_cpu_s() -> float:
    """Seconds of processor time this process has used (all threads)."""
    return time.process_time()


def as_utc(ms: int) -> datetime:
    """Milliseconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def as_iso(ms: int) -> str:
    """ISO 8601 with milliseconds and `Z`."""
    return as_utc(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
