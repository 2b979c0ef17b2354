"""The named case: 512 x 512 x 1,000 voxels, 104 structures, windows of 96^3 at 1.5 mm, labels at full resolution.

A replica of its own runs the bundle, another process reads the series and writes the DICOM objects; each says the largest
resident size that it had. On a part that MONAI can hold too, the blended values and the labels are compared with
MONAI's. `BITHIVE_BENCH_PLANES` and `BITHIVE_BENCH_FILTERS` make the case smaller or the network larger.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import ROOT, console, machine, peak_memory_bytes

STRUCTURES = 104
PLANES = int(os.environ.get("BITHIVE_BENCH_PLANES", "1000"))
FILTERS = int(os.environ.get("BITHIVE_BENCH_FILTERS", "8"))
SHAPE = (PLANES, 512, 512)
SPACING_MM = (0.7, 0.7, 1.0)
PIXDIM_MM = (1.5, 1.5, 1.5)
ROI = (96, 96, 96)
OVERLAP = 0.25
LIMIT_BYTES = 4_000_000_000
SCALE_MAX = 1e-5
LABELS_MAX = 1e-4


def lacks() -> str:
    """What keeps it from running; empty when nothing does."""
    return "" if Path("/proc/self/status").exists() else "this system does not say what a process takes"


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        bundle = _bundle(here)
        console.print(
            f"Memory of the named case on {machine()}: {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]}, {STRUCTURES} structures"
        )
        _equality(bundle)
        _child("payload", here)
        _child("calibrate", here)
        replica = _child("replica", here)
        writer = _child("writer", here)
        _show(replica, writer)


def _bundle(folder: Path) -> Any:
    """A zoo bundle whose network is a SegResNet, as wholeBody_ct_segmentation has it, with seeded weights."""
    import torch
    from monai.networks.nets import SegResNet

    from tests.common.runnable import runnable

    parity = {"reference": "torch", "measure": "labels", "least": 0.99}
    engines = {"openvino": {"precision": "f32", "parity": parity}, "torch": {"precision": "f32"}}
    torch.manual_seed(3)
    network = SegResNet(3, FILTERS, 1, STRUCTURES + 1, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))
    return runnable(
        folder,
        STRUCTURES,
        roi=ROI,
        overlap=OVERLAP,
        mode="gaussian",
        engines=engines,
        activation_bytes=round((10 * FILTERS + 3.2 * 4 * (STRUCTURES + 1)) * math.prod(ROI)),
        network=network,
        pixdim=PIXDIM_MM,
    )


def _equality(bundle: Any) -> None:
    """Blended values and labels of a part that MONAI holds in memory, beside MONAI's own."""
    import torch
    from monai.inferers import SlidingWindowInferer

    from inference.labels import AxisMap, Decision, Restore, label_volume
    from inference.windows import Windows, slabs
    from tests.common.runnable import NETWORK

    network = torch.jit.load(str(bundle.folder / NETWORK))
    image = np.random.default_rng(0).random((1, 120, 110, 150), dtype=np.float32)
    windows = Windows(ROI, OVERLAP, "gaussian")
    axes = (AxisMap(150, 119 / 149, 0.0), AxisMap(141, 109 / 140, 0.0), AxisMap(200, 149 / 199, 0.0))
    labels = np.zeros((150, 141, 200), np.uint8)

    def ours(array: Any) -> Any:
        return network(torch.from_numpy(array)).numpy()

    with torch.inference_mode():
        theirs = SlidingWindowInferer(ROI, 1, OVERLAP, "gaussian")(torch.from_numpy(image)[None], network)[0]
        scale, worst = float(theirs.abs().max()), 0.0
        for low, high, slab in slabs(image, ours, windows, 2):
            worst = max(worst, float((theirs[..., low:high] - torch.from_numpy(slab)).abs().max()))
        label_volume(image, ours, windows, Decision("argmax", "softmax"), Restore(axes, True), labels.shape, labels)
        likely = torch.softmax(theirs, 0, dtype=torch.float32)[None]
        del theirs
        wanted = np.concatenate([_sampled(likely, axes, x) for x in range(0, 150, 10)])
    different = np.count_nonzero(labels != wanted) / labels.size
    console.print(f"blended values beside MONAI's: at most {worst / scale:.1e} of their scale apart")
    console.print(
        f"labels beside MONAI's: {different:.1e} of {labels.size} voxels differ; {len(np.unique(labels))} labels"
    )
    assert worst <= SCALE_MAX * scale, "the values are not MONAI's"
    assert different <= LABELS_MAX, "the labels are not MONAI's"


def _sampled(likely: Any, axes: Any, first: int) -> Any:
    """Ten planes of labels, as PyTorch samples them."""
    import torch

    lines = [axis.coordinates(size) for axis, size in zip(axes, likely.shape[2:], strict=True)]
    lines[0] = lines[0][first : first + 10]
    even = [torch.from_numpy(2 * at / (size - 1) - 1).float() for at, size in zip(lines, likely.shape[2:], strict=True)]
    grid = torch.stack(torch.meshgrid(*even, indexing="ij")[::-1], -1)[None]
    sampled = torch.nn.functional.grid_sample(likely, grid, padding_mode="border", align_corners=True)
    return sampled[0].argmax(0).numpy()


def _child(step: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_memory", step, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _loaded(folder: Path) -> Any:
    from inference.run import load
    from models.bundle import Bundle
    from tests.common.runnable import NETWORK

    bundle = Bundle.load(folder / f"tiny_{STRUCTURES}")
    return bundle, load(bundle, {NETWORK: bundle.folder / NETWORK}, calibration=folder / "calibration")


def _payload(folder: Path) -> dict[str, Any]:
    """Ellipsoids of several intensities in air, with noise: what the replica is sent."""
    from inference.volume import Volume

    z, y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in SHAPE)
    rng = np.random.default_rng(1)
    array = np.empty(SHAPE, np.int16)
    for k, height in enumerate(z):
        body = (y[:, None] ** 2 * 1.6 + x**2) < 0.8
        organs = np.sin(9 * x) * np.sin(11 * y[:, None]) * np.sin(17 * height) * 120
        array[k] = np.where(body, 40 + organs, -900) + rng.normal(0, 12, SHAPE[1:])
    affine = np.diag([*SPACING_MM, 1.0])
    (folder / "payload").write_bytes(Volume(array, affine, "HU").to_bytes())
    return {}


def _calibrate(folder: Path) -> dict[str, Any]:
    _loaded(folder)
    return {}


def _replica(folder: Path) -> dict[str, Any]:
    """What a replica does, by the clock."""
    from inference.memory import predict
    from inference.volume import Volume

    stages: dict[str, float] = {}
    last: list[Any] = ["loading", time.perf_counter()]

    def tell(stage: str, _share: float = 0.0) -> None:
        now = time.perf_counter()
        if stage != last[0]:
            stages[last[0]], last[:] = now - last[1], [stage, now]

    bundle, loaded = _loaded(folder)
    idle = peak_memory_bytes(os.getpid())
    tell("receiving")
    payload = np.fromfile(folder / "payload", np.uint8)
    volume = Volume.from_bytes(payload.data)
    foretold = predict(bundle, volume.array.shape, volume.spacing_mm, volume.array.itemsize)
    findings = loaded.run(volume, tell)
    tell("encoding")
    content = findings.to_bytes()
    tell("")
    (folder / "findings").write_bytes(content)
    counts = findings.labels.counts() if findings.labels else np.zeros(1)
    return {
        "stages": stages,
        "idle": idle,
        "peak": peak_memory_bytes(os.getpid()),
        "foretold": foretold.peak_bytes,
        "parts": dict(foretold.parts),
        "engine": loaded.engine,
        "labels": int(np.count_nonzero(counts[1:])),
        "findings": len(content),
    }


def _writer(folder: Path) -> dict[str, Any]:
    """What the clinical side does: reads the series from its files, opens the findings, writes every object."""
    from bithive.blobs import FileBlobs
    from clinic.reader import read
    from clinic.writers import Context, Source, write
    from inference.findings import Findings
    from inference.memory import hub_peak
    from models.bundle import Bundle
    from pipelines.from_bundle import pipeline_of
    from tests.common.dicom_factory import rows_of
    from tests.common.written import context

    rows, blobs = rows_of(_instances(folder / "payload"), FileBlobs(folder / "blobs"))
    stages, started = {"idle": 0.0}, time.perf_counter()
    source = Source(*read(rows, blobs))
    stages["reading"] = time.perf_counter() - started
    findings = Findings.from_bytes((folder / "findings").read_bytes(), source.grid.shape)
    bundle = Bundle.load(folder / f"tiny_{STRUCTURES}")
    circumstances: Context = context(pipeline=pipeline_of(bundle), label_maps=True)
    opened = time.perf_counter()
    written = write(source, findings, circumstances)
    stages["writing"] = time.perf_counter() - opened
    return {
        "stages": stages,
        "peak": peak_memory_bytes(os.getpid()),
        "foretold": hub_peak(SHAPE, 2, STRUCTURES),
        "objects": {item.kind: len(item.content) for item in written},
    }


def _instances(payload: Path) -> Any:
    """The series as files, one at a time."""
    from inference.volume import Volume
    from tests.common.dicom_factory import content_of, make_series

    content = np.memmap(payload, np.uint8, "r")
    array = Volume.from_bytes(content.data).array
    for k, plane in enumerate(array):
        position = (0.0, 0.0, k * SPACING_MM[2])
        (dataset,) = make_series(
            (1, *SHAPE[1:]), SPACING_MM, modality="CT", positions=[position], pixels=plane[None] + 1024
        )
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.3.100.1.{k + 1}", k + 1
        yield content_of(dataset)


def _show(replica: dict[str, Any], writer: dict[str, Any]) -> None:
    table = Table("", "measured", "foretold", "seconds by stage", title="largest resident size")
    for name, found in (("replica", replica), ("reading and writing", writer)):
        spent = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in found["stages"].items() if seconds)
        table.add_row(name, *(f"{found[key] / 1e6:.0f} MB" for key in ("peak", "foretold")), spent)
    console.print(table)
    console.print(
        f"engine {replica['engine']}; {replica['idle'] / 1e6:.0f} MB once loaded; foretold:", replica["parts"]
    )
    console.print(
        f"{replica['labels']} structures found; findings {replica['findings']} bytes; objects", writer["objects"]
    )
    for name, found in (("replica", replica), ("writer", writer)):
        verdict = "reached" if found["peak"] < LIMIT_BYTES else "MISSED"
        console.print(f"{name} {found['peak'] / 1e9:.2f} GB; target below {LIMIT_BYTES / 1e9:.0f} GB: {verdict}")


_STEPS = {"payload": _payload, "calibrate": _calibrate, "replica": _replica, "writer": _writer}

if __name__ == "__main__":
    print(json.dumps(_STEPS[sys.argv[1]](Path(sys.argv[2]))))
