"""Out of the archive: files as they were stored or converted, headers, bulk values, frames (PS3.18 section 10.4).

A file is checked against its digest while it leaves; the last piece is held back until the check holds, so that changed
bytes never arrive as a complete file.
"""

from __future__ import annotations

import hashlib
import io
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from bithive.blobs import Blobs
from bithive.errors import DigestMismatch
from clinic.archive import Archive
from clinic.attributes import Level
from clinic.errors import BulkAbsent, FrameAbsent, InstanceAbsent, SeriesAbsent, StudyAbsent, UnreadablePixels
from clinic.instance import ORIGINAL_ATTRIBUTES, Header, InstanceRow, first, were_uids_corrected
from clinic.part10 import Part10, read
from clinic.query import by_uid
from clinic.syntaxes import DECODABLE, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, NATIVE

CHUNK_BYTES = 1 << 20
PIXEL_DATA = "7FE00010"
_FLOAT_PIXELS = ("7FE00008", "7FE00009")


def find(
    archive: Archive, institution: str, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> list[InstanceRow]:
    """The instances that a path names.

    Raises
    ------
    StudyAbsent, SeriesAbsent, InstanceAbsent
        If the institution has no such thing.
    """
    if sop_uid is not None:
        row = archive.instance(institution, sop_uid)
        if row is None or row.study_uid != study_uid or series_uid not in {None, row.series_uid}:
            raise InstanceAbsent
        return [row]
    if series_uid is not None:
        rows = archive.series(institution, series_uid)
        if not rows or rows[0].study_uid != study_uid:
            raise SeriesAbsent
        return rows
    series = archive.search(institution, Level.SERIES, by_uid(study_uid))
    if not series:
        raise StudyAbsent
    uids = [found.series.series_uid for found in series if found.series]
    return [row for uid in uids for row in archive.series(institution, uid)]


def is_convertible(row: InstanceRow, syntax: str) -> bool:
    """Whether an instance can be given in a transfer syntax: in its own, or natively where there is a codec."""
    own = row.transfer_syntax
    return syntax in {"*", own} or (syntax == EXPLICIT_LITTLE_ENDIAN and own in DECODABLE)


def file_chunks(blobs: Blobs, row: InstanceRow) -> Iterator[bytes]:
    """A file as it was stored.

    Raises
    ------
    DigestMismatch
        Before the last piece, if the stored bytes have changed.
    """
    digest, held = hashlib.sha256(), b""
    with blobs.open(row.blob) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
    if digest.hexdigest() != row.blob:
        raise DigestMismatch("a stored file has changed")
    yield held


def is_as_stored(row: InstanceRow) -> bool:
    """Whether the stored file is what is given; else `corrected` makes it."""
    return not were_uids_corrected(row.header)


def corrected(blobs: Blobs, row: InstanceRow) -> bytes:
    """A file that came with blank UIDs, with those that it is known by, and the blanks in its Original Attributes.

    The stored file stays as it came.
    """
    dataset = dcmread(io.BytesIO(b"".join(file_chunks(blobs, row))))
    _fill_uids(dataset, row)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _fill_uids(dataset: Dataset, row: InstanceRow) -> None:
    if is_as_stored(row):
        return
    dataset.SOPClassUID, dataset.SOPInstanceUID = row.sop_class, row.sop_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = row.study_uid, row.series_uid
    dataset.file_meta.MediaStorageSOPClassUID = UID(row.sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(row.sop_uid)
    changed = {ORIGINAL_ATTRIBUTES: {"vr": "SQ", "Value": row.header[ORIGINAL_ATTRIBUTES]["Value"][-1:]}}
    earlier = dataset.get("OriginalAttributesSequence") or []
    dataset.OriginalAttributesSequence = [*earlier, *Dataset.from_json(changed).OriginalAttributesSequence]


def converted(blobs: Blobs, row: InstanceRow) -> bytes:
    """A file in Explicit VR Little Endian.

    Raises
    ------
    UnreadablePixels
        If its pixels cannot be decoded.
    """
    dataset = dcmread(io.BytesIO(b"".join(file_chunks(blobs, row))))
    try:
        if row.transfer_syntax not in NATIVE:
            dataset.decompress(generate_instance_uid=False)
        elif row.transfer_syntax == EXPLICIT_BIG_ENDIAN and dataset.get("BitsAllocated") == 16:
            dataset.PixelData = _swapped(dataset.PixelData)
    except Exception as error:
        raise UnreadablePixels from error
    _fill_uids(dataset, row)
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE_ENDIAN)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def metadata(row: InstanceRow, instance_url: str) -> Header:
    """The header as `/metadata` gives it, bulk values named by absolute addresses.

    Parameters
    ----------
    instance_url
        Address of the instance, no slash at the end.
    """
    header = _absolute(row.header, instance_url)
    if row.pixel_offset is not None or ("00280010" in header and row.transfer_syntax not in NATIVE):
        vr = "OB" if row.transfer_syntax not in NATIVE or first(header, "00280100") in {"1", "8"} else "OW"
        header[PIXEL_DATA] = {"vr": vr, "BulkDataURI": f"{instance_url}/bulkdata/{PIXEL_DATA}"}
    return header


def _absolute(header: Header, instance_url: str) -> Header:
    found: Header = {}
    for tag, element in header.items():
        if "BulkDataURI" in element:
            found[tag] = {**element, "BulkDataURI": f"{instance_url}/{element['BulkDataURI']}"}
        elif element["vr"] == "SQ" and "Value" in element:
            found[tag] = {**element, "Value": [_absolute(item, instance_url) for item in element["Value"]]}
        else:
            found[tag] = element
    return found


def bulk(blobs: Blobs, row: InstanceRow, path: str) -> list[bytes]:
    """The parts of a bulk value: one, or the frames of compressed pixels.

    Parameters
    ----------
    path
        What follows `bulkdata/` in its address.

    Raises
    ------
    BulkAbsent
        If the instance has no such value.
    """
    if path == PIXEL_DATA:
        return [stored_frame(blobs, row, number + 1) for number in range(frame_count(row))]
    with _opened(blobs, row) as file:
        span = file.bulk.get(f"bulkdata/{path}")
        if span is None:
            raise BulkAbsent
        return [bytes(file.content[span[0] : span[0] + span[1]])]


def frame_count(row: InstanceRow) -> int:
    """Number of Frames (0028,0008); 1 when absent."""
    text = first(row.header, "00280008")
    return max(1, int(text)) if text.isdecimal() else 1


def check_frames(row: InstanceRow, numbers: Sequence[int]) -> None:
    """Raise `FrameAbsent` unless the instance has pixels and these frames, counted from 1."""
    if "00280010" not in row.header or not all(1 <= number <= frame_count(row) for number in numbers):
        raise FrameAbsent


def stored_frame(blobs: Blobs, row: InstanceRow, number: int) -> bytes:
    """One frame in the stored transfer syntax; native frames are little endian, and packed where they are bits.

    Parameters
    ----------
    number
        Counted from 1.

    Raises
    ------
    FrameAbsent
        If it is not there.
    """
    check_frames(row, [number])
    if row.pixel_offset is not None:
        with blobs.open(row.blob) as file:
            return _native_frame(file, row, number)
    with _opened(blobs, row) as parsed:
        if parsed.fragments_offset is None:
            return _whole_frame(parsed, row, number)
        encapsulated = io.BytesIO(parsed.content[parsed.fragments_offset :])
    try:
        frame: bytes = get_frame(encapsulated, number - 1, number_of_frames=frame_count(row))
    except Exception as error:
        raise FrameAbsent from error
    return frame


def native_frame(blobs: Blobs, row: InstanceRow, number: int) -> bytes:
    """One frame, decoded: little endian, colour as RGB by pixel.

    Raises
    ------
    FrameAbsent, UnreadablePixels
        If it is not there or cannot be decoded.
    """
    if row.transfer_syntax in NATIVE:
        return stored_frame(blobs, row, number)
    dataset = one_frame(blobs, row, number)
    try:
        array, _ = get_decoder(UID(row.transfer_syntax)).as_array(dataset, index=0)
    except Exception as error:
        raise UnreadablePixels from error
    content: bytes = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return content


def one_frame(blobs: Blobs, row: InstanceRow, number: int) -> Dataset:
    """A data set with that one frame as its only one, in the stored transfer syntax or natively little endian."""
    from pydicom.encaps import encapsulate

    frame = stored_frame(blobs, row, number)
    with blobs.open(row.blob) as file:
        dataset = dcmread(file, stop_before_pixels=True)
    native = row.transfer_syntax in NATIVE
    keyword = "PixelData"
    if native and row.pixel_offset is None and "BitsAllocated" in dataset and dataset.BitsAllocated >= 32:
        keyword = "FloatPixelData" if dataset.BitsAllocated == 32 else "DoubleFloatPixelData"
    dataset.NumberOfFrames = 1
    setattr(dataset, keyword, frame + b"\x00" * (len(frame) % 2) if native else encapsulate([frame]))
    if native:
        dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE_ENDIAN)
    if keyword == "PixelData":
        dataset["PixelData"].VR = "OB" if not native or dataset.BitsAllocated <= 8 else "OW"
    return dataset


def _native_frame(file: IO[bytes], row: InstanceRow, number: int) -> bytes:
    assert row.pixel_offset is not None, "only for native pixels"
    assert row.pixel_length is not None, "an offset comes with a length"
    bits = frame_bits(row.header)
    start, stop = bits * (number - 1), bits * number
    file.seek(row.pixel_offset + start // 8)
    content = file.read(-(-stop // 8) - start // 8)
    if not bits or stop > row.pixel_length * 8:
        raise FrameAbsent
    if start % 8 or stop % 8:
        return _realigned(content, start % 8, bits)
    if row.transfer_syntax == EXPLICIT_BIG_ENDIAN and first(row.header, "00280100") == "16":
        return _swapped(content)
    return content


def frame_bits(header: Header) -> int:
    """Size of one native frame, in bits (PS3.5 sections 8.1.1 and 8.2)."""
    rows, columns, samples, allocated = (
        int(first(header, tag) or default)
        for tag, default in (("00280010", 0), ("00280011", 0), ("00280002", 1), ("00280100", 8))
    )
    if first(header, "00280004") == "YBR_FULL_422":
        samples = 2
    return rows * columns * samples * allocated


def _realigned(content: bytes, shift: int, bits: int) -> bytes:
    """Bits that begin inside a byte, moved to its lowest bit; the rest of the last byte is zero (PS3.5 8.1.1)."""
    number = int.from_bytes(content, "little") >> shift & (1 << bits) - 1
    return number.to_bytes(-(-bits // 8), "little")


def _whole_frame(parsed: Part10, row: InstanceRow, number: int) -> bytes:
    """A native frame out of a deflated file, or of float pixels."""
    if parsed.value_offset is None or parsed.value_length is None:
        raise FrameAbsent
    bits = frame_bits(row.header)
    start, stop = bits * (number - 1), bits * number
    if not bits or stop > parsed.value_length * 8:
        raise FrameAbsent
    content = bytes(parsed.content[parsed.value_offset + start // 8 : parsed.value_offset - (-stop // 8)])
    return _realigned(content, start % 8, bits) if start % 8 or stop % 8 else content


def _swapped(content: bytes) -> bytes:
    """16-bit values in the other byte order."""
    swapped = bytearray(content)
    swapped[0::2], swapped[1::2] = content[1::2], content[0::2]
    return bytes(swapped)


@contextmanager
def _opened(blobs: Blobs, row: InstanceRow) -> Iterator[Part10]:
    """A stored file's structure; its content stays valid within the block."""
    with blobs.open(row.blob) as file:
        try:
            number = file.fileno()
        except OSError:
            yield read(file.read())
            return
        with mmap.mmap(number, 0, access=mmap.ACCESS_READ) as content:
            yield read(content)
