"""Pictures: the right grey, the right way round, in colour where it is colour."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from clinic.errors import BadQuery, FrameAbsent
from clinic.rendering import Look, Window, look, render
from tests.common.dicom_factory import content_of, make_series, rows_of

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
RAMP = np.arange(256, dtype=np.int16).reshape(1, 16, 16)


def shown(dataset_or_bytes, number=1, media_type="image/png", **wanted):
    (row,), blobs = rows_of([dataset_or_bytes])
    picture = Image.open(io.BytesIO(render(blobs, row, number, media_type, Look(**wanted))))
    return np.asarray(picture)


def image(**members):
    return make_series((1, 16, 16), pixels=RAMP, **members)[0]


def test_without_a_window_the_whole_range_is_shown():
    grey = shown(image())
    assert (grey.min(), grey.max(), grey.dtype) == (0, 255, np.uint8)
    np.testing.assert_array_equal(grey, RAMP[0])


def test_the_headers_window_is_used_in_modality_values():
    grey = shown(image(RescaleSlope=2, RescaleIntercept=-100, WindowCenter=[100, 5], WindowWidth=[50, 5]))
    values = RAMP[0] * 2.0 - 100
    expected = np.clip((values - 99.5) / 49 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(grey, np.rint(expected))


@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid"])
def test_a_window_that_is_asked_for_goes_before(function):
    grey = shown(image(WindowCenter=1, WindowWidth=1), window=Window(128, 64, function))
    assert grey[0, 0] in range(3)
    assert grey[15, 15] in range(253, 256)
    assert 120 < grey[8, 0] < 136
    assert (np.diff(grey.ravel().astype(int)) >= 0).all()


def test_monochrome1_is_the_other_way_round():
    plain = shown(image())
    np.testing.assert_array_equal(shown(image(PhotometricInterpretation="MONOCHROME1")), 255 - plain)
    np.testing.assert_array_equal(shown(image(PresentationLUTShape="INVERSE")), 255 - plain)


def test_padding_does_not_spoil_the_range():
    dataset = make_series((1, 16, 16), pixels=np.where(RAMP == 0, -2000, RAMP).astype(np.int16))[0]
    dataset.PixelPaddingValue = -2000
    grey = shown(dataset)
    assert grey[0, 1] == 0
    assert grey[8, 0] > 120


def test_a_voi_table_is_looked_up():
    dataset = image(signed=False)
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = [257 * (255 - k) for k in range(256)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset.VOILUTSequence = [table]
    grey = shown(dataset)
    assert grey[0, 0] > grey[15, 15]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("SC_rgb_rle.dcm", (100, 100, 3)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100, 3)),
        ("examples_palette.dcm", (350, 800, 3)),
        ("SC_rgb_rle_16bit.dcm", (100, 100, 3)),
        ("examples_ybr_color.dcm", (240, 320, 3)),
        ("liver_1frame.dcm", (512, 512)),
        ("JPEG2000.dcm", (1024, 256)),
        ("image_dfl.dcm", (512, 512)),
        ("rtdose.dcm", (10, 10)),
        ("MR_small_bigendian.dcm", (64, 64)),
    ],
)
def test_real_images_of_every_kind(name, shape):
    picture = shown((SAMPLES / name).read_bytes())
    assert picture.shape == shape
    assert picture.std() > 1


@pytest.mark.filterwarnings("ignore")
def test_colours_are_right():
    red = shown((SAMPLES / "SC_rgb_rle.dcm").read_bytes())[5, 50]
    assert red[0] > 200
    assert max(red[1], red[2]) < 40
    ybr = shown((SAMPLES / "SC_rgb_jpeg_dcmtk.dcm").read_bytes())[5, 50]
    assert ybr[0] > 200
    assert max(ybr[1], ybr[2]) < 60


def test_frames_of_a_multi_frame_image_have_their_own_window():
    (dataset,) = make_series((1, 16, 16), pixels=RAMP)
    dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2
    groups = []
    for center in (10, 200):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 20
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    assert shown(dataset, 1)[8, 0] == 255
    assert shown(dataset, 2)[8, 0] == 0
    with pytest.raises(FrameAbsent):
        shown(dataset, 3)


def test_a_picture_fits_its_viewport_and_may_be_jpeg():
    (row,), blobs = rows_of([content_of(image())])
    picture = Image.open(io.BytesIO(render(blobs, row, 1, "image/jpeg", Look(viewport=(8, 100), quality=50))))
    assert (picture.format, picture.size) == ("JPEG", (8, 8))


def test_what_can_be_asked_for():
    assert look({}) == Look()
    assert look({"window": "40,400,linear"}).window == Window(40, 400)
    assert look({"window": "-1.5e2,0.5,sigmoid"}).window == Window(-150, 0.5, "sigmoid")
    assert look({"viewport": "100,200", "quality": "10"}) == Look(viewport=(100, 200), quality=10)


@pytest.mark.parametrize(
    "parameters",
    [
        {"window": "40"},
        {"window": "40,0"},
        {"window": "40,-5"},
        {"window": "nan,1"},
        {"window": "1e999,1"},
        {"window": "40,400,cubic"},
        {"viewport": "0,10"},
        {"viewport": "10"},
        {"viewport": "99999,10"},
        {"quality": "0"},
        {"quality": "101"},
        {"quality": "x"},
        {"colour": "red"},
    ],
)
def test_what_is_refused(parameters):
    with pytest.raises(BadQuery):
        look(parameters)
