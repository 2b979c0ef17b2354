"""Preparation, mask and grid of MindGrab, without the network: a stand-in marks brain by its brightness."""

import numpy as np
import pytest

from inference.brain import Cormackd, HeadGridd, MarkBraind, RequireDensitiesd, histogram_of
from inference.conform import Conformed
from inference.errors import AnatomyAbsent, AnatomyTruncated
from inference.geometry import Box, Canonical
from inference.volume import Volume
from tests.common.body_phantom import affine_of, phantom
from tests.common.head_phantom import HEAD_CT

SHAPE, SPACING = (75, 80, 70), (3.0, 3.0, 3.0)
RANGES = {"brain": [15.0, 60.0, 700.0], "bone": [300.0, 3071.0, 150.0]}


@pytest.fixture(scope="module")
def head():
    return phantom(HEAD_CT, SHAPE, SPACING)


@pytest.fixture(scope="module")
def cube(head):
    item = Cormackd("image", "cormack")({"image": Canonical.of(head.volume)})
    return Conformed.of(item["cormack"])


def test_soft_tissue_gets_ten_times_the_room(head):
    """As niimath's `-h2c`: above 900 over the least (at least -1024), up to 200 are counted tenfold."""
    hu = np.array([-3024, -1024, -1000, -125, -124, -100, 0, 75, 76, 77, 2000, 30_000], dtype=np.int16)
    expected = [
        0,
        0,
        24,
        899,
        900,
        924 + 9 * 24,
        1024 + 9 * 124,
        1099 + 9 * 199,
        1100 + 1800,
        1101 + 1800,
        4824,
        14_824,
    ]
    volume = Volume(np.ascontiguousarray(np.broadcast_to(hu, (2, 2, len(hu)))), affine_of((2, 2, 12), (1, 1, 1)), "HU")
    found = Cormackd("image", "cormack")({"image": Canonical.of(volume)})["cormack"]
    assert found.volume.array[1, 1].tolist() == expected
    assert np.array_equal(found.volume.affine, volume.affine)
    assert found.volume.array.dtype == np.int16
    least = Cormackd("image", "cormack")({"image": Canonical.of(head.volume)})["cormack"].volume.array
    assert (least.min(), least[0, 0, 0]) == (0, 0), "the least of the image is 0"


def test_the_grid_holds_the_head_down_from_its_top(cube):
    made = HeadGridd("cube", "x", "box", (176, 192, 208), 40, 0.02, 0.98)({"cube": cube})
    box, grid = made["box"], made["x"]
    assert grid.shape == box.shape == (176, 192, 208)
    assert (grid.dtype, float(grid.min()), float(grid.max())) == (np.float32, 0.0, pytest.approx(1.0, abs=1e-5))
    seen = np.argwhere(cube.array > 40)
    outside = (seen < box.low).any(axis=1) | (seen >= box.high).any(axis=1)
    assert np.count_nonzero(outside) < 0.01 * len(seen), "no more than skin: the phantom is longer than the grid"
    assert 0 <= seen[:, 1].min() - box.low[1] <= 20
    assert np.array_equal(grid > 0.5, cube.array[box.slices] > 0.5 * (cube.array.max() + 1e-3))


@pytest.mark.parametrize("shape", [(12, 12, 12), (75, 4, 4)])
def test_nothing_of_a_heads_size_is_no_head(shape):
    array = np.full((64, 64, 64), -1000, np.int16)
    array[tuple(slice(2, 2 + size) for size in shape)] = 40
    image = Canonical.of(Volume(array, affine_of(array.shape, (3, 3, 3)), "HU"))
    with pytest.raises(AnatomyAbsent):
        HeadGridd("cube", "x", "box", (176, 192, 208), 40, 0.02, 0.98)({"cube": Conformed.of(image)})


def test_the_largest_piece_is_the_brain_and_what_it_encloses(head, cube):
    box = Box((40, 30, 20), (216, 222, 228))
    centres = np.indices(box.shape).astype(np.float32)
    logits = np.zeros((1, 2, *box.shape), np.float32)
    middle = np.linalg.inv(cube.to_source) @ (*((np.array(cube.source.array.shape) - 1) / 2), 1)
    away = sum(((axis + low - at) / 50) ** 2 for axis, low, at in zip(centres, box.low, middle, strict=False))
    logits[0, 1] = np.where(away <= 1, 5.0, -5.0)
    logits[0, 1][(away < 0.2)] = -5.0
    logits[0, 1][:4, :4, :4] = 5.0
    logits[0, 1][(away <= 1) & (away > 0.95)] = 1.0
    found = MarkBraind("pred", "cube", "box")({"pred": logits, "cube": cube, "box": box})
    ball_ml = 4 / 3 * np.pi * 50**3 / 1000
    assert np.count_nonzero(found["pred"]) * head.volume.voxel_ml == pytest.approx(ball_ml, rel=0.02)
    z, y, x = np.nonzero(found["pred"])
    lps = head.volume.affine[:3] @ np.stack([x, y, z, np.ones_like(x)])
    assert abs(lps.mean(axis=1)).max() < 1.0, "it lies round the middle of the image"
    (score,) = found["scores"]
    assert score.key == "certainty"
    assert 0.9 < score.value < 0.97


def test_a_brain_that_reaches_a_side_of_the_grid_is_cut_off(cube):
    box = Box((40, 30, 20), (216, 222, 228))
    logits = np.zeros((1, 2, *box.shape), np.float32)
    logits[0, 1, 50:100, 50:100, :60] = 5.0
    with pytest.raises(AnatomyTruncated):
        MarkBraind("pred", "cube", "box")({"pred": logits, "cube": cube, "box": box})


def test_nothing_marked_is_no_brain(cube):
    box = Box((40, 30, 20), (216, 222, 228))
    logits = np.zeros((1, 2, *box.shape), np.float32)
    with pytest.raises(AnatomyAbsent):
        MarkBraind("pred", "cube", "box")({"pred": logits, "cube": cube, "box": box})


def test_a_plastic_head_lacks_the_densities_of_a_head(head):
    check = RequireDensitiesd("image", RANGES)
    assert check({"image": head.volume})["image"] is head.volume
    for wrong, named in (
        (np.where(head.volume.array == 32, -983, head.volume.array), "brain"),
        (head.volume.array * 0 + 40, "bone"),
    ):
        with pytest.raises(AnatomyAbsent) as refused:
            check({"image": Volume(np.ascontiguousarray(wrong.astype(np.int16)), head.volume.affine, "HU")})
        assert refused.value.context["density"] == named


def test_real_plastic_is_refused_before_the_network_runs(shared):
    from tests.golden.conftest import read_series

    with pytest.raises(AnatomyAbsent):
        RequireDensitiesd("image", RANGES)({"image": read_series(shared / "data" / "ct-head-philips", "HU")})


def test_a_histogram_counts_a_mask_by_whole_units(head):
    mask = head.volume.array > 0
    counts = histogram_of(head.volume.array, mask)
    assert counts.sum() == np.count_nonzero(mask)
    assert counts[32 + 1024] == np.count_nonzero(head.volume.array == 32)
    assert np.array_equal(histogram_of(head.volume.array.astype(np.float32) + 0.2, mask), counts)
