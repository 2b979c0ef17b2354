"""Series of any orientation, flip, tilt and spacing, through DICOM into a Volume and back; and series that make no sense."""

from __future__ import annotations

import copy
import subprocess

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bithive.errors import Refused
from clinic.headers import geometry_refusal, series_header
from clinic.instance import InstanceRow
from clinic.reader import read
from tests.common.dicom_factory import content_of, make_series, rows_of
from tests.common.enhanced import make_enhanced
from tests.common.written import source_of

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STEP = {"min_value": 0.3, "max_value": 8.0}


def turned(angles: tuple[float, float, float]) -> np.ndarray:
    """(2, 3) directions along a row and a column: a rotation, or a permutation with flips where angles are steps."""
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.round((about_z @ about_y @ about_x)[:, :2].T, 8)


RIGHT_ANGLES = st.tuples(*[st.sampled_from([0, np.pi / 2, np.pi, -np.pi / 2])] * 3)
ANY_ANGLES = st.tuples(*[st.floats(-3.1, 3.1)] * 3)
DIRECTIONS = st.one_of(RIGHT_ANGLES, ANY_ANGLES).map(turned)


@st.composite
def series(draw, *, straight: bool = False):
    """Data sets in any order, and what was drawn."""
    axes = draw(DIRECTIONS)
    planes, rows, columns = draw(st.tuples(st.integers(4, 9), st.integers(3, 9), st.integers(3, 9)))
    spacing = tuple(round(draw(st.floats(**STEP)), 3) for _ in range(3))
    lean = (0.0, 0.0) if straight else draw(st.sampled_from([(0.0, 0.0), (0.0, 0.33), (-0.2, 0.0), (0.1, -0.4)]))
    coarse = 0 if straight else draw(st.sampled_from([0, 0, 3]))
    steps = np.array([spacing[2]] * (planes - 1) + [spacing[2] * 1.75] * coarse)
    depths = np.concatenate(([0.0], np.cumsum(steps)))
    count = len(depths)
    origin = np.array(draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    normal = np.cross(*axes)
    positions = origin + np.outer(depths, normal + lean[0] * axes[0] + lean[1] * axes[1])
    pixels = draw(st.integers(0, 2**31)) + np.arange(count * rows * columns).reshape(count, rows, columns) * 7
    made = make_series(
        (count, rows, columns), spacing, axes.reshape(-1), pixels=(pixels % 3001).astype(np.int16), positions=positions
    )
    for k, item in enumerate(made):
        item.SliceThickness = round(spacing[2] * (1.75 if coarse and k >= planes - 1 else 1.0), 4)
    return draw(st.permutations(made))


def write(folder, made):
    """The files in which a series lies, in its order along the normal."""
    names = []
    for number, item in enumerate(sorted(made, key=lambda item: int(item.InstanceNumber))):
        names.append(str(folder / f"{number}.dcm"))
        (folder / f"{number}.dcm").write_bytes(content_of(item))
    return names


def centres(shape, affine):
    """(n, 3) of the outermost voxels, LPS millimetres."""
    ends = [(0, size - 1) for size in shape[::-1]]
    return np.array([(affine @ (x, y, z, 1))[:3] for x in ends[0] for y in ends[1] for z in ends[2]])


@QUICK
@given(series(straight=True))
def test_simpleitk_agrees_on_every_value_and_place(tmp_path, made):
    volume = source_of(made).volume
    image = SimpleITK.ReadImage(write(tmp_path, made))
    assert np.array_equal(SimpleITK.GetArrayViewFromImage(image), volume.array)
    theirs = np.eye(4)
    theirs[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    theirs[:3, 3] = image.GetOrigin()
    assert centres(volume.array.shape, volume.affine) == pytest.approx(centres(volume.array.shape, theirs), abs=1e-3)


@QUICK
@given(series(), st.data())
def test_a_mask_goes_to_the_planes_and_back_within_half_a_voxel(made, data):
    source = source_of(made)
    grid = source.grid
    mask = np.zeros(grid.shape, np.bool_)
    corner = [data.draw(st.integers(0, size - 1)) for size in grid.shape]
    mask[tuple(slice(at, at + 1 + size // 2) for at, size in zip(corner, grid.shape, strict=True))] = True
    steps = np.array(grid.spacing_mm)
    inverse = np.linalg.inv(grid.affine)
    stack = np.stack([source.plane(mask, k) for k in range(len(grid.planes))])
    assert stack.shape == grid.stack_shape
    for k, plane in enumerate(grid.planes):
        assert source.plane(mask, k).shape == plane.size
        for y, x in ((0, 0), (plane.size[0] - 1, plane.size[1] - 1)):
            place = (
                plane.position + plane.cosines[0] * plane.spacing_mm[1] * x + plane.cosines[1] * plane.spacing_mm[0] * y
            )
            index = (inverse @ (*place, 1))[:3]
            nearest = np.rint(index).astype(int)
            assert (np.abs(index - nearest) * steps <= steps / 2 + 1e-6).all()
            near = {bool(mask[tuple(np.clip(other, 0, np.array(mask.shape) - 1))]) for other in _ties(index)}
            assert bool(stack[k, y, x]) in near
    back = source.to_volume(stack)
    assert back.shape == grid.shape
    if grid.straightening is None:
        assert np.array_equal(back, mask)
        assert np.shares_memory(back, stack)
    again = np.stack([source.plane(source.to_volume(np.ones_like(stack)), k) for k in range(len(grid.planes))])
    assert again.all()


def _ties(index):
    """(z, y, x) of the voxels that are nearest to a place, all of them where it lies half way."""
    options = [sorted({int(np.floor(item + 0.5 - 1e-3)), int(np.floor(item + 0.5 + 1e-3))}) for item in index]
    return [(z, y, x) for x in options[0] for y in options[1] for z in options[2]]


@QUICK
@given(series())
def test_frames_of_one_object_are_read_like_single_images(made):
    one, other = source_of(made), source_of([make_enhanced(made)])
    assert np.array_equal(one.volume.array, other.volume.array)
    assert one.volume.affine == pytest.approx(other.volume.affine, abs=1e-9)
    assert one.grid.warnings == other.grid.warnings


EXAMPLES = [
    ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.7, 0.9, 2.5)),
    ((0.0, 1.0, 0.0, 0.0, 0.0, -1.0), (1.1, 0.8, 3.0)),
    ((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (0.5, 0.5, 1.25)),
    (tuple(turned((0.3, -0.2, 0.5)).reshape(-1)), (0.9, 1.2, 2.0)),
]


@pytest.mark.parametrize(("orientation", "spacing"), EXAMPLES)
def test_dcm2niix_agrees_on_every_value_and_place(external, tmp_path, orientation, spacing):
    made = make_series(
        (7, 12, 9), spacing, orientation, origin=(-11.0, 22.5, 40.25), modality="CT", Manufacturer="GE MEDICAL SYSTEMS"
    )
    volume = source_of(made).volume
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", made)
    subprocess.run([external("dcm2niix"), "-o", tmp_path, "-f", "x", tmp_path / "in"], check=True, capture_output=True)
    image = nib.load(tmp_path / "x.nii")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    theirs = np.asarray(image.dataobj).transpose(2, 1, 0)
    where = np.linalg.inv(affine) @ volume.affine
    for z, y, x in np.ndindex(2, 2, 2):
        index = np.array([x * 8, y * 11, z * 6])
        there = (where @ (*index, 1))[:3]
        assert np.abs((there - np.rint(there)) * spacing).max() < 1e-3
        i, j, k = np.rint(there).astype(int)
        assert theirs[k, j, i] == volume.array[index[2], index[1], index[0]]


GEOMETRY = (
    "00080008", "00080060", "00180050", "00200013", "00200032", "00200037", "00200052", "00280002", "00280004",
    "00280008", "00280010", "00280011", "00280030", "00280100", "00280101", "00280102", "00280103", "00281052",
    "00281053", "52009229", "52009230",
)  # fmt: skip
JUNK = st.one_of(
    st.none(),
    st.just({}),
    st.just({"vr": "DS"}),
    st.just({"vr": "SQ", "Value": [{}]}),
    st.just({"vr": "SQ", "Value": [{"00209113": {"vr": "SQ", "Value": [{"00200032": {"vr": "DS", "Value": [0, 0]}}]}}] * 5}),
    st.just({"vr": "UN", "InlineBinary": "AAAA"}),
    st.just({"vr": "OB", "BulkDataURI": "bulkdata/1"}),
    st.lists(
        st.one_of(
            st.none(), st.integers(-70_000, 70_000), st.floats(), st.sampled_from(["", "x", "1e999", "NaN", "LOCALIZER"]),
            st.just({"Alphabetic": "x"}), st.just({}), st.just([]),
        ),
        max_size=7,
    ).map(lambda found: {"vr": "DS", "Value": found}),
)  # fmt: skip
ROWS = {
    "single": rows_of(make_series((5, 4, 6), modality="CT")),
    "tilted": rows_of(make_series((5, 4, 6), positions=[(0, 0.3 * k, k) for k in range(5)])),
    "enhanced": rows_of([make_enhanced(make_series((5, 4, 6)))]),
}


@settings(QUICK, max_examples=150)
@given(
    st.sampled_from(sorted(ROWS)),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(GEOMETRY), JUNK), min_size=1, max_size=4),
)
def test_whatever_a_header_says_there_is_a_volume_or_a_code(kind, changes):
    rows, blobs = ROWS[kind]
    rows = [copy.copy(row) for row in rows]
    garbled = [
        _garbled(row, [change[1:] for change in changes if change[0] % len(rows) == k]) for k, row in enumerate(rows)
    ]
    header, code = series_header(garbled), geometry_refusal(garbled)
    assert header.gap_free == (code is None)
    assert header.gap_free or not header.corrections
    try:
        grid, volume = read(garbled, blobs)
    except Refused as refused:
        known = refused.code
    else:
        known = ""
        assert volume.array.shape == grid.shape
    assert known != Refused.code


def _garbled(row: InstanceRow, changes) -> InstanceRow:
    from dataclasses import replace

    header = dict(row.header)
    for tag, value in changes:
        if value is None:
            header.pop(tag, None)
        else:
            header[tag] = value
    return replace(row, header=header)
