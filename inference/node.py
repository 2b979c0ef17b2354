"""What of this node decides how fast an engine is and which bits it gives: the key under which measurements are kept."""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_CPU = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")
_CPU_LINES = ("model name", "flags", "Features", "CPU implementer", "CPU part")
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def fingerprint(threads: int) -> dict[str, Any]:
    """Processor, graphics processors, threads and the versions of the engines. Imports none of them.

    Parameters
    ----------
    threads
        That a network is run with.
    """
    lines = _processor_lines()
    return {
        "processor": lines.get("model name", platform.machine()),
        "instructions": hashlib.sha256(repr(sorted(lines.items())).encode()).hexdigest()[:16],
        "devices": sorted(_gpu_names()),
        "threads": threads,
        "engines": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _processor_lines() -> dict[str, str]:
    """Of the first processor that the system lists."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in _CPU.read_text().splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name in _CPU_LINES:
                found.setdefault(name, value)
    return found


def _gpu_names() -> list[str]:
    names = []
    with suppress(OSError):
        for path in _GPUS.glob("*/information"):
            names += [line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if line[:6] == "Model:"]
    return names


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
