"""A real cell in a process of its own, for tests that kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.common.hub import MODEL_STORE, ROOT
from tests.common.servers import wait_until

_AGENTS = ("ray::DashboardA", "ray::DashboardAgent", "ray::RuntimeEnv", "ray::RuntimeEnvAgent")

NO_DICOM = """
import sys
from importlib.abc import MetaPathFinder


class NoDicom(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pydicom", "highdicom", "pynetdicom"):
            raise ImportError("a node has no DICOM library")


sys.meta_path.insert(0, NoDicom())
"""

_RAY = """
import sys
from bithive.log import configure
from bithive.settings import load
from cluster.cell import run_cell
configure("info")
sys.exit(run_cell(load()))
"""

_LOCAL = """
import sys, time
from bithive.clock import SystemClock
from bithive.keys import SigningKey
from bithive.log import configure
from bithive.settings import load
from cluster import loading
from cluster.cell import run_cell
from cluster.runner import LocalRunner
from models.catalog import Catalog
from tests.common.network import warm

def opened(settings):
    key = SigningKey.load_or_create(settings.state / "keys" / "node.key")
    names = loading.fetch(Catalog(settings.model_store)) if {real} else []
    bundles = loading.load(settings.model_store, names, "auto", 0)
    return LocalRunner([*bundles, warm(lambda: time.sleep({slow_s}))], key, SystemClock())

configure("info")
sys.exit(run_cell(load(), opened))
"""


def ray_cell() -> str:
    """The program of a cell as it is shipped."""
    return _RAY


def local_cell(*, real: bool = False, slow_s: float = 0.0) -> str:
    """The program of a cell without Ray: the real bundles or none, and one that thresholds and takes its time."""
    return _LOCAL.format(real=real, slow_s=slow_s)


class CellProcess:
    """A cell with its log and its state in a folder; none of its processes can import a DICOM library.

    Parameters
    ----------
    state
        Its folder.
    hub_url, token
        Where it pulls from.
    program
        `ray_cell()` or `local_cell(...)`.
    settings
        Further variables of its environment.
    """

    def __init__(
        self, state: Path, hub_url: str, token: str, program: str, settings: Mapping[str, str] | None = None
    ) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.log = state / "cell.log"
        (state / "first").mkdir(exist_ok=True)
        (state / "first" / "sitecustomize.py").write_text(NO_DICOM)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BITHIVE_", "RAY_"))}
        environment = inherited | {
            "BITHIVE_MODE": "demo",
            "BITHIVE_STATE": str(state),
            "BITHIVE_CELL__HUB_URL": hub_url,
            "BITHIVE_CELL__TOKEN": token,
            "BITHIVE_MODELS__STORE": str(MODEL_STORE),
            "PYTHONPATH": f"{state / 'first'}:{ROOT}",
            **(settings or {}),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def events(self) -> list[str]:
        """What it has logged so far."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def wait_for(self, event: str, timeout_s: float = 180) -> None:
        """Until it has logged an event."""
        wait_until(lambda: event in self.events(), timeout_s, self.process)

    def family(self) -> list[psutil.Process]:
        """It and everything it has started."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL to the agent's process alone; whatever may hold a payload must follow by itself.

        Ray's two node agents, which never see a payload, try for a minute to tell their dead head: they are ended here.
        """
        family = self.family()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        end_agents(family[1:], timeout_s=20)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


def end_agents(family: list[psutil.Process], timeout_s: float) -> None:
    """Wait until everything but Ray's node agents has ended, then end those too."""
    agents = [process for process in family if process.is_running() and process.name() in _AGENTS]
    _, alive = psutil.wait_procs([process for process in family if process not in agents], timeout=timeout_s)
    assert alive == [], "something outlives its cell"
    for process in agents:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(agents, timeout=10)
