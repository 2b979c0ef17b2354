"""Reads the header of a DICOM Part 10 file (PS3.10 section 7) into the DICOM JSON Model (PS3.18 Annex F).

Every instance that arrives passes here before it is acknowledged, so this reader is quick (one pass over the buffer, no
objects in between), says where the pixels lie without touching them, notices a truncated file, and is bounded: depth,
number of elements and header bytes all have limits. Values stay as they are; nothing is corrected. Large binary values
are left in the file and named by a BulkDataURI relative to the instance (`bulkdata/00291010`, and inside sequences
`bulkdata/52009230/0/00291010`).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from bithive import limits
from clinic.errors import (
    DeflatedTooLarge,
    HeaderTooDeep,
    HeaderTooLarge,
    NotDicom,
    TruncatedInstance,
    UnreadableDataset,
    UnsupportedTransferSyntax,
)
from clinic.part10_values import BINARY, LONG_FORM, known_vr, read_value, settle_vr
from clinic.syntaxes import DEFLATED, EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN, is_known

Buffer = bytes | mmap.mmap
Header = dict[str, Any]

BULK_BINARY_BYTES = 4096
BULK_OTHER_BYTES = 65536

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_PIXEL_TAGS = frozenset({_PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_PREAMBLE_BYTES = 128
# Extended Offset Table and its lengths describe the pixels and grow with them.
_LEFT_OUT = frozenset({0x7FE00001, 0x7FE00002, 0xFFFCFFFC})


@dataclass(frozen=True, slots=True)
class Part10:
    """What a Part 10 file says, without its pixels.

    Attributes
    ----------
    transfer_syntax
        Transfer Syntax UID of the data set.
    meta
        File Meta Information (group 0002), DICOM JSON Model.
    header
        The data set without Pixel Data, DICOM JSON Model, keys like "00100020".
    dataset_offset
        Where the data set begins in the file, in bytes.
    pixel_tag
        "7FE00010", "7FE00008" or "7FE00009" when the data set has pixels, else None.
    pixel_offset, pixel_length
        Where native Pixel Data lies in the file, in bytes; None when compressed, deflated, of float kind, or absent.
    value_offset, value_length
        Where the native value of `pixel_tag`, of whatever kind, lies in `content`; None when compressed or absent.
    fragments_offset
        Where the compressed pixels begin in `content`, in bytes: their Basic Offset Table; None when there are none.
    bulk
        For every relative BulkDataURI in the header: byte offset and length, in `content`.
    content
        The bytes that offsets refer to: the file, or for the deflated transfer syntax the inflated data set.
    """

    transfer_syntax: str
    meta: Header
    header: Header
    dataset_offset: int
    pixel_tag: str | None
    pixel_offset: int | None
    pixel_length: int | None
    value_offset: int | None
    value_length: int | None
    fragments_offset: int | None
    bulk: dict[str, tuple[int, int]]
    content: Buffer


def read(content: Buffer) -> Part10:
    """Read a whole file's header.

    Parameters
    ----------
    content
        The file: bytes, or a map of it.

    Raises
    ------
    NotDicom, UnreadableDataset, TruncatedInstance
        If it is no Part 10 file, is malformed, or ends too early.
    HeaderTooDeep, HeaderTooLarge, DeflatedTooLarge
        If it goes over a limit.
    UnsupportedTransferSyntax
        If the transfer syntax is unknown.
    """
    start = _PREAMBLE_BYTES + 4
    if len(content) < start or content[_PREAMBLE_BYTES:start] != b"DICM":
        raise NotDicom
    try:
        return _read(content, start)
    except (struct.error, IndexError) as error:
        raise TruncatedInstance from error


def _read(content: Buffer, start: int) -> Part10:
    meta_reader = _Reader(content, implicit=False, order="<")
    meta, offset = meta_reader.group_two(start)
    syntax = next(iter(meta.get("00020010", {}).get("Value", [])), "")
    if not syntax:
        raise UnreadableDataset("the file does not name its transfer syntax")
    if not is_known(syntax):
        raise UnsupportedTransferSyntax
    source, position = content, offset
    if syntax == DEFLATED:
        source, position = _inflate(content, offset), 0
    reader = _Reader(
        source, implicit=syntax == IMPLICIT_LITTLE_ENDIAN, order=">" if syntax == EXPLICIT_BIG_ENDIAN else "<"
    )
    header, _ = reader.dataset(position, len(source), 0, "bulkdata/")
    in_file = reader.pixel_tag == f"{_PIXEL_DATA:08X}" and syntax != DEFLATED
    return Part10(
        transfer_syntax=syntax,
        meta=meta,
        header=header,
        dataset_offset=offset,
        pixel_tag=reader.pixel_tag,
        pixel_offset=reader.value_offset if in_file else None,
        pixel_length=reader.value_length if in_file else None,
        value_offset=reader.value_offset,
        value_length=reader.value_length,
        fragments_offset=reader.fragments_offset,
        bulk=reader.bulk,
        content=source,
    )


def dataset_span(content: Buffer) -> tuple[str, int]:
    """The transfer syntax, and the byte offset at which the data set begins: for comparing two files' data sets."""
    meta, offset = _Reader(content, implicit=False, order="<").group_two(_PREAMBLE_BYTES + 4)
    return str(meta["00020010"]["Value"][0]), offset


def _inflate(content: Buffer, offset: int) -> bytes:
    """The inflated data set (PS3.5 A.5), never more than `HEADER_BYTES_MAX`."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(content[offset:], limits.HEADER_BYTES_MAX + 1)
    except zlib.error as error:
        raise UnreadableDataset("the deflated data set cannot be inflated") from error
    if len(plain) > limits.HEADER_BYTES_MAX:
        raise DeflatedTooLarge
    if not inflater.eof:
        raise TruncatedInstance
    return plain


class _Reader:
    """One pass over one data set; see `read`."""

    __slots__ = (
        "_big",
        "_bytes",
        "_charset",
        "_content",
        "_elements",
        "_end",
        "_implicit",
        "_long",
        "_order",
        "_pair",
        "_signed",
        "bulk",
        "fragments_offset",
        "pixel_tag",
        "value_length",
        "value_offset",
    )

    def __init__(self, content: Buffer, *, implicit: bool, order: str) -> None:
        self._content, self._end = content, len(content)
        self._implicit, self._order = implicit, order
        self._pair = struct.Struct(order + "HH").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._big = order == ">"
        self._charset: tuple[str, ...] = ()
        self._signed = False
        self._elements = self._bytes = 0
        self.bulk: dict[str, tuple[int, int]] = {}
        self.pixel_tag: str | None = None
        self.value_offset: int | None = None
        self.value_length: int | None = None
        self.fragments_offset: int | None = None

    def group_two(self, position: int) -> tuple[Header, int]:
        """File Meta Information: its elements, and where it ends."""
        found: Header = {}
        while position + 8 <= self._end and self._content[position : position + 2] == b"\x02\x00":
            tag, vr, length, position = self._element(position)
            if length > limits.PART_HEADER_BYTES_MAX or length > self._end - position:
                raise UnreadableDataset("an element of the file meta information is too long")
            if tag & 0xFFFF:
                found[f"{tag:08X}"] = self._plain(tag, vr, position, length)
            position += length
        return found, position

    def dataset(self, position: int, end: int, depth: int, path: str) -> tuple[Header, int]:
        """The elements from `position` to `end` or to the item's delimiter, and the position after them."""
        if depth > limits.SEQUENCE_DEPTH_MAX:
            raise HeaderTooDeep
        found: Header = {}
        outer_charset = self._charset
        while position < end:
            tag, vr, length, position = self._element(position)
            if tag == _ITEM_END:
                break
            self._count(0)
            if length == _UNDEFINED:
                element, position = self._undefined(tag, vr, position, depth, path)
            else:
                if length > self._end - position:
                    raise TruncatedInstance
                element = self._defined(tag, vr, position, length, depth, path)
                position += length
            if element is not None:
                found[f"{tag:08X}"] = element
        self._charset = outer_charset
        return found, position

    def _element(self, position: int) -> tuple[int, str, int, int]:
        """Tag, VR, length and the position of the value (PS3.5 section 7.1)."""
        group, number = self._pair(self._content, position)
        tag = group << 16 | number
        if group == 0xFFFE:
            return tag, "", self._long(self._content, position + 4)[0], position + 8
        if self._implicit:
            return tag, known_vr(tag), self._long(self._content, position + 4)[0], position + 8
        letters = self._content[position + 4 : position + 6]
        if not (letters.isalpha() and letters.isupper() and letters.isascii()):
            raise UnreadableDataset("an element has no value representation")
        vr = letters.decode("ascii")
        if vr in LONG_FORM:
            return tag, vr, self._long(self._content, position + 8)[0], position + 12
        return tag, vr, struct.unpack_from(self._order + "H", self._content, position + 6)[0], position + 8

    def _undefined(self, tag: int, vr: str, position: int, depth: int, path: str) -> tuple[Header | None, int]:
        if tag in _PIXEL_TAGS and depth == 0:
            self.pixel_tag, self.fragments_offset = f"{tag:08X}", position
            return None, self._fragments(position)
        if tag >> 16 == 0xFFFE or (vr not in {"SQ", "UN"} and not self._implicit):
            raise UnreadableDataset("an element of undefined length is no sequence")
        with_implicit = vr == "UN" and not self._implicit
        return self._sequence(tag, position, None, depth, path, with_implicit)

    def _defined(self, tag: int, vr: str, position: int, length: int, depth: int, path: str) -> Header | None:
        if depth == 0 and tag in _PIXEL_TAGS:
            self.pixel_tag, self.value_offset, self.value_length = f"{tag:08X}", position, length
            return None
        if tag in _LEFT_OUT or not tag & 0xFFFF:
            return None
        if tag >> 16 == 0xFFFE:
            raise UnreadableDataset("a delimiter stands where an element belongs")
        if vr == "UN" and not self._implicit:
            vr = known_vr(tag)
            if vr == "SQ":
                return self._sequence(tag, position, position + length, depth, path, implicit=True)[0]
        if vr == "SQ":
            return self._sequence(tag, position, position + length, depth, path, implicit=False)[0]
        if length > (BULK_BINARY_BYTES if vr in BINARY else BULK_OTHER_BYTES):
            uri = f"{path}{tag:08X}"
            self.bulk[uri] = (position, length)
            self._count(len(uri))
            return {"vr": settle_vr(tag, vr, signed=self._signed), "BulkDataURI": uri}
        return self._plain(tag, vr, position, length)

    def _plain(self, tag: int, vr: str, position: int, length: int) -> Header:
        self._count(length)
        vr = settle_vr(tag, vr, signed=self._signed)
        if not length:
            return {"vr": vr}
        raw = self._content[position : position + length]
        if vr in BINARY:
            return {"vr": vr, "InlineBinary": b64encode(_little(raw, vr) if self._big else raw).decode("ascii")}
        values = read_value(vr, raw, self._order, self._charset)
        if tag == 0x00080005:
            self._charset = tuple(str(value or "") for value in values)
        elif tag == 0x00280103:
            self._signed = values == [1]
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _sequence(
        self, tag: int, position: int, end: int | None, depth: int, path: str, implicit: bool
    ) -> tuple[Header, int]:
        """The items of a sequence (PS3.5 section 7.5), and the position after it."""
        outer = self._implicit
        self._implicit = outer or implicit
        items: list[Header] = []
        limit = self._end if end is None else end
        while end is None or position < end:
            mark, _, length, position = self._element(position)
            if mark == _SEQUENCE_END and end is None:
                break
            if mark != _ITEM:
                raise UnreadableDataset("a sequence holds something that is no item")
            self._count(0)
            stop = limit if length == _UNDEFINED else position + length
            if stop > limit:
                raise TruncatedInstance
            inner = f"{path}{tag:08X}/{len(items)}/"
            item, position = self.dataset(position, stop, depth + 1, inner)
            items.append(item)
        self._implicit = outer
        return ({"vr": "SQ", "Value": items} if items else {"vr": "SQ"}), position

    def _fragments(self, position: int) -> int:
        """Walk encapsulated pixels (PS3.5 A.4) to their end, without reading them."""
        while True:
            mark, _, length, position = self._element(position)
            self._elements += 1
            if mark == _SEQUENCE_END:
                return position
            if mark != _ITEM or length == _UNDEFINED:
                raise UnreadableDataset("the compressed pixels are not a sequence of fragments")
            if length > self._end - position or self._elements > limits.HEADER_ELEMENTS_MAX:
                raise TruncatedInstance if length > self._end - position else HeaderTooLarge
            position += length

    def _count(self, size_bytes: int) -> None:
        self._elements += 1
        self._bytes += size_bytes
        if self._elements > limits.HEADER_ELEMENTS_MAX or self._bytes > limits.HEADER_BYTES_MAX:
            raise HeaderTooLarge


def _little(raw: bytes, vr: str) -> bytes:
    """The little-endian form that InlineBinary has (PS3.18 F.2.7) of a big-endian value."""
    size = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}.get(vr, 1)
    if size == 1 or len(raw) % size:
        return raw
    return b"".join(raw[at : at + size][::-1] for at in range(0, len(raw), size))
