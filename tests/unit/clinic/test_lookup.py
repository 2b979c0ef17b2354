import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from bithive.errors import Refused
from clinic.lookup import grey_table, mapped, palette
from tests.common.planar import table_item

COLOURS = ("Red", "Green", "Blue")


class Item(dict):
    """A table whose values no library has judged."""

    original_encoding = (False, True)


def grey(entries=(1, 2, 3, 4), first=0, bits=16, **members):
    item = table_item(np.array(entries), first, bits)[0]
    for name, value in members.items():
        setattr(item, name, value)
    return item


def segmented(words, count, bits=16):
    dataset = Dataset()
    raw = struct.pack(f"<{len(words)}{'H' if bits > 8 else 'B'}", *words)
    for name in COLOURS:
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [count % 65536, 0, bits])
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", raw)
    dataset.set_original_encoding(False, True, None)
    return dataset


def test_a_grey_table():
    first, entries, white = grey_table(grey(first=-2), signed=True)
    assert (first, entries.tolist(), white) == (-2, [1, 2, 3, 4], 65535)
    assert mapped(np.array([-9.0, -2.0, 0.4, 99.0]), first, entries).tolist() == [1, 1, 3, 4]


def test_first_values_beyond_the_sign_are_read_as_negative():
    item = grey(LUTDescriptor=[4, 65534, 12])
    assert grey_table(item, signed=True)[0] == -2
    assert grey_table(item, signed=False)[0] == 65534


def test_entries_of_eight_bits_in_bytes_or_words():
    for raw in (bytes([1, 2, 3, 0]), struct.pack("<3H", 1, 2, 3)):
        item = grey(LUTDescriptor=[3, 0, 8], LUTData=raw)
        assert grey_table(item, signed=False)[1].tolist() == [1, 2, 3]


def test_65536_entries_are_said_as_none():
    assert len(grey_table(grey(np.arange(65536)), signed=False)[1]) == 65536


@pytest.mark.parametrize(
    "members",
    [
        {"LUTDescriptor": [5, 0, 16]},
        {"LUTDescriptor": [4, 0, 7]},
        {"LUTDescriptor": [4, 0, 17]},
        {"LUTDescriptor": [4, 0]},
        {"LUTDescriptor": None},
        {"LUTDescriptor": ["a", "b", "c"]},
        {"LUTDescriptor": [-4, 0, 16]},
        {"LUTDescriptor": [4, 1 << 20, 16]},
        {"LUTData": b""},
        {"LUTData": b"\1"},
        {"LUTData": None},
        {"LUTData": "nonsense"},
    ],
)
def test_impossible_tables_are_refused(members):
    item = Item({"LUTDescriptor": [4, 0, 16], "LUTData": struct.pack("<4H", 1, 2, 3, 4)} | members)
    with pytest.raises(Refused, match="unsupported-pixels"):
        grey_table(item, signed=False)


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        ([0, 3, 10, 20, 30], [10, 20, 30]),
        ([0, 1, 10, 1, 4, 50], [10, 20, 30, 40, 50]),
        ([0, 2, 7, 9, 2, 1, 0, 0, 0, 1, 5], [7, 9, 7, 9, 5]),
        ([0, 1, 0, 1, 4, 400, 2, 1, 0, 0], [0, 100, 200, 300, 400, 0]),
    ],
)
def test_segmented_palettes_unfold_as_pydicom_unfolds_them(words, entries):
    dataset = segmented(words, len(entries))
    _, colours = palette(dataset, signed=False)
    assert np.rint(colours[:, 0] * 65535).tolist() == entries
    dataset.file_meta = None
    del dataset.file_meta
    theirs = apply_color_lut(np.arange(len(entries), dtype=np.uint16).reshape(1, -1), dataset)
    assert theirs[0, :, 1].tolist() == entries


def test_a_palette_that_would_unfold_without_end_stops_at_its_descriptor():
    bomb = [0, 1, 1, *[1, 65535, 9] * 3000]
    assert len(palette(segmented(bomb, 300), signed=False)[1]) == 300


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([0, 2, 1], 2),
        ([1, 3, 9], 3),
        ([7, 1, 1], 1),
        ([0, 1, 5], 9),
        ([2, 1, 0, 0], 4),
        ([2, 65535, 9999, 9999], 4),
        ([0, 0, 0, 0], 4),
        ([0, 1, 5, 2, 3, 6, 0], 9),
        ([0], 4),
    ],
)
def test_broken_segments_are_refused(words, count):
    with pytest.raises(Refused, match="unsupported-pixels"):
        palette(segmented(words, count), signed=False)


def test_a_palette_that_is_absent_or_of_unlike_lengths():
    with pytest.raises(Refused):
        palette(Dataset(), signed=False)
    dataset = segmented([0, 3, 1, 2, 3], 3)
    dataset.BluePaletteColorLookupTableDescriptor = [2, 0, 16]
    with pytest.raises(Refused):
        palette(dataset, signed=False)
