"""How a bundle process is started: with an environment that tells it nothing, and a life no longer than its replica's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bithive.log import get
from cluster.bundle_channel import Channel
from cluster.errors import RunnerDied, SandboxAbsent
from cluster.measure import Watched
from cluster.plan import Plan
from cluster.sandbox import SCRATCH, Bounds, Confinement
from inference.engine import threads_of
from models.install import FOLDER

_ROOT = Path(__file__).parents[1]
_OURS = ("bithive", "models", "inference", "cluster")
_OF_STORE = ("sha256", FOLDER, "calibration")
_DATA_FACTOR, _DATA_MORE = 2, 4 << 30
_START_S = 60.0
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """What is started.

    Attributes
    ----------
    module
        The Python module.
    readable
        What it may read besides the interpreter, our own packages and the store.
    """

    module: str = "cluster.bundle_child"
    readable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Child:
    """A process that runs, and what is known of it from outside.

    Attributes
    ----------
    process
        The process; waited for by a thread of its own.
    channel
        To it.
    watched
        The kernel's accounts of it.
    ended
        Set when it has ended.
    confinement
        What it has given up.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    watched: Watched
    ended: threading.Event
    confinement: Confinement

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        _kill(self.process)
        self.ended.wait(_END_S)
        self.channel.close()
        self.watched.close()


def environment(plan: Plan) -> dict[str, str]:
    """All that it is told. Nothing of this process's own environment but where libraries lie."""
    told = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "TMPDIR": str(SCRATCH),
        "PYTHONPATH": str(_ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads_of(plan.threads)),
        "CUDA_VISIBLE_DEVICES": plan.gpu,
        "CUDA_CACHE_DISABLE": "1",
    }
    libraries = os.getenv("LD_LIBRARY_PATH")
    return told | ({"LD_LIBRARY_PATH": libraries} if libraries else {})


def bounds(plan: Plan, program: Program) -> Bounds:
    """What a bundle process of this plan may have.

    A library takes far more address space than memory, so the kernel's bound on private memory is loose; what it really
    holds is watched from outside. CUDA maps the whole memory of a graphics processor: there is no such bound then.
    """
    store = Path(plan.store)
    for name in _OF_STORE:  # what is not there yet could not be let in later
        (store / name).mkdir(parents=True, exist_ok=True)
    readable = [*(str(_ROOT / name) for name in _OURS), *(str(store / name) for name in _OF_STORE), *program.readable]
    memory = 0 if plan.gpu or not plan.memory_bytes else plan.memory_bytes * _DATA_FACTOR + _DATA_MORE
    return Bounds(tuple(readable), memory, plan.nice, bool(plan.gpu), os.getpid())


def start_child(plan: Plan, program: Program) -> Child:
    """Start a process and wait until it is confined.

    Raises
    ------
    SandboxAbsent
        If it cannot be confined, by its own word or the kernel's.
    RunnerDied
        If it does not get so far.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours)
    process, ended = _started(plan, program, theirs)
    with ExitStack() as undone:
        undone.callback(channel.close)
        undone.callback(_kill, process)
        try:
            watched = Watched(process.pid)
        except OSError as error:
            raise RunnerDied("what runs bundles has ended at once") from error
        undone.callback(watched.close)
        channel.send({"bounds": asdict(bounds(plan, program)), "plan": _told(plan)})
        answer = channel.receive(_START_S)
        if answer is None or "confined" not in answer:
            raise SandboxAbsent(str((answer or {}).get("refused", "what runs bundles does not confine itself")))
        confinement = Confinement.from_json(answer["confined"])
        status = watched.status()
        if (status.get("Seccomp"), status.get("NoNewPrivs")) != ("2", "1"):
            raise SandboxAbsent("the kernel knows of no confinement of what runs bundles")
        undone.pop_all()
    for name in confinement.weak:
        get().warning("sandbox.weak", code="sandbox-weak", kind=name)
    return Child(process, channel, watched, ended, confinement)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()


def _told(plan: Plan) -> dict[str, Any]:
    names = ("store", "engine", "threads", "warm_max", "memory_bytes")
    return {name: getattr(plan, name) for name in names}


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a keeper thread hands back."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


def _started(plan: Plan, program: Program, theirs: socket.socket) -> tuple[subprocess.Popen[bytes], threading.Event]:
    """Start it from a thread that lives as long as it does.

    Linux ends a process that asked for it when the thread that made it ends (`PR_SET_PDEATHSIG`, prctl(2)): this thread
    ends with the whole process only, or after the other.
    """
    hand = _Begun()

    def keep() -> None:
        try:
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", program.module, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment(plan),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            hand.processes.append(process)
        finally:
            hand.begun.set()
        process.wait()
        hand.ended.set()

    threading.Thread(target=keep, name="bundle-process", daemon=True).start()
    hand.begun.wait()
    if not hand.processes:
        raise RunnerDied("no process can be started")
    return hand.processes[0], hand.ended
