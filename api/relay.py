"""Threads of the hub: each runs one function again and again, until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bithive.log import get

PAUSE_AFTER_FAILURE_S = (0.2, 1.0, 5.0)


class Loop:
    """Calls `tick`, waits for as long as it says or until woken, and calls it again.

    A tick that raises is logged by type and place, and tried again after a growing pause: what it works on is in a
    database, so nothing is lost by trying later.

    Parameters
    ----------
    name
        The thread's name.
    tick
        Does what is due; the seconds until it wants to be called again.
    """

    def __init__(self, name: str, tick: Callable[[], float]) -> None:
        self.name, self._tick = name, tick
        self._wake, self._stopping = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Call `tick` soon, from whichever thread."""
        self._wake.set()

    def halt(self) -> None:
        """End after the tick that is running, if any; does not wait for it."""
        self._stopping = True
        self._wake.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End, and wait for it."""
        self.halt()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def is_well(self) -> bool:
        """Whether the thread lives and its last tick did not raise."""
        return self._thread is not None and self._thread.is_alive() and self._failures == 0

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause_s = self._once()
            if not self._stopping:
                self._wake.wait(pause_s)

    def _once(self) -> float:
        try:
            pause_s = self._tick()
        except Exception as error:  # noqa: BLE001 - the loop outlives whatever one tick meets
            get().error("loop.failed", kind=self.name, attempts=self._failures + 1, exc_info=error)
            pause_s = PAUSE_AFTER_FAILURE_S[min(self._failures, len(PAUSE_AFTER_FAILURE_S) - 1)]
            self._failures += 1
            return pause_s
        self._failures = 0
        return pause_s
