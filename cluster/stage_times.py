"""How long each stage of an Attempt took, as its cell tells the network side beside the findings.

A cell sends words of `STAGES` and whole milliseconds, never times of day nor anything of its own choosing: the network
side lays them out within the interval that it measured itself. What is malformed counts as not said.
"""

from __future__ import annotations

from bithive.clock import Clock
from cluster.attempt import STAGES

STAGES_HEADER = "BitHive-Stages"
TEXT_LENGTH_MAX = 512
_DURATION_MS_MAX = 10**8


class StageTimes:
    """Adds up where the time of one Attempt goes.

    Parameters
    ----------
    clock
        Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent_s: dict[str, float] = {}
        self._stage, self._since_s = "", clock.monotonic_s()

    def enter(self, stage: str) -> None:
        """The work is at this stage now; a word that is not in `STAGES` is left out."""
        now_s = self._clock.monotonic_s()
        if self._stage:
            self._spent_s[self._stage] = self._spent_s.get(self._stage, 0.0) + now_s - self._since_s
        self._stage, self._since_s = stage if stage in STAGES else "", now_s

    def text(self) -> str:
        """The value of `STAGES_HEADER`, up to now."""
        self.enter(self._stage)
        return ", ".join(f"{stage}={round(spent_s * 1000)}" for stage, spent_s in self._spent_s.items())


def parse(text: str) -> tuple[tuple[str, int], ...]:
    """Stages and milliseconds in the order of `text`; nothing when any of it is malformed or said twice."""
    if not 0 < len(text) <= TEXT_LENGTH_MAX:
        return ()
    pairs = [part.strip().partition("=") for part in text.split(",")]
    stages = [stage for stage, _, _ in pairs]
    if len(set(stages)) != len(stages) or not set(stages) <= set(STAGES):
        return ()
    if not all(spent.isascii() and spent.isdigit() and len(spent) <= 9 for _, _, spent in pairs):
        return ()
    return tuple((stage, min(int(spent), _DURATION_MS_MAX)) for stage, _, spent in pairs)
