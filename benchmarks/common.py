"""What both benchmarks need: copies of the study under new identifiers, alternating runs, medians, a table."""

from __future__ import annotations

import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from pydicom import dcmread
from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
BOUNDARY = "bithive-benchmark-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
console = Console(width=None if sys.stdout.isatty() else 140)


def study_folder() -> Path:
    """The 384-instance T1 head study of the shared data."""
    from tests.conftest import SHARED

    return SHARED / "data" / "t1-head" / "dicom"


@dataclass(frozen=True, slots=True)
class Copy:
    """The study under identifiers of its own, as one STOW-RS body in memory."""

    study_uid: str
    series_uid: str
    instances: int
    body: bytes


def copies(count: int) -> Iterator[Copy]:
    """Copies that no archive has seen: same bytes but for the UIDs."""
    for number in range(count):
        study, series = generate_uid(entropy_srcs=[f"study{number}{time.time_ns()}"]), generate_uid()
        parts = []
        paths = [path for path in sorted(study_folder().iterdir()) if path.is_file()]
        for path in paths:
            dataset = dcmread(path)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            content = io.BytesIO()
            dataset.save_as(content)
            parts.append(b"--%s\r\nContent-Type: application/dicom\r\n\r\n" % BOUNDARY.encode() + content.getvalue())
        yield Copy(study, series, len(paths), b"\r\n".join(parts) + b"\r\n--%s--\r\n" % BOUNDARY.encode())


def stow(client: httpx2.Client, url: str, copy: Copy, headers: Mapping[str, str]) -> float:
    """Send a copy in one request; seconds from the first byte to the whole answer."""
    before = time.perf_counter()
    answer = client.post(
        f"{url}/studies",
        content=copy.body,
        headers={**headers, "Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"},
    )
    seconds = time.perf_counter() - before
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:300]}"
    return seconds


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds of each run of two rivals."""

    theirs: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        """Our median over theirs: below 1 is faster than they are."""
        return statistics.median(self.ours) / statistics.median(self.theirs)


def alternate(theirs: Callable[[int], float], ours: Callable[[int], float], runs: int = RUNS) -> Compared:
    """One untimed run each, then run about; each function gets the number of the run, 0 for the untimed one."""
    theirs(0)
    ours(0)
    seconds = [(theirs(number), ours(number)) for number in range(1, runs + 1)]
    return Compared([pair[0] for pair in seconds], [pair[1] for pair in seconds])


def show(title: str, names: tuple[str, str], compared: Compared, target: float, per: int = 0) -> None:
    """Print the runs, medians and the ratio with its target."""
    table = Table("", *(f"run {number}" for number in range(1, len(compared.ours) + 1)), "median", title=title)
    if per:
        table.add_column("instances/s")
    for name, seconds in zip(names, (compared.theirs, compared.ours), strict=True):
        median = statistics.median(seconds)
        rate = [f"{per / median:.0f}"] if per else []
        table.add_row(name, *(f"{value:.2f} s" for value in seconds), f"{median:.2f} s", *rate)
    console.print(table)
    verdict = "reached" if compared.ratio <= target else "MISSED"
    console.print(f"ratio of medians {compared.ratio:.2f}; target at most {target:.2f}: {verdict}\n")


class LineProgram:
    """A program that says in a line of JSON that it has loaded, then answers each line with one.

    Parameters
    ----------
    command
        How it is started; other lines that it writes are passed over.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.loaded = self._read()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def ask(self, line: object) -> dict[str, Any]:
        """Its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise AssertionError("the program ended")


def machine() -> str:
    """One line about where this ran."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def peak_memory_bytes(pid: int) -> int:
    """The largest resident size that a process has had (VmHWM); 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
