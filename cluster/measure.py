"""What an Attempt took, measured in the process that does the work; and what the machine has."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from bithive.clock import Clock, process_cpu_s

_PROC = Path("/proc/self")


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


def memory_bytes() -> int:
    """Main memory of the machine."""
    return int(psutil.virtual_memory().total)


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
