"""NVIDIA's graphics processors by NVML (nvidia-ml-py, optional): what there is, and what one process does on it.

NVML tells of processes from outside, so that what is measured does not depend on what the process says. Where the
binding or the driver is absent there are no graphics processors, which is no error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bithive.clock import Clock

_MODULE = "pynvml"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor.

    Attributes
    ----------
    index
        As NVML counts.
    name, uuid
        As the driver tells them.
    memory_bytes
        All that it has.
    """

    index: int
    name: str
    uuid: str
    memory_bytes: int


def library() -> Any | None:
    """The binding, if it is installed."""
    return import_module(_MODULE) if find_spec(_MODULE) is not None else None


def gpus(nvml: Any | None = None) -> tuple[Gpu, ...]:
    """Those of this machine, in NVML's order; none where NVML cannot say.

    Parameters
    ----------
    nvml
        The binding; the one that is installed unless given.
    """
    with _session(nvml) as lib:
        if lib is None:
            return ()
        with suppress(lib.NVMLError):
            return tuple(_gpu(lib, index) for index in range(int(lib.nvmlDeviceGetCount())))
    return ()


def visible(mentioned: str, nvml: Any | None = None) -> tuple[Gpu, ...]:
    """Those that `CUDA_VISIBLE_DEVICES` lists, by number or by the beginning of their UUID, in its order.

    Parameters
    ----------
    mentioned
        Its value; CUDA stops at the first that does not exist, and so does this.
    """
    found, here = [], gpus(nvml)
    for name in (part.strip() for part in mentioned.split(",")):
        match = next((gpu for gpu in here if name and (name == str(gpu.index) or gpu.uuid.startswith(name))), None)
        if match is None:
            break
        found.append(match)
    return tuple(found)


class GpuMeter:
    """What one process does on one graphics processor, from the making of this until `read`. For one thread.

    Parameters
    ----------
    gpu
        Where.
    pid
        Who, as the driver counts processes.
    clock
        Says from when on samples count.
    nvml
        The binding; the one that is installed unless given.
    """

    def __init__(self, gpu: Gpu, pid: int, clock: Clock, nvml: Any | None = None) -> None:
        self._gpu, self._pid, self._nvml = gpu, pid, nvml
        self._seen_us = clock.now_ms() * 1000
        self._busy_us, self._memory_bytes, self._told = 0.0, 0, False
        self.sample()

    def sample(self) -> None:
        """Look now. NVML keeps a few seconds of samples: to be called about once a second."""
        with _session(self._nvml) as lib:
            if lib is None:
                return
            with suppress(lib.NVMLError):
                handle = lib.nvmlDeviceGetHandleByIndex(self._gpu.index)
                self._memory(lib, handle)
                self._busy(lib, handle)

    def read(self, wall_ms: int) -> tuple[str, int, int]:
        """The processor's name, milliseconds of use, and the most memory in bytes.

        Parameters
        ----------
        wall_ms
            Elapsed time: the most that it can have been used, and what counts where NVML does not tell of processes.
        """
        self.sample()
        used_ms = min(wall_ms, round(self._busy_us / 1000)) if self._told else wall_ms
        return self._gpu.name, used_ms, self._memory_bytes

    def _memory(self, lib: Any, handle: Any) -> None:
        for row in lib.nvmlDeviceGetComputeRunningProcesses(handle):
            if row.pid == self._pid and row.usedGpuMemory:
                self._memory_bytes = max(self._memory_bytes, int(row.usedGpuMemory))

    def _busy(self, lib: Any, handle: Any) -> None:
        """Each sample says what share of the time since the one before the process's kernels ran."""
        rows = [row for row in lib.nvmlDeviceGetProcessUtilization(handle, self._seen_us) if row.pid == self._pid]
        for row in sorted(rows, key=lambda row: row.timeStamp):
            if row.timeStamp > self._seen_us:
                self._busy_us += (row.timeStamp - self._seen_us) * min(100, max(0, row.smUtil)) / 100
                self._seen_us, self._told = row.timeStamp, True


_STARTING = threading.Lock()


@contextmanager
def _session(nvml: Any | None) -> Iterator[Any | None]:
    """The binding, initialised for as long as it is used; None without a driver."""
    lib = library() if nvml is None else nvml
    if lib is not None:
        with _STARTING:
            try:
                lib.nvmlInit()
            except lib.NVMLError:
                lib = None
    try:
        yield lib
    finally:
        if lib is not None:
            with suppress(lib.NVMLError):
                lib.nvmlShutdown()


def _gpu(lib: Any, index: int) -> Gpu:
    handle = lib.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        index,
        _text(lib.nvmlDeviceGetName(handle)),
        _text(lib.nvmlDeviceGetUUID(handle)),
        int(lib.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
