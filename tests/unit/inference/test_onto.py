import numpy as np
import pytest

from inference.onto import onto, same_grid
from inference.volume import Volume


def linear(shape, affine):
    """An image whose values are linear in its place, where interpolation is exact."""
    z, y, x = np.indices(shape).astype(float)
    places = np.einsum("ij,jzyx->izyx", affine[:3, :3], np.stack([x, y, z])) + affine[:3, 3, None, None, None]
    values = 500 + 3.0 * places[0] - 2.0 * places[1] + 5.0 * places[2]
    return Volume(values.astype(np.float32), affine, "arbitrary")


def placed(spacing, origin=(0.0, 0.0, 0.0), turn=0.0):
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_what_is_linear_stays_exact(turn):
    source = linear((30, 40, 50), placed((0.7, 1.3, 2.1), (-3.0, -8.0, -4.0), turn))
    grid = linear((10, 9, 8), placed((1.0, 1.0, 1.0), (5.0, 6.0, 7.0)))
    np.testing.assert_allclose(onto(source, grid), grid.array, rtol=1e-5)


def test_beyond_the_image_is_nothing_and_the_same_grid_is_left_alone():
    source = linear((6, 7, 8), placed((1.0, 1.0, 1.0)))
    grid = linear((6, 7, 8), placed((1.0, 1.0, 1.0), (4.0, 0.0, 0.0)))
    found = onto(source, grid)
    assert np.array_equal(found[..., :4], source.array[..., 4:])
    assert not found[..., 5:].any()
    nearly = Volume(source.array, placed((1.0, 1.0, 1.0), (1e-5, 0.0, 0.0)), "arbitrary")
    assert same_grid(source, nearly)
    assert np.array_equal(onto(nearly, source), source.array)
    assert not same_grid(source, grid)


def test_a_turned_stack_is_the_same_image():
    source = linear((5, 6, 7), placed((1.0, 1.0, 1.0)))
    flipped = placed((1.0, 1.0, 1.0))
    flipped[2, 2], flipped[2, 3] = -1.0, 4.0
    upside_down = Volume(np.ascontiguousarray(source.array[::-1]), flipped, "arbitrary")
    assert np.array_equal(onto(upside_down, source), source.array)
