"""What an Attempt took, measured in the process that does the work; and what the machine has."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from bithive.clock import Clock, process_cpu_s
from bithive.limits import GIB

_PROC = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")
_RESERVE_BYTES_MIN = 3 * GIB // 2
_RESERVE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """Integers of a Receipt.

    Attributes
    ----------
    started_ms
        Milliseconds since the epoch.
    wall_ms, cpu_ms
        Elapsed time, at least 1; processor time of all threads of the process.
    gpu_ms
        How long a GPU was held: the elapsed time on a GPU, 0 on a CPU.
    peak_memory_bytes
        Largest resident size of the process since the start of the Attempt where Linux can say, else ever.
    """

    started_ms: int
    wall_ms: int
    cpu_ms: int
    gpu_ms: int
    peak_memory_bytes: int


class Meter:
    """Measures from its making until `read`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        with suppress(OSError):
            (_PROC / "clear_refs").write_text("5")  # resets VmHWM (proc(5))
        self._started_ms, self._wall_s, self._cpu_s = clock.now_ms(), clock.monotonic_s(), process_cpu_s()

    def read(self, *, on_gpu: bool) -> Measured:
        """What it took so far."""
        wall_ms = max(1, round((self._clock.monotonic_s() - self._wall_s) * 1000))
        cpu_ms = max(0, round((process_cpu_s() - self._cpu_s) * 1000))
        return Measured(self._started_ms, wall_ms, cpu_ms, wall_ms if on_gpu else 0, peak_memory_bytes())


def peak_memory_bytes() -> int:
    """Largest resident size of this process."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "status").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def threads() -> int:
    """Processor threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Main memory of the machine, or as much of it as its control group may take (Linux, cgroup v2 `memory.max`)."""
    limits = [limit for _, limit in _cgroup_limits(cgroup)]
    return min([int(psutil.virtual_memory().total), *limits])


def free_bytes(cgroup: Path = _CGROUP) -> int:
    """What a process could take now without anything else having to make room; caches of files count as free."""
    rooms = [max(0, limit - _cgroup_used(folder)) for folder, limit in _cgroup_limits(cgroup)]
    return min([int(psutil.virtual_memory().available), *rooms])


def slot_memory_bytes(wanted: int, slots: int, machine: int) -> int:
    """What one Attempt may take.

    Parameters
    ----------
    wanted
        As set by the operator; 0 for an equal share of what is left beside a reserve for the machine itself, the agent
        and Ray: the larger of a tenth and 1.5 GiB.
    slots
        Attempts at once.
    machine
        Main memory of the machine.
    """
    if wanted:
        return min(wanted, machine)
    reserve = max(_RESERVE_BYTES_MIN, round(machine * _RESERVE_SHARE))
    return max(0, machine - reserve) // slots


def resident_bytes() -> int:
    """Resident size of this process now."""
    return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Return memory that is no longer used to the machine: collect what is unreachable, trim the heap (glibc)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _cgroup_limits(root: Path) -> Iterator[tuple[Path, int]]:
    """Each control group around this process that has a limit: its folder and the limit."""
    own = ""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "cgroup").read_text().splitlines()
        own = next(line[3:] for line in lines if line.startswith("0::")).strip("/")
    folder = root / own if (root / own).is_dir() else root
    while True:
        with suppress(OSError, ValueError):
            yield folder, int((folder / "memory.max").read_text())  # "max": no limit
        if folder == root:
            return
        folder = folder.parent


def _cgroup_used(folder: Path) -> int:
    """What a control group takes, caches of files left out."""
    with suppress(OSError, ValueError):
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, used - int(stat.get("inactive_file", 0)))
    return 0


def gpus() -> int:
    """NVIDIA GPUs of the machine, by NVML where its binding is installed."""
    if find_spec("pynvml") is None:
        return 0
    import pynvml  # type: ignore[import-not-found, unused-ignore]

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
