"""What an Attempt took, measured in the process that does the work or from outside it; and what the machine has."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from bithive.clock import Clock, process_cpu_s
from bithive.limits import GIB
from bithive.receipt import INSIDE, OUTSIDE
from cluster import gpu_nvml

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
        How long a GPU computed for it, as NVML says; where NVML cannot say, how long it was held: the elapsed time. 0 on
        a processor.
    peak_memory_bytes
        Largest resident size of the process since the start of the Attempt where Linux can say, else ever.
    gpu_name, gpu_memory_bytes
        The graphics processor and the most of its memory that the process was seen to have; empty and 0 without one,
        or where NVML cannot say.
    meter
        `bithive.receipt.OUTSIDE` when another process measured it than the one that did the work, else `INSIDE`.
    """

    started_ms: int
    wall_ms: int
    cpu_ms: int
    gpu_ms: int
    peak_memory_bytes: int
    gpu_name: str = ""
    gpu_memory_bytes: int = 0
    meter: str = INSIDE


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


class Watched:
    """Another process of this machine, as the kernel accounts for it (proc(5)); what it says of itself does not count.

    Its files are opened once, while it is still willing to show them: they go on saying the truth when it gives up being
    looked into, and never speak of a later process of the same number.

    Parameters
    ----------
    pid
        Of a process that has just begun.
    """

    def __init__(self, pid: int) -> None:
        folder = f"/proc/{pid}/"
        self._stat, self._status = (os.open(folder + name, os.O_RDONLY | os.O_CLOEXEC) for name in ("stat", "status"))
        self._forget = -1
        with suppress(OSError):
            self._forget = os.open(folder + "clear_refs", os.O_WRONLY | os.O_CLOEXEC)

    def cpu_ms(self) -> int:
        """Processor time of all of its threads, those that have ended included. Raises `OSError` if it is gone."""
        fields = os.pread(self._stat, 4096, 0).rpartition(b")")[2].split()
        if len(fields) < 13:
            raise ProcessLookupError
        return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")

    def status(self) -> dict[str, str]:
        """The lines of its status by name; those of its memory are absent once it is gone."""
        lines = os.pread(self._status, 16384, 0).decode("ascii", "replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def held(self) -> tuple[int, int]:
        """What it has in main memory now, in bytes, and how many threads; 0 once it is gone."""
        status = self.status()
        return _kib(status, "VmRSS"), int(status.get("Threads", "0"))

    def peak_memory_bytes(self) -> int:
        """The most that it had since `forget_peak`, or ever where that cannot be forgotten; 0 once it is gone."""
        return _kib(self.status(), "VmHWM")

    def forget_peak(self) -> None:
        """Begin anew."""
        with suppress(OSError):
            os.write(self._forget, b"5")

    def close(self) -> None:
        """Let go of it."""
        for file in (self._stat, self._status, self._forget):
            with suppress(OSError):
                os.close(file)


def _kib(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0").split()[0]) * 1024


class GpuTime(Protocol):
    """What a process did on a graphics processor (`cluster.gpu_nvml.GpuMeter`)."""

    def read(self, wall_ms: int) -> tuple[str, int, int]:
        """Its name, milliseconds of use, and the most memory in bytes."""


class OutsideMeter:
    """Measures another process from its making until `read`.

    Parameters
    ----------
    watched
        Which.
    clock
        Time.
    gpu
        Its graphics processor, if it has one.
    """

    def __init__(self, watched: Watched, clock: Clock, gpu: GpuTime | None = None) -> None:
        self._watched, self._clock, self._gpu = watched, clock, gpu
        watched.forget_peak()
        self._started_ms, self._wall_s, self._cpu_ms = clock.now_ms(), clock.monotonic_s(), watched.cpu_ms()

    def read(self, *, on_gpu: bool) -> Measured:
        """What it took so far. Raises `OSError` if it is gone."""
        wall_ms = max(1, round((self._clock.monotonic_s() - self._wall_s) * 1000))
        cpu_ms = max(0, self._watched.cpu_ms() - self._cpu_ms)
        name, gpu_ms, gpu_bytes = self._gpu.read(wall_ms) if on_gpu and self._gpu is not None else ("", 0, 0)
        gpu_ms = wall_ms if on_gpu and self._gpu is None else gpu_ms
        peak = self._watched.peak_memory_bytes()
        return Measured(self._started_ms, wall_ms, cpu_ms, gpu_ms, peak, name, gpu_bytes, OUTSIDE)


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
    return len(gpu_nvml.gpus())
