import numpy as np
import pytest
import torch

from inference.errors import AnatomyAbsent, UnsupportedVolume
from inference.geometry import Canonical
from inference.preprocess import (
    Canonicald,
    CheckVolumed,
    LocateBoxd,
    PercentileWindowd,
    SampleGridd,
    StandardiseWindowd,
)
from inference.volume import Volume

CHECK = CheckVolumed("image", "arbitrary", 3.0, 100.0, 600.0, 10_000_000)


def volume(shape=(60, 60, 60), spacing=(2.0, 2.0, 2.0), unit="arbitrary", dtype=np.int16):
    return Volume(np.zeros(shape, dtype), np.diag([*spacing, 1.0]), unit)


def test_a_volume_within_the_limits_passes():
    item = {"image": volume()}
    assert CHECK(item) is item


@pytest.mark.parametrize(
    "refused",
    [
        volume(unit="HU"),
        volume(spacing=(3.1, 2.0, 2.0)),
        volume(shape=(40, 60, 60)),
        volume(shape=(301, 60, 60)),
        volume(shape=(300, 300, 300), spacing=(1.0, 1.0, 1.0)),
    ],
)
def test_a_volume_beyond_a_limit_is_refused(refused):
    with pytest.raises(UnsupportedVolume):
        CHECK({"image": refused})


def test_floats_that_are_not_finite_count_as_nothing():
    array = np.ones((4, 4, 4), np.float32)
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, -np.inf
    item = Canonicald("image")({"image": Volume(array, np.eye(4), "arbitrary")})
    grid = SampleGridd("image", "grid", (4, 4, 4))(item)["grid"]
    assert np.isfinite(grid).all()
    assert np.count_nonzero(grid == 0) == 3


def test_the_window_is_that_of_pytorch_and_the_scale_as_asked():
    rng = np.random.default_rng(0)
    grid = rng.integers(-50, 700, (32, 33, 34)).astype(np.float32)
    expected = torch.quantile(torch.from_numpy(grid), torch.tensor([0.005, 0.995])).tolist()
    item = PercentileWindowd("grid", "window", 0.5, 99.5)({"grid": grid.copy()})
    assert item["window"] == pytest.approx(expected)
    out = torch.from_numpy(StandardiseWindowd("grid", "window", 0.449, 0.226)(item)["grid"])
    assert float(out.mean()) == pytest.approx(0.449, abs=1e-5)
    assert float(out.std()) == pytest.approx(0.226, abs=1e-5)
    clamped = ((torch.from_numpy(grid) - expected[0]) / (expected[1] - expected[0])).clamp(0, 1)
    assert torch.allclose(out, (clamped - clamped.mean()) / clamped.std() * 0.226 + 0.449, atol=1e-5)


def test_an_image_without_contrast_shows_nothing():
    with pytest.raises(AnatomyAbsent):
        PercentileWindowd("grid", "window", 0.5, 99.5)({"grid": np.full((8, 8, 8), 7, np.float32)})
    flat = {"grid": np.full((8, 8, 8), 7, np.float32), "window": (np.float32(0), np.float32(7))}
    with pytest.raises(AnatomyAbsent):
        StandardiseWindowd("grid", "window", 0.4, 0.2)(flat)


def locate(marked, shape):
    answer = np.stack([~marked, marked]).astype(np.float32)[None]
    transform = LocateBoxd(
        "overview", "box", "image", lambda _: answer, lambda inputs, network: network(inputs), 1, 0.5, 0.02, 0.1
    )
    image = Canonical.of(Volume(np.zeros(shape, np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]), "arbitrary"))
    return transform({"overview": np.zeros(marked.shape, np.float32), "image": image})["box"]


def test_the_box_grows_and_stays_inside():
    marked = np.zeros((32, 32, 32), bool)
    marked[8:24, 10:20, 20:32] = True
    marked[0, 0, 0] = True
    box = locate(marked, (64, 64, 64))
    assert (box.low, box.high) == ((13, 18, 37), (51, 42, 64))


def test_an_image_without_the_anatomy_has_no_box():
    marked = np.zeros((32, 32, 32), bool)
    with pytest.raises(AnatomyAbsent):
        locate(marked, (64, 64, 64))
    marked[3, 3, 3] = True
    with pytest.raises(AnatomyAbsent):
        locate(marked, (64, 64, 64))
