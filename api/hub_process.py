"""A hub as a child process, for `bithive demo`: started clean, watched, ended with its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from api.errors import CellFailed
from api.startup import ROOT
from bithive.clock import Clock
from bithive.errors import Unavailable
from bithive.settings import child_environment

STOP_S = 30.0
POLL_S = 0.1


class HubProcess:
    """`bithive serve` in demo mode.

    Parameters
    ----------
    state, models
        Its state folder and its store of weights.
    port
        Where it listens on loopback.
    clock
        For waiting.
    more
        Further settings, by environment variable.
    """

    def __init__(self, state: Path, models: Path, port: int, clock: Clock, more: dict[str, str] | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = state / "logs" / "hub.log"
        self._clock = clock
        own = {
            "BITHIVE_MODE": "demo",
            "BITHIVE_STATE": str(state),
            "BITHIVE_MODELS__STORE": str(models),
            "BITHIVE_HTTP__PORT": str(port),
            "PYTHONPATH": str(ROOT),
        }
        self._environment = child_environment(own | (more or {}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, parent: int) -> None:
        """Start it; it ends when the process `parent` ends."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bithive", "serve", "--parent", str(parent)],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def wait_ready(self, timeout_s: float, cells: int = 0) -> None:
        """Wait until it takes studies and `cells` cells have said hello.

        Raises
        ------
        Unavailable
            If the hub ended or did not answer in time.
        CellFailed
            If the hub answers and the cell does not come.
        """
        end_s, ready = self._clock.monotonic_s() + timeout_s, False
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=5.0) as client:
            while self._clock.monotonic_s() < end_s:
                if self._process is None or self._process.poll() is not None:
                    raise Unavailable(f"the hub ended; its log: {_last(self.log_path)}")
                found = _readiness(client)
                ready = ready or found is not None
                if found is not None and found["status"] == "ready" and found["cells"] >= cells:
                    return
                self._wait(POLL_S)
        if ready:
            raise CellFailed(
                f"the local cell did not come within {timeout_s:.0f} s; see cell.log beside {self.log_path}"
            )
        raise Unavailable(f"the hub did not answer within {timeout_s:.0f} s; see {self.log_path}")

    def peak_memory_bytes(self) -> int:
        """The most memory that it ever held (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def wait(self) -> None:
        """Wait until it ends."""
        assert self._process is not None, "start it first"
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and make sure of it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def _readiness(client: httpx2.Client) -> Any:
    try:
        return client.get("/health/ready").json()
    except (httpx2.HTTPError, ValueError):
        return None


def _last(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "empty"
