import numpy as np
import pytest

from inference.errors import AnatomyAbsent, ImplausibleFindings
from inference.findings import Measurement, Score
from inference.geometry import Box, Canonical
from inference.postprocess import (
    CertaintyScored,
    FillVoidsd,
    KeepLargestd,
    MeasureVolumed,
    RequirePlausibled,
    RestoreGridd,
    ThresholdChanneld,
    border_cm2,
    contrast,
    extent_mm,
)
from inference.volume import Volume

OBLIQUE = np.array([[0.0, 0.0, -1.5, 7], [0.0, 2.0, 0.0, 8], [1.0, 0.0, 0.0, 9], [0, 0, 0, 1]])


def canonical(shape=(20, 24, 28), affine=OBLIQUE):
    return Canonical.of(Volume(np.zeros(shape, np.int16), affine, "arbitrary"))


def test_certainty_is_the_clear_share():
    answer = np.zeros((1, 2, 4, 4, 4), np.float32)
    answer[0, 1, 0], answer[0, 1, 1] = 0.95, 0.5
    transform = CertaintyScored("pred", "certainty", 1, 0.1, 0.5, 0.9)
    assert transform({"pred": answer})["scores"] == (Score("certainty", 0.5),)
    assert transform({"pred": np.zeros((1, 2, 4, 4, 4), np.float32)})["scores"] == (Score("certainty", 0.0),)


def test_a_grid_goes_back_to_the_source():
    image = canonical()
    box = Box((4, 6, 2), (16, 20, 18))
    rng = np.random.default_rng(0)
    inside = rng.random(box.shape) < 0.5
    item = RestoreGridd("pred", "image", "box")({"pred": inside, "image": image, "box": box})
    assert item["pred"].shape == image.volume.array.shape
    assert np.array_equal(image.axes.view(item["pred"])[box.slices], inside)
    assert np.count_nonzero(item["pred"]) == np.count_nonzero(inside)


def test_from_answer_to_millilitres():
    image, box = canonical(), Box((2, 2, 2), (18, 18, 18))
    answer = np.zeros((1, 2, 32, 32, 32), np.float32)
    answer[0, 1, 8:24, 8:24, 8:24] = 1.0
    answer[0, 1, 12:16, 12:16, 12:16] = 0.0
    answer[0, 1, 0, 0, 0] = 1.0
    item = {"pred": answer, "image": image, "box": box}
    for transform in (
        ThresholdChanneld("pred", 1, 0.5),
        RestoreGridd("pred", "image", "box"),
        KeepLargestd("pred", "image", "box"),
        FillVoidsd("pred", "image", "box"),
        MeasureVolumed("pred", "image", "m", "v"),
    ):
        item = transform(item)
    (measurement,), (mask,) = item["measurements"], item["masks"]
    assert np.count_nonzero(mask.array) == 512
    assert (measurement.key, measurement.unit, measurement.mask) == ("v", "mL", "m")
    assert measurement.value == pytest.approx(512 * 3.0 / 1000)


def test_an_empty_answer_is_no_anatomy():
    item = {"pred": np.zeros((20, 24, 28), bool), "image": canonical(), "box": Box.whole(canonical().array.shape)}
    with pytest.raises(AnatomyAbsent):
        KeepLargestd("pred", "image", "box")(item)


def head(texture=0.4):
    """A ball brighter than what surrounds it, in a cube of 100 mm."""
    image = canonical((50, 50, 50), np.diag([2.0, 2.0, 2.0, 1.0]))
    z, y, x = np.indices((50, 50, 50)) - 24.5
    mask = x * x + y * y + z * z < 20**2
    rng = np.random.default_rng(0)
    overview = (image.axes.view(mask) * (1.0 + rng.normal(0, texture, mask.shape))).astype(np.float32)
    return {
        "pred": mask,
        "image": image,
        "overview": overview,
        "measurements": (Measurement("v", float(mask.sum() * 0.008), "mL"),),
        "scores": (Score("certainty", 0.98),),
    }


CHECK = RequirePlausibled("pred", "image", "overview", "v", (200.0, 300.0), (50.0, 90.0), 5.0, 0.9, 0.5, 0.3)


def test_what_is_plausible_passes():
    item = head()
    assert CHECK(item) is item


def cut(item):
    item["pred"] = item["pred"].copy()
    item["pred"][0, 20:30, 20:40] = True
    return item


@pytest.mark.parametrize(
    ("check", "item"),
    [
        ("volume", head() | {"measurements": (Measurement("v", 301.0, "mL"),)}),
        ("volume", head() | {"measurements": (Measurement("v", 199.0, "mL"),)}),
        ("extent", head() | {"pred": np.pad(np.ones((2, 2, 50), bool), ((24, 24), (24, 24), (0, 0)))}),
        ("border", cut(head())),
        ("certainty", head() | {"scores": (Score("certainty", 0.89),)}),
        ("brightness", head() | {"overview": -head()["overview"]}),
        ("texture", head(texture=0.01)),
    ],
)
def test_what_is_not_is_refused_without_its_value(check, item):
    with pytest.raises(ImplausibleFindings) as refused:
        CHECK(item)
    assert refused.value.context == {"check": check}
    assert not any(char.isdigit() for char in refused.value.detail)


def test_extent_and_border_have_the_units_of_the_patient():
    image = canonical()
    mask = np.zeros((20, 24, 28), bool)
    mask[0:4, 3:8, 5:11] = True
    assert extent_mm(mask, image) == (6.0, 10.0, 6.0)
    assert border_cm2(mask, image) == pytest.approx([6 * 5 * 1.0 * 2.0 / 100, 0, 0, 0, 0, 0])


def test_contrast_of_nothing_is_none():
    image = canonical()
    overview = np.ones((4, 4, 4), np.float32)
    for value in (False, True):
        assert contrast(np.full((20, 24, 28), value), image, overview) == (0.0, 0.0)
