"""Each clinical task of CT and MR beside the program that a user would run instead: seconds and peak memory.

Ours is warm in a process of its own and goes from DICOM files to findings; brainchop (its own command, its own
conversion of the same weights) starts anew each time, since that is how it is used, and takes minutes on a CPU: it runs
once. Where the program is not to be had, ours stands alone. Radiograph and ultrasound: `bench_planar`.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from rich.table import Table

from benchmarks import rival_brainchop
from benchmarks.bench_main_job import Deepbet
from benchmarks.common import LineProgram, console, machine, peak_memory_bytes

RUNS = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What a program took."""

    seconds: list[float]
    peak_bytes: int


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    from tests.conftest import SHARED

    return "" if SHARED.is_dir() else "the shared data is not here"


def main() -> None:
    """Run and print."""
    from tests.conftest import SHARED

    console.print(f"Clinical tasks on {machine()}")
    data = SHARED / "data"
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        trunk = _trunk(here / "trunk")
        table = Table("task", "image", "BitHive", "peak", "instead", "it takes", "its peak", "ratio")
        for name in rival_brainchop.MODELS:
            _row(table, name, data / "t1-head" / "dicom", "brainchop 0.2.5", _brainchop(name, here))
        _row(table, "brain_mr", data / "t1-head" / "dicom", "deepbet 1.0.2", lambda: _deepbet(here))
        _row(table, "brain_ct", data / "ct-head-tilted", "-", None)
        for name, rule in (("lungs_ct", "lungs"), ("composition_ct", "composition")):
            _row(table, name, trunk, "SimpleITK script", lambda rule=rule: _simpleitk(rule, trunk))
    console.print(table)


def _row(table: Table, name: str, folder: Path, rival: str, run: Callable[[], Told] | None) -> None:
    ours = _warm([sys.executable, "-m", "benchmarks.pipeline_process", name, str(_store(name))], folder)
    theirs = run() if run is not None else None
    console.print(f"{name}: {_seconds(ours)}{f', {rival} {_seconds(theirs)}' if theirs else ''}")
    ratio = statistics.median(ours.seconds) / statistics.median(theirs.seconds) if theirs else None
    table.add_row(
        name,
        folder.parent.name if folder.name == "dicom" else folder.name,
        _seconds(ours),
        f"{ours.peak_bytes / 2**20:.0f} MiB",
        rival if theirs else f"{rival}: not here",
        _seconds(theirs) if theirs else "",
        f"{theirs.peak_bytes / 2**20:.0f} MiB" if theirs else "",
        f"{ratio:.2f}" if ratio else "",
    )


def _seconds(told: Told) -> str:
    return f"{statistics.median(told.seconds):.1f} s ({len(told.seconds)} runs)"


def _store(name: str) -> Path:
    """The tests' store, with the weights in it."""
    from models.catalog import Catalog
    from tests.common.hub import MODEL_STORE
    from tests.conftest import SHARED

    models = Catalog(MODEL_STORE, (SHARED / "weights",))
    assert models.gather(name) or models.ready(models.bundle(name)), "the weights are not here"
    return MODEL_STORE


def _warm(command: list[str], folder: Path) -> Told:
    """A program that loads, then answers each folder with its seconds; the first answer is not counted."""
    program = LineProgram(command)
    try:
        seconds = [float(program.ask(folder)["seconds"]) for _ in range(RUNS + 1)]
        return Told(seconds[1:], peak_memory_bytes(program.pid))
    finally:
        program.close()


def _simpleitk(rule: str, folder: Path) -> Told:
    return _warm([sys.executable, "-m", "benchmarks.rival_simpleitk", rule], folder)


def _deepbet(here: Path) -> Told:
    rival = Deepbet(here / "nifti")
    try:
        seconds = [rival.run(number) for number in range(RUNS + 1)]
        return Told(seconds[1:], peak_memory_bytes(rival.pid))
    finally:
        rival.close()


def _brainchop(name: str, here: Path) -> Callable[[], Told] | None:
    """One run of brainchop's own command, where `BITHIVE_BRAINCHOP` names a Python that has it."""
    if "BITHIVE_BRAINCHOP" not in os.environ:
        return None

    def run() -> Told:
        from tests.conftest import SHARED
        from tests.golden.conftest import read_series

        folder = here / name
        folder.mkdir()
        volume = rival_brainchop.canonical(read_series(SHARED / "data" / "t1-head" / "dicom"))
        image = nibabel.Nifti1Image(np.ascontiguousarray(volume.array.T), rival_brainchop.ras_affine(volume))
        nibabel.save(image, folder / "head.nii")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        _, seconds = rival_brainchop.theirs(rival_brainchop.MODELS[name], folder)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return Told([seconds], peak * 1024 if peak > before else 0)

    return run


def _trunk(folder: Path) -> Path:
    """A synthetic trunk of 300 x 512 x 512 voxels as a DICOM series."""
    from tests.common import body_phantom as body
    from tests.common.dicom_factory import content_of, make_series

    shape, spacing = (300, 512, 512), (0.75, 0.75, 1.1)
    parts = (*body.TABLE, *body.ARMS, *body.BODY, *body.LUNGS, *body.TRACHEA)
    made = body.phantom(parts, shape, spacing)
    noise = np.random.default_rng(0).normal(0, 25, shape[1:]).astype(np.int16)
    stored = (made.volume.array + noise + 1024).astype(np.int16)
    members = {"modality": "CT", "pixels": stored, "description": "Thorax 1.1", "BodyPartExamined": "CHEST"}
    folder.mkdir()
    for number, dataset in enumerate(make_series(shape, spacing, **members)):
        (folder / f"{number:04}.dcm").write_bytes(content_of(dataset))
    return folder
