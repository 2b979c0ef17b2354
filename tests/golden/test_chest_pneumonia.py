"""The shipped networks on real films, and on much that is none."""

import numpy as np
import pydicom
import pytest
from PIL import Image

from inference.errors import NotAChestRadiograph
from inference.evaluation_task import task_of
from inference.findings import Findings
from inference.run import load
from inference.volume import DISPLAY, Volume
from models.catalog import Catalog
from pipelines.outputs import ScoreOutput
from pipelines.tasks.chest_pneumonia import PIPELINE
from tests.common.hub import MODEL_STORE

pytestmark = pytest.mark.heavy

ENGINES = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def bundle():
    models = Catalog(MODEL_STORE)
    models.pull("chest_pneumonia")
    return models.bundle("chest_pneumonia"), models.weights(models.bundle("chest_pneumonia"))


@pytest.fixture(scope="module")
def loaded(bundle):
    return {engine: load(*bundle, engine, 0, MODEL_STORE / "calibration") for engine in ENGINES}


@pytest.fixture(scope="module")
def films(shared):
    """A seeded tenth of the validation films of either kind, and their labels."""
    with np.load(shared / "data" / "chest-xray" / "pneumoniamnist-train-val.npz", allow_pickle=False) as arrays:
        images, labels = arrays["val_images"], arrays["val_labels"][:, 0]
    chosen = np.concatenate([np.flatnonzero(labels == label)[:60] for label in (0, 1)])
    return images[chosen], labels[chosen]


@pytest.fixture(scope="module")
def adult(shared):
    return pydicom.dcmread(shared / "data" / "chest-xray" / "pa-1024-jpeg.dcm").pixel_array


def volume(image):
    return Volume(np.ascontiguousarray(image[None]), np.eye(4), DISPLAY)


def test_the_threshold_is_the_one_that_is_evaluated(bundle):
    (score,) = (output for output in PIPELINE.outputs if isinstance(output, ScoreOutput))
    task = task_of(bundle[0])
    assert (task.kind, task.key, task.threshold) == ("binary", score.score, score.positive_from)


def test_it_tells_ill_from_well(loaded, films):
    images, labels = films
    found = np.full(len(labels), np.nan)
    for place, image in enumerate(images):
        try:
            found[place] = loaded["onnxruntime"].run(volume(image)).scores[0].value
        except NotAChestRadiograph:
            continue
    answered = np.isfinite(found)
    assert (~answered).sum() <= 1
    ill, well = found[answered & (labels == 1)], found[answered & (labels == 0)]
    area = (ill[:, None] > well[None]).mean() + 0.5 * (ill[:, None] == well[None]).mean()
    assert area >= 0.98
    assert (ill >= 0.5).mean() >= 0.85
    assert (well < 0.5).mean() >= 0.93


@pytest.mark.parametrize("engine", ENGINES)
def test_an_adults_film_is_scored_and_explained(loaded, adult, engine):
    findings = loaded[engine].run(volume(adult))
    (score,), (saliency,) = findings.scores, findings.maps
    assert (score.key, saliency.key) == ("pneumonia", "saliency")
    assert 0.0 <= score.value < 0.5
    assert saliency.array.shape == (1, *adult.shape) and saliency.array.dtype == np.float32
    assert saliency.array.min() >= 0.0 and 0.5 < saliency.array.max() <= 1.0
    read = Findings.from_bytes(findings.to_bytes(), (1, *adult.shape))
    assert read.scores == findings.scores and np.array_equal(read.maps[0].array, saliency.array)
    assert loaded[engine].run(volume(adult)).to_bytes() == findings.to_bytes()


def test_the_engines_agree(loaded, films):
    for image in films[0][::20]:
        first, second = (loaded[engine].run(volume(image)) for engine in ENGINES)
        assert first.scores[0].value == pytest.approx(second.scores[0].value, abs=1e-4)
        assert np.abs(first.maps[0].array - second.maps[0].array).max() < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        lambda film: film[::-1],
        lambda film: 255 - film,
        np.rot90,
        lambda film: np.rot90(film, 3),
        lambda film: film[:512, :512],
        lambda film: np.roll(film, 512, axis=1),
        lambda film: np.random.default_rng(1).integers(0, 256, film.shape).astype(np.uint8),
        lambda film: np.broadcast_to(np.linspace(0, 255, 1024).astype(np.uint8), film.shape),
        lambda film: np.full_like(film, 128),
        lambda film: film[:300],
    ],
    ids=["upside-down", "inverted", "left", "right", "quarter", "cut", "noise", "gradient", "even", "strip"],
)
def test_what_is_no_frontal_film_is_refused(loaded, adult, change):
    with pytest.raises(NotAChestRadiograph) as caught:
        loaded["onnxruntime"].run(volume(np.asarray(change(adult))))
    assert caught.value.context["check"] in {"frontal", "contrast", "aspect"}


def shown(path):
    """Any picture or slice of one plane as a viewer shows it: grey, its own range."""
    if path.suffix == ".tiff":
        return np.asarray(Image.open(path).convert("L"))
    array = pydicom.dcmread(path, force=True).pixel_array.astype(float)
    low, high = np.percentile(array, (0.5, 99.5))
    return np.uint8(np.rint(np.clip((array - low) / (high - low), 0, 1) * 255))


@pytest.mark.parametrize(
    ("pattern", "every"),
    [
        ("us-fetal/*.tiff", 1),
        ("peak-hour/RF/*/*.dcm", 1),
        ("peak-hour/[CM][TR]/*/*.dcm", 1),
        ("ct-head-philips/*", 9),
        ("seg-reference/*.dcm", 1),
        ("t1-head/dicom/*", 60),
    ],
)
def test_other_real_images_are_refused(loaded, shared, pattern, every):
    found = sorted((shared / "data").glob(pattern))
    paths = [path for path in found if path.is_file() and path.name not in {"LICENSE", "DIRFILE"}][::every]
    assert paths
    for path in paths:
        with pytest.raises(NotAChestRadiograph):
            loaded["onnxruntime"].run(volume(shown(path)))
