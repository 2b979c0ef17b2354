"""Engines side by side on this processor, per bundle: seconds for all its networks once, peak memory, parity.

Each engine is warm in a process of its own; they take turns, and the medians are of five runs. The lower precision is
shown for information: no bundle of ours lists it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import ROOT, RUNS, console, machine, peak_memory_bytes
from inference.engine import NetworkFile, installed, threads_of
from inference.parity import Answer, agreement

ENGINES = ("torch", "onnxruntime", "openvino", "openvino-bf16")
REFERENCE = "torch"
UNET = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [16, 32, 64, 128, 256],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
    "norm": "batch",
}
"""As the zoo's spleen_ct_segmentation declares it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Networks with their input shapes, and the measure of parity."""

    title: str
    networks: Sequence[tuple[NetworkFile, tuple[int, ...]]]
    measure: str


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    absent = [name for name in ("torch", "onnxruntime", "openvino") if not installed(name)]
    return f"{', '.join(absent)} not installed" if absent else ""


def main() -> None:
    """Run and print."""
    console.print(f"Engines on {machine()}, {threads_of(0)} threads")
    with tempfile.TemporaryDirectory() as folder:
        for subject in (_intracranial(), _unet(Path(folder))):
            _show(subject, Path(folder))


def _intracranial() -> Subject:
    from tests.common.studies import catalog, pulled

    pulled()
    bundle = catalog().bundle("intracranial_t1")
    declared = bundle.extension["networks"]
    files = {name: NetworkFile.of(name, path) for name, path in catalog().weights(bundle).items()}
    networks = [(file, tuple(declared[name]["input_shape"])) for name, file in files.items()]
    return Subject("intracranial_t1: 128 x 128 x 128, then 256 x 256 x 256", networks, "dice")


def _unet(folder: Path) -> Subject:
    """A bundle's network in the zoo's form: traced, in `models/model.ts`, with seeded weights."""
    import torch
    from monai.networks.nets import UNet

    from inference.torchscript import tracing_accepted

    torch.manual_seed(0)
    shape, path = (1, 1, 96, 96, 96), folder / "model.ts"
    with tracing_accepted():
        torch.jit.save(torch.jit.trace(UNet(**UNET).eval(), torch.zeros(shape)), str(path))
    file = NetworkFile.of(path.name, path)
    return Subject("zoo-form UNet as spleen_ct's: one window of 96 x 96 x 96", [(file, shape)], "labels")


class Warm:
    """An engine's process.

    Parameters
    ----------
    subject, engine
        What it loads, and with which engine.
    answers
        Beginning of the names of the files with its answers.
    """

    def __init__(self, subject: Subject, engine: str, answers: Path) -> None:
        networks = [[str(file.path), file.format, list(shape)] for file, shape in subject.networks]
        given = {"engine": engine, "threads": threads_of(0), "networks": networks, "answers": str(answers)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine_process", json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.told = self._read()
        self.answers = [Answer.of(np.load(f"{answers}-{number}.npy", mmap_mode="r")) for number in range(len(networks))]

    def run(self) -> float:
        """Seconds of one run of every network."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._read()["seconds"])

    @property
    def peak_bytes(self) -> int:
        """The most that was resident so far, loading included."""
        return peak_memory_bytes(self._process.pid)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the engine's process ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _all_warm(subject: Subject, folder: Path) -> Iterator[dict[str, Warm]]:
    with ExitStack() as stack:
        engines = {}
        for engine in ENGINES:
            engines[engine] = Warm(subject, engine, folder / engine)
            stack.callback(engines[engine].close)
        yield engines


def _show(subject: Subject, folder: Path) -> None:
    with _all_warm(subject, folder) as engines:
        seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(RUNS):
            for engine, warm in engines.items():
                seconds[engine].append(warm.run())
        _print(subject, engines, seconds)


def _print(subject: Subject, engines: Mapping[str, Warm], seconds: Mapping[str, Sequence[float]]) -> None:
    runs = (f"run {number}" for number in range(1, RUNS + 1))
    table = Table("engine", *runs, "median", "peak memory", "load", f"{subject.measure} on the probe")
    table.title = subject.title
    reference = statistics.median(seconds[REFERENCE])
    for engine, warm in engines.items():
        median = statistics.median(seconds[engine])
        shown = zip(warm.answers, engines[REFERENCE].answers, strict=True)
        parity = min(agreement(subject.measure, answer, expected) for answer, expected in shown)
        table.add_row(
            f"{engine} {warm.told['version']}, {warm.told['precision']}",
            *(f"{value:.3f} s" for value in seconds[engine]),
            f"{median:.3f} s ({median / reference:.2f})",
            f"{warm.peak_bytes / 2**20:.0f} MiB",
            f"{warm.told['seconds']:.1f} s",
            "reference" if engine == REFERENCE else f"{parity:.6f}",
        )
    console.print(table)
