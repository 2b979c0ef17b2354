"""The main job, from the first request byte of STOW-RS until WADO-RS returns the SEG, against deepbet alone.

deepbet reads a NIfTI that dcm2niix made before the clock starts, in a warm process of its own; ours does all that a PACS
needs: durable archive, DICOM reading, broker, encryption, receipt, SEG, SR and SC.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
from rich.table import Table

from benchmarks.common import (
    RUNS,
    Copy,
    LineProgram,
    alternate,
    console,
    copies,
    machine,
    peak_memory_bytes,
    show,
    stow,
    study_folder,
)
from tests.common.external import find
from tests.common.hub import Hub
from tests.common.servers import wait_until

TARGET = 1.0
POLL_S = 0.02
TIMEOUT_S = 120.0
_SHOWN_BYTES_MIN = 100 * 2**20


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    if not study_folder().is_dir():
        return "the shared data is not here"
    return "" if find("dcm2niix") else "dcm2niix is not installed"


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        rival = Deepbet(Path(folder) / "nifti")
        hub = Hub(Path(folder) / "hub", embedded=True)
        hub.start()
        try:
            _compare(hub, rival)
        finally:
            hub.stop()
            rival.close()


def _compare(hub: Hub, rival: Deepbet) -> None:
    console.print(f"The main job on {machine()}")
    wait_until(lambda: _cells(hub) > 0, 180, hub.process)
    each, timed = list(copies(RUNS + 1)), []
    with httpx2.Client(timeout=300) as client:
        headers = hub.headers("pacs")

        def ours(number: int) -> float:
            seconds, acknowledged = _main_job(client, f"{hub.url}/dicomweb", each[number], headers)
            timed.append((number, acknowledged, seconds))
            return seconds

        compared = alternate(rival.run, ours)
        show("STOW-RS to SEG, one pipeline on", ("deepbet, NIfTI to mask", "BitHive, DICOM to DICOM"), compared, TARGET)
    studies = [hub.study(each[number].study_uid) for number, _, _ in timed if number > 0]
    console.print(f"acknowledged after {statistics.median(row[1] for row in timed[1:]):.2f} s (median)")
    _show_steps([study["events"] for study in studies])
    _show_memory(hub)


def _main_job(client: httpx2.Client, url: str, copy: Copy, headers: Mapping[str, str]) -> tuple[float, float]:
    """Seconds until the SEG is here, and until the study was acknowledged."""
    before = time.perf_counter()
    acknowledged = stow(client, url, copy, headers)
    series_uid = ""
    while not series_uid:
        assert time.perf_counter() - before < TIMEOUT_S, "no SEG came"
        answer = client.get(f"{url}/studies/{copy.study_uid}/series", params={"Modality": "SEG"}, headers=headers)
        found = answer.json() if answer.status_code == 200 else []
        series_uid = found[0]["0020000E"]["Value"][0] if found else ""
        if not series_uid:
            time.sleep(POLL_S)
    accept = {**headers, "Accept": 'multipart/related; type="application/dicom"'}
    seg = client.get(f"{url}/studies/{copy.study_uid}/series/{series_uid}", headers=accept)
    seconds = time.perf_counter() - before
    assert seg.status_code == 200, f"WADO-RS answered {seg.status_code}"
    assert b"DICM" in seg.content[:1024], "the answer holds no DICOM file"
    _wait_for_end(client, url, copy, headers)
    return seconds, acknowledged


def _wait_for_end(client: httpx2.Client, url: str, copy: Copy, headers: Mapping[str, str]) -> None:
    """Until SR and SC are there too, so that the next run starts on an idle machine."""
    deadline = time.perf_counter() + TIMEOUT_S
    while time.perf_counter() < deadline:
        answer = client.get(f"{url}/studies/{copy.study_uid}/series", headers=headers)
        if answer.status_code == 200 and len(answer.json()) >= 4:
            break
        time.sleep(0.1)
    time.sleep(0.5)


def _cells(hub: Hub) -> int:
    try:
        return int(hub.get("/health/ready")["cells"])
    except (httpx2.HTTPError, KeyError, OSError):
        return 0


def _show_steps(runs: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Median seconds between one event of a study and the next."""
    steps: dict[str, list[float]] = defaultdict(list)
    for events in runs:
        for earlier, later in pairwise(sorted(events, key=lambda event: event["at_ms"])):
            steps[f"{_name(earlier)} -> {_name(later)}"].append((later["at_ms"] - earlier["at_ms"]) / 1000)
    table = Table("step", "median", "runs", title="Where the time goes (events of the study)")
    for step, seconds in steps.items():
        table.add_row(step, f"{statistics.median(seconds):.3f} s", str(len(seconds)))
    console.print(table)


def _name(event: Mapping[str, Any]) -> str:
    return " ".join(str(event[key]) for key in ("kind", "topic", "stage") if event.get(key))


def _short_name(process: psutil.Process) -> str:
    words = [Path(word).name for word in process.cmdline() if not word.startswith("-")]
    return " ".join(words[:4])[:60] or process.name()


def _show_memory(hub: Hub) -> None:
    assert hub.process is not None
    table = Table("process", "peak resident", title="Peak memory")
    table.add_row("hub", f"{peak_memory_bytes(hub.process.pid) / 2**20:.0f} MiB")
    for child in psutil.Process(hub.process.pid).children(recursive=True):
        peak = peak_memory_bytes(child.pid)
        if peak >= _SHOWN_BYTES_MIN:
            table.add_row(_short_name(child), f"{peak / 2**20:.0f} MiB")
    console.print(table)


class Deepbet:
    """The rival in its warm process.

    Parameters
    ----------
    folder
        Where dcm2niix writes the NIfTI that it reads.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        program = find("dcm2niix")
        assert program is not None
        command = [program, "-z", "n", "-f", "t1", "-o", str(folder), str(study_folder())]
        subprocess.run(command, check=True, capture_output=True)
        self._nifti = next(folder.glob("*.nii"))
        self._program = LineProgram([sys.executable, "-m", "benchmarks.rival_deepbet"])
        self.pid = self._program.pid

    def run(self, _number: int) -> float:
        """Seconds of one run."""
        return float(self._program.ask(self._nifti)["seconds"])

    def close(self) -> None:
        """End the process."""
        console.print(f"deepbet's peak memory {peak_memory_bytes(self.pid) / 2**20:.0f} MiB")
        self._program.close()
