"""What a replica and its bundle process say to each other: small JSON messages, and files in memory beside them.

No pickle, and nothing that comes from the bundle process is believed: a message that is not one of ours ends it. Payload
and findings cross as files that exist in memory only (memfd_create(2)): the payload sealed before it is handed over, so
that both sides read the same bytes for good; the findings sealed before they are read.
"""

from __future__ import annotations

import array
import fcntl
import json
import math
import mmap
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bithive.limits import BUNDLE_MESSAGE_BYTES_MAX, FINDINGS_BYTES_MAX
from cluster.errors import RunnerDied

_WORD = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NO_EXEC_SEAL = 0x0008


class Channel:
    """One end of a pair of connected sockets that keep messages apart (unix(7), SOCK_SEQPACKET).

    Parameters
    ----------
    end
        The socket; closed with this.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
        """Say something. Raises `RunnerDied` if nobody is there."""
        encoded = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        assert len(encoded) <= BUNDLE_MESSAGE_BYTES_MAX, "what is said is short"
        try:
            self._end.settimeout(None)
            self._end.sendmsg([encoded], beside)
        except OSError as error:
            raise RunnerDied("the other end is gone") from error

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """What is said next; None if nothing was in time, or yet when that is 0. Files that come with it are not taken.

        Raises
        ------
        RunnerDied
            If nobody is there, or what was said is no message.
        """
        try:
            self._end.settimeout(timeout_s or None)
            flags = socket.MSG_DONTWAIT if timeout_s == 0.0 else 0
            encoded = self._end.recv(BUNDLE_MESSAGE_BYTES_MAX + 1, flags)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise RunnerDied("the other end is gone") from error
        return _decoded(encoded)

    def receive_files(self, count: int) -> tuple[dict[str, Any], list[int]]:
        """What is said next, with files. For the side that trusts the other. Raises `RunnerDied`."""
        self._end.settimeout(None)
        encoded, files, _, _ = socket.recv_fds(self._end, BUNDLE_MESSAGE_BYTES_MAX + 1, count)
        return _decoded(encoded), files

    def close(self) -> None:
        """The other end sees that nobody is here."""
        self._end.close()


def _decoded(encoded: bytes) -> dict[str, Any]:
    if not encoded:
        raise RunnerDied("the other end is gone")
    try:
        message = json.loads(encoded)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or len(encoded) > BUNDLE_MESSAGE_BYTES_MAX:
        raise RunnerDied("what runs the bundle says something that is no message")
    return message


def word(message: Mapping[str, Any], name: str) -> str:
    """A member that is a short word, as stages and codes are. Raises `RunnerDied`."""
    value = message.get(name)
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise RunnerDied("what runs the bundle says something that is no word")
    return value


def fraction(message: Mapping[str, Any], name: str) -> float:
    """A member that is a share of the whole. Raises `RunnerDied`."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RunnerDied("what runs the bundle says something that is no number")
    return min(1.0, max(0.0, float(value)))


def size(message: Mapping[str, Any], name: str, most: int) -> int:
    """A member that is a number of bytes. Raises `RunnerDied`."""
    value = message.get(name)
    if type(value) is not int or not 0 < value <= most:
        raise RunnerDied("what runs the bundle says something that is no size")
    return value


def memory_file(content: bytes | bytearray | memoryview = b"") -> int:
    """A file in memory, closed when a program is executed; sealed if it has content, else open for one who writes."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        made = os.memfd_create("bithive", flags | _NO_EXEC_SEAL)
    except OSError:  # before Linux 6.3
        made = os.memfd_create("bithive", flags)
    try:
        if len(content):
            write_all(made, content)
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(made)
        raise
    return made


def write_all(file: int, content: bytes | bytearray | memoryview) -> None:
    """All of it, however often the kernel stops halfway (write(2): at 2 GiB it does)."""
    rest = memoryview(content).cast("B")
    while len(rest):
        rest = rest[os.write(file, rest) :]


def mapped(file: int) -> mmap.mmap:
    """A sealed file as read-only memory, all of it at once; left out of core dumps (madvise(2))."""
    view = mmap.mmap(file, 0, mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0), mmap.PROT_READ)
    with suppress(OSError):
        view.madvise(mmap.MADV_DONTDUMP)
    return view


def sealed_content(file: int, announced: int) -> bytes:
    """What the other side has written, once nobody can write any more.

    Raises
    ------
    RunnerDied
        If it still can, or has written another number of bytes than it says.
    """
    try:
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise RunnerDied("what runs the bundle does not let go of its findings") from error
    if os.fstat(file).st_size != announced or announced > FINDINGS_BYTES_MAX:
        raise RunnerDied("what runs the bundle has written other findings than it says")
    parts, at = [], 0
    while at < announced:
        parts.append(os.pread(file, announced - at, at))
        at += len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)
