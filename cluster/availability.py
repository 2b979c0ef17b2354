"""Whether a machine takes work now: what its contributor asked, its timetable, and whether somebody uses it.

Two tables: what a contributor's word does to the wish, and what wish, window and use come to together. Nothing here
waits or reads a clock of its own, so a year of a machine's life is a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bithive.clock import Clock
from bithive.errors import IllegalTransition
from cluster.protocol_node import NodeState
from cluster.timetable import Timetable

LEAD_MS_MIN = 60_000
LEAD_MS_MAX = 2 * 3_600_000
_LEAD_MARGIN = 1.25


class Wish(StrEnum):
    """What the contributor wants. Kept across restarts."""

    RUN = "run"
    PAUSE = "pause"
    DRAIN = "drain"
    LEAVE = "leave"


class Window(StrEnum):
    """Where the present lies in the timetable."""

    OPEN = "open"
    CLOSING = "closing"
    """The window ends before the longest Attempt of late would."""
    CLOSED = "closed"


WISHES: dict[tuple[Wish, str], Wish] = {
    (Wish.RUN, "pause"): Wish.PAUSE,
    (Wish.RUN, "drain"): Wish.DRAIN,
    (Wish.RUN, "leave"): Wish.LEAVE,
    (Wish.RUN, "resume"): Wish.RUN,
    (Wish.PAUSE, "pause"): Wish.PAUSE,
    (Wish.PAUSE, "drain"): Wish.DRAIN,
    (Wish.PAUSE, "leave"): Wish.LEAVE,
    (Wish.PAUSE, "resume"): Wish.RUN,
    (Wish.DRAIN, "drain"): Wish.DRAIN,
    (Wish.DRAIN, "leave"): Wish.LEAVE,
    (Wish.DRAIN, "resume"): Wish.RUN,
    (Wish.LEAVE, "leave"): Wish.LEAVE,
}
"""After `leave` there is no way back but to start again; a drained machine is resumed, not paused."""

_ASKED, _TIMETABLE, _USED, _NOTHING = "asked", "timetable", "in-use", ""

# What wish, window and use (by somebody else) come to: the state and why.
STATES: dict[tuple[Wish, Window, bool], tuple[NodeState, str]] = {
    (Wish.RUN, Window.OPEN, False): (NodeState.UP, _NOTHING),
    (Wish.RUN, Window.OPEN, True): (NodeState.PAUSED, _USED),
    **{(Wish.RUN, Window.CLOSING, used): (NodeState.DRAINING, _TIMETABLE) for used in (False, True)},
    **{(Wish.RUN, Window.CLOSED, used): (NodeState.AWAY, _TIMETABLE) for used in (False, True)},
    **{(Wish.PAUSE, Window.OPEN, used): (NodeState.PAUSED, _ASKED) for used in (False, True)},
    **{(Wish.PAUSE, Window.CLOSING, used): (NodeState.DRAINING, _TIMETABLE) for used in (False, True)},
    **{(Wish.PAUSE, Window.CLOSED, used): (NodeState.AWAY, _TIMETABLE) for used in (False, True)},
    **{
        (wish, window, used): (NodeState.DRAINING, _ASKED)
        for wish in (Wish.DRAIN, Wish.LEAVE)
        for window in Window
        for used in (False, True)
    },
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What a machine does now.

    Attributes
    ----------
    state
        As the network side is told.
    why
        `asked`, `timetable`, `in-use`; empty while it is up.
    until_ms
        When the timetable changes it, if it does; milliseconds since the epoch.
    """

    state: NodeState
    why: str
    until_ms: int | None

    def to_json(self) -> dict[str, Any]:
        return {"state": str(self.state), "why": self.why, "until_ms": self.until_ms}


class Availability:
    """Whether this machine takes work. For any thread.

    Parameters
    ----------
    clock
        Time.
    timetable
        When it is lent.
    used
        The sign by which somebody uses it now, empty for none; not asked unless it matters.
    wish
        What the contributor asked last.
    keep
        Keeps a new wish across restarts.
    """

    def __init__(
        self,
        clock: Clock,
        timetable: Timetable | None = None,
        used: Callable[[], str] = str,
        wish: Wish = Wish.RUN,
        keep: Callable[[Wish], None] = lambda _wish: None,
    ) -> None:
        self._clock, self._timetable, self._used = clock, timetable or Timetable(), used
        self._wish, self._keep = wish, keep
        self._busy, self._longest_ms = 0, 0
        self._lock = threading.Lock()

    @property
    def wish(self) -> Wish:
        """What the contributor asked last."""
        return self._wish

    @property
    def timetable(self) -> Timetable:
        """When the machine is lent."""
        return self._timetable

    def ask(self, word: str) -> Standing:
        """The contributor says `pause`, `resume`, `drain` or `leave`. Raises `IllegalTransition`."""
        with self._lock:
            wish = WISHES.get((self._wish, word))
            if wish is None:
                raise IllegalTransition(f"after {self._wish} there is no {word}")
            if wish is not self._wish:
                self._keep(wish)
            self._wish = wish
        return self.state()

    def change(self, timetable: Timetable, used: Callable[[], str]) -> Standing:
        """From now on under another timetable, and another way to see use."""
        with self._lock:
            self._timetable, self._used = timetable, used
        return self.state()

    def began(self) -> None:
        """An Attempt runs."""
        with self._lock:
            self._busy += 1

    def ended(self, took_s: float) -> None:
        """An Attempt has ended; how long it took says how early to stop before a window's end."""
        with self._lock:
            self._busy -= 1
            assert self._busy >= 0, "it began before it ended"
            # What was long once and never again is forgotten by and by.
            self._longest_ms = max(round(took_s * 1000), self._longest_ms * 15 // 16)

    @property
    def busy(self) -> int:
        """Attempts that run."""
        return self._busy

    @property
    def lead_ms(self) -> int:
        """How long before a window's end nothing new is taken, in milliseconds."""
        return min(LEAD_MS_MAX, max(LEAD_MS_MIN, round(self._longest_ms * _LEAD_MARGIN)))

    def state(self, now_ms: int | None = None) -> Standing:
        """What the machine does at an instant (milliseconds since the epoch), now unless said otherwise."""
        at = self._clock.now_ms() if now_ms is None else now_ms
        with self._lock:
            table, wish, busy, used_of = self._timetable, self._wish, self._busy, self._used
        change = table.next_change_ms(at)
        window = Window.CLOSED if not table.open_at(at) else Window.OPEN
        if window is Window.OPEN and change is not None and change - at <= self.lead_ms:
            window = Window.CLOSING
        used = wish is Wish.RUN and window is Window.OPEN and bool(used_of())
        state, why = STATES[wish, window, used]
        if state is NodeState.DRAINING and busy == 0:
            state = NodeState.AWAY
        return Standing(state, why, change)
