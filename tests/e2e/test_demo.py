"""The main job, from one command, as a new user would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.common.hub import MODEL_STORE, ROOT
from tests.common.servers import free_port

pytestmark = pytest.mark.heavy

STEPS = ("received", "matched", "leased", "running", "checked", "written", "charged")


def _environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BITHIVE_")}
    return kept | {"BITHIVE_MODELS__STORE": str(MODEL_STORE), "PYTHONPATH": str(ROOT), "COLUMNS": "120"} | variables


def _demo(*arguments: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bithive", "demo", "--port", str(free_port()), *arguments]
    return subprocess.run(command, env=_environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def _processes_of(state: Path) -> list[psutil.Process]:
    """Processes that were told of this state folder, those of Ray included."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ()
        except psutil.Error:
            continue
        if str(state) in {told.get("HIVE_CELL_OF"), told.get("BITHIVE_STATE")}:
            found.append(process)
    return found


def _volume_ml(text: str) -> float:
    found = re.search(r"Intracranial volume\s+([\d,]+) ml", text)
    assert found, text
    return float(found[1].replace(",", ""))


def _check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    _check_told(done.stdout)


def _check_told(text: str) -> None:
    for step in STEPS:
        assert re.search(rf"✓\s+{step}", text), f"{step} did not hold"
    for words in (
        "s from the first byte of STOW",
        "peak memory",
        "node nod_",
        "EUR held",
        "BTT for",
        "0 findings",
    ):
        assert words in text, words


@pytest.mark.soak
def test_the_sample_study(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = _demo("--once", "--state", str(state))
    _check(done)
    assert _volume_ml(done.stdout) == pytest.approx(1394, rel=0.01)
    assert "/enter#" not in done.stdout, "a link to a hub that has ended helps nobody"
    assert _processes_of(state) == []
    assert (state / "archive").exists() or (state / "clinic.db").exists(), "a given state folder is kept"
    log = (state / "logs" / "hub.log").read_text()
    assert '"level": "error"' not in log, log


@pytest.mark.soak
def test_a_study_of_ones_own(tmp_path: Path, shared: Path) -> None:
    done = _demo("--once", "--state", str(tmp_path / "state"), "--study", str(shared / "data" / "t1-head" / "dicom"))
    _check(done)
    assert _volume_ml(done.stdout) == pytest.approx(1792, rel=0.01)


@pytest.mark.soak
def test_a_study_that_nothing_takes(tmp_path: Path) -> None:
    from tests.common.dicom_factory import content_of, make_series

    folder = tmp_path / "study"
    folder.mkdir()
    for number, instance in enumerate(make_series((4, 8, 8), modality="CT", description="CT THORAX")):
        (folder / f"{number}.dcm").write_bytes(content_of(instance))
    done = _demo("--once", "--state", str(tmp_path / "state"), "--study", str(folder))
    assert done.returncode == 1
    assert "[step-failed]" in done.stderr
    assert "no pipeline takes" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_to_send(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    done = _demo("--once", "--study", str(tmp_path), timeout_s=120)
    assert done.returncode == 1
    assert "[nothing-to-send]" in done.stderr


def test_it_serves_until_it_is_stopped_and_nothing_survives_a_kill(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    command = [sys.executable, "-m", "bithive", "demo", "--state", str(state), "--port", str(port)]
    process = subprocess.Popen(command, env=_environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving"):
                break
        text = "".join(lines)
        link = re.search(r"http://127\.0\.0\.1:\d+/enter#token=(\S+)&next=(/studies/\S+)", text)
        assert link, text
        _check_told(text)
        assert _volume_ml(text) == pytest.approx(1394, rel=0.01)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/enter").status_code == 200
            assert client.post("/session", json={"token": link[1]}).status_code == 200
            assert client.post("/session", json={"token": link[1]}).status_code == 401
            page = client.get(link[2], headers={"Accept": "text/html"})
            assert page.status_code == 200
            assert "Intracranial volume" in page.text
        assert _processes_of(state)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    deadline = time.monotonic() + 30
    while _processes_of(state) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _processes_of(state) == [], "the kernel ends the hub and its cell with the command"
