"""A chest radiograph and an ultrasound still, from the first request byte of STOW-RS until WADO-RS returns the report.

The hub is warm and both tasks are on. Each run sends an image that the archive has not seen, in turn with the rival: a
script as a user would write it (pydicom, Pillow, ONNX Runtime), warm in a process of its own, from file to score. That
script archives nothing and writes no DICOM; it says what the network itself costs.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pydicom
from pydicom.uid import generate_uid
from rich.table import Table

from benchmarks.bench_main_job import _cells, _show_steps
from benchmarks.common import (
    BOUNDARY,
    ROOT,
    RUNS,
    Copy,
    LineProgram,
    alternate,
    console,
    machine,
    peak_memory_bytes,
    stow,
)
from tests.common.hub import Hub
from tests.common.servers import wait_until

TARGET_S = 0.5
POLL_S = 0.03
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of image: the task that takes it, and the image."""

    pipeline: str
    image: Path


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    from tests.conftest import SHARED

    return "" if SHARED.is_dir() else "the shared data is not here"


def main() -> None:
    """Run and print."""
    from tests.common.planar import ultrasound_stills
    from tests.conftest import SHARED

    with tempfile.TemporaryDirectory() as folder:
        (still,) = ultrasound_stills([SHARED / "data" / "us-fetal" / "4CH.tiff"], Path(folder) / "still")
        film = SHARED / "data" / "chest-xray" / "pa-1024-jpeg.dcm"
        subjects = (Subject("chest_pneumonia", film), Subject("fetal_planes", still))
        hub = Hub(
            Path(folder) / "hub",
            embedded=True,
            BITHIVE_MODEL_MIRRORS=str(SHARED / "weights"),
            BITHIVE_CLINIC__PIPELINES="chest_pneumonia,fetal_planes",
        )
        pull(hub, "fetal_planes")
        hub.start()
        try:
            console.print(f"Planar images on {machine()}")
            wait_until(lambda: _cells(hub) > 0, 180, hub.process)
            for subject in subjects:
                _compare(hub, subject)
        finally:
            hub.stop()


def pull(hub: Hub, *names: str) -> None:
    """`bithive models pull`, in the hub's environment."""
    command = [sys.executable, "-m", "bithive", "models", "pull", *names]
    subprocess.run(command, env=hub.environment, cwd=ROOT, check=True, capture_output=True)


def _compare(hub: Hub, subject: Subject) -> None:
    rival = Script(subject)
    headers, studies = hub.headers("pacs"), []
    try:
        with httpx2.Client(timeout=60) as client:

            def ours(_number: int) -> float:
                copy = _copy(subject.image)
                studies.append(copy.study_uid)
                return _until_report(client, f"{hub.url}/dicomweb", copy, headers)

            compared = alternate(rival.run, ours, runs=2 * RUNS)
        table = Table("", "median", "least", "most", "peak memory", title=f"{subject.pipeline}: one image, warm")
        assert hub.process is not None
        rows = (
            ("script: pydicom, Pillow, ONNX Runtime", compared.theirs, peak_memory_bytes(rival.pid)),
            ("BitHive: STOW-RS to report", compared.ours, peak_memory_bytes(hub.process.pid)),
        )
        for name, seconds, peak in rows:
            shown = (statistics.median(seconds), min(seconds), max(seconds))
            table.add_row(name, *(f"{1000 * value:.0f} ms" for value in shown), f"{peak / 2**20:.0f} MiB")
        console.print(table)
        verdict = "reached" if statistics.median(compared.ours) <= TARGET_S else "MISSED"
        console.print(f"target at most {1000 * TARGET_S:.0f} ms: {verdict}\n")
        _show_steps([hub.study(uid)["events"] for uid in studies[1:]])
    finally:
        rival.close()


def _copy(image: Path) -> Copy:
    """The image under identifiers that no archive has seen."""
    dataset = pydicom.dcmread(image)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    body = b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--%s--\r\n" % (
        BOUNDARY.encode(),
        content.getvalue(),
        BOUNDARY.encode(),
    )
    return Copy(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, 1, body)


def _until_report(client: httpx2.Client, url: str, copy: Copy, headers: Mapping[str, str]) -> float:
    """Seconds until the report is here."""
    before = time.perf_counter()
    stow(client, url, copy, headers)
    found: list[dict[str, Any]] = []
    while not found:
        assert time.perf_counter() - before < TIMEOUT_S, "no report came"
        answer = client.get(f"{url}/studies/{copy.study_uid}/series", params={"Modality": "SR"}, headers=headers)
        found = answer.json() if answer.status_code == 200 else []
        if not found:
            time.sleep(POLL_S)
    series_uid = found[0]["0020000E"]["Value"][0]
    accept = {**headers, "Accept": 'multipart/related; type="application/dicom"'}
    report = client.get(f"{url}/studies/{copy.study_uid}/series/{series_uid}", headers=accept)
    seconds = time.perf_counter() - before
    assert report.status_code == 200, f"WADO-RS answered {report.status_code}"
    assert b"DICM" in report.content[:1024], "the answer holds no DICOM file"
    time.sleep(0.3)
    return seconds


class Script:
    """The rival, warm in a process of its own."""

    def __init__(self, subject: Subject) -> None:
        from tests.common.studies import catalog

        models = catalog()
        weights = models.weights(models.bundle(subject.pipeline))
        network = next(path for name, path in weights.items() if name.endswith(".onnx"))
        self._image = subject.image
        self._program = LineProgram([sys.executable, "-m", "benchmarks.rival_planar", str(network)])
        self.pid = self._program.pid

    def run(self, _number: int) -> float:
        """Seconds of one run."""
        return float(self._program.ask(self._image)["seconds"])

    def close(self) -> None:
        """End the process."""
        self._program.close()
