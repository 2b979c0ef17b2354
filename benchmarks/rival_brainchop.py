"""MeshNet's bundles beside brainchop, the program that publishes the networks: same image, Dice of each structure, seconds.

`python -m benchmarks.rival_brainchop FOLDER [BUNDLE ...]`: a folder of one T1-weighted head's DICOM instances. brainchop 0.2.5
runs as a program of its own, in the environment whose Python `BITHIVE_BRAINCHOP` names (this one otherwise); it needs a C
compiler that tinygrad takes (`CC`), and minutes: it is a reference, no rival for speed. Both get the same NIfTI image,
stored along canonical axes, and both answers are compared at the image's own voxels; a structure that the bundle left out as
implausible is counted apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from rich.table import Table

from benchmarks.common import ROOT, console, machine
from inference.geometry import Canonical, ras_affine
from inference.volume import Volume

MODELS = {
    "brain_tissue_t1": "model5_gw_ae",
    "brain_structures18_t1": "model30chan18cls",
    "brain_structures104_t1": "model21_104class",
}
LEAST_MEAN = 0.99
_WEIGHTS = ROOT.parent / "shared" / "weights" / "brainchop"
_PYTHON = os.environ.get("BITHIVE_BRAINCHOP", sys.executable)


def main(folder: str, *names: str) -> None:
    """Run and print."""
    from tests.golden.conftest import read_series

    volume = canonical(read_series(Path(folder)))
    console.print(f"MeshNet beside brainchop 0.2.5 on {machine()}: {volume.array.shape[::-1]} voxels")
    table = Table("bundle", "ours", "brainchop", "structures", "left out", "mean Dice", "least Dice")
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        image = nibabel.Nifti1Image(np.ascontiguousarray(volume.array.T), ras_affine(volume))
        nibabel.save(image, here / "head.nii")
        for name in names or MODELS:
            ours, seconds = _ours(name, volume)
            their_labels, rival_s = theirs(MODELS[name], here)
            every = _dice(ours, their_labels)
            dice = {number: value for number, value in every.items() if (ours == number).any()}
            least = min(dice, key=lambda number: dice[number])
            mean = float(np.mean(list(dice.values())))
            table.add_row(
                name,
                f"{seconds:.1f} s",
                f"{rival_s:.0f} s",
                str(len(dice)),
                str(len(every) - len(dice)),
                f"{mean:.5f}",
                f"{dice[least]:.5f} (label {least}, {np.count_nonzero(their_labels == least)} voxels)",
            )
            assert mean >= LEAST_MEAN, "the published program answers something else"
    console.print(table)


def canonical(volume: Volume) -> Volume:
    """The same image stored along canonical axes."""
    seen = Canonical.of(volume)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for axis, (stored, flipped) in enumerate(zip(seen.axes.order, seen.axes.flipped, strict=True)):
        matrix[2 - stored, axis] = -1.0 if flipped else 1.0
        matrix[2 - stored, 3] = seen.array.shape[axis] - 1 if flipped else 0.0
    return Volume(np.ascontiguousarray(seen.array.transpose(2, 1, 0)), volume.affine @ matrix, volume.unit)


def _ours(name: str, volume: Volume) -> tuple[Any, float]:
    from inference.run import load
    from models.catalog import Catalog
    from tests.common.hub import MODEL_STORE

    catalog = Catalog(MODEL_STORE, (_WEIGHTS.parent,))
    assert catalog.gather(name), "the weights are not here"
    bundle = catalog.bundle(name)
    loaded = load(bundle, catalog.weights(bundle), "auto", 0, MODEL_STORE / "calibration")
    started = time.perf_counter()
    labels = loaded.run(volume).labels
    assert labels is not None, "the bundle gives labels"
    return labels.array, time.perf_counter() - started


def theirs(model: str, here: Path) -> tuple[Any, float]:
    """brainchop's own command with its own conversion of the weights, brought back to the image by its own option."""
    home, folder = here / "home", here / model
    (home / ".cache" / "brainchop").mkdir(parents=True, exist_ok=True)
    (home / ".cache" / "brainchop" / "models.json").write_text("{}")
    folder.mkdir()
    source = _WEIGHTS / model
    topology = json.loads((source / "model.json").read_text())
    shards = [path for group in topology["weightsManifest"] for path in group["paths"]]
    (folder / "model.json").write_text(json.dumps(topology))
    (folder / "model.bin").write_bytes(b"".join((source / path).read_bytes() for path in shards))
    environment = {**os.environ, "HOME": str(home), "PATH": f"{Path(_PYTHON).parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: str) -> None:
        subprocess.run([_PYTHON, "-m", *arguments], check=True, cwd=here, env=environment, stdout=subprocess.DEVNULL)

    run("brainchop.convert_tfjs_to_pth", "--model-dir", str(folder))
    (folder / "model.json").write_text(json.dumps(_settings(topology)))
    (folder / "model.bin").unlink()
    started = time.perf_counter()
    run("brainchop.cli", "head.nii", "-o", "labels.nii", "--custom", str(folder), "--no-optimize", "--inverse-conform")
    seconds = time.perf_counter() - started
    return np.asarray(nibabel.load(here / "labels.nii").dataobj).T.astype(np.uint8), seconds


def _settings(topology: Mapping[str, Any]) -> dict[str, Any]:
    """What the command wants to know of a network, in its own words."""
    rows = list(topology["modelTopology"]["model_config"]["config"]["layers"][1:])
    taken, layers = 1, []
    for config in (row["config"] for row in rows if row["class_name"] == "Conv3D"):
        size, dilation = config["kernel_size"][0], config["dilation_rate"][0]
        layers.append(
            {
                "in_channels": taken,
                "out_channels": config["filters"],
                "kernel_size": size,
                "padding": (size - 1) * dilation // 2,
                "stride": 1,
                "dilation": dilation,
            }
        )
        taken = config["filters"]
    kinds = {row["config"]["activation"] for row in rows if row["class_name"] == "Activation"}
    return {"bnorm": False, "dropout_p": 0, "gelu": False, "elu": kinds == {"elu"}, "bias": True, "layers": layers}


def _dice(one: Any, other: Any) -> dict[int, float]:
    """Of each label that either has."""
    first, second, both = (np.bincount(array.ravel(), minlength=256) for array in (one, other, one[one == other]))
    return {
        number: 2 * int(both[number]) / int(first[number] + second[number])
        for number in range(1, 256)
        if first[number] + second[number]
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
