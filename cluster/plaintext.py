"""Plain images in memory: overwritten as soon as nobody needs them, and in no core dump.

What cannot be promised is not: a key that Python holds as `bytes` is freed and not overwritten, and memory that a machine
swaps out lies on its swap device. An operator who minds turns swap off or encrypts it.
"""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress


def forget(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros and give its memory back, whoever else still names it.

    Parameters
    ----------
    buffer
        Kept, of zeros, where another object looks into it.
    """
    if buffer:
        ctypes.memset((ctypes.c_char * len(buffer)).from_buffer(buffer), 0, len(buffer))
        with suppress(BufferError):
            buffer.clear()


def no_core_dumps() -> None:
    """Neither this process nor any that it starts leaves its memory in a file when it dies (core(5)).

    The bound can be lifted again by whoever is trusted; a bundle's process has it for good (`cluster.sandbox`).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
