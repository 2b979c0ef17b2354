import numpy as np

from api.pages.viewing_planar import in_colour, planar_geometry
from clinic.reader import read
from clinic.writers.source import Source
from tests.common import planar
from tests.common.dicom_factory import rows_of

CHEST = planar.chest(12, 10)


def geometry(*datasets):
    return planar_geometry(Source(*read(*rows_of(datasets))), "v")


def test_windows_lie_within_what_can_be_shown():
    for array, white in ((CHEST, 255.0), (CHEST.astype(np.uint16), 65535.0)):
        shape = geometry(planar.radiograph(array))
        assert (shape["low"], shape["high"]) == (0.0, white)
        assert shape["windows"][0] == {"name": "As acquired", "center": white / 2, "width": white}
        assert {entry["name"]: entry["width"] < 0 for entry in shape["windows"]}["Inverted"]


def test_the_caption_says_the_size_of_pixels_where_it_is_known():
    assert geometry(planar.radiograph(CHEST))["caption"] == "1 image of 10 x 12 pixels of 0.2 x 0.2 mm."
    assert geometry(planar.radiograph(CHEST, PixelSpacing=None))["caption"] == "1 image of 10 x 12 pixels."


def test_what_is_in_colour():
    coloured = planar.ultrasound(np.stack([CHEST] * 3, axis=-1), number=2)
    assert not in_colour(rows_of([planar.ultrasound(CHEST)])[0])
    assert in_colour(rows_of([planar.ultrasound(CHEST), coloured])[0])
