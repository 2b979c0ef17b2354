"""A contributor's whole day on one machine, by the commands alone: a real hub, a real Ray cell behind its wall.

Invited, joined, at work on what the network gives for tests, looked at, paused, drained, left, back as the same machine,
uninstalled without a trace.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from bithive.errors import BitHiveError
from bithive.settings import Settings
from cluster.cell_start import ray_folder
from cluster.control_socket import ask
from cluster.wall import WallSpec
from cluster.wall_linux import try_wall
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE, ROOT, Hub
from tests.common.servers import wait_until

pytestmark = pytest.mark.heavy


def walls_stand() -> bool:
    try:
        try_wall(WallSpec("private"))
    except BitHiveError:
        return False
    return True


class Contributor:
    """Somebody at a terminal, with a folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BITHIVE_", "RAY_"))}
        self.environment = inherited | {
            "BITHIVE_MODE": "demo",
            "PYTHONPATH": str(ROOT),
        }

    def types(self, *words: str, code: int = 0) -> str:
        """A command of `bithive`, and what it prints."""
        begun = time.monotonic()
        command = [sys.executable, "-m", "bithive", *words, "--state", str(self.state)]
        ended = subprocess.run(
            command,
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        print(f"{' '.join(words[:2])}: {time.monotonic() - begun:.1f} s")
        log = self.state / "logs" / "node.log"
        tail = log.read_text()[-2000:] if log.exists() else ""
        assert ended.returncode == code, f"{words}: {ended.stdout}{ended.stderr}\n{tail}"
        return ended.stdout

    def status(self) -> dict[str, Any]:
        return ask(self.state, "status")

    def waits(self, until: Callable[[Mapping[str, Any]], bool], timeout_s: float = 120) -> None:
        wait_until(lambda: until(self.status()), timeout_s)

    def events(self) -> list[dict[str, Any]]:
        lines = (self.state / "logs" / "node.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub")
    hub.start()
    yield hub
    hub.stop()


def light_store(folder: Path) -> None:
    """A store of the machine's own that holds the weights of one bundle: a day in which nothing runs for minutes."""
    catalog = Catalog(MODEL_STORE)
    for path in catalog.weights(catalog.bundle("intracranial_t1")).values():
        place = folder / path.resolve().relative_to(MODEL_STORE.resolve())
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    shutil.copytree(MODEL_STORE / "calibration", folder / "calibration")


def invited(hub: Hub) -> str:
    command = [sys.executable, "-m", "bithive", "account", "invite", "--cell", "ada", "--tier", "home"]
    made = subprocess.run(command, env=hub.environment, cwd=ROOT, check=True, capture_output=True, text=True)
    return made.stdout.strip().splitlines()[-1]


def everything(tmp_path: Path, state: Path) -> set[str]:
    """Files that a node could have left: beside the hub's, in the folder for temporary files, in shared memory."""
    ours = {str(path) for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "hub")}
    ray = ray_folder(Settings(state=state))
    left = {str(path) for path in Path(tempfile.gettempdir()).glob(f"{ray.name}*")}
    return ours | left


def family(state: Path) -> list[psutil.Process]:
    """Processes that belong to the state folder, by its name in their command or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("HIVE_CELL_OF", "")]
        except (psutil.Error, OSError):
            continue
        if str(state) in words and process.pid != os.getpid():
            found.append(process)
    return found


@pytest.mark.skipif(not walls_stand(), reason="no network namespaces here")
@pytest.mark.timeout(400)
def test_a_contributors_whole_day(hub: Hub, tmp_path: Path) -> None:
    me = Contributor(tmp_path / "node")
    before = everything(tmp_path, me.state)
    light_store(me.state / "models")

    joined = me.types(
        *(
            "node",
            "join",
            invited(hub),
            "--tier",
            "home",
            "--no-pause-when-used",
            "--yes",
            "--no-start",
            "--no-benchmark",
        )
    )
    assert "may receive: P0" in joined and "never receives: P3" in joined and "Mbit/s" in joined
    cell = re.search(r"as (cel_\w+)", joined)
    page = re.search(r"(http://\S+/enter\S+)", joined)
    assert cell is not None and page is not None and "cannot be said yet" in joined
    assert "already-joined" in run_again(me, hub)
    assert me.types("node", "status", code=3).startswith("stopped")

    me.types("node", "start", "--as", "detached")
    me.waits(lambda told: told["connected"] and told["state"] == "up")
    first = me.status()
    assert first["cell"] == cell[1] and first["nodes"][0]["slots"] == 1
    wait_until(lambda: any(event["event"] == "attempt.taken" for event in me.events()), 180)
    wait_until(lambda: any(event["event"] == "attempt.finished" for event in me.events()), 180)

    entered = me.types("node", "earnings").strip()
    assert entered.startswith(hub.url) and "/enter" in entered
    wait_until(lambda: "1 accepted, 0 refused" in me.types("node", "receipts"), 30)
    assert "holds" in me.types("node", "receipts")
    rates = rates_of(hub, me)
    assert rates["nodes"] >= 1

    assert "paused" in me.types("node", "pause")
    assert me.status()["why"] == "asked"
    assert me.types("node", "resume").startswith("up")
    me.types("node", "drain", "--timeout-s", "120")
    assert me.status()["state"] == "away" and me.status()["attempts"] == []

    me.types("node", "leave", "--timeout-s", "60")
    assert me.types("node", "status", code=3).startswith("stopped") and family(me.state) == []

    assert me.types("node", "rotate-keys").count("key: ") == 2
    me.types("node", "start", "--as", "detached")
    me.waits(lambda told: told["connected"] and told["state"] == "up" and told["nodes"])
    back = me.status()
    assert back["cell"] == first["cell"], "the same machine"
    assert [node["node"] for node in back["nodes"]] == [node["node"] for node in first["nodes"]]
    assert [node["node_key"] for node in back["nodes"]] != [node["node_key"] for node in first["nodes"]], (
        "under new keys"
    )

    assert "removed" in me.types("node", "uninstall", "--yes")
    assert everything(tmp_path, me.state) == before
    assert family(me.state) == []


def run_again(me: Contributor, hub: Hub) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "bithive", "node", "join", invited(hub), "--state", str(me.state), "--yes"],
        env=me.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    return ended.stderr


def rates_of(hub: Hub, me: Contributor) -> dict[str, Any]:
    token = (me.state / "keys" / "hub.token").read_text()
    headers = {"Authorization": f"Bearer {token}", "BitHive-Protocol": "2"}
    answer = httpx2.get(f"{hub.url}/network/v2/rates", headers=headers)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
