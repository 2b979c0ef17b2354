"""Kill -9 at every step: nothing that was acknowledged is lost, nothing is done or charged twice."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from tests.common.external import external
from tests.common.hub import Cell, Hub
from tests.common.studies import Study, head_study

pytestmark = pytest.mark.heavy


class Walk:
    """A hub and a cell that live through many kills, and how many commits an undisturbed study takes."""

    def __init__(self, folder: Path) -> None:
        external("strace")
        self.folder = folder
        self.hub = Hub(folder / "hub")
        self.hub.start()
        self.cell = Cell(self.hub, folder / "cell")
        self.cell.start()
        self._count = 0
        self.study_uids: list[str] = []
        self.commits = 0

    def study(self) -> Study:
        """A new study of a new patient."""
        self._count += 1
        study = head_study(self.folder / f"study-{self._count}", f"walk-{self._count}", step=2)
        self.study_uids.append(study.study_uid)
        return study

    def stow_until_taken(self, study: Study) -> None:
        """Send as a PACS does: again and again until it is acknowledged."""
        for _ in range(30):
            try:
                answer = self.hub.stow(study.files)
            except (httpx2.HTTPError, OSError):
                time.sleep(0.3)
                continue
            assert answer.status_code == 200, answer.text
            return
        raise AssertionError("the study was never taken")

    def end(self) -> None:
        self.cell.stop()
        self.hub.stop()


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Generator[Walk]:
    walk = Walk(tmp_path_factory.mktemp("killed"))
    try:
        study = walk.study()
        walk.stow_until_taken(study)
        walk.hub.wait_for_state(study.study_uid, ["COMPLETED"], 180)
        yield walk
    finally:
        walk.end()


class Assassin(threading.Thread):
    """Attaches strace to a hub and kills it as soon as its databases have been synced so many times.

    Parameters
    ----------
    hub
        Whom.
    commits
        After how many; 0 only counts.
    """

    def __init__(self, hub: Hub, commits: int) -> None:
        super().__init__(daemon=True)
        assert hub.process is not None
        self.hub, self.commits, self.counted, self.struck = hub, commits, 0, False
        command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-p", str(hub.process.pid)]
        self.tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.tracer.stderr is not None
        for line in self.tracer.stderr:
            if "attached" in line:
                break
        self.start()

    def run(self) -> None:
        assert self.tracer.stderr is not None
        for line in self.tracer.stderr:
            if "-wal>" in line and "resumed" not in line:
                self.counted += 1
                if self.counted == self.commits:
                    self.hub.kill()
                    self.struck = True

    def leave(self) -> None:
        """Detach; the hub goes on if it lives."""
        self.tracer.send_signal(signal.SIGINT)
        self.tracer.wait(20)
        self.join(10)
        assert self.tracer.stderr is not None
        self.tracer.stderr.close()


def _count_commits(walk: Walk) -> int:
    assassin = Assassin(walk.hub, 0)
    study = walk.study()
    walk.stow_until_taken(study)
    walk.hub.wait_for_state(study.study_uid, ["COMPLETED"], 120)
    time.sleep(0.5)
    assassin.leave()
    return assassin.counted


def _killed_at(walk: Walk, commits: int) -> None:
    """One study, the hub killed after so many of its commits; it ends all the same, once."""
    assassin = Assassin(walk.hub, commits)
    study = walk.study()
    sender = threading.Thread(target=walk.stow_until_taken, args=(study,))
    sender.start()
    deadline = time.monotonic() + 60
    while not assassin.struck and time.monotonic() < deadline:
        time.sleep(0.02)
        if not sender.is_alive() and _completed(walk.hub, study):
            break
    assassin.leave()
    if assassin.struck:
        walk.hub.start()
    sender.join(60)
    walk.hub.wait_for_state(study.study_uid, ["COMPLETED"], 120)


def _completed(hub: Hub, study: Study) -> bool:
    try:
        return any(item["state"] == "COMPLETED" for item in hub.study(study.study_uid)["workitems"])
    except (httpx2.HTTPError, OSError):
        return False


def _assert_whole(walk: Walk) -> None:
    """Every study has one set of findings and one charge, and the books agree."""
    hub = walk.hub
    for study_uid in walk.study_uids:
        instances = hub.get(f"/dicomweb/studies/{study_uid}/instances?includefield=00080060")
        kinds = Counter(item["00080060"]["Value"][0] for item in instances)
        assert kinds["SEG"] == 1, (study_uid, kinds)
        assert kinds["SR"] == 1, (study_uid, kinds)
        assert kinds["OT"] + kinds["SC"] == 1 or kinds["MR"] == len(instances) - 3, (study_uid, kinds)
        done = [item for item in hub.study(study_uid)["workitems"] if item["state"] == "COMPLETED"]
        assert len(done) == 1
    check = subprocess.run(
        [*hub_command(), "ledger", "check"], env=hub.environment, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr
    assert _settled(hub) == len(walk.study_uids)


def hub_command() -> list[str]:
    import sys

    return [sys.executable, "-m", "bithive"]


def _settled(hub: Hub) -> int:
    """How many charges were settled, read from the ledger's own table."""
    import sqlite3

    with sqlite3.connect(f"file:{hub.state}/ledger.db?mode=ro", uri=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM entry WHERE kind LIKE 'charge.settled%'").fetchone()
    return int(count)


def test_hub_killed_in_the_middle_of_the_flow(walk: Walk) -> None:
    commits = _count_commits(walk)
    assert commits >= 8, "the trace saw no commits"
    _killed_at(walk, commits // 2)
    _assert_whole(walk)


@pytest.mark.soak
def test_hub_killed_at_every_point_of_the_flow(walk: Walk) -> None:
    for point in range(1, _count_commits(walk) + 1):
        _killed_at(walk, point)
    _assert_whole(walk)


@pytest.mark.soak
def test_cell_killed_while_it_runs(walk: Walk) -> None:
    study = walk.study()
    walk.stow_until_taken(study)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        items = walk.hub.study(study.study_uid)["workitems"]
        if any(item.get("stage") in ("locating", "segmenting", "loading", "preparing") for item in items):
            break
        time.sleep(0.01)
    walk.cell.kill()
    assert walk.cell.process is not None and walk.cell.process.returncode == -signal.SIGKILL
    walk.cell.start()
    walk.hub.wait_for_state(study.study_uid, ["COMPLETED"], 180)
    _assert_whole(walk)
