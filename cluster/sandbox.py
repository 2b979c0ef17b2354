"""What a process gives up before it reads the first byte of a bundle: networks, files, privileges, the machine's others.

A bundle is data that an interpreter of ours runs, audited before it is installed. This is for the day on which that was
not enough: code inside finds no network, no key, no file but those it computes from, no other process, and no way to
leave anything behind. Some of it a machine may lack (no user namespaces, an old kernel); that is said. Without a filter
of system calls nothing runs.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from errno import EPERM
from pathlib import Path
from typing import Any, Self

from bithive.limits import FINDINGS_BYTES_MAX
from cluster import landlock, seccomp
from cluster.errors import SandboxAbsent

SCRATCH = Path("/dev/shm")  # noqa: S108 - replaced by a file system of the process's own
SCRATCH_BYTES = 64 << 20

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = (1 << bit for bit in (17, 26, 27, 28, 30))
_NAMESPACES = _NEW_MOUNTS | _NEW_UTS | _NEW_IPC | _NEW_NETWORK
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18
_SET_DEATH_SIGNAL, _SET_DUMPABLE, _DROP_BOUNDING, _SET_NO_NEW_PRIVILEGES, _AMBIENT = 1, 4, 24, 38, 47
_AMBIENT_CLEAR = 4
_CAPABILITY_VERSION, _CAPABILITIES_MAX = 0x20080522, 64
_FILES_MAX = 512
_FIRST_TO_DIE = "500"

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/opt/rocm")
_MACHINE = ("/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm", "/etc/localtime", "/usr/share/zoneinfo")
_PROCESSOR = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel/osrelease")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_GPU_FACTS = ("/proc/driver/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/module", "/etc/OpenCL", "/proc/devices")
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/dxg", "/dev/kfd", "/dev/dri")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How tight it is.

    Attributes
    ----------
    readable
        Files and folders that it may read besides the interpreter and its libraries.
    memory_bytes
        Private memory that it may have, whether it uses it or not (`RLIMIT_DATA`, setrlimit(2)); 0 for no bound.
    nice
        How much it gives way to other programs, 0 to 19.
    gpu
        It may speak to the graphics driver.
    parent
        The process whose end is its own.
    """

    readable: tuple[str, ...]
    memory_bytes: int
    nice: int
    gpu: bool
    parent: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds.

    Attributes
    ----------
    seccomp
        A filter of system calls.
    landlock
        The version of the kernel's rules for files; 0 for none.
    network
        A network of its own, with nothing in it.
    scratch
        A file system of its own in memory, gone with it.
    unprivileged
        No capability, and no way to get one.
    """

    seccomp: bool
    landlock: int
    network: bool
    scratch: bool
    unprivileged: bool

    @property
    def weak(self) -> tuple[str, ...]:
        """What this machine does not give."""
        return tuple(name for name, value in asdict(self).items() if not value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `SandboxAbsent` if it is anything else, or nothing filters system calls."""
        kinds = {"seccomp": bool, "landlock": int, "network": bool, "scratch": bool, "unprivileged": bool}
        if not isinstance(value, dict) or {name: type(item) for name, item in value.items()} != kinds:
            raise SandboxAbsent("what runs bundles does not say how it is confined")
        if not value["seccomp"]:
            raise SandboxAbsent
        return cls(**value)


def confine(bounds: Bounds) -> Confinement:
    """Give up all of it, for good. To be called while the process has one thread.

    Raises
    ------
    SandboxAbsent
        If system calls cannot be filtered here, or the parent is gone.
    """
    if sys.platform != "linux":
        raise SandboxAbsent("bundles are confined by Linux; other systems can run a hub, but no cell")
    libc = ctypes.CDLL(None, use_errno=True)
    os.setpriority(os.PRIO_PROCESS, 0, min(19, max(os.getpriority(os.PRIO_PROCESS, 0), bounds.nice)))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_DIE)
    network = _own_namespaces(libc)
    scratch = network and _own_scratch(libc)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    unprivileged = _without_capabilities(libc)
    _limits(bounds.memory_bytes)
    pid = os.getpid()
    os.open(f"/proc/{pid}", os.O_PATH)  # never closed: the rule for it holds while its inode lives
    held = landlock.restrict(_rules(bounds, pid, scratch=scratch))
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != bounds.parent:
        raise SandboxAbsent("the parent has gone")
    seccomp.install(seccomp.program(os.uname().machine, pid, gpu=bounds.gpu))
    return Confinement(True, held, network, scratch, unprivileged)


def _own_namespaces(libc: ctypes.CDLL) -> bool:
    """Networks, mounts and System V objects of its own, by privilege or else by a user namespace; whether it has them."""
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NAMESPACES) == 0:
        return True
    if ctypes.get_errno() != EPERM or libc.unshare(_NAMESPACES | _NEW_USER) != 0:
        return False
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def _own_scratch(libc: ctypes.CDLL) -> bool:
    """A small file system in memory, seen by this process alone (mount_namespaces(7)); whether it can be written to."""
    here, flags = str(SCRATCH).encode(), _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        return False
    options = f"size={SCRATCH_BYTES},mode=0700,nr_inodes=1024".encode()
    if libc.mount(b"tmpfs", here, b"tmpfs", flags, options) != 0:
        return False
    try:
        (SCRATCH / "first").touch()
        (SCRATCH / "first").unlink()
    except OSError:  # a user that its namespace does not know
        return False
    return True


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _without_capabilities(libc: ctypes.CDLL) -> bool:
    """Drop every capability from every set (capabilities(7)); whether none is left."""
    for capability in range(_CAPABILITIES_MAX):
        libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0)
    libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    header, none = _Header(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    return bool(libc.capset(ctypes.byref(header), ctypes.byref(none)) == 0)


def _limits(memory_bytes: int) -> None:
    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, FINDINGS_BYTES_MAX),
        (resource.RLIMIT_NOFILE, _FILES_MAX),
        (resource.RLIMIT_MSGQUEUE, 0),
    ]
    if memory_bytes:
        wanted.append((resource.RLIMIT_DATA, memory_bytes))
    for which, value in wanted:
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))


def _rules(bounds: Bounds, pid: int, *, scratch: bool) -> Iterator[tuple[Path, int]]:
    interpreter = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    lists: Sequence[str] = (*interpreter, *_LIBRARIES, *_MACHINE, *_PROCESSOR, *bounds.readable)
    yield from landlock.readable([Path(name) for name in lists if Path(name) != Path("/usr")])
    if sys.base_prefix == "/usr":
        yield from landlock.readable([Path("/usr/bin"), Path("/usr/share/zoneinfo")])
    yield Path(f"/proc/{pid}"), landlock.READ
    yield from ((Path(name), landlock.DEVICE) for name in _DEVICES)
    if scratch:
        yield SCRATCH, landlock.WRITE
    if bounds.gpu:
        yield from landlock.readable([Path(name) for name in _GPU_FACTS])
        numbered = [str(path) for path in Path("/dev").glob("nvidia[0-9]*")]
        yield from ((Path(name), landlock.DEVICE) for name in (*_GPU_DEVICES, *numbered))
