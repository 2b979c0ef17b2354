"""MeshNet's bundles on a real head, each in a process of its own: what they find, and what it takes.

Soak: `tests/e2e/test_pipelines.py` takes the same head through the whole service.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from inference.findings import Findings
from inference.geometry import Axes
from inference.memory import predict
from inference.volume import Volume
from models.catalog import Catalog
from pipelines.brains import GYRI
from pipelines.outputs import MeasurementOutput, SegmentOutput
from tests.common.hub import MODEL_STORE
from tests.common.tree import ROOT
from tests.golden.conftest import read_series

pytestmark = [pytest.mark.heavy, pytest.mark.soak]


@dataclass(frozen=True)
class Ran:
    """What a bundle found, and what its process told."""

    findings: Findings
    told: dict

    def value(self, key):
        return self.findings.measurement(key).value


@pytest.fixture(scope="module")
def head(shared):
    return read_series(shared / "data" / "t1-head" / "dicom")


@pytest.fixture(scope="module")
def run(shared, head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    (folder / "head").write_bytes(head.to_bytes())
    kept = {}

    def once(name, volume=None):
        if volume is not None:
            (folder / "other").write_bytes(volume.to_bytes())
        elif name in kept:
            return kept[name]
        given, found = folder / ("other" if volume is not None else "head"), folder / name
        arguments = [name, MODEL_STORE, shared / "weights", MODEL_STORE / "calibration", given, found]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.common.brain_process", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if volume is not None:
            return ended
        assert ended.returncode == 0, ended.stderr[-3000:]
        told = json.loads(ended.stdout.splitlines()[-1])
        kept[name] = Ran(Findings.from_bytes(found.read_bytes(), head.array.shape), told)
        return kept[name]

    return once


def pipeline(name):
    from pipelines.catalog import pipelines

    return pipelines()[name]


@pytest.mark.parametrize("name", ["brain_tissue_t1", "brain_structures18_t1", "brain_structures104_t1"])
def test_it_finds_what_its_pipeline_writes_within_the_memory_foretold(run, head, name):
    found, bundle = run(name), Catalog(MODEL_STORE).bundle(name)
    declared = {
        output.measurement: output.unit.value
        for output in pipeline(name).outputs
        if isinstance(output, MeasurementOutput)
    }
    assert {item.key: item.unit for item in found.findings.measurements}.items() <= declared.items()
    segments = {output.mask for output in pipeline(name).outputs if isinstance(output, SegmentOutput)}
    assert set(found.findings.structures) == segments
    assert [item.key for item in bundle.structures] == list(found.findings.labels.keys)
    assert found.value("intracranial_volume") == pytest.approx(1791.7, abs=2.0)
    stages = [stage for stage, _ in found.told["stages"]]
    assert stages == ["preparing", "locating", "segmenting", "measuring", "measuring"]
    foretold = predict(bundle, head.array.shape, head.spacing_mm, head.array.itemsize).peak_bytes
    assert 0.8 <= foretold / found.told["peak_bytes"] <= 2.0
    assert found.told["peak_bytes"] < 3.3e9


def test_grey_and_white_matter_lie_inside_the_intracranial_space(run, head, loaded):
    found = run("brain_tissue_t1")
    within = loaded["openvino"].run(head).mask("intracranial").array
    tissue = found.findings.labels.array > 0
    assert np.count_nonzero(tissue & within) / np.count_nonzero(tissue) >= 0.99
    assert found.value("brain_tissue_volume") == pytest.approx(1224, rel=0.01)
    assert found.value("white_matter_volume") + found.value("grey_matter_volume") == pytest.approx(
        found.value("brain_tissue_volume")
    )
    assert found.value("brain_tissue_share") == pytest.approx(100 * 1224 / 1791.7, rel=0.01)


def test_left_is_left_and_pairs_are_compared(run, head):
    found = run("brain_structures104_t1")
    seen = Axes.of(head.affine).view(found.findings.labels.array)
    for key, _ in GYRI:
        sides = [
            np.nonzero((seen == found.findings.labels.number(f"{side}_{key}")).any(axis=(1, 2)))[0].mean()
            for side in ("left", "right")
        ]
        assert sides[0] < sides[1], "canonical axes grow to the patient's right"
    pairs = [item for item in found.findings.measurements if item.key.endswith("_asymmetry")]
    assert 34 < len(pairs) <= 47
    left, right = found.value("left_hippocampus_volume"), found.value("right_hippocampus_volume")
    assert found.value("hippocampus_asymmetry") == pytest.approx(200 * (left - right) / (left + right))


def test_networks_that_were_trained_apart_agree_on_large_structures(run):
    few, many, tissue = (run(name) for name in ("brain_structures18_t1", "brain_structures104_t1", "brain_tissue_t1"))
    for key, rel in (("cerebral_white_matter", 0.1), ("thalamus", 0.35), ("caudate", 0.25)):
        both = many.value(f"left_{key}_volume") + many.value(f"right_{key}_volume")
        assert few.value(f"{key}_volume") == pytest.approx(both, rel=rel), key
    assert few.value("brain_tissue_volume") == pytest.approx(tissue.value("brain_tissue_volume"), rel=0.25)


def test_what_the_network_does_not_find_on_this_head_is_left_out(run):
    """It labels a quarter of the left cerebellum, and next to nothing of the left pallidum and amygdala."""
    found = run("brain_structures104_t1")
    for key in ("left_cerebellum_exterior", "left_pallidum", "left_amygdala"):
        assert found.findings.measurement(f"{key}_volume") is None
        assert not (found.findings.labels.array == found.findings.labels.number(key)).any()
    for key in ("pallidum_asymmetry", "brain_tissue_volume"):
        assert found.findings.measurement(key) is None
    assert found.findings.measurement("right_pallidum_volume") is not None


def phantom():
    places = np.indices((192,) * 3, np.float32) - 96
    inside = sum((place / radius) ** 2 for place, radius in zip(places, (70, 85, 65), strict=True))
    noise = np.random.default_rng(0).normal(0, 10, inside.shape)
    return Volume(((inside < 1) * 600 + noise).astype(np.int16), np.eye(4), "arbitrary")


def test_a_phantom_and_a_head_without_a_brain_have_no_volumes(run, head):
    emptied = Volume(np.ascontiguousarray(head.array[:, ::-1]), head.affine, head.unit)
    for volume in (phantom(), emptied):
        ended = run("brain_tissue_t1", volume)
        assert ended.returncode != 0
        assert "implausible-findings" in ended.stderr or "anatomy-absent" in ended.stderr
