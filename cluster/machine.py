"""What a machine has and whether it is fit for a cell: checked before it joins, told to whoever contributes it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bithive.limits import GIB
from cluster import measure
from cluster.errors import MachineUnfit
from cluster.gpu_nvml import Gpu, gpus

PYTHON_MIN = (3, 11)
RAY_VERSION = "2.60.0"
MEMORY_BYTES_MIN = 3 * GIB
DISK_BYTES_MIN = 4 * GIB

_LOCALTIME = Path("/etc/localtime")
_ZONES = "zoneinfo/"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, measured.

    Attributes
    ----------
    system, python, ray
        Names and versions; `ray` is empty when it is not installed.
    threads, memory_bytes
        What this process may use of processors and main memory.
    gpus
        NVIDIA's, where NVML can say.
    disk_bytes
        Free where the state folder is.
    zone
        Name of its time zone, or its offset now.
    """

    system: str
    python: tuple[int, ...]
    ray: str
    threads: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    disk_bytes: int
    zone: str

    @property
    def accelerator(self) -> str:
        """The name of its first GPU; `cpu` without one."""
        return self.gpus[0].name if self.gpus else "cpu"

    def lines(self) -> list[str]:
        """For whoever contributes it."""
        graphics = [f"GPU: {gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB" for gpu in self.gpus]
        return [
            f"{self.system}, Python {'.'.join(map(str, self.python))}, Ray {self.ray or 'not installed'}",
            f"{self.threads} threads, {self.memory_bytes / GIB:.1f} GiB of memory, {self.disk_bytes / GIB:.0f} GiB free",
            *(graphics or ["no NVIDIA GPU that NVML knows of: bundles run on the processor"]),
        ]


def measured(state: Path) -> Machine:
    """The machine that this process runs on; `state` is where its folder is or will be."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=tuple(sys.version_info[:3]),
        ray=_version("ray"),
        threads=measure.threads(),
        memory_bytes=measure.memory_bytes(),
        gpus=gpus(),
        disk_bytes=shutil.disk_usage(_existing(state)).free,
        zone=zone(),
    )


def check(machine: Machine) -> None:
    """Refuse a machine that cannot be part of a cell. Raises `MachineUnfit` with the first reason."""
    for holds, words in _RULES:
        if not holds(machine):
            raise MachineUnfit(words)


def zone(localtime: Path = _LOCALTIME) -> str:
    """The machine's time zone by its IANA name, else `UTC`."""
    try:
        target = os.path.realpath(localtime, strict=True)
    except OSError:
        return "UTC"
    _, found, name = target.partition(_ZONES)
    name = name.removeprefix("posix/").removeprefix("right/")
    return name if found and name not in ("", "Etc/UTC", "UTC") else "UTC"


_RULES: tuple[tuple[Callable[[Machine], bool], str], ...] = (
    (
        lambda machine: machine.system.startswith("Linux"),
        "a cell runs on Linux: its wall is made of the kernel's parts",
    ),
    (lambda machine: machine.python >= PYTHON_MIN, f"Python is older than {'.'.join(map(str, PYTHON_MIN))}"),
    (lambda machine: bool(machine.ray), "Ray is not installed: install requirements/ as README.md says"),
    (
        lambda machine: machine.ray == RAY_VERSION,
        f"Ray is another version than {RAY_VERSION}, which a cell is tested with",
    ),
    (lambda machine: machine.memory_bytes >= MEMORY_BYTES_MIN, "it has less than 3 GiB of memory"),
    (lambda machine: machine.disk_bytes >= DISK_BYTES_MIN, "less than 4 GiB are free where its state folder is"),
)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
