"""The header reader: agrees with pydicom on every file there is, and is bounded on files that mean harm."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from bithive import limits
from bithive.errors import BitHiveError
from clinic import part10
from clinic.errors import (
    DeflatedTooLarge,
    HeaderTooDeep,
    HeaderTooLarge,
    InstanceRefused,
    NotDicom,
    TruncatedInstance,
    UnreadableDataset,
    UnsupportedTransferSyntax,
)
from tests.common.dicom_factory import content_of, make_series

SAMPLES = Path(pydicom.data.__file__).parent
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
LEFT_OUT = ("7FE0", "FFFC")


def file_of(dataset: bytes, syntax: str = EXPLICIT) -> bytes:
    """A Part 10 file around the bytes of a data set."""
    name = syntax.encode() + b"\x00" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(name)) + name
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta + dataset


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def plain(header):
    """A header as both readers mean it: no group lengths, no pixels, no private elements, empty values as none."""
    found = {}
    for tag, item in header.items():
        if tag.startswith(LEFT_OUT) or tag.endswith("0000") or int(tag[3], 16) & 1:
            continue
        values = [
            plain(value) if item["vr"] == "SQ" else value.rstrip() or None if isinstance(value, str) else value
            for value in item.get("Value", [])
        ]
        found[tag] = (str(item["vr"]), [] if values == [None] else values, item.get("InlineBinary"))
    return found


def sample_files() -> list[Path]:
    folders = ("test_files", "charset_files")
    return sorted(path for name in folders for path in (SAMPLES / name).glob("*.dcm"))


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_pydicom(path, monkeypatch):
    monkeypatch.setattr(part10, "BULK_BINARY_BYTES", 1 << 30)
    monkeypatch.setattr(part10, "BULK_OTHER_BYTES", 1 << 30)
    try:
        parsed = part10.read(path.read_bytes())
    except InstanceRefused:
        assert path.name in REFUSED
        return
    assert path.name not in REFUSED
    dataset = pydicom.dcmread(path)
    try:
        expected = dataset.to_json_dict(bulk_data_threshold=1 << 30)
    except ValueError:
        assert path.name == "badVR.dcm"
        return
    assert plain(parsed.header) == plain(expected)
    if "PixelData" in dataset:
        assert parsed.pixel_tag == "7FE00010"
    if parsed.pixel_offset is not None and parsed.pixel_tag == "7FE00010" and parsed.transfer_syntax != BIG:
        span = parsed.content[parsed.pixel_offset : parsed.pixel_offset + parsed.pixel_length]
        assert span == dataset.PixelData


# No preamble or meta, no transfer syntax, a data set in another form than it says, or cut short.
REFUSED = frozenset(
    {
        "ExplVR_BigEndNoMeta.dcm",
        "ExplVR_LitEndNoMeta.dcm",
        "MR_truncated.dcm",
        "SC_rgb_jpeg.dcm",
        "meta_missing_tsyntax.dcm",
        "no_meta.dcm",
        "rtplan_truncated.dcm",
        "rtstruct.dcm",
    }
)


@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_pydicom_on_real_studies(shared):
    seen = 0
    for folder in ("t1-head", "ct-body-j2k", "peak-hour", "ct-head-tilted", "mr-head-sagittal", "seg-reference"):
        for path in [path for path in sorted((shared / "data" / folder).rglob("*")) if path.is_file()][:20]:
            content = path.read_bytes()
            if content[128:132] != b"DICM":
                continue
            parsed = part10.read(content)
            bulk = {tag for tag, item in parsed.header.items() if "BulkDataURI" in item}
            expected = plain(pydicom.dcmread(path, stop_before_pixels=True).to_json_dict(bulk_data_threshold=1 << 30))
            assert plain(parsed.header) == {tag: item for tag, item in expected.items() if tag not in bulk}
            seen += 1
    assert seen > 60


@pytest.mark.parametrize("content", [b"", b"text", bytes(132), b"x" * 5000, bytes(128) + b"DICM"])
def test_what_is_no_part_10_file(content):
    with pytest.raises((NotDicom, UnreadableDataset)):
        part10.read(content)


def test_every_truncation_is_noticed():
    content = content_of(make_series((1, 8, 6))[0])
    start = part10.read(content).dataset_offset
    ends = set()
    for length in range(start, len(content)):
        try:
            parsed = part10.read(content[:length])
        except (TruncatedInstance, UnreadableDataset):
            continue
        assert parsed.pixel_tag is None
        ends.add(length)
    assert len(ends) < 60  # between two elements nothing is missing yet; the archive misses the pixels


def test_a_truncated_compressed_instance_is_noticed():
    content = (SAMPLES / "test_files" / "JPEG2000.dcm").read_bytes()
    parsed = part10.read(content)
    assert parsed.fragments_offset
    for length in range(parsed.fragments_offset + 8, len(content) - 200, 9973):
        with pytest.raises(TruncatedInstance):
            part10.read(content[:length])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_implicit.dcm", "liver_1frame.dcm", "reportsi.dcm", "image_dfl.dcm"]
)
def test_garbled_bytes_end_in_a_header_or_in_a_refusal(name):
    chance = random.Random(name)
    content = bytearray((SAMPLES / "test_files" / name).read_bytes())
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(chance.randrange(1, 8)):
            broken[chance.randrange(132, min(len(broken), 3000))] = chance.randrange(256)
        try:
            part10.read(bytes(broken))
        except BitHiveError:
            continue


def nested(depth: int, *, undefined: bool) -> bytes:
    content = b""
    for _ in range(depth):
        if undefined:
            content = (
                struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
                + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
                + content
                + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            )
        else:
            content = element(0x0040, 0xA730, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)
    return content


@pytest.mark.parametrize("undefined", [False, True])
def test_depth_at_the_limit_and_one_past_it(undefined):
    deepest = limits.SEQUENCE_DEPTH_MAX
    header = part10.read(file_of(nested(deepest, undefined=undefined))).header
    depth = 0
    while "0040A730" in header:
        header, depth = header["0040A730"]["Value"][0], depth + 1
    assert depth == deepest
    with pytest.raises(HeaderTooDeep):
        part10.read(file_of(nested(deepest + 1, undefined=undefined)))
    with pytest.raises(HeaderTooDeep):
        part10.read(file_of(nested(3000, undefined=undefined)))


def test_elements_and_bytes_at_the_limit_and_one_past_it(monkeypatch):
    elements = b"".join(element(0x0009, 0x1000 + k, b"LO", b"abcd") for k in range(10))
    monkeypatch.setattr(limits, "HEADER_ELEMENTS_MAX", 21)  # each counts as an element and as a value; the meta apart
    assert len(part10.read(file_of(elements)).header) == 10
    with pytest.raises(HeaderTooLarge):
        part10.read(file_of(elements + element(0x0011, 0x1000, b"LO", b"")))
    monkeypatch.setattr(limits, "HEADER_ELEMENTS_MAX", 10_000)
    monkeypatch.setattr(limits, "HEADER_BYTES_MAX", 40)
    part10.read(file_of(elements))
    with pytest.raises(HeaderTooLarge):
        part10.read(file_of(elements + element(0x0011, 0x1000, b"LO", b"ab")))


def test_millions_of_empty_items_or_fragments_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "HEADER_ELEMENTS_MAX", 1000)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2000
    with pytest.raises(HeaderTooLarge):
        part10.read(file_of(element(0x0040, 0xA730, b"SQ", items)))
    fragments = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + items
    with pytest.raises(HeaderTooLarge):
        part10.read(file_of(fragments, "1.2.840.10008.1.2.4.50"))


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "HEADER_BYTES_MAX", 100_000)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = bomb.compress(element(0x0009, 0x1000, b"UT", bytes(200_000))) + bomb.flush()
    assert len(content) < 500
    with pytest.raises(DeflatedTooLarge):
        part10.read(file_of(content, "1.2.840.10008.1.2.1.99"))
    with pytest.raises(TruncatedInstance):
        part10.read(file_of(content[:20], "1.2.840.10008.1.2.1.99"))


@pytest.mark.parametrize(
    ("dataset", "error"),
    [
        (struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0x7FFFFFFF), TruncatedInstance),
        (struct.pack("<HH2sHI", 0x0009, 0x1000, b"OB", 0, 0xFFFFFFFF), UnreadableDataset),
        (struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), UnreadableDataset),
        (struct.pack("<HH4sI", 0x0008, 0x16, b"\x00\x01\x02\x03", 0), UnreadableDataset),
        (element(0x0040, 0xA730, b"SQ", struct.pack("<HHI", 0x0008, 0x0016, 0)), UnreadableDataset),
        (element(0x0040, 0xA730, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 99)), TruncatedInstance),
    ],
)
def test_malformed_data_sets(dataset, error):
    with pytest.raises(error):
        part10.read(file_of(dataset))


@pytest.mark.parametrize("syntax", ["1.2.3", "1.2.840.10008.1.1", "x"])
def test_unknown_transfer_syntaxes(syntax):
    with pytest.raises(UnsupportedTransferSyntax):
        part10.read(file_of(b"", syntax))


def test_large_values_stay_in_the_file():
    inner = Dataset()
    inner.EncapsulatedDocument = bytes(range(256)) * 40
    dataset = make_series((1, 2, 2))[0]
    dataset.ReferencedImageSequence = [Dataset(), inner]
    dataset.add_new(0x00420011, "OB", b"ab" * 5000)
    dataset.add_new(0x00091001, "LO", "x")
    content = content_of(dataset)
    parsed = part10.read(content)
    assert parsed.header["00420011"] == {"vr": "OB", "BulkDataURI": "bulkdata/00420011"}
    nested_element = parsed.header["00081140"]["Value"][1]["00420011"]
    offset, length = parsed.bulk[nested_element["BulkDataURI"]]
    assert content[offset : offset + length] == inner.EncapsulatedDocument
    assert "7FE00010" not in parsed.header
    assert content[parsed.pixel_offset :][: parsed.pixel_length] == dataset.PixelData


def test_unknown_vr_of_a_known_attribute_is_read_as_it_is_known():
    inner = struct.pack("<HHI", 0x0008, 0x0100, 4) + b"1234"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    content = element(0x0010, 0x0020, b"UN", b"ID ") + element(0x0040, 0xA043, b"UN", item)
    header = part10.read(file_of(content)).header
    assert header["00100020"] == {"vr": "LO", "Value": ["ID"]}
    assert header["0040A043"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["1234"]}}]


def test_two_files_with_one_data_set_are_recognised():
    dataset = make_series((1, 2, 2))[0]
    one = content_of(dataset)
    dataset.file_meta.ImplementationVersionName = "ANOTHER"
    other = content_of(dataset)
    spans = [part10.dataset_span(content) for content in (one, other)]
    assert one != other
    assert spans[0][0] == spans[1][0]
    assert one[spans[0][1] :] == other[spans[1][1] :]


def test_no_warning_reaches_anyone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sample_files():
            try:
                part10.read(path.read_bytes())
            except InstanceRefused:
                continue


def test_big_endian_binary_is_given_little_endian():
    dataset = make_series((1, 2, 2))[0]
    dataset.add_new(0x00091001, "OW", b"\x01\x00\x02\x00")
    target = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = BIG
    pydicom.dcmwrite(target, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert part10.read(target.getvalue()).header["00091001"]["InlineBinary"] == "AAEAAg=="
