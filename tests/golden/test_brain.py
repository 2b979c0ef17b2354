"""MindGrab on the real heads that are at hand, and on what is none.

Soak: `tests/e2e/test_pipelines.py` takes the same heads through the whole service.
"""

import warnings

import numpy as np
import pytest

from bithive.errors import Refused
from clinic.reader import read
from inference.findings import Findings
from inference.run import load
from models.catalog import Catalog
from tests.common.dicom_factory import rows_of
from tests.common.hub import MODEL_STORE

pytestmark = [pytest.mark.heavy, pytest.mark.soak]


@pytest.fixture(scope="module")
def loaded(shared):
    """Each bundle, its weights converted from the published files."""

    def make(name):
        models = Catalog(MODEL_STORE, (shared / "weights",))
        models.pull(name)
        bundle = models.bundle(name)
        return load(bundle, models.weights(bundle), "openvino", 0, MODEL_STORE / "calibration")

    return make


@pytest.fixture(scope="module")
def volume_of(shared):
    """A series as the clinical side reads it: gantry tilt and uneven distances put right."""

    def volume(folder, pattern="*"):
        contents = [path.read_bytes() for path in sorted((shared / "data" / folder).glob(pattern))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows, blobs = rows_of([content for content in contents if content[128:132] == b"DICM"])
            return read(rows, blobs)[1]

    return volume


def test_the_tilted_head_has_a_brain_and_what_is_none_is_refused(loaded, volume_of):
    bundle = loaded("brain_ct")
    for folder, pattern, code in (
        ("ct-head-philips", "I*", "anatomy-absent"),
        ("ct-body-j2k", "CT*", "unsupported-volume"),
    ):
        with pytest.raises(Refused) as refused:
            bundle.run(volume_of(folder, pattern))
        assert refused.value.code == code
    head = volume_of("ct-head-tilted", "*.dcm")
    stages = []
    found = bundle.run(head, lambda stage, fraction: stages.append((stage, fraction)))
    values = {item.key: item.value for item in found.measurements}
    brain = found.mask("brain").array
    inside = head.array[brain]
    assert values["brain_volume"] == pytest.approx(1474.0, rel=0.01)
    assert 20 <= values["brain_median"] <= 45
    assert values["brain_median"] == pytest.approx(np.median(inside), abs=0.5)
    assert (inside > 150).mean() < 0.001
    assert 30 < values["csf_volume"] < 250
    assert not (found.mask("csf").array & ~brain).any()
    assert [stage for stage, _ in stages] == ["preparing", "segmenting", "measuring", "measuring"]
    sent = found.to_bytes()
    assert Findings.from_bytes(sent, head.array.shape).to_bytes() == sent


@pytest.mark.soak
@pytest.mark.parametrize(("folder", "volume_ml"), [("mr-head-sagittal", 1607.0), ("t1-head/dicom", 1886.0)])
def test_t1_heads_fine_and_coarse_have_a_brain(loaded, volume_of, folder, volume_ml):
    found = loaded("brain_mr").run(volume_of(folder, "*.dcm" if folder.startswith("mr") else "*"))
    assert found.measurement("brain_volume").value == pytest.approx(volume_ml, rel=0.01)


@pytest.mark.soak
def test_engines_are_at_parity_as_the_bundle_declares(shared):
    models = Catalog(MODEL_STORE, (shared / "weights",))
    models.pull("brain_mr")
    bundle = models.bundle("brain_mr")
    for engine in bundle.engines:
        assert load(bundle, models.weights(bundle), engine, 0, MODEL_STORE / "calibration").engine == engine
