"""Intensities and the picture they are counted on: slab by slab, and whole, is the same."""

import tracemalloc

import numpy as np
import pytest

from inference import zoo_picture
from inference.errors import UnsupportedVolume
from inference.volume import Volume
from inference.zoo_intensity import Normalise, ScaleExtremes, ScaleRange, Threshold, percentiles
from inference.zoo_lines import Sampling
from inference.zoo_picture import Picture
from inference.zoo_resample import Taps, resample
from inference.zoo_spatial import CropForeground, Turn


def picture(array, axes=(-1.0, -1.0, 1.0)):
    return Picture(Volume(np.ascontiguousarray(array), np.diag([*axes, 1.0]), "HU"))


def signed(shape=(7, 9, 11), dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 100).astype(dtype)


@pytest.fixture(params=[1, 100, 1 << 20], autouse=True)
def slab_voxels(request, monkeypatch):
    monkeypatch.setattr(zoo_picture, "_SLAB_VOXELS", request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("shares", [(0.0, 100.0), (0.5, 99.5), (50.0, 12.3), (33.3, 33.3)])
def test_percentiles_are_exact(dtype, shares):
    array = signed(dtype=dtype)
    array.ravel()[:200] = 0
    expected = np.percentile(array.astype(np.float32), shares)
    assert percentiles(picture(array), shares) == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_percentiles_of_few_values():
    assert percentiles(picture(np.full((1, 1, 1), -7.5, np.float32)), (10, 90)) == [-7.5, -7.5]
    two = np.array([[[-1.0, -0.0]], [[0.0, 3.0]]], np.float32)
    assert percentiles(picture(two), (0, 50, 100)) == pytest.approx([-1.0, 0.0, 3.0])


def test_statistics_count_what_is_pending():
    seen = picture(signed(dtype=np.int16))
    for step in (ScaleRange(-50, 50, 0.0, 1.0, clip=True), Normalise(None, None, nonzero=True)):
        step.apply(seen)
    whole = np.clip((signed(dtype=np.int16).astype(np.float32) + 50) / 100, 0, 1)
    inside = whole[whole != 0]
    expected = np.where(whole == 0, 0, (whole - inside.mean()) / inside.std())
    assert np.allclose(seen.finished(), expected.transpose(2, 1, 0), atol=1e-5)


def test_what_is_the_same_everywhere_is_divided_by_nothing():
    flat = np.full((3, 4, 5), 9, np.int16)
    for step, value in (
        (ScaleExtremes(-1.0, 1.0), -9.0),
        (ScaleExtremes(None, 1.0), 9.0),
        (Normalise(None, None, nonzero=False), 0.0),
        (ScaleRange(9, 9, 0.5, 1.0, clip=False), 0.5),
    ):
        seen = picture(flat)
        step.apply(seen)
        assert (seen.finished() == value).all()


def test_a_threshold_replaces_what_is_not_beyond_it():
    seen = picture(signed())
    Threshold(10.0, above=True, cval=-1.0).apply(seen)
    array = signed().transpose(2, 1, 0)
    assert np.array_equal(seen.finished(), np.where(array > 10, array, -1))


def test_the_source_is_never_changed():
    array = signed()
    seen = picture(array)
    kept = array.copy()
    for step in (
        ScaleRange(0, 1, 0.0, 2.0, clip=True),
        Turn("SAL"),
        CropForeground((1, 2, 0), inside=False, divisible=(4, 1, 1)),
    ):
        step.apply(seen)
    seen.change(lambda values: values.fill(3))
    assert (seen.finished() == 3).all()
    assert np.array_equal(array, kept)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAL", "IRP"])
def test_the_foreground_is_boxed_along_the_axes_as_seen(axcodes):
    array = np.zeros((6, 7, 8), np.int16)
    array[1:3, 2:6, 3] = 5
    seen = picture(array)
    Turn(axcodes).apply(seen)
    (x0, x1), (y0, y1), (z0, z1) = seen.foreground()
    assert np.count_nonzero(seen.finished()[x0:x1, y0:y1, z0:z1]) == 8
    assert (x1 - x0) * (y1 - y0) * (z1 - z0) == 8


def test_without_foreground_there_is_nothing_to_crop_to():
    with pytest.raises(UnsupportedVolume):
        CropForeground((0, 0, 0), inside=True, divisible=(1, 1, 1)).apply(picture(np.zeros((3, 3, 3), np.int16)))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_sampling_reads_any_strides(order):
    array = signed((9, 10, 11)).transpose(order)[::-1]
    ways = [Sampling(size // 2, (2.0, 0.25), (0.5, -0.125)) for size in array.shape]
    expected = array.astype(np.float64)
    for axis, way in enumerate(ways):
        taps = Taps.of(way, array.shape[axis])
        shape = [-1 if other == axis else 1 for other in range(3)]
        weight = taps.weight.reshape(shape)
        expected = expected.take(taps.low, axis) * (1 - weight) + expected.take(taps.high, axis) * weight
    assert np.allclose(resample(array, ways, []), expected, atol=1e-5)


def test_beside_source_and_grid_only_a_few_planes_are_held():
    array = np.zeros((200, 96, 96), np.int16)
    array[50:150] = 300
    tracemalloc.start()
    seen = picture(array)
    seen.change(lambda values: np.multiply(values, 2, out=values))
    seen.sample(
        [
            Sampling(48, (2.0, 0.0), (0.5, 0.0)),
            Sampling(48, (2.0, 0.0), (0.5, 0.0)),
            Sampling(150, (1.33, 0.0), (0.75, 0.0)),
        ],
        np.eye(4),
    )
    Normalise(None, None, nonzero=False).apply(seen)
    grid = seen.finished()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    slabs = 4 * min(zoo_picture._SLAB_VOXELS, grid.size) * 4
    assert peak < grid.nbytes + slabs + 3_000_000
