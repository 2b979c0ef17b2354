import numpy as np
import pytest

from clinic.colour import luma, palette_luma
from clinic.pixels import PixelForm
from tests.common.planar import with_palette

COLOURS = np.random.default_rng(2).integers(0, 256, (37, 23, 3)).astype(np.uint8)
WEIGHTS = (0.299, 0.587, 0.114)


@pytest.mark.parametrize("deep", [False, True])
def test_luma_is_that_of_bt_601(deep):
    colours = COLOURS.astype(np.uint16) * 257 if deep else COLOURS
    found = luma(colours)
    assert found.dtype == colours.dtype
    assert np.abs(found - colours @ WEIGHTS).max() <= 0.51


def test_grey_keeps_its_value():
    shades = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(luma(np.stack([shades] * 3, axis=-1)), shades)


@pytest.mark.parametrize(("signed", "first"), [(False, 0), (True, -128)])
def test_a_palette_has_a_shade_for_every_stored_value(signed, first):
    colours = COLOURS.reshape(-1, 3)[:256]
    dataset = with_palette(np.zeros((2, 2), np.uint8), colours)
    for name in ("Red", "Green", "Blue"):
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "SS" if signed else "US"
        dataset[f"{name}PaletteColorLookupTableDescriptor"].value = [256, first, 8]
    form = PixelForm(8, 8, 7, signed, inverted=False, slope=1.0, intercept=0.0)
    assert np.abs(palette_luma(dataset, form) - colours @ WEIGHTS).max() <= 0.51
