import numpy as np
import pytest
from scipy import ndimage

from inference.morphology import close, dilate, erode, fill_planes

RADII = ((0, 0, 0), (1, 0, 2), (2, 3, 1), (5, 4, 6), (20, 0, 0))


def some_masks():
    random = np.random.default_rng(7)
    return [random.random((9, 11, 13)) > share for share in (0.98, 0.9, 0.5, 0.1)]


def box(radii):
    return np.ones([2 * radius + 1 for radius in radii], dtype=bool)


@pytest.mark.parametrize("radii", RADII)
def test_growing_and_shrinking_are_those_of_scipy(radii):
    for mask in some_masks():
        before = mask.copy()
        assert np.array_equal(dilate(mask, radii), ndimage.binary_dilation(mask, box(radii)))
        assert np.array_equal(erode(mask, radii), ndimage.binary_erosion(mask, box(radii), border_value=1))
        assert np.array_equal(mask, before)


@pytest.mark.parametrize("radii", RADII[:4])
def test_closing_is_that_of_scipy_in_a_wide_room(radii):
    for mask in some_masks():
        room = np.pad(mask, 7)
        expected = ndimage.binary_closing(room, box(radii))[7:-7, 7:-7, 7:-7]
        assert np.array_equal(close(mask, radii), expected)


def test_closing_changes_no_convex_body_and_fills_a_channel():
    z, y, x = np.indices((30, 40, 50))
    body = ((z - 14.3) / 11) ** 2 + ((y - 19.1) / 17) ** 2 + ((x - 24.6) / 22) ** 2 <= 1
    assert np.array_equal(close(body, (3, 3, 3)), body)
    channel = body & ~((abs(y - 19) <= 2) & (abs(x - 24) <= 2))
    assert np.array_equal(close(channel, (3, 3, 3))[8:20], body[8:20])


def test_planes_are_filled_one_by_one():
    for mask in some_masks():
        filled = mask.copy()
        fill_planes(filled)
        assert np.array_equal(filled, np.stack([ndimage.binary_fill_holes(plane) for plane in mask]))


def test_a_full_and_an_empty_mask_stay_as_they_are():
    for value in (False, True):
        mask = np.full((3, 4, 5), value)
        fill_planes(mask)
        assert mask.all() == value
        assert np.array_equal(dilate(mask, (1, 1, 1)), mask)
