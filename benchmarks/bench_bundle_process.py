"""What confining costs: the T1 head of 81 MB through a bundle process, and in this process, by turns.

`BITHIVE_BENCH_RUNS` sets how many of each are counted; one of each goes before. Equal bits are
asserted; whether the median is within 3 % and 30 ms is said, since it needs a machine that does nothing else.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import numpy as np
from rich.table import Table
from scipy import ndimage

from benchmarks.common import ROOT, console, machine, peak_memory_bytes
from bithive.clock import SystemClock
from bithive.keys import SigningKey, keyed_digest
from cluster.bundle_process import BundleProcess
from cluster.plan import Plan
from cluster.work import Assignment, Warm, perform, receipt_of

RUNS = int(os.environ.get("BITHIVE_BENCH_RUNS", "9"))
NAME = "intracranial_t1"
SHAPE = (274, 384, 384)
STORE = ROOT / ".cache" / "models"
SHARE_MAX, MORE_MS_MAX = 0.03, 30.0


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    from models.catalog import Catalog

    catalog = Catalog(STORE)
    return "" if catalog.ready(catalog.bundle(NAME)) else f"the weights of {NAME} are not here"


def main() -> None:
    """Run and print."""
    from inference import run
    from models.catalog import Catalog

    catalog, clock, key = Catalog(STORE), SystemClock(), SigningKey(b"\x01" * 32)
    bundle = catalog.bundle(NAME)
    threads = len(os.sched_getaffinity(0))
    plan = Plan(str(STORE), (), (bundle.sha256,), (), "auto", threads, 4, 12 << 30, "")
    payload, assignment = _asked(bundle, key)
    began_s = clock.monotonic_s()
    process = BundleProcess(plan)
    confinement = process.start()
    start_s = clock.monotonic_s() - began_s
    warm = Warm(bundle, run.load(bundle, catalog.weights(bundle), "auto", threads, STORE / "calibration"))
    took: dict[str, list[float]] = {"in the process itself": [], "in a bundle process": []}
    for number in range(RUNS + 1):
        here_s, here = _timed(lambda: perform(warm, assignment, payload, key, clock, _silent).receipt)
        there_s, there = _timed(lambda: receipt_of(assignment, process.run(assignment, payload, _silent), key))
        assert here.output_digest == there.output_digest, "it gives other bits"
        if number:
            took["in the process itself"].append(here_s)
            took["in a bundle process"].append(there_s)
    _show(took, f"{start_s:.1f} s until {NAME} is loaded, {peak_memory_bytes(process.pid) / 1e6:.0f} MB at most")
    console.print(f"lacking here: {', '.join(confinement.weak) or 'nothing'}")
    process.close()
    here_s, there_s = (statistics.median(times) for times in took.values())
    within = there_s <= here_s * (1 + SHARE_MAX) + MORE_MS_MAX / 1000
    console.print(f"confining costs {1000 * (there_s - here_s):.0f} ms: {'within' if within else 'over'} 3 % and 30 ms")


def _asked(bundle: Any, key: SigningKey) -> tuple[bytearray, Assignment]:
    from inference.volume import Volume
    from tests.common.head import head_volume

    head = head_volume()
    grown = [new / old for new, old in zip(SHAPE, head.array.shape, strict=True)]
    array = ndimage.zoom(head.array.astype(np.float32), grown, order=1).astype(head.array.dtype)
    affine = head.affine.copy()
    affine[:3, :3] /= grown[::-1]
    volume = Volume(np.ascontiguousarray(array), affine, head.unit)
    payload, nodes = bytearray(volume.to_bytes()), {key.public_hex: "nod_1"}
    digest, units = keyed_digest(b"d" * 32, payload), bundle.reference_work_units(volume.voxels)
    ids = ("att_1", "off_1", 1, "cel_1", nodes, bundle.sha256)
    return payload, Assignment(*ids, digest, volume.voxels, units, 4 << 30, b"d" * 32)


def _silent(_stage: str, _fraction: float) -> None:
    pass


def _timed(call: Any) -> tuple[float, Any]:
    began_s = time.perf_counter()
    answer = call()
    return time.perf_counter() - began_s, answer


def _show(took: dict[str, list[float]], beside: str) -> None:
    table = Table("T1 head, 81 MB", "median", "least", "most", title=f"A bundle process on {machine()}; {beside}")
    for name, times in took.items():
        table.add_row(name, *(f"{1000 * value:.0f} ms" for value in (statistics.median(times), min(times), max(times))))
    console.print(table)
