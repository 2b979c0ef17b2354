"""Whether somebody else uses this machine right now.

What is measured, and what is not: processor time that is not ours (`/proc/stat` less our own processes, proc(5)), the
share of time in which somebody waited for a processor while little of the load was ours (`/proc/pressure/cpu`, PSI),
and how long ago a terminal of somebody who is logged in was last read from (as `w` does; consoles, SSH, desktops that
register one). A desktop that only moves its pointer and registers no terminal is seen by its processor time alone.
Nothing is recorded and nothing leaves the machine but the word `paused`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bithive.clock import Clock

_PROC = Path("/proc")
_STAT_IDLE_FIELDS = (3, 4)  # idle, iowait
_GUEST_FIELDS = 8  # guest times are contained in user times


@dataclass(frozen=True, slots=True)
class Counters:
    """Processor time since the start of the machine, in clock ticks: all that passed, all that was used, all of ours."""

    total: int
    busy: int
    ours: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the machine.

    Attributes
    ----------
    others_share
        Of all processors, what others than we used since the look before; 0 to 1.
    pressure_share
        Of the last 10 seconds, in which somebody waited for a processor; 0 to 1; 0 where the kernel does not say.
    input_idle_s
        Since somebody's terminal was last read from; None when nobody is logged in.
    """

    others_share: float
    pressure_share: float
    input_idle_s: float | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """What counts as use.

    Attributes
    ----------
    others_share
        More than this of the processors for others.
    pressure_share, pressure_others_share
        Waiting for more than the first while others use more than the second: we are in their way.
    input_s
        A terminal was read from within so many seconds.
    quiet_s
        How long nothing of it must be seen until the machine counts as free again.
    """

    others_share: float = 0.25
    pressure_share: float = 0.4
    pressure_others_share: float = 0.1
    input_s: float = 120.0
    quiet_s: float = 300.0


def reason(reading: Reading, threshold: Threshold) -> str:
    """Which sign of use a reading holds: `input`, `load`, `pressure`; empty for none."""
    signs = (
        ("input", reading.input_idle_s is not None and reading.input_idle_s < threshold.input_s),
        ("load", reading.others_share > threshold.others_share),
        (
            "pressure",
            reading.pressure_share > threshold.pressure_share
            and reading.others_share > threshold.pressure_others_share,
        ),
    )
    return next((word for word, seen in signs if seen), "")


class UseWatch:
    """Whether the machine is in use, with a memory: quick to see it, slow to call it free.

    Parameters
    ----------
    clock
        Time.
    look
        One look at the machine.
    threshold
        What counts as use.
    every_s
        At most so often is looked; questions between are answered from the last look.
    """

    def __init__(
        self, clock: Clock, look: Callable[[], Reading], threshold: Threshold | None = None, every_s: float = 5.0
    ) -> None:
        self._clock, self._look, self._every_s = clock, look, every_s
        self._threshold = threshold or Threshold()
        self._looked_s: float | None = None
        self._seen_s: float | None = None
        self._why = ""
        self.reading = Reading(0.0, 0.0, None)

    def used(self) -> str:
        """The sign by which the machine counts as used; empty while it is free."""
        now_s = self._clock.monotonic_s()
        if self._looked_s is None or now_s - self._looked_s >= self._every_s:
            self._looked_s, self.reading = now_s, self._look()
            why = reason(self.reading, self._threshold)
            if why:
                self._seen_s, self._why = now_s, why
        if self._seen_s is None or now_s - self._seen_s >= self._threshold.quiet_s:
            return ""
        return self._why


class MachineLook:
    """Reads this machine. The first look has nothing to compare with and sees no load.

    Parameters
    ----------
    clock
        Says how long ago a terminal was read from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._before = clock, None

    _before: Counters | None

    def __call__(self) -> Reading:
        now, before = counters(), self._before
        self._before = now
        return Reading(others_share(before, now) if before else 0.0, pressure_share(), self._input_idle_s())

    def _input_idle_s(self) -> float | None:
        now_s = self._clock.now_ms() / 1000
        return min((max(0.0, now_s - read_s) for read_s in _terminals_read_s()), default=None)


def others_share(before: Counters, now: Counters) -> float:
    """Of all processor time between two counts, what neither was idle nor ours."""
    total = now.total - before.total
    if total <= 0:
        return 0.0
    others = (now.busy - before.busy) - max(0, now.ours - before.ours)
    return min(1.0, max(0.0, others / total))


def counters(proc: Path = _PROC) -> Counters:
    """The machine's processor time now, and that of this process with everything it has started."""
    fields = [int(word) for word in (proc / "stat").read_text().split("\n", 1)[0].split()[1:]][:_GUEST_FIELDS]
    total = sum(fields)
    return Counters(total, total - sum(fields[index] for index in _STAT_IDLE_FIELDS), _our_ticks())


def pressure_share(path: Path = _PROC / "pressure" / "cpu") -> float:
    """The `some avg10` of PSI as a share; 0 where the kernel keeps none."""
    with suppress(OSError, ValueError, IndexError):
        some = path.read_text().splitlines()[0].split()
        return float(some[1].removeprefix("avg10=")) / 100
    return 0.0


def _our_ticks() -> int:
    """Of this process and its descendants; of those that ended, what their parents have waited for."""
    own = psutil.Process()
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return round(ticks_per_s * sum(_cpu_s(process) for process in [own, *own.children(recursive=True)]))


def _cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _terminals_read_s() -> Iterable[float]:
    """For each terminal that somebody is logged in at: when it was last read from, seconds since the epoch."""
    with suppress(psutil.Error, OSError):
        for user in psutil.users():
            with suppress(OSError):
                yield (Path("/dev") / (user.terminal or "")).stat().st_atime if user.terminal else 0.0
