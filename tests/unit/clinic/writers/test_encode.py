import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from clinic.writers import encode


def read(content: bytes) -> Dataset:
    return read_dataset(io.BytesIO(content), is_implicit_VR=False, is_little_endian=True)


def test_elements_are_what_pydicom_reads():
    content = b"".join(
        (
            encode.words(0x00080008, "CS", "A", "BC"),
            encode.words(0x00080018, "UI", "1.2.3"),
            encode.code(0x0040A170, "121322", "DCM", "Source image"),
            encode.sequence(0x00209111, encode.unsigned(0x00209157, 1, 70000)),
            encode.sequence(0x0062000A, encode.short(0x0062000B, 300), encode.short(0x0062000B, 2)),
            encode.element(0x7FE00010, "OB", b"abc"),
        )
    )
    found = read(b"".join(sorted(split(content), key=tag_of)))
    assert list(found.ImageType) == ["A", "BC"]
    assert found.SOPInstanceUID == "1.2.3"
    assert found.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Source image"
    assert list(found.FrameContentSequence[0].DimensionIndexValues) == [1, 70000]
    assert [item.ReferencedSegmentNumber for item in found.SegmentIdentificationSequence] == [300, 2]
    assert found.PixelData[:3] == b"abc"


def split(content: bytes) -> list[bytes]:
    found = []
    while content:
        long = content[4:6] in (b"SQ", b"OB")
        size = 12 + int.from_bytes(content[8:12], "little") if long else 8 + int.from_bytes(content[6:8], "little")
        found.append(content[:size])
        content = content[size:]
    return found


def tag_of(element: bytes) -> tuple[int, ...]:
    return struct.unpack("<HH", element[:4])


def test_everything_has_an_even_length():
    for text in ("", "1", "12", "1.2.3"):
        assert len(encode.words(0x00080018, "UI", text)) % 2 == 0
        assert len(encode.words(0x00080008, "CS", text)) % 2 == 0


@given(st.floats(-1e6, 1e6))
def test_a_decimal_string_is_short_and_close(value):
    text = encode.decimal(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-1.0, "-1"), (0.5, "0.5"), (0.666666686534882, "0.66666668653488"), (1e-7, "1e-07")],
)
def test_decimals_as_they_are_written(value, text):
    assert encode.decimal(value) == text
