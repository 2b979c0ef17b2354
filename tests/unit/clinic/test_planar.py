import numpy as np
import pytest

from bithive.errors import Refused
from bithive.limits import PLANAR_FRAMES_MAX
from clinic.planar import arrange, is_planar, spacing_mm
from tests.common import planar
from tests.common.dicom_factory import make_series, rows_of

CHEST = planar.chest(12, 10)


def rows(*datasets):
    return rows_of(datasets)[0]


def test_the_sop_class_says_what_is_planar():
    kinds = (planar.radiograph(CHEST), planar.ultrasound(CHEST), planar.capture(np.stack([CHEST] * 2)))
    assert all(is_planar(rows(dataset)) for dataset in kinds)
    assert not is_planar(rows(*make_series()))
    assert not is_planar(rows(planar.radiograph(CHEST), *make_series()))


def test_order_does_not_depend_on_how_images_come():
    images = rows(*(planar.radiograph(CHEST, number=number) for number in (10, 2, 1)))
    one, other = arrange(images), arrange(images[::-1])
    assert [row.sop_uid for row in one.rows] == [row.sop_uid for row in other.rows]
    assert [row.sop_uid.rsplit(".", 1)[1] for row in one.rows] == ["1", "2", "10"]


def test_images_lie_nowhere_and_cannot_be_moved():
    (plane,) = arrange(rows(planar.radiograph(CHEST))).planes
    assert np.isnan(plane.position).all()
    assert np.isnan(plane.cosines).all()
    with pytest.raises(ValueError, match="read-only"):
        plane.position[0] = 1.0


def test_frames_up_to_the_limit():
    at = arrange(rows(planar.radiograph(CHEST, NumberOfFrames=PLANAR_FRAMES_MAX)))
    assert at.shape == (PLANAR_FRAMES_MAX, 12, 10)
    with pytest.raises(Refused, match="too-many-frames"):
        arrange(rows(planar.radiograph(CHEST, NumberOfFrames=PLANAR_FRAMES_MAX + 1)))


@pytest.mark.parametrize(
    ("members", "spacing"),
    [
        ({}, (0.2, 0.2)),
        ({"PixelSpacing": [0.1, 0.3]}, (0.1, 0.3)),
        ({"PixelSpacing": [0, 0.3], "ImagerPixelSpacing": [0.14, 0.14]}, (0.14, 0.14)),
        ({"PixelSpacing": [5000, 5000]}, None),
        ({"PixelSpacing": None}, None),
    ],
)
def test_the_size_of_pixels_where_it_is_known(members, spacing):
    (row,) = rows(planar.radiograph(CHEST, **members))
    assert spacing_mm(row.header) == spacing
