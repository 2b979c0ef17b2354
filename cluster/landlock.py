"""Which files a bundle process may open: by the kernel, whoever it runs as (landlock(7), Linux 5.13 and later).

Whatever is not below a path that was listed cannot be opened, made, moved or removed. From version 4 no TCP port can be
bound or reached, and from 6 no process outside be signalled and no abstract Unix socket be reached.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_RIGHTS_BY_VERSION = ((1, 13), (2, 14), (3, 15), (5, 16))
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT, _SIGNALS_AND_SOCKETS = 0b11, 0b11

_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEVICE = (1 << bit for bit in (1, 2, 3, 14, 15))
_MAKE_AND_REMOVE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _TRUNCATE | _MAKE_AND_REMOVE
DEVICE = _READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEVICE


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of it; 0 where there is none."""
    return max(0, int(_call(_CREATE, None, 0, _VERSION)))


def restrict(rules: Iterable[tuple[Path, int]]) -> int:
    """Shut this thread, and all that it starts, out of every file but those below some paths.

    Parameters
    ----------
    rules
        Each path with `READ`, `WRITE` or `DEVICE`. One that does not exist is left out: nothing is there to be opened.

    Returns
    -------
    int
        The version that holds now; 0 where the kernel has none or it is turned off.
    """
    known = version()
    if known == 0:
        return 0
    handled = (1 << max(bits for since, bits in _RIGHTS_BY_VERSION if known >= since)) - 1
    size = 8 + 8 * (known >= _NETWORK_SINCE) + 8 * (known >= _SCOPES_SINCE)
    ruleset = _Ruleset(handled, _BIND_AND_CONNECT, _SIGNALS_AND_SOCKETS)
    made = int(_call(_CREATE, ctypes.byref(ruleset), size, 0))
    if made < 0:
        return 0
    try:
        for path, rights in rules:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _add(made, path, rights & handled)
        return known if _call(_RESTRICT, made, 0) == 0 else 0
    finally:
        os.close(made)


def _add(ruleset: int, path: Path, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = _Beneath(rights if path.is_dir() else rights & _OF_FILES, parent)
        _call(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, *(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments)))


def readable(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """Rules that let paths be read, wherever their links lead."""
    return [(path.resolve(), READ) for path in paths]
