"""How fast bytes come and go between a machine and the hub: the contributor's bound on it, and what there is."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx2

from bithive.clock import Clock
from bithive.limits import PROBE_BYTES_MAX
from cluster.errors import NetworkUnreachable

BURST_S = 0.25
"""How much may pass at once, as the time that it takes at the bound: short requests are not held up."""

_PIECE_S_MAX = 5.0


class Throttle:
    """A bound on bits per second, shared by everything that passes through. For any thread.

    What passes is counted first and waited for after, so a piece larger than the burst is let through and paid for
    before the next: the mean keeps the bound whatever the pieces are.

    Parameters
    ----------
    bits_per_s
        The bound; 0 for none.
    clock
        Time.
    pause
        Waits so many seconds; a real wait unless a test says otherwise.
    """

    def __init__(self, bits_per_s: int, clock: Clock, pause: Callable[[float], object] | None = None) -> None:
        self._bits_per_s, self._clock = bits_per_s, clock
        self._pause = pause or threading.Event().wait
        self._due_s = clock.monotonic_s()
        self._lock = threading.Lock()

    def pace(self, size_bytes: int) -> None:
        """So many bytes pass: wait as long as the bound wants, at most 5 s for one piece."""
        wait_s = self.owed_s(size_bytes)
        if wait_s > 0:
            self._pause(wait_s)

    def owed_s(self, size_bytes: int) -> float:
        """Count so many bytes; how long to wait before more, in seconds."""
        with self._lock:
            if not self._bits_per_s:
                return 0.0
            now_s = self._clock.monotonic_s()
            self._due_s = max(self._due_s, now_s - BURST_S) + size_bytes * 8 / self._bits_per_s
            return min(_PIECE_S_MAX, max(0.0, self._due_s - now_s))

    def change(self, bits_per_s: int) -> None:
        """Another bound from now on."""
        with self._lock:
            self._bits_per_s, self._due_s = bits_per_s, self._clock.monotonic_s()


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Between a machine and the hub, in bits per second, and the time there and back in milliseconds."""

    down_bps: int
    up_bps: int
    round_trip_ms: float

    @property
    def words(self) -> str:
        """For a person."""
        down, up = self.down_bps / 1e6, self.up_bps / 1e6
        return f"{down:,.1f} Mbit/s from the hub, {up:,.1f} Mbit/s to it, {self.round_trip_ms:.0f} ms there and back"


def measure(client: httpx2.Client, clock: Clock, size_bytes: int = PROBE_BYTES_MAX // 2) -> Bandwidth:
    """Fetch and send some bytes.

    Parameters
    ----------
    client
        With the address of the protocol's version 2 at the hub and the cell's credential.
    clock
        Measures.
    size_bytes
        Of each probe.

    Raises
    ------
    NetworkUnreachable
        If nobody answers, or something else does.
    """
    try:
        client.get("/probe/1").raise_for_status()  # connects
        trip_s = min(_timed(clock, partial(client.get, "/probe/1")) for _ in range(3))
        down_s = _timed(clock, partial(client.get, f"/probe/{size_bytes}"))
        up_s = _timed(clock, partial(client.post, "/probe", content=secrets.token_bytes(size_bytes)))
    except httpx2.HTTPError as error:
        raise NetworkUnreachable from error
    down_bps, up_bps = (round(size_bytes * 8 / max(1e-4, took_s - trip_s)) for took_s in (down_s, up_s))
    return Bandwidth(down_bps, up_bps, trip_s * 1000)


def _timed(clock: Clock, request: Callable[[], httpx2.Response]) -> float:
    begun_s = clock.monotonic_s()
    request().raise_for_status()
    return clock.monotonic_s() - begun_s
