import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from inference.geometry import Axes, Box, Canonical, grid_indices, nearest_indices, ras_affine, sample, turn_towards
from inference.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def affine_of(order, signs, tilt_degrees=0.0, spacing=(0.7, 1.1, 2.0)):
    matrix = np.zeros((3, 3))
    for column, row in enumerate(order):
        matrix[row, column] = signs[column] * spacing[column]
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", [tilt_degrees, -tilt_degrees / 2, tilt_degrees / 3], degrees=True).as_matrix()
        @ matrix
    )
    affine[:3, 3] = (-10.0, 20.0, 30.0)
    return affine


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_canonical_axes_are_those_of_nibabel(order, signs):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 100, (3, 4, 5), dtype=np.int16)
    for tilt in (0.0, 12.0, 25.0):
        affine = affine_of(order, signs, tilt)
        image = nib.as_closest_canonical(nib.Nifti1Image(array.transpose(), LPS_TO_RAS @ affine))
        seen = Canonical.of(Volume(array, affine, "HU"))
        assert np.array_equal(seen.array, np.asarray(image.dataobj))
        assert np.shares_memory(seen.array, array)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_stored_is_the_inverse_of_view(order, signs):
    array = np.arange(60).reshape(3, 4, 5)
    axes = Axes.of(affine_of(order, signs, 8.0))
    assert np.array_equal(axes.stored(axes.view(array)), array)


AXCODES = ["".join(letters) for letters in itertools.permutations("RAS")] + ["LPS", "PLI", "SAL", "IRP"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.floats(-90, 90)] * 3),
    st.sampled_from(AXCODES),
)
def test_any_axes_are_turned_as_nibabel_turns_them(orientation, degrees, axcodes):
    affine = affine_of(*orientation)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    sizes = np.sort(np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)), axis=0)
    assume((sizes[2] - sizes[1]).min() > 1e-3)  # half-way between two axes either answer is right
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine, "HU")
    ras = ras_affine(volume)
    wanted = nib.orientations.axcodes2ornt(axcodes)
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(ras), wanted)
    expected = nib.orientations.apply_orientation(volume.array.transpose(), turn)
    axes = Axes.plain().turned(*turn_towards(ras, axcodes))
    assert np.array_equal(axes.view(volume.array), expected)
    again = axes.turned(*turn_towards(ras @ nib.orientations.inv_ornt_aff(turn, (5, 4, 3)), axcodes))
    assert again == axes, "an image that is turned already stays as it is"


@pytest.mark.parametrize("axcodes", ["", "RA", "RAX", "RLS", "RASR"])
def test_letters_that_name_no_axes_are_refused(axcodes):
    with pytest.raises(ValueError, match="axes"):
        turn_towards(np.eye(4), axcodes)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 700), st.integers(1, 300))
@example(2, 41)
@example(12, 246)
def test_nearest_indices_are_those_of_pytorch(size_from, size_to):
    line = torch.arange(size_from, dtype=torch.float32)[None, None]
    expected = torch.nn.functional.interpolate(line, size=size_to, mode="nearest-exact")[0, 0].long().numpy()
    assert np.array_equal(nearest_indices(size_from, size_to), expected)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("target_order", list(itertools.permutations(range(3))))
def test_sampling_reads_the_same_whatever_the_memory_order(order, target_order):
    stored = np.random.default_rng(1).integers(-500, 500, (9, 7, 8), dtype=np.int16)
    view = stored.transpose(order)[::-1, :, ::-1]
    indices = grid_indices(Box((1, 0, 2), (6, 7, 7)), (11, 4, 5))
    into = np.empty(np.array((11, 4, 5))[list(target_order)], np.float32).transpose(np.argsort(target_order))
    sample(view, indices, into)
    assert np.array_equal(into, view[np.ix_(*indices)].astype(np.float32))


def test_boxes():
    box = Box((1, 2, 3), (4, 6, 8))
    assert box.shape == (3, 4, 5)
    assert np.zeros((9, 9, 9))[box.slices].shape == (3, 4, 5)
    assert Box.whole((2, 3, 4)).shape == (2, 3, 4)
