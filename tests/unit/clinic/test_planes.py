import io

import numpy as np
import pytest
from PIL import Image

from clinic.planes import BODY_PLANES, Body, Plane, counts, cut, labelled, middle, picture, png, window_of
from clinic.reader import read
from clinic.refusals import NoPlane
from inference.volume import Volume
from tests.common.dicom_factory import AXIAL, CORONAL, SAGITTAL, make_series, rows_of

FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
MARK = 1000


def marked(orientation, lps) -> Volume:
    """A volume of 20 mm edges, centred, whose voxels on one side of the body are bright."""
    shape, spacing = (10, 20, 5), (4.0, 1.0, 2.0)
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.array([orientation[:3], orientation[3:], normal]) * np.array(spacing)[:, None]
    centre = steps.T @ ((np.array(shape[::-1]) - 1) / 2)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps.T, -centre
    index = np.indices(shape)[::-1].reshape(3, -1)
    places = affine[:3, :3] @ index + affine[:3, 3:]
    bright = (places.T @ np.array(lps)) > 0
    return Volume(np.where(bright, MARK, 0).astype(np.int16).reshape(shape), affine, "arbitrary")


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, FEET_FIRST])
@pytest.mark.parametrize(
    ("plane", "lps", "side"),
    [
        (Plane.AXIAL, (1, 0, 0), "right"),
        (Plane.AXIAL, (0, 1, 0), "bottom"),
        (Plane.CORONAL, (1, 0, 0), "right"),
        (Plane.CORONAL, (0, 0, 1), "top"),
        (Plane.SAGITTAL, (0, 1, 0), "right"),
        (Plane.SAGITTAL, (0, 0, 1), "top"),
    ],
)
def test_sides_are_where_a_radiologist_looks_for_them(orientation, plane, lps, side):
    volume = marked(orientation, lps)
    count = next(item.count for item in counts(volume) if item.plane is plane)
    pixels, spacing = cut(volume.array, volume.affine, plane, count // 2)
    assert pixels.shape[0] * spacing[0] == pytest.approx(20)
    assert pixels.shape[1] * spacing[1] == pytest.approx(20)
    halves = {
        "right": (pixels[:, pixels.shape[1] // 2 + 1 :], pixels[:, : pixels.shape[1] // 2]),
        "bottom": (pixels[pixels.shape[0] // 2 + 1 :], pixels[: pixels.shape[0] // 2]),
        "top": (pixels[: pixels.shape[0] // 2], pixels[pixels.shape[0] // 2 + 1 :]),
    }
    bright, dark = halves[side]
    assert (bright == MARK).all()
    assert not dark.any()


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, FEET_FIRST])
@pytest.mark.parametrize(
    ("plane", "lps"), [(Plane.AXIAL, (0, 0, 1)), (Plane.CORONAL, (0, 1, 0)), (Plane.SAGITTAL, (1, 0, 0))]
)
def test_planes_are_counted_from_feet_front_and_right(orientation, plane, lps):
    volume = marked(orientation, lps)
    count = next(item.count for item in counts(volume) if item.plane is plane)
    assert not cut(volume.array, volume.affine, plane, 0)[0].any()
    assert (cut(volume.array, volume.affine, plane, count - 1)[0] == MARK).all()


def test_an_index_beyond_the_volume_is_refused():
    volume = marked(AXIAL, (0, 0, 1))
    for index in (-1, 10):
        with pytest.raises(NoPlane):
            cut(volume.array, volume.affine, Plane.AXIAL, index)


def test_an_oblique_volume_takes_its_nearest_axes():
    rows, blobs = rows_of(make_series((4, 5, 6), orientation=(0.8, 0.6, 0, 0, 0, -1)))
    body = Body.of(read(rows, blobs)[1].affine)
    assert sorted(body.axes) == [0, 1, 2]
    assert body.axes[2] == 1


def test_the_middle_of_a_mask():
    volume = marked(CORONAL, (0, 0, 1))
    mask = np.zeros(volume.array.shape, np.bool_)
    mask[2:5, 4:8, 1:3] = True
    found = middle(mask, volume.affine)
    for plane, index in found.items():
        assert cut(mask, volume.affine, plane, index)[0].any()
    assert set(middle(np.zeros_like(mask), volume.affine)) == set(BODY_PLANES)
    labels = mask.astype(np.uint8) * 7
    assert middle(labels, volume.affine) == found
    assert middle(np.zeros_like(mask), volume.affine, labels) == found


def test_a_picture_has_square_pixels_and_an_outline():
    pixels = np.zeros((10, 20), np.int16)
    mask = np.zeros((10, 20), np.bool_)
    mask[3:7, 5:15] = True
    shown = picture(pixels, (2.0, 1.0), (500, 1000), [(mask, (255, 0, 0))], fill=0.0)
    assert shown.size == (20, 20)
    reds = np.asarray(shown)[..., 0] == 255
    assert reds.any()
    assert not np.asarray(shown)[9:11, 8:12, 0].any()
    again = Image.open(io.BytesIO(png(shown)))
    assert np.array_equal(np.asarray(again), np.asarray(shown))


def test_each_label_is_drawn_in_its_colour():
    labels = np.zeros((12, 24), np.uint8)
    labels[2:10, 2:10], labels[2:10, 10:20], labels[0, 0] = 3, 9, 200
    drawn = list(labelled(labels, {3: (255, 0, 0), 9: (0, 255, 0)}))
    assert [(int(mask.sum()), colour) for mask, colour in drawn] == [(64, (255, 0, 0)), (80, (0, 255, 0))]
    shown = np.asarray(picture(np.zeros((12, 24), np.int16), (1.0, 1.0), (500, 1000), drawn, fill=0.5))
    assert shown[2, 5].tolist() == [255, 0, 0]
    assert shown[2, 15].tolist() == [0, 255, 0]
    assert shown[5, 5].tolist() == [127, 0, 0]
    assert shown[5, 9].tolist() == [255, 0, 0], "two that touch have an outline each"
    assert not shown[0, 0].any(), "what is no segment is not drawn"


def test_a_huge_plane_is_shown_smaller():
    shown = picture(np.zeros((3000, 100), np.uint8), (1.0, 1.0), (128, 256))
    assert max(shown.size) <= 1024


def test_windows():
    volume = marked(AXIAL, (0, 0, 1))
    assert window_of(volume) == (500, 1000)
    flat = Volume(np.zeros((2, 2, 2), np.int16), np.eye(4), "arbitrary")
    assert window_of(flat)[1] == 1
    assert window_of(Volume(np.zeros((2, 2, 2), np.int16), np.eye(4), "HU")) == (40, 400)
