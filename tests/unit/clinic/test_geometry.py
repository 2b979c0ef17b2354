import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.errors import Refused
from clinic import refusals
from clinic.geometry import arrange, distance_mm, planes_of
from tests.common.dicom_factory import AXIAL, CORONAL, OBLIQUE, SAGITTAL, files_of, make_series, rows_of


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


@pytest.mark.parametrize("lean", [-0.33, 0.05, 0.9])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_a_tilted_stack_becomes_a_rectangular_block(orientation, lean):
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    positions = [k * (2 * normal + lean * column - 0.1 * row) for k in range(6)]
    grid = arrange(rows(make_series((6, 4, 3), (0.5, 0.75, 2.0), orientation, positions=positions)))
    assert grid.warnings == ("tilt-corrected",)
    axes = grid.affine[:3, :3] / grid.spacing_mm
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-6)
    assert grid.spacing_mm == pytest.approx((0.5, 0.75, 2.0), abs=1e-6)
    for place, plane in zip(grid.straightening.places, grid.planes, strict=True):
        assert grid.affine[:3] @ (*place, 1) == pytest.approx(plane.position, abs=1e-3)


def test_what_leans_further_than_a_gantry_is_refused():
    positions = [(0, k * 1.01, k) for k in range(6)]
    assert code_of(make_series((6, 4, 3), positions=positions)) == "gantry-tilt"


@pytest.mark.parametrize(("shift_mm", "code"), [(0.3, "shift-corrected"), (0.6, "shifted-slices")])
def test_a_slice_that_is_out_of_line(shift_mm, code):
    series = make_series((6, 4, 3), positions=[(shift_mm * (k == 2), 0, k) for k in range(6)])
    if code == "shifted-slices":
        assert code_of(series) == code
    else:
        assert arrange(rows(series)).warnings == (code,)


def test_distances_that_are_meant_so_are_put_right():
    series = make_series((9, 4, 3), positions=[(0, 0, z) for z in (0, 4, 8, 12, 13, 20, 27, 34, 41)])
    for item in series[4:]:
        item.SliceThickness = 7
    for item in series[:4]:
        item.SliceThickness = 4
    grid = arrange(rows(series))
    assert (grid.warnings, grid.shape, grid.stack_shape) == (("spacing-corrected",), (11, 4, 3), (9, 4, 3))
    assert grid.spacing_mm[2] == pytest.approx(4.0)


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
    series = make_series((4, 4, 3), positions=[(0, 0, z) for z in (0, 1, 1, 2)])
    with pytest.raises(refusals.DuplicatePositions) as refusal:
        arrange(rows(series), lambda _one, _other: False)
    assert refusal.value.context["count"] == 1


def test_exact_duplicates_are_left_out_with_a_warning():
    series = make_series((4, 4, 3), positions=[(0, 0, z) for z in (0, 1, 1, 2)])
    grid = arrange(rows(series), lambda _one, _other: True)
    assert (grid.shape, grid.duplicates, grid.warnings) == ((3, 4, 3), 1, ("duplicates-dropped",))
    assert arrange(rows(series)).shape == (3, 4, 3)  # headers do not tell them apart


@pytest.mark.parametrize(
    ("member", "values", "by"),
    [
        ("TemporalPositionIdentifier", (1, 2), "Temporal Position Identifier"),
        ("EchoTime", (4.9, 7.4), "Echo Time"),
        ("DiffusionBValue", (0, 1000), "Diffusion b-value"),
        ("TriggerTime", (0, 40), "Trigger Time"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), "Image Type"),
        ("AcquisitionTime", ("101112", "101113"), "Acquisition Time"),
    ],
)
def test_several_volumes_are_named_by_what_tells_them_apart(member, values, by):
    both = []
    for number, value in enumerate(values):
        members = {member: value}
        both += make_series((3, 4, 3), **({"series_uid": f"1.2.3.{number}"} | members))
    with pytest.raises(refusals.SeveralVolumes) as refusal:
        arrange(rows(both), lambda _one, _other: False)
    assert (refusal.value.context["by"], refusal.value.context["count"]) == (by, 2)


def test_two_stacks_side_by_side_are_several_volumes():
    series = make_series((3, 4, 3)) + make_series((3, 4, 3), origin=(90, 0, 0), series_uid="1.2.3.7")
    assert code_of(series) == "several-volumes"


def localiser(orientation=SAGITTAL, **members):
    return make_series(
        (1, 4, 3), orientation=orientation, series_uid="1.2.7", ImageType=["O", "P", "LOCALIZER"], **members
    )


def test_a_localiser_that_lies_otherwise_is_left_out_with_a_warning():
    grid = arrange(rows(make_series((5, 4, 3)) + localiser()))
    assert (grid.shape, grid.warnings) == ((5, 4, 3), ("localiser-dropped",))
    holed = make_series((5, 4, 3))
    del holed[2]
    assert code_of(holed + localiser()) == "missing-slices"


def test_a_localiser_that_cannot_be_told_apart_is_refused():
    assert code_of(make_series((5, 4, 3)) + localiser(AXIAL, origin=(0, 0, 9))) == "localiser-mixed-in"
    assert code_of(make_series((1, 4, 3)) + localiser()) == "localiser-mixed-in"


def test_three_planes_of_a_survey_are_no_block():
    series = [
        make_series((1, 4, 3), orientation=each, series_uid=f"1.2.{k}")
        for k, each in enumerate((AXIAL, SAGITTAL, CORONAL))
    ]
    assert code_of([item for part in series for item in part]) == "mixed-orientations"


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDL", "HFDR", "FFDL", "FFDR", "", "XXX"])
@pytest.mark.parametrize(
    "orientation", [(-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, -1, 0), (0, 1, 0, -1, 0, 0), (0, -1, 0, -1, 0, 0)]
)
def test_the_cosines_alone_say_how_the_patient_lies(position, orientation):
    series = make_series((3, 4, 3), (0.5, 0.75, 2.0), orientation, PatientPosition=position)
    grid = arrange(rows(series))
    assert grid.affine[:3, 0] == pytest.approx(0.5 * np.array(orientation[:3], float))
    assert grid.affine[:3, 1] == pytest.approx(0.75 * np.array(orientation[3:], float))
    assert np.linalg.det(grid.affine) > 0
    assert grid.warnings == ()


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("ImageOrientationPatient", list(SAGITTAL), "mixed-orientations"),
        ("PixelSpacing", [1.0, 1.1], "mixed-spacing"),
        ("Rows", 5, "mixed-sizes"),
        ("FrameOfReferenceUID", "1.2.3.4", "mixed-frames-of-reference"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "localiser-mixed-in"),
        ("NumberOfFrames", 3, "multi-frame"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "mosaic"),
        ("PixelSpacing", [1e-9, 1], "no-geometry"),
        ("ImagePositionPatient", [1e9, 0, 0], "no-geometry"),
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
    assert distance_mm([plane for row in rows(series) for plane in planes_of(row)]) == 2
    assert distance_mm([plane for row in rows(make_series((1, 4, 3))) for plane in planes_of(row)]) is None


@given(st.lists(st.tuples(*[st.floats(-200, 200)] * 3), min_size=2, max_size=6))
def test_whatever_the_positions_the_grid_is_close_or_refused(positions):
    series = make_series((len(positions), 4, 3), positions=positions)
    try:
        grid = arrange(rows(series))
    except Refused:
        return
    step = grid.spacing_mm[2]
    for k, plane in enumerate(grid.planes):
        place = (0, 0, k) if grid.straightening is None else grid.straightening.places[k]
        off = np.linalg.norm((grid.affine @ (*place, 1))[:3] - plane.position)
        assert off <= max(0.01 * step, 0.01) * 1.5 + 1e-3


def test_the_tilted_head_lies_where_its_planes_do(shared):
    tilted, _ = rows_of(files_of(shared / "data" / "ct-head-tilted", "*.dcm"))
    grid = arrange(tilted)
    assert grid.warnings == ("tilt-corrected", "spacing-corrected")
    assert (grid.shape, grid.stack_shape) == ((37, 611, 512), (28, 512, 512))
    corners = [(0, 0), (511, 0), (0, 511), (511, 511)]
    for plane, place in zip(grid.planes, grid.straightening.places, strict=True):
        stored = [float(item) for item in plane.row.header["00200032"]["Value"]]
        axes = np.array(plane.row.header["00200037"]["Value"], float).reshape(2, 3)
        for x, y in corners:
            expected = stored + 0.4882812 * (axes[0] * x + axes[1] * y)
            assert (grid.affine @ (place[0] + x, place[1] + y, place[2], 1))[:3] == pytest.approx(expected, abs=1e-3)


def test_blank_uids_are_said(shared):
    found, _ = rows_of(files_of(shared / "data" / "ct-body-j2k"))
    assert arrange(found).warnings == ("uids-corrected",)


def test_each_warning_is_explained():
    assert all(
        re.fullmatch(r"[a-z]+(-[a-z]+)+", code) and sentence.endswith(".")
        for code, sentence in refusals.CORRECTIONS.items()
    )
