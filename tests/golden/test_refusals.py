"""What is no T1-weighted head must give no number."""

import numpy as np
import pytest
from scipy import ndimage

from bithive.errors import Refused
from clinic.sample import write_sample
from inference.errors import AnatomyAbsent, ImplausibleFindings, UnsupportedVolume
from inference.volume import Volume
from tests.common.studies import catalog, pulled
from tests.golden.conftest import read_series

SIZE = 192
RADII_MM = (70.0, 85.0, 65.0)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    pulled()
    write_sample(catalog().sample("head_t1"), folder)
    return read_series(folder)


def image(array, spacing=1.0, unit="arbitrary"):
    array = np.clip(np.rint(array), -32768, 32767).astype(np.int16)
    return Volume(np.ascontiguousarray(array), np.diag([spacing, spacing, spacing, 1.0]), unit)


def like(volume, array):
    return Volume(image(array).array, volume.affine, volume.unit)


def ellipsoids():
    places = np.indices((SIZE, SIZE, SIZE), dtype=np.float32) - SIZE / 2
    return sum((place / radius) ** 2 for place, radius in zip(places, RADII_MM, strict=True))


def noise():
    return np.random.default_rng(1).normal(0, 1, (SIZE, SIZE, SIZE)).astype(np.float32)


def cube():
    array = np.zeros((SIZE, SIZE, SIZE), np.float32)
    array[40:150, 40:150, 40:150] = 800
    return array


def ct_like():
    """Air, skull, and a brain of water in Hounsfield units."""
    distance = ellipsoids()
    return np.where(distance > 1.35, -1000, np.where(distance > 1.15, 1000, np.where(distance < 0.2, 5, 35)))


PHANTOMS = {
    "noise": lambda: noise() * 300 + 500,
    "blobs of noise": lambda: ndimage.gaussian_filter(noise(), 6) * 20_000,
    "cube": cube,
    "cube with noise": lambda: cube() + noise() * 20,
    "ellipsoid": lambda: (ellipsoids() < 1) * 600 + noise() * 10,
    "head of shells": lambda: (
        ((ellipsoids() < 1.35) & (ellipsoids() > 1.15)) * 900 + (ellipsoids() < 1) * 500 + noise() * 10
    ),
    "CT sent as MR": lambda: ct_like() + noise() * 5,
}


@pytest.mark.parametrize("name", PHANTOMS)
def test_phantoms_are_refused(loaded, name):
    with pytest.raises(Refused) as refused:
        loaded["openvino"].run(image(PHANTOMS[name]()))
    assert type(refused.value) in (AnatomyAbsent, ImplausibleFindings)


@pytest.mark.parametrize("value", [0, 700])
def test_an_empty_volume_has_no_anatomy(loaded, value):
    with pytest.raises(AnatomyAbsent):
        loaded["openvino"].run(image(np.full((SIZE, SIZE, SIZE), value)))


@pytest.mark.parametrize(
    "volume",
    [
        image(ct_like(), unit="HU"),
        image(np.zeros((40, 40, 40)), spacing=3.5),
        image(np.zeros((20, 192, 192))),
        image(np.zeros((1, 512, 512))),
        image(np.zeros((320, 64, 64)), spacing=2.5),
    ],
    ids=["Hounsfield units", "coarse", "thin", "one slice", "long"],
)
def test_what_the_bundle_does_not_accept_is_unsupported(loaded, volume):
    with pytest.raises(UnsupportedVolume):
        loaded["openvino"].run(volume)


SPOILED = {
    "upside down": lambda head: Volume(np.ascontiguousarray(head.array[:, ::-1]), head.affine, head.unit),
    "back to front": lambda head: Volume(np.ascontiguousarray(head.array[:, :, ::-1]), head.affine, head.unit),
    "lying on its side": lambda head: Volume(
        np.ascontiguousarray(np.rot90(head.array, 1, (1, 2))), head.affine, head.unit
    ),
    "inverted contrast": lambda head: like(head, head.array.max() - head.array.astype(int)),
    "half of it missing": lambda head: like(
        head, np.where(np.arange(len(head.array))[:, None, None] < 88, head.array, 0)
    ),
    "top cut off": lambda head: Volume(np.ascontiguousarray(head.array[:, 80:]), head.affine, head.unit),
    "a quarter too large": lambda head: Volume(head.array, head.affine @ np.diag([1.25, 1.25, 1.25, 1]), head.unit),
    "a fifth too small": lambda head: Volume(head.array, head.affine @ np.diag([0.8, 0.8, 0.8, 1]), head.unit),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_heads_are_refused(loaded, sample, name):
    with pytest.raises(ImplausibleFindings):
        loaded["openvino"].run(SPOILED[name](sample))


WORSE = {
    "noisy": lambda head: like(head, head.array + np.random.default_rng(0).normal(0, 60, head.array.shape)),
    "biased": lambda head: like(head, head.array * np.linspace(0.5, 1.5, len(head.array))[:, None, None]),
    "blurred": lambda head: like(head, ndimage.gaussian_filter(head.array.astype(np.float32), 1.0)),
    "coarse": lambda head: Volume(np.ascontiguousarray(head.array[::2, ::2, ::2]), head.affine @ np.diag([2, 2, 2, 1.0]), "arbitrary"),
    "with hot pixels": lambda head: like(head, np.where(np.arange(head.array.size).reshape(head.array.shape) % 99_991 == 0, 30_000, head.array)),
    "wide": lambda head: like(head, np.pad(head.array, ((20, 20), (0, 0), (0, 60)))),
}  # fmt: skip


@pytest.mark.parametrize("name", WORSE)
def test_a_worse_image_of_a_head_still_gives_its_volume(loaded, sample, name):
    found = loaded["openvino"].run(WORSE[name](sample))
    assert found.measurement("intracranial_volume").value == pytest.approx(1394.0, rel=0.03)


def test_after_a_refusal_the_next_head_is_measured(loaded, sample):
    with pytest.raises(Refused):
        loaded["openvino"].run(image(cube()))
    assert loaded["openvino"].run(sample).measurement("intracranial_volume").value == pytest.approx(1394.0, abs=1.0)


def test_real_ct_is_refused_however_it_is_sent(loaded, shared):
    for name in ("ct-head-tilted", "ct-head-philips"):
        volume = read_series(shared / "data" / name)
        with pytest.raises(Refused):
            loaded["openvino"].run(volume)
        even = Volume(volume.array, volume.affine, "HU")
        with pytest.raises(UnsupportedVolume):
            loaded["openvino"].run(even)
