"""SonoNet-16 on the authors' images that are at hand: each file's name is its label."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from bithive.errors import Refused
from clinic.reader import read
from inference.evaluation_task import squash, task_of
from inference.findings import Findings
from inference.run import load
from inference.volume import Volume
from models.catalog import Catalog
from tests.common import planar
from tests.common.dicom_factory import rows_of
from tests.common.hub import MODEL_STORE

pytestmark = pytest.mark.heavy

ENGINES = ("openvino", "onnxruntime")
TOP, BOTTOM, LEFT, RIGHT = 115, 734, 81, 874


@pytest.fixture(scope="module")
def weights(shared):
    """The bundle and its verified weights, made from the published file."""
    models = Catalog(MODEL_STORE, (shared / "weights",))
    models.pull("fetal_planes")
    bundle = models.bundle("fetal_planes")
    assert models.ready(bundle)
    return bundle, models.weights(bundle)


@pytest.fixture(scope="module")
def loaded(weights):
    return {engine: load(*weights, engine, 0, MODEL_STORE / "calibration") for engine in ENGINES}


@pytest.fixture(scope="module")
def screens(shared):
    """The pictures in colour, by file name."""
    found = {
        path: np.asarray(Image.open(path).convert("RGB")) for path in (shared / "data" / "us-fetal").glob("*.tiff")
    }
    assert len(found) == 7
    return {path.stem: array for path, array in sorted(found.items())}


def label_of(bundle, name):
    """The class that a file's name stands for, by the table that evaluation uses."""
    return task_of(bundle).names[squash(name)]


def grey(array):
    return np.asarray(Image.fromarray(array).convert("L"))


def volume(*frames):
    return Volume(np.ascontiguousarray(np.stack(frames)), np.eye(4), "display")


def only(findings):
    (found,) = findings.classes
    return found


def volume_of(*instances):
    """As the clinical side reads it."""
    return read(*rows_of(instances))[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_each_image_is_named_with_a_margin(weights, loaded, screens, engine):
    for name, array in screens.items():
        found = only(loaded[engine].run(volume_of(planar.ultrasound(array))))
        assert found.value == label_of(weights[0], name), name
        assert found.certainty >= 0.8, (name, found)


def test_engines_agree_and_repeat(loaded, screens):
    clip = volume(*(grey(array) for array in screens.values()))
    shares = {engine: loaded[engine].run(clip) for engine in ENGINES}
    for one, other in zip(*(found.classes for found in shares.values()), strict=True):
        assert one.value == other.value
        assert one.certainty == pytest.approx(other.certainty, abs=1e-4)
    again = loaded["openvino"].run(Volume.from_bytes(clip.to_bytes()))
    assert again.to_bytes() == shares["openvino"].to_bytes()
    assert Findings.from_bytes(again.to_bytes(), clip.array.shape).classes == again.classes
    assert again.score("certainty").value == max(item.certainty for item in again.classes)


def disturbed(array):
    """The same image a little otherwise: moved, brighter, noisy, compressed."""
    inside = array[TOP:BOTTOM, LEFT:RIGHT]
    for down, right in ((-3, 0), (0, 3), (6, 6)):
        yield array, np.roll(array, (down, right), (0, 1))[TOP:BOTTOM, LEFT:RIGHT]
    yield array, (255 * (inside / 255.0) ** 0.9).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 4, inside.shape)
    yield array, np.clip(inside + noise, 0, 255).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(array).save(packed, "JPEG", quality=50)
    yield np.asarray(Image.open(packed)), None


def test_small_disturbances_change_no_name(weights, loaded, screens):
    for name, array in screens.items():
        frames = []
        for whole, inside in disturbed(grey(array)):
            frame = whole.copy()
            if inside is not None:
                frame[TOP:BOTTOM, LEFT:RIGHT] = inside
            frames.append(frame)
        found = loaded["openvino"].run(volume(*frames)).classes
        assert [item.value for item in found] == [label_of(weights[0], name)] * len(frames), name


def test_on_a_screen_of_another_layout_no_image_is_given_a_wrong_name(weights, loaded, screens):
    named = 0
    for name, array in screens.items():
        image = Image.fromarray(grey(array)[73:, LEFT:RIGHT]).resize((634, 530))
        frame = np.zeros((768, 1024), np.uint8)
        frame[120:650, 200:834] = np.asarray(image)
        found = only(loaded["openvino"].run(volume(frame)))
        named += found.value == label_of(weights[0], name)
        assert found.value in (label_of(weights[0], name), "background"), name
    assert named >= 5


def wide(array):
    """Fitted into a screen of 1024 x 768, as somebody's capture of it."""
    image = Image.fromarray(array).convert("L")
    image.thumbnail((900, 700))
    frame = np.zeros((768, 1024), np.uint8)
    frame[30 : 30 + image.height, 60 : 60 + image.width] = np.asarray(image)
    return frame


def test_radiographs_and_slices_are_refused(loaded, shared):
    for path in (shared / "data" / "chest-xray" / "pa-1024-jpeg.dcm", middle(shared / "data" / "peak-hour" / "CT")):
        pixels = pydicom.dcmread(path).pixel_array.astype(np.float64)
        low, high = np.percentile(pixels, (1, 99.5))
        shown = np.clip((pixels - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        for frame in (shown, wide(shown)):
            with pytest.raises(Refused):
                loaded["openvino"].run(volume(frame))


def test_an_empty_ultrasound_of_a_prostate_is_refused(loaded, shared):
    prostate = volume_of(middle(shared / "data" / "peak-hour" / "US").read_bytes())
    with pytest.raises(Refused) as refused:
        loaded["openvino"].run(prostate)
    assert refused.value.code == "anatomy-absent"


def middle(folder: Path) -> Path:
    paths = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    return paths[len(paths) // 2]
