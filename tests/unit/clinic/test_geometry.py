import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.errors import Refused
from clinic import refusals
from clinic.geometry import arrange, distance_mm, placement
from tests.common.dicom_factory import AXIAL, CORONAL, SAGITTAL, files_of, make_series, rows_of

OBLIQUE = (0.9990321764, -0.0217883752, 0.0382096472, 0.0265194769, 0.9914138703, -0.128043958)


def rows(*series, **arguments):
    return rows_of(series[0] if series else make_series(**arguments))[0]


def code_of(series) -> str:
    with pytest.raises(Refused) as refusal:
        arrange(rows(series))
    return refusal.value.code


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_slices_are_ordered_along_their_normal(orientation):
    series = make_series((5, 4, 3), (0.5, 0.75, 2.0), orientation, origin=(3, -4, 5))
    mixed = [series[k] for k in (3, 0, 4, 1, 2)]
    grid = arrange(rows(mixed))
    assert [row.sop_uid for row in grid.rows] == [item.SOPInstanceUID for item in series]
    assert grid.shape == (5, 4, 3)
    assert grid.spacing_mm == pytest.approx((0.5, 0.75, 2.0), abs=1e-6)
    for z, item in enumerate(series):
        assert grid.affine @ (0, 0, z, 1) == pytest.approx([*item.ImagePositionPatient, 1], abs=1e-5)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    corner = np.array(series[0].ImagePositionPatient, float) + 2 * 0.5 * row + 3 * 0.75 * column
    assert grid.affine @ (2, 3, 0, 1) == pytest.approx([*corner, 1], abs=1e-5)


def test_a_gantry_tilt_is_refused():
    positions = [(0, k * 0.33, k) for k in range(6)]
    assert code_of(make_series((6, 4, 3), positions=positions)) == "gantry-tilt"


def test_half_a_degree_is_let_pass_and_kept_in_the_affine():
    positions = [(0, k * 0.008, k) for k in range(6)]
    grid = arrange(rows(make_series((6, 4, 3), positions=positions)))
    assert grid.affine[:3, 2] == pytest.approx((0, 0.008, 1))


def test_missing_slices_are_counted():
    series = make_series((8, 4, 3))
    del series[5], series[2]
    with pytest.raises(refusals.MissingSlices) as refusal:
        arrange(rows(series))
    assert refusal.value.context["count"] == 2


def test_uneven_spacing_is_refused():
    positions = [(0, 0, z) for z in (0, 1, 2, 3.4, 4.4, 5.4)]
    assert code_of(make_series((6, 4, 3), positions=positions)) == "uneven-spacing"


def test_spacing_that_changes_half_way_is_refused():
    positions = [(0, 0, z) for z in (0, 1, 2, 3, 4, 6, 8)]
    assert code_of(make_series((7, 4, 3), positions=positions)) == "missing-slices"
    positions = [(0, 0, z) for z in (0, 1, 2, 3, 4.5, 6, 7.5)]
    assert code_of(make_series((7, 4, 3), positions=positions)) == "uneven-spacing"


def test_rounded_positions_pass():
    positions = [(0, 0, round(k * 0.6667, 2)) for k in range(30)]
    assert arrange(rows(make_series((30, 4, 3), positions=positions))).shape == (30, 4, 3)


def test_different_images_at_one_position_are_refused():
    positions = [(0, 0, z) for z in (0, 1, 1, 2)]
    assert code_of(make_series((4, 4, 3), positions=positions)) == "duplicate-positions"


def test_exact_duplicates_are_left_out():
    positions = [(0, 0, z) for z in (0, 1, 1, 2)]
    grid = arrange(rows(make_series((4, 4, 3), positions=positions)), lambda _one, _other: True)
    assert (grid.shape, grid.duplicates) == ((3, 4, 3), 1)


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("ImageOrientationPatient", list(SAGITTAL), "mixed-orientations"),
        ("PixelSpacing", [1.0, 1.1], "mixed-spacing"),
        ("Rows", 5, "mixed-sizes"),
        ("FrameOfReferenceUID", "1.2.3.4", "mixed-frames-of-reference"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "localiser-mixed-in"),
        ("NumberOfFrames", 3, "multi-frame"),
        ("ImagePositionPatient", None, "no-geometry"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "no-geometry"),
        ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0], "no-geometry"),
        ("PixelSpacing", [0, 1], "no-geometry"),
        ("PixelSpacing", [1], "no-geometry"),
    ],
)
def test_one_image_that_does_not_belong(member, value, code):
    series = make_series((5, 4, 3))
    setattr(series[2], member, value)
    assert code_of(series) == code


def test_a_series_without_positions_is_refused():
    series = make_series((5, 4, 3))
    for item in series:
        del item.ImagePositionPatient
    assert code_of(series) == "no-geometry"


def test_one_slice_is_no_volume():
    assert code_of(make_series((1, 4, 3))) == "too-few-slices"


def test_localisers_alone_are_judged_by_their_geometry():
    series = make_series((3, 4, 3), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert arrange(rows(series)).shape == (3, 4, 3)


def test_the_median_distance():
    series = make_series((5, 4, 3), positions=[(0, 0, z) for z in (0, 2, 2, 4, 9)])
    assert distance_mm([placement(row) for row in rows(series)]) == 2
    assert distance_mm([placement(row) for row in rows(make_series((1, 4, 3)))]) is None


@given(st.lists(st.tuples(*[st.floats(-200, 200)] * 3), min_size=2, max_size=6))
def test_whatever_the_positions_the_grid_is_close_or_refused(positions):
    series = make_series((len(positions), 4, 3), positions=positions)
    try:
        grid = arrange(rows(series))
    except Refused:
        return
    for z, row in enumerate(grid.rows):
        stored = np.array(row.header["00200032"]["Value"], float)
        step = grid.spacing_mm[2]
        assert np.linalg.norm((grid.affine @ (0, 0, z, 1))[:3] - stored) <= max(0.01 * step, 0.01) * 1.5 + 1e-3


def test_the_tilted_head_is_refused(shared):
    tilted, _ = rows_of(files_of(shared / "data" / "ct-head-tilted", "*.dcm"))
    with pytest.raises(refusals.GantryTilt):
        arrange(tilted)
