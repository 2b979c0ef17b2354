"""The bundle against the program it follows, on real heads."""

import nibabel as nib
import numpy as np
import pytest

from inference.findings import Findings
from inference.geometry import Axes
from inference.run import load
from inference.volume import Volume
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE
from tests.common.studies import catalog
from tests.golden.conftest import ENGINES

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def findings(head, loaded):
    return {engine: loaded[engine].run(head.volume) for engine in ENGINES}


@pytest.mark.parametrize("engine", ENGINES)
def test_it_agrees_with_the_program_it_follows(head, findings, engine):
    mask = findings[engine].mask("intracranial").array
    reference = nib.as_closest_canonical(head.reference)
    axes = Axes.of(head.volume.affine)
    assert dice(axes.view(mask), np.asarray(reference.dataobj) > 0) >= (0.9999 if engine == "openvino" else 0.99999)
    measurement = findings[engine].measurement("intracranial_volume")
    assert measurement.value == pytest.approx(head.reference_ml, rel=0.001)
    assert (measurement.unit, measurement.mask) == ("mL", "intracranial")


def test_each_marked_voxel_lies_where_the_program_put_it(head, findings):
    z, y, x = np.nonzero(findings["torch"].mask("intracranial").array)
    centres = head.volume.affine @ np.stack([x, y, z, np.ones_like(x)]).astype(float)
    index = np.linalg.inv(head.reference.affine) @ LPS_TO_RAS @ centres
    nearest = np.rint(index)
    apart = np.linalg.norm(head.reference.affine[:3, :3] @ (index - nearest)[:3], axis=0)
    assert apart.max() < 5e-3, "both readers round the step between slices; 5 micrometres is no other voxel"
    i, j, k = nearest[:3].astype(int)
    assert (np.asarray(head.reference.dataobj)[i, j, k] > 0).mean() > 0.9999


def test_engines_are_at_parity_as_the_bundle_declares(findings, tmp_path):
    declared = Catalog(tmp_path).bundle("intracranial_t1").extension["engines"]["openvino"]["parity"]
    masks = [findings[engine].mask("intracranial").array for engine in ("openvino", declared["reference"])]
    assert dice(*masks) >= declared["least"]


@pytest.mark.soak
def test_onnxruntime_is_at_parity_too(head, findings):
    bundle = catalog().bundle("intracranial_t1")
    declared = bundle.extension["engines"]["onnxruntime"]["parity"]
    loaded = load(bundle, catalog().weights(bundle), "onnxruntime", 0, MODEL_STORE / "calibration")
    masks = [found.mask("intracranial").array for found in (loaded.run(head.volume), findings[declared["reference"]])]
    assert dice(*masks) >= declared["least"]


@pytest.mark.parametrize("engine", ENGINES)
def test_it_gives_the_same_bytes_again(head, loaded, findings, engine):
    stages = []
    again = loaded[engine].run(head.volume, lambda stage, fraction: stages.append((stage, fraction)))
    assert again.to_bytes() == findings[engine].to_bytes()
    assert [stage for stage, _ in stages] == ["preparing", "locating", "segmenting", "measuring", "measuring"]
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_it_travels(head, loaded, findings):
    volume = Volume.from_bytes(head.volume.to_bytes())
    sent = loaded["openvino"].run(volume).to_bytes()
    assert sent == findings["openvino"].to_bytes()
    read = Findings.from_bytes(sent, volume.array.shape)
    assert read.measurements == findings["openvino"].measurements


def turned(volume, order, flips):
    """The same image stored along other axes."""
    array = volume.array.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, old in enumerate(order):
        to_old[2 - old, 2 - new] = -1 if flips[new] else 1
        to_old[2 - old, 3] = array.shape[new] - 1 if flips[new] else 0
    return Volume(np.ascontiguousarray(array), volume.affine @ to_old, volume.unit)


@pytest.mark.parametrize(("order", "flips"), [((1, 0, 2), (True, False, True)), ((2, 0, 1), (False, True, False))])
def test_it_does_not_matter_how_the_image_is_stored(head, loaded, findings, order, flips):
    other = turned(head.volume, order, flips)
    found = loaded["openvino"].run(other)
    assert found.measurement("intracranial_volume").value == pytest.approx(
        findings["openvino"].measurement("intracranial_volume").value, rel=1e-9
    )
    mask = Axes.of(other.affine).view(found.mask("intracranial").array)
    assert np.array_equal(mask, Axes.of(head.volume.affine).view(findings["openvino"].mask("intracranial").array))


def test_the_volumes_are_those_that_were_measured(head, findings):
    expected = 1394.0 if head.volume.array.size < 2e7 else 1791.7
    for engine in ENGINES:
        assert findings[engine].measurement("intracranial_volume").value == pytest.approx(expected, abs=1.0)
