import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinic.pixels import PixelForm, dtype_of, fits, give_meaning, padding


def form(**members):
    given = {"bits_allocated": 16, "bits_stored": 12, "high_bit": 11, "signed": False}
    return PixelForm(**given | {"inverted": False, "slope": 1.0, "intercept": 0.0} | members)


@pytest.mark.parametrize(
    ("forms", "dtype"),
    [
        ([form()], np.int16),
        ([form(intercept=-1024)], np.int16),
        ([form(bits_stored=16, high_bit=15)], np.uint16),
        ([form(bits_allocated=8, bits_stored=8, high_bit=7)], np.uint8),
        ([form(bits_allocated=8, bits_stored=8, high_bit=7, signed=True)], np.float32),
        ([form(), form(bits_allocated=8, bits_stored=8, high_bit=7)], np.float32),
        ([form(), form(slope=0.5)], np.float32),
        ([form(), form(intercept=0.5)], np.float32),
    ],
)
def test_the_narrowest_type_that_holds_whole_numbers(forms, dtype):
    assert dtype_of(forms) == dtype


@given(st.booleans(), st.integers(1, 16), st.data())
def test_stored_bits_are_the_value_wherever_they_lie(signed, bits, data):
    high = data.draw(st.integers(bits - 1, 15))
    low, top = form(bits_stored=bits, high_bit=high, signed=signed).ends
    values = np.array(data.draw(st.lists(st.integers(low, top), min_size=4, max_size=4)), np.int32).reshape(2, 2)
    dirt = np.array(data.draw(st.lists(st.integers(0, 65535), min_size=4, max_size=4)), np.uint32).reshape(2, 2)
    shift = high + 1 - bits
    mask = ((1 << bits) - 1) << shift
    cells = ((values.astype(np.uint32) << shift) & mask | dirt & ~np.uint32(mask)).astype(np.uint16)
    stored = cells.view(np.int16) if signed else cells
    plane = np.empty((2, 2), np.float32)
    ends = give_meaning(stored.copy(), form(bits_stored=bits, high_bit=high, signed=signed), plane)
    assert np.array_equal(plane, values.astype(np.float32))
    assert ends == (values.min(), values.max())


def test_what_is_turned_round_keeps_its_range():
    plane = np.empty((1, 3), np.int16)
    ends = give_meaning(np.array([[0, 1, 4095]], np.uint16), form(inverted=True, intercept=10), plane)
    assert plane.tolist() == [[4105, 4104, 10]]
    assert ends == (10, 4105)


def test_whether_values_fit():
    assert fits([(-32768, 32767)], np.dtype(np.int16))
    assert not fits([(0, 5), (0, 32768)], np.dtype(np.int16))


def test_what_was_not_imaged_is_air():
    assert padding(np.array([-3024, 50]), "HU") == -1000
    assert padding(np.array([-900, 50]), "HU") == -900
    assert padding(np.array([-3024, 50]), "arbitrary") == -3024
