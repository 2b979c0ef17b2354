"""A bundle process whose every bundle is an attack: what it tries is chosen by the first voxel of what it is given.

Started in the place of `cluster.bundle_child` by `Program("tests.common.hostile", ...)`; all but the loading of bundles is
the product's own. It is told by the plan's engine where the things lie that it must not reach.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable
from errno import EPERM
from pathlib import Path

import numpy as np

from cluster import bundle_child
from cluster.bundle_channel import write_all
from cluster.bundle_start import Program
from cluster.syscalls import DENIED
from cluster.work import Progress, Warm
from inference.findings import Findings, Mask, Measurement
from inference.volume import Volume
from models.bundle import Bundle
from tests.common.network import ThresholdEngine
from tests.common.tree import ROOT

HONEST, PROBE, FILL_MEMORY, FILL_DISK, CRASH, DEAF, BUSY, THREADS, BABBLE, HOLD, SLOW, RAISE, LIE, MARK = range(14)
"""What the first voxel asks for."""

PROGRAM = Program("tests.common.hostile", (str(ROOT / "tests"),))

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {**DENIED[os.uname().machine], "clone3": 435}
TARGETS: dict[str, str] = {}
HELD: list[mmap.mmap] = []


def volume(act: int) -> Volume:
    """What asks for an attack."""
    array = np.random.default_rng(0).integers(-100, 1000, (6, 7, 8)).astype(np.int16)
    array[0, 0, 0] = act
    return Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "HU")


def _system(name: str, *arguments: int) -> Callable[[], None]:
    def call() -> None:
        if libc.syscall(NUMBERS[name], *(ctypes.c_long(item) for item in arguments)) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def _libc(name: str, *arguments: int) -> Callable[[], None]:
    def call() -> None:
        if getattr(libc, name)(*(ctypes.c_long(item) for item in arguments)) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def _probes() -> dict[str, Callable[[], object]]:
    parent, key, folder = int(TARGETS["parent"]), TARGETS["key"], TARGETS["folder"]
    families = {"inet": 2, "inet6": 10, "unix": 1, "netlink": 16, "packet": 17, "vsock": 40}
    return {
        **{f"socket_{name}": lambda family=family: socket.socket(family) for name, family in families.items()},
        "socketpair": socket.socketpair,
        "fork_python": os.fork,
        "execve": lambda: os.execv("/bin/true", ["true"]),
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "read_key": lambda: Path(key).read_bytes(),
        "chmod_key": lambda: Path(key).chmod(0o666),
        "own_key": lambda: os.chown(key, 1, 1),
        "remove_key": lambda: Path(key).unlink(),
        "rename_key": lambda: Path(key).rename(key + "2"),
        "link_key": lambda: Path("/dev/shm/key").hardlink_to(key),
        "symlink_key": lambda: Path("/dev/shm/key").symlink_to(key),
        "list_state": lambda: list(Path(folder).iterdir()),
        "list_proc": lambda: list(Path("/proc").iterdir()),
        "environment_of_parent": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "memory_of_parent": lambda: Path(f"/proc/{parent}/mem").open("rb"),
        "maps_of_parent": lambda: Path(f"/proc/{parent}/maps").read_bytes(),
        "files_of_parent": lambda: list(Path(f"/proc/{parent}/fd").iterdir()),
        "own_memory": lambda: os.open("/proc/self/mem", os.O_RDWR),
        "accounts": lambda: Path("/etc/passwd").read_bytes(),
        "write_state": lambda: Path(folder, "x").write_bytes(b"x"),
        "write_store": lambda: Path(TARGETS["store"], "calibration", "x").write_bytes(b"x"),
        "write_code": lambda: (ROOT / "cluster" / "x.py").write_bytes(b"x"),
        "write_tmp": lambda: Path("/tmp/x").write_bytes(b"x"),
        "kill_parent": lambda: os.kill(parent, 0),
        "kill_all": lambda: os.kill(-1, 0),
        "signal_parent_thread": _libc("tgkill", parent, parent, 0),
        "limits_of_parent": _libc("prlimit", parent, 7, 0, 0),
        "affinity_of_parent": lambda: os.sched_setaffinity(parent, {0}),
        "priority_of_parent": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        "dumpable": _libc("prctl", 4, 1, 0, 0, 0),
        "outlive_parent": _libc("prctl", 1, 0, 0, 0, 0),
        "core": lambda: __import__("resource").setrlimit(4, (1 << 30, 1 << 30)),
        "type_into_terminal": _libc("ioctl", 0, 0x5412, 0),
        "signals_by_file": _libc("fcntl", 0, 8, parent),
        "setuid": lambda: os.setuid(1),
        "chdir": lambda: os.chdir("/"),
        "ptrace": _system("ptrace", 16, parent, 0, 0),
        "process_vm_readv": _system("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "mount": _system("mount", 0, 0, 0, 0, 0),
        "unshare": _system("unshare", 0x10000000),
        "kexec_load": _system("kexec_load", 0, 0, 0, 0),
        **{name: _system(name, 0, 0, 0, 0, 0) for name in ("setns", "bpf", "io_uring_setup", "keyctl")},
        **{name: _system(name, 0, 0, 0, 0, 0) for name in ("perf_event_open", "userfaultfd", "memfd_create", "clone3")},
        **{name: _system(name, parent, 0) for name in ("pidfd_open", "seccomp", "personality", "tkill")},
        **{name: _system(name) for name in ("fork", "vfork") if name in NUMBERS},
    }


def denied() -> dict[str, int]:
    """Each attack with the error number that stopped it; 0 for one that nothing stopped."""
    found = {}
    for name, attack in _probes().items():
        try:
            attack()
        except OSError as error:
            found[name] = error.errno or -1
        except ValueError:  # Python's word for a limit that may not be raised
            found[name] = EPERM
        else:
            found[name] = 0
    return found


def _probe() -> Findings:
    found = denied()
    found["environment"] = sum(name not in ALLOWED_NAMES for name in os.environ)
    found["files"] = len(list(Path("/proc/self/fd").iterdir()))
    found["interfaces"] = len(Path("/proc/self/net/dev").read_text().splitlines()) - 3
    return Findings((), tuple(Measurement(name, float(value), "{count}") for name, value in found.items()))


ALLOWED_NAMES = {
    *("PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"),
    *("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_CACHE_DISABLE"),
    *("LD_LIBRARY_PATH", "LC_CTYPE"),
}


def _fill_memory() -> Findings:
    held = [np.ones(32 << 20, np.uint8) for _ in range(1000)]
    return Findings((), (Measurement("held", float(len(held)), "{count}"),))


def _fill_disk() -> Findings:
    """How much can be written anywhere, until something stops it: the process's own scratch is all there is."""
    written = 0
    try:
        with Path("/dev/shm/fill").open("wb") as file:
            while written < 1 << 30:
                written += file.write(b"DOE^JANE" * (1 << 17))
    except OSError:
        pass
    return Findings((), (Measurement("written", float(written), "{count}"),))


def _crash() -> Findings:
    os.abort()


def _deaf() -> Findings:
    time.sleep(60)
    return Findings()


def _threads() -> Findings:
    threading.stack_size(64 << 10)
    for _ in range(3000):
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
    time.sleep(20)
    return Findings()


class Hostile(ThresholdEngine):
    """Does what the first voxel says."""

    channel = None

    def run(self, volume: Volume, progress: Progress) -> Findings:
        act = int(volume.array[0, 0, 0])
        progress("preparing", 0.1)
        if act in (HONEST, SLOW, HOLD):
            time.sleep(0.7 if act == SLOW else 0)
            bundle_child.write_all = _hold if act == HOLD else write_all
            mask = Mask("bright", volume.array > volume.array.mean())
            return Findings((mask,), (Measurement("volume", float(mask.array.sum()), "mL", "bright"),))
        if act == MARK:
            name = "m" + volume.array.tobytes()[2:18].hex()
            return Findings((), (Measurement(name, 1.0, "{count}"),))
        if act == BUSY:
            for step in range(600):
                progress("segmenting", step / 600)
                time.sleep(0.02)
        if act == RAISE:
            raise OSError("DOE^JANE")
        if act == BABBLE:
            self.channel._end.send(b"DOE^JANE")
            time.sleep(20)
        if act == LIE:
            self.channel.send({"finished": 10_000_000, "warm": []})
            time.sleep(20)
        plain = {
            PROBE: _probe,
            FILL_MEMORY: _fill_memory,
            FILL_DISK: _fill_disk,
            CRASH: _crash,
            DEAF: _deaf,
            THREADS: _threads,
        }
        return plain.get(act, Findings)()


def _hold(file: int, content: bytes) -> None:
    """Write findings by a mapping that stays: what was read could be changed afterwards."""
    os.ftruncate(file, len(content))
    view = mmap.mmap(file, len(content))
    view[:] = content
    HELD.append(view)


def _load(bundles: bundle_child._Bundles, sha256: str) -> Warm:
    Hostile.channel = bundles._channel
    TARGETS.update(json.loads(Path(bundles._plan["store"], "sha256", "targets").read_text()))
    return Warm(Bundle.load(Path(bundles._given["folder"])), Hostile())


if __name__ == "__main__":
    bundle_child._Bundles._load = _load
    bundle_child.main()
