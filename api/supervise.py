"""Supervision: the local cell runs as a child process, is started again when it dies, and never outlives the hub.

Ray makes many processes of its own. All of them inherit `HIVE_CELL_OF`, the state folder of the hub that started them;
that is how leftovers of a killed hub are found, and only those: whoever holds the state folder's lock owns them.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from api.startup import ROOT
from bithive.clock import Clock
from bithive.keys import SigningKey
from bithive.log import get
from bithive.settings import Settings, child_environment
from models.catalog import Catalog

MARK = "HIVE_CELL_OF"
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
STOP_S = 15.0
_NOT_PASSED = frozenset({"embedded", "hub_url", "token"})


def cell_environment(settings: Settings, hub_url: str, token: str) -> dict[str, str]:
    """What the cell's process is told: its own state folder, its credential, Ray's token; nothing of the hub's.

    Parameters
    ----------
    settings
        The hub's.
    hub_url, token
        Where the network side is, and the credential of the cell.
    """
    cell = {
        f"BITHIVE_CELL__{name.upper()}": str(getattr(settings.cell, name))
        for name in type(settings.cell).model_fields
        if name not in _NOT_PASSED and getattr(settings.cell, name) is not None
    }
    SigningKey.load_or_create(settings.state / "keys" / "models.key")
    own = {
        "BITHIVE_MODE": str(settings.mode),
        "BITHIVE_STATE": str(settings.state.absolute() / "cell"),
        "BITHIVE_LOG_LEVEL": settings.log_level,
        "BITHIVE_CELL__HUB_URL": hub_url,
        "BITHIVE_CELL__TOKEN": token,
        "BITHIVE_MODELS__STORE": str(settings.model_store.absolute()),
        "BITHIVE_MODEL_MIRRORS": json.dumps([str(path.absolute()) for path in settings.model_mirrors]),
        "BITHIVE_MODELS__TRUSTED_KEYS": json.dumps(sorted(Catalog.of(settings).trusted())),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(ROOT),
        MARK: mark_of(settings),
    } | cell
    return child_environment(own)


def mark_of(settings: Settings) -> str:
    """What processes of this hub's cell carry in their environment."""
    return str(settings.state.absolute())


class Supervisor:
    """Keeps one local cell running.

    Parameters
    ----------
    settings, hub_url, token
        As for `cell_environment`.
    clock
        Measures how long the child lived.
    command
        What to run; the cell's entry unless a test says otherwise.
    """

    def __init__(
        self, settings: Settings, hub_url: str, token: str, clock: Clock, command: tuple[str, ...] | None = None
    ) -> None:
        self._settings, self._clock = settings, clock
        self._environment = cell_environment(settings, hub_url, token)
        self._command = command or (sys.executable, "-m", "bithive", "node", "run", "--parent", str(os.getpid()))
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def log_path(self) -> Path:
        """Where the cell's own output goes."""
        return self._settings.state / "logs" / "cell.log"

    def start(self) -> None:
        """End leftovers of an earlier hub on this state folder, then start the cell."""
        end_leftovers(mark_of(self._settings))
        self._thread.start()

    def halt(self) -> None:
        """Ask the cell to end; does not wait for it."""
        self._stop.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()

    def stop(self) -> None:
        """Have the cell end, and make sure of it."""
        self.halt()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        end_leftovers(mark_of(self._settings))

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            started_s = self._clock.monotonic_s()
            exit_code = self._once()
            if self._stop.is_set():
                return
            end_leftovers(mark_of(self._settings))
            failures = 0 if self._clock.monotonic_s() - started_s > STEADY_S else failures
            pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            self.restarts += 1
            get().warning("cell.ended", exit_code=exit_code, attempts=self.restarts)
            self._stop.wait(pause_s)

    def _once(self) -> int:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        get().info("cell.started", pid=self._child.pid)
        if self._stop.is_set():
            self._child.terminate()
        return self._child.wait()


def end_leftovers(mark: str, timeout_s: float = 5.0) -> int:
    """Kill every process that carries this mark, and wait for it; how many there were.

    Call it only while holding the lock of the state folder that the mark names.
    """
    count = 0
    for _ in range(5):
        found = [process for process in psutil.process_iter() if _carries(process, mark)]
        if not found:
            break
        count += len(found)
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=timeout_s)
    return count


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.uids().real == os.getuid()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get(MARK) == mark
        )
    except (psutil.Error, OSError):
        return False


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux, PR_SET_PDEATHSIG), however that dies.

    Parameters
    ----------
    parent
        The process id that the parent gave; if it has died already, this process ends at once.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)
