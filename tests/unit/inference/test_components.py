import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inference.components import Runs, fill_voids, keep_largest

MASKS = st.tuples(
    st.integers(0, 2**32), st.tuples(*[st.integers(1, 12)] * 3), st.sampled_from([0.05, 0.15, 0.3, 0.6, 0.95])
)


def mask(drawn):
    seed, shape, share = drawn
    return np.random.default_rng(seed).random(shape) < share


@settings(max_examples=150, deadline=None)
@given(MASKS, st.booleans())
def test_components_are_those_of_voxel_labelling(drawn, diagonal):
    array = mask(drawn)
    labels, count = ndimage.label(array, np.ones((3, 3, 3)) if diagonal else None)
    runs = Runs.of(array)
    if not count:
        assert len(runs.starts) == 0
        return
    numbers = runs.components(diagonal=diagonal)
    assert numbers.max() + 1 == count
    painted = np.zeros(array.shape, int)
    for number in range(count):
        part = np.zeros(array.shape, bool)
        runs.paint(part, numbers == number, value=True)
        painted[part] = number + 1
    assert len(set(zip(labels[array].tolist(), painted[array].tolist(), strict=True))) == count


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_the_largest_is_kept(drawn):
    array = mask(drawn)
    labels, _ = ndimage.label(array, np.ones((3, 3, 3)))
    sizes = np.bincount(labels[labels > 0]) if labels.any() else np.array([0])
    kept = array.copy()
    assert keep_largest(kept) == sizes.max() == np.count_nonzero(kept)
    assert not (kept & ~array).any()
    if kept.any():
        assert len(set(labels[kept].tolist())) == 1


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_voids_are_filled_as_scipy_does(drawn):
    array = mask(drawn)
    filled = array.copy()
    count = fill_voids(filled)
    assert np.array_equal(filled, ndimage.binary_fill_holes(array))
    assert count == np.count_nonzero(filled & ~array)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (4, 1, 3)])
def test_flat_and_tiny_masks(shape):
    for value in (False, True):
        array = np.full(shape, value)
        assert keep_largest(array) == (array.size if value else 0)
        assert fill_voids(array) == 0


def test_it_works_in_place_on_a_view():
    whole = np.zeros((8, 8, 8), bool)
    part = whole[1:7, 1:7, 1:7].transpose(2, 0, 1)
    part[2:6, 2:6, 2:6] = True
    part[3:5, 3:5, 3:5] = False
    part[0, 0, 0] = True
    assert keep_largest(part) == 56
    assert fill_voids(part) == 8
    assert np.count_nonzero(whole) == 64


def test_a_corner_connects_components_but_does_not_open_a_void():
    array = np.zeros((5, 5, 5), bool)
    array[0, 0, 0] = array[1, 1, 1] = True
    assert keep_largest(array) == 2
    shell = np.zeros((5, 5, 5), bool)
    shell[1:4, 1:4, 1:4] = True
    shell[2, 2, 2] = shell[1, 1, 1] = False
    assert fill_voids(shell) == 1


@pytest.mark.parametrize(("share", "many"), [(0.5, True), (0.0005, False)])
def test_noise_and_plain_masks_give_the_same_by_either_way(share, many):
    array = np.random.default_rng(3).random((40, 50, 60)) < share
    array[10:30, 10:30, 10:30] = True
    assert Runs.of(array).are_many == many
    filled, kept = array.copy(), array.copy()
    fill_voids(filled)
    keep_largest(kept)
    labels, _ = ndimage.label(array, np.ones((3, 3, 3)))
    assert np.array_equal(filled, ndimage.binary_fill_holes(array))
    assert np.array_equal(kept, labels == np.bincount(labels[array]).argmax())
