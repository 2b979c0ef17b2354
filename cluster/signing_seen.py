"""Which signed requests were taken already: each is good once, and only for a minute."""

from __future__ import annotations

import threading
from collections import deque

from bithive.clock import Clock
from bithive.limits import SIGNATURE_AGE_S, SIGNATURES_SEEN_MAX
from cluster.errors import SignatureReplayed
from cluster.signing import Signed


class Seen:
    """The signatures of the last minutes, in memory.

    What was signed before this process started is not taken: it may have been taken by the one before. Whoever is
    honest signs again.

    Parameters
    ----------
    clock
        What time it is here; a signer's clock may differ by `age_s`.
    age_s
        How far a signature's time may be from ours, either way.
    count_max
        Signatures remembered; beyond that the oldest is forgotten and nothing as old as it is taken any more.
    """

    def __init__(self, clock: Clock, age_s: float = SIGNATURE_AGE_S, count_max: int = SIGNATURES_SEEN_MAX) -> None:
        self._clock, self._age_s, self._count_max = clock, age_s, count_max
        self._floor_s = clock.now_ms() // 1000
        self._seen: set[tuple[str, str]] = set()
        self._order: deque[tuple[int, int, tuple[str, str]]] = deque()
        self._lock = threading.Lock()

    def take(self, signed: Signed) -> None:
        """Take a signature that holds. Raises `SignatureReplayed` with the time here, so that a clock can be put right."""
        now_ms = self._clock.now_ms()
        place = (signed.key, signed.nonce)
        with self._lock:
            self._forget(now_ms // 1000)
            if place in self._seen:
                raise SignatureReplayed("the request was seen before", now_ms=now_ms)
            if abs(signed.created_s - now_ms / 1000) > self._age_s + 1 or signed.created_s < self._floor_s:
                raise SignatureReplayed("the request is too old or too new", now_ms=now_ms)
            self._seen.add(place)
            self._order.append((now_ms // 1000, signed.created_s, place))
            while len(self._order) > self._count_max:
                _, created_s, oldest = self._order.popleft()
                self._seen.discard(oldest)
                self._floor_s = max(self._floor_s, created_s + 1)

    def _forget(self, now_s: int) -> None:
        # A signature may be a whole window ahead of our clock when it comes, and is good until one behind.
        while self._order and self._order[0][0] + 2 * self._age_s + 2 < now_s:
            self._seen.discard(self._order.popleft()[2])
