import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from inference.memory import STACK_BYTES, Prediction, hub_peak, labelling_bytes, loaded_bytes, predict
from inference.windows import Windows
from models.bundle import Bundle
from models.catalog import BUNDLES
from tests.common.runnable import runnable
from tests.common.tree import ROOT

MARGIN_LOW, MARGIN_HIGH = 0.8, 2.5

# A process that loads bundles and runs each on a volume of each shape; the largest resident size of each run.
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from cluster.measure import give_back, peak_memory_bytes
from inference.run import load
from inference.volume import Volume
from models.bundle import Bundle

def measured(folder, shape, spacing):
    loaded = load(Bundle.load(Path(folder)), {"models/model.ts": Path(folder) / "models/model.ts"}, "torch", 2)
    array = np.empty(shape, np.int16)
    array[:] = np.arange(shape[0], dtype=np.int16)[:, None, None] * 7 % 200
    array[:, : shape[1] // 2] -= 60
    give_back()
    Path("/proc/self/clear_refs").write_text("5")
    labels = loaded.run(Volume(array, np.diag([*spacing, 1.0]), "HU")).to_bytes()
    return peak_memory_bytes()

print(json.dumps([measured(*case) for case in json.load(sys.stdin)]))
"""


def compare(cases):
    """For each case (bundle, shape, spacing) the predicted and the measured peak, one process for all."""
    given = json.dumps([[str(bundle.folder), shape, spacing] for bundle, shape, spacing in cases])
    ended = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, input=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    peaks = json.loads(ended.stdout)
    for (bundle, shape, spacing), peak in zip(cases, peaks, strict=True):
        foretold = predict(bundle, shape, spacing, 2).peak_bytes
        print(f"{bundle.name} {shape}: {foretold / 1e6:.0f} MB foretold, {peak / 1e6:.0f} MB measured")
        yield foretold / peak


def test_what_is_foretold_is_what_is_taken(tmp_path):
    few = runnable(tmp_path, 1, pixdim=(2.0, 2.0, 2.0), mode="gaussian", overlap=0.25)
    many = runnable(tmp_path, 60, pixdim=(2.0, 2.0, 2.0), mode="gaussian", overlap=0.25)
    some = runnable(tmp_path, 9, pixdim=(1.0, 1.0, 1.0), interpolate=False, overlap=0.25, roi=(64, 64, 64))
    cases = [
        (few, (60, 96, 96), (1.0, 1.0, 1.5)),
        (few, (200, 400, 400), (0.5, 0.5, 1.0)),
        (some, (150, 160, 160), (1.0, 1.0, 1.0)),
        (many, (90, 130, 130), (1.7, 1.7, 1.9)),
        (many, (120, 128, 128), (2.0, 2.0, 2.0)),
    ]
    for ratio in compare(cases):
        assert MARGIN_LOW <= ratio <= MARGIN_HIGH


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_what_is_foretold_of_large_volumes_is_what_is_taken(tmp_path):
    many = runnable(tmp_path, 104, pixdim=(1.5, 1.5, 1.5), mode="gaussian", overlap=0.25, roi=(96, 96, 96))
    few = runnable(tmp_path, 1, pixdim=(1.0, 1.0, 1.0), interpolate=False, overlap=0.25, roi=(96, 96, 96))
    cases = [
        (few, (600, 512, 512), (0.8, 0.8, 1.0)),
        (many, (200, 512, 512), (0.7, 0.7, 1.0)),
        (many, (300, 256, 256), (1.4, 1.4, 1.5)),
    ]
    for ratio in compare(cases):
        assert MARGIN_LOW <= ratio <= MARGIN_HIGH


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return runnable(
        tmp_path_factory.mktemp("named"), 104, pixdim=(1.5, 1.5, 1.5), mode="gaussian", overlap=0.25, roi=(96, 96, 96)
    )


def test_the_named_case_is_foretold_below_four_gigabytes(named):
    foretold = predict(named, (1000, 512, 512), (0.7, 0.7, 1.0), 2)
    assert foretold.peak_bytes < 4e9
    assert foretold.parts["payload"] == 2 * 512 * 512 * 1000
    assert foretold.parts["running"] > 1 << 30
    assert (
        foretold.peak_bytes == sum(foretold.parts.values()) - foretold.parts["preparing"] - foretold.parts["finishing"]
    )


def test_it_grows_with_everything_that_makes_it_grow(named):
    base = predict(named, (200, 256, 256), (1.0, 1.0, 1.0), 2).peak_bytes
    assert predict(named, (400, 256, 256), (1.0, 1.0, 1.0), 2).peak_bytes > base
    assert predict(named, (200, 256, 256), (1.0, 1.0, 1.0), 4).peak_bytes > base
    assert predict(named, (200, 256, 256), (2.0, 2.0, 1.0), 2).peak_bytes > base
    assert loaded_bytes(named) < base
    assert predict(named, (1, 1, 1), (1.0, 1.0, 1.0), 2).peak_bytes > loaded_bytes(named)


def test_only_the_largest_phase_counts():
    assert Prediction({"process": 1, "preparing": 10, "running": 30, "finishing": 20}).peak_bytes == 31
    assert Prediction({"process": 1}).peak_bytes == 1


def test_a_bundle_of_ours_is_foretold_from_its_networks():
    bundle = Bundle.load(BUNDLES / "intracranial_t1")
    foretold = predict(bundle, (274, 384, 384), (0.65, 0.65, 0.7), 2)
    rooms = [row["activation_bytes"] for row in bundle.extension["networks"].values()]
    assert len(rooms) == 2
    assert foretold.parts["activations"] == sum(rooms)
    assert 1.6e9 < foretold.peak_bytes < 2.1e9


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Lambdad", "keys": "image"}]}},
        {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [4, 4, 4], "overlap": 0.95}},
    ],
)
def test_a_bundle_that_cannot_run_has_a_prediction_too(tmp_path, change):
    bundle = runnable(tmp_path, 1, change=change)
    voxels = 200 * 256 * 256
    assert predict(bundle, (200, 256, 256), (1.0, 1.0, 1.0), 2).peak_bytes > 8 * voxels


def test_a_network_that_does_not_say_what_it_needs_is_taken_to_need_much(named):
    networks = {"models/model.ts": {"input_shape": [1, 1, 96, 96, 96], "output_channels": 105}}
    silent = replace(named, extension={**named.extension, "networks": networks})
    assert predict(silent, (9, 9, 9), (1.0, 1.0, 1.0), 2).parts["activations"] > 1 << 29


@pytest.mark.parametrize(
    ("steps", "grid"),
    [
        ([], (100, 90, 80)),
        ([{"_target_": "Resized", "keys": "image", "spatial_size": [64, -1, 32], "mode": "bilinear"}], (64, 90, 32)),
        ([{"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [64, 200, -1]}], (64, 90, 80)),
        ([{"_target_": "SpatialPadd", "keys": "image", "spatial_size": [128, 64, 80]}], (128, 90, 80)),
        ([{"_target_": "DivisiblePadd", "keys": "image", "k": 32}], (128, 96, 96)),
        ([{"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, -1, 0.5], "mode": "bilinear"}], (50, 90, 160)),
    ],
)
def test_the_grid_is_foretold_step_by_step(tmp_path, steps, grid):
    first = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
    change = {
        "preprocessing": {"_target_": "Compose", "transforms": [*first, *steps]},
        "inferer": {"_target_": "SimpleInferer"},
    }
    bundle = runnable(tmp_path, 1, change=change)
    foretold = predict(bundle, (80, 90, 100), (1.0, 1.0, 1.0), 2)
    voxels = int(np.prod(grid))
    assert foretold.parts["preparing"] >= 4 * voxels
    expected = 4 * voxels + 80 * 90 * 100 + labelling_bytes(grid, None, 2, interpolate=True)
    assert foretold.parts["running"] == expected


def test_labelling_is_far_below_all_classes_at_once():
    windows = Windows((96, 96, 96), 0.25, "gaussian")
    assert labelling_bytes((239, 239, 667), windows, 105, interpolate=True) < 1.8e9


def test_the_clinical_side_holds_the_volume_and_the_labels():
    assert hub_peak((1000, 512, 512), 2, 104) < 4 << 30
    assert hub_peak((1000, 512, 512), 2, 104) > 2 * 2 * 512 * 512 * 1000
    assert hub_peak((10, 10, 10), 1, 300) > 0


def test_foretelling_imports_no_engine():
    code = (
        "import sys; from pathlib import Path; from models.bundle import Bundle; from inference.memory import predict\n"
        f"bundle = Bundle.load(Path({str(BUNDLES / 'intracranial_t1')!r}))\n"
        "predict(bundle, (10, 10, 10), (1.0, 1.0, 1.0), 2)\n"
        f"print([name for name in {sorted(set(STACK_BYTES) - {'numpy'})!r} + ['monai', 'ray', 'pydicom'] if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stderr
