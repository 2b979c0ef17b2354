"""What comes after the network: its share of the T1 study, and its steps beside scipy and the LGPL libraries of others.

The libraries run in a program of their own.

The masks are made here from a seed: a head with cavities and specks as the T1 bundle meets it, a body with hundreds of
organs' fragments, and noise, the worst case. All three must agree on the number of voxels.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Table
from scipy import ndimage

from benchmarks.common import RUNS, console, machine, study_folder
from inference.components import fill_voids, keep_largest
from inference.run import load
from tests.common.studies import catalog, pulled
from tests.golden.conftest import read_series

Mask = npt.NDArray[np.bool_]
_EVERY = np.ones((3, 3, 3), dtype=bool)


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    return "" if find_spec("cc3d") and find_spec("fill_voids") else "cc3d and fill_voids are not installed"


def main() -> None:
    """Run and print."""
    console.print(f"Post-processing on {machine()}; medians of {RUNS}, seconds")
    _show_share()
    table = Table("mask", "voxels", "step", "ours", "scipy", "LGPL", "to LGPL", "to scipy")
    with tempfile.TemporaryDirectory() as folder, _rival() as rival:
        for name, mask in _masks():
            path = Path(folder) / "mask.npy"
            np.save(path, mask)
            for step, (ours, scipys) in _STEPS.items():
                seconds = _alternate(mask, path, step, ours, scipys, rival)
                medians = [statistics.median(column) for column in seconds]
                table.add_row(
                    name,
                    f"{mask.size / 1e6:.0f} M",
                    step,
                    *(f"{median:.3f}" for median in medians),
                    f"{medians[0] / medians[2]:.2f}",
                    f"{medians[0] / medians[1]:.2f}",
                )
    console.print(table)


def _show_share() -> None:
    """Where the T1 bundle spends its time on the 384-instance study."""
    if not study_folder().is_dir():
        console.print("the share within a study: skipped, the shared data is not here")
        return
    pulled()
    models = catalog()
    bundle = models.bundle("intracranial_t1")
    loaded = load(bundle, models.weights(bundle))
    volume, spent = read_series(study_folder()), defaultdict[str, list[float]](list)
    for number in range(RUNS + 1):
        marks: list[tuple[str, float]] = []
        loaded.run(volume, lambda stage, _fraction, marks=marks: marks.append((stage, time.perf_counter())))  # type: ignore[misc]
        if not number:
            continue
        stages: dict[str, float] = defaultdict(float)
        for (stage, begun), (_, ended) in pairwise(marks):
            stages[stage] += ended - begun
        for stage, seconds in stages.items():
            spent[stage].append(seconds)
    medians = {stage: statistics.median(values) for stage, values in spent.items()}
    whole = sum(medians.values())
    shown = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in medians.items())
    console.print(f"T1 study, engine {loaded.engine}: {shown}; post-processing {medians['measuring'] / whole:.0%}\n")


def _alternate(
    mask: Mask,
    path: Path,
    step: str,
    ours: Callable[[Mask], object],
    scipys: Callable[[Mask], Mask],
    rival: Callable[[str, Path], tuple[float, int]],
) -> tuple[list[float], list[float], list[float]]:
    taken: tuple[list[float], list[float], list[float]] = ([], [], [])
    for number in range(RUNS + 1):
        made = mask.copy()
        before = time.perf_counter()
        ours(made)
        between = time.perf_counter()
        theirs = scipys(mask)
        after = time.perf_counter()
        seconds, voxels = rival(step, path)
        assert np.array_equal(made, theirs), "ours and scipy's mark the same voxels"
        assert voxels == int(made.sum()), "all three mark as many"
        if number:
            for column, value in zip(taken, (between - before, after - between, seconds), strict=True):
                column.append(value)
    return taken


def _scipy_largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask, structure=_EVERY)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == int(sizes.argmax())


def _scipy_fill(mask: Mask) -> Mask:
    filled: Mask = ndimage.binary_fill_holes(mask)
    return filled


_STEPS: dict[str, tuple[Callable[[Mask], object], Callable[[Mask], Mask]]] = {
    "keep_largest": (keep_largest, _scipy_largest),
    "fill_voids": (fill_voids, _scipy_fill),
}


def _masks() -> Iterator[tuple[str, Mask]]:
    random = np.random.default_rng(20261122)
    yield "one head, specks", _head(random, (274, 384, 384), 0.36)
    yield "400 organs", _organs(random, (400, 384, 384), 400)
    yield "noise", ndimage.uniform_filter(random.random((160, 256, 256), np.float32), 2) > 0.62


def _head(random: np.random.Generator, shape: tuple[int, int, int], radius: float) -> Mask:
    axes = [np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    rough = ndimage.zoom(random.standard_normal([size // 16 + 1 for size in shape]).astype(np.float32), 16, order=1)
    rough = rough[: shape[0], : shape[1], : shape[2]]
    distance = np.sqrt(z * z + y * y + x * x) + 0.02 * rough
    mask: Mask = (distance < radius) & (rough < 2.4)
    return mask | (random.random(shape, np.float32) > 0.9999)


def _organs(random: np.random.Generator, shape: tuple[int, int, int], count: int) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    for _ in range(count):
        radii = random.integers(4, 24, 3)
        centre = [int(random.integers(radius, size - radius)) for radius, size in zip(radii, shape, strict=True)]
        z, y, x = (np.arange(-radius, radius) / radius for radius in radii)
        ball = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 < 1
        place = tuple(slice(at - radius, at + radius) for at, radius in zip(centre, radii, strict=True))
        mask[place] |= ball
    return mask


@contextmanager
def _rival() -> Iterator[Callable[[str, Path], tuple[float, int]]]:
    command = [sys.executable, "-m", "benchmarks.rival_components"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answered = process.stdin, process.stdout
    answered.readline()

    def ask(step: str, path: Path) -> tuple[float, int]:
        asked.write(f"{step} {path}\n")
        asked.flush()
        answer = json.loads(answered.readline())
        return answer["seconds"], answer["voxels"]

    try:
        yield ask
    finally:
        asked.close()
        process.wait(60)
