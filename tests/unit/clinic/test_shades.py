import numpy as np
import pytest

from bithive.errors import Refused
from clinic.pixels import PixelForm
from clinic.shades import display_dtype, needs_lut, shades
from tests.common.dicom_factory import rows_of
from tests.common.planar import chest, radiograph, table_item

TWELVE = PixelForm(16, 12, 11, signed=False, inverted=False, slope=1.0, intercept=0.0)


def attributes(**members):
    (row,), _ = rows_of([radiograph(chest(8, 8), **members)])
    return row.header


@pytest.mark.parametrize(("bits", "dtype"), [(1, np.uint8), (8, np.uint8), (9, np.uint16), (16, np.uint16)])
def test_eight_bits_stay_eight(bits, dtype):
    assert display_dtype(bits) == dtype
    form = PixelForm(16, bits, bits - 1, signed=False, inverted=False, slope=1.0, intercept=0.0)
    table = shades(form, attributes())
    assert (table.dtype, len(table), table[0], table[-1]) == (dtype, 1 << bits, 0, np.iinfo(dtype).max)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_every_window_rises_from_black_to_white(function):
    table = shades(TWELVE, attributes(WindowCenter=2000, WindowWidth=400, VOILUTFunction=function)).astype(int)
    assert (np.diff(table) >= 0).all()
    assert (table[0], table[-1]) == (0, 65535)
    assert abs(int(table[2000]) - 32768) < 200


def test_a_window_of_one_value_is_a_step():
    table = shades(TWELVE, attributes(WindowCenter=2000, WindowWidth=1))
    assert (table[1999], table[2000]) == (0, 65535)


def test_negative_slopes_turn_the_values_not_the_range():
    table = shades(PixelForm(16, 12, 11, False, False, -1.0, 4095.0), attributes())
    assert (table[0], table[-1]) == (65535, 0)


@pytest.mark.parametrize("width", [0.5, 0.0, -3.0, 1e12])
def test_impossible_windows_are_refused(width):
    with pytest.raises(Refused, match="unsupported-pixels"):
        shades(TWELVE, attributes(WindowCenter=1, WindowWidth=width))


def test_tables_are_asked_for_where_the_header_has_them():
    assert not needs_lut(attributes())
    assert needs_lut(attributes(VOILUTSequence=table_item(np.arange(4))))
    assert needs_lut(attributes(ModalityLUTSequence=table_item(np.arange(4))))
