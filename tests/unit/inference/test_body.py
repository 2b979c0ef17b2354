import numpy as np
import pytest

from inference.body import Stack, body_of, histogram, optimal_threshold
from inference.errors import AnatomyAbsent
from inference.volume import Volume
from tests.common.body_phantom import ARMS, BODY, LUNGS, TABLE, TRACHEA, affine_of, phantom, stored_as

TURNED = [((0, 1, 2), (False, False, True)), ((1, 0, 2), (True, False, True)), ((2, 0, 1), (False, True, False))]


@pytest.fixture(scope="module")
def trunk():
    return phantom((*TABLE, *ARMS, *BODY, *LUNGS, *TRACHEA))


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (False, False, False)), *TURNED])
def test_a_stack_knows_where_left_and_top_are(trunk, order, flips):
    volume = stored_as(trunk.volume, order, flips)
    stack = Stack.of(volume)
    assert stack.spacing_mm == (4.0, 4.0, 4.0)
    assert np.array_equal(stack.stored(stack.array), volume.array)
    left = np.argwhere(stack.stored(np.broadcast_to(np.arange(stack.array.shape[2]) < 3, stack.array.shape)))
    lps = volume.affine @ np.append(left.mean(axis=0)[::-1], 1)
    assert (lps[0] > 0) == stack.left_first
    top = np.argwhere(
        stack.stored(np.broadcast_to((np.arange(len(stack.array)) < 3)[:, None, None], stack.array.shape))
    )
    lps = volume.affine @ np.append(top.mean(axis=0)[::-1], 1)
    assert (lps[2] > 0) == stack.top_first


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (False, False, False)), *TURNED])
def test_the_body_is_found_without_table_and_arms(trunk, order, flips):
    volume = stored_as(trunk.volume, order, flips)
    truth = stored_as(Volume(trunk.truth, trunk.volume.affine, "HU"), order, flips).array
    wanted = truth >= 1 + len(TABLE) + len(ARMS)
    stack = Stack.of(volume)
    assert np.array_equal(stack.stored(body_of(stack, -500.0, 3.0)), wanted)


def test_the_threshold_lies_midway_between_what_it_parts(trunk):
    found = optimal_threshold(trunk.volume.array)
    array = np.clip(trunk.volume.array, -1024, 3071)
    assert found == pytest.approx((array[array < found].mean() + array[array >= found].mean()) / 2, abs=1.0)


def test_padding_outside_the_field_of_view_counts_as_air(trunk):
    padded = np.where(trunk.truth == 0, -3024, trunk.volume.array).astype(np.int16)
    least = np.where(trunk.truth == 0, -1024, trunk.volume.array).astype(np.int16)
    assert optimal_threshold(padded) == optimal_threshold(least)
    assert histogram(padded)[0] == np.count_nonzero(trunk.truth == 0)
    assert np.array_equal(histogram(padded.astype(np.float32)), histogram(padded))


@pytest.mark.parametrize("value", [-1000, 40])
def test_an_image_of_one_value_has_no_threshold_and_air_no_body(value):
    array = np.full((4, 8, 8), value, dtype=np.int16)
    assert optimal_threshold(array) == -500.0
    stack = Stack.of(Volume(array, affine_of(array.shape, (4, 4, 4)), "HU"))
    if value < -500:
        with pytest.raises(AnatomyAbsent):
            body_of(stack, -500.0, 3.0)
    else:
        assert body_of(stack, -500.0, 3.0).all()
