"""Explicit VR Little Endian (PS3.5 section 7.1.2) written by hand, for what occurs hundreds of times in one object.

A segmentation has a few dozen elements for each of several hundred frames; building them as objects and writing those
takes ten times as long as all the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_LONG = frozenset({"OB", "OF", "OW", "SQ", "UN", "UT"})
_PAD = {"UI": b"\x00"}
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element, its value padded to an even length."""
    if len(value) % 2:
        value += _PAD.get(vr, b" ")
    if vr in _LONG:
        return head(tag, vr, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def head(tag: int, vr: str, size_bytes: int) -> bytes:
    """What stands before a value of that length: tag, VR and length; for values that are written piece by piece."""
    assert vr in _LONG, "short values are written at once"
    return struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, vr.encode(), size_bytes)


def words(tag: int, vr: str, *values: str) -> bytes:
    """An element of text: UI, CS, SH, LO, DS."""
    return element(tag, vr, "\\".join(values).encode("ascii"))


def unsigned(tag: int, *values: int) -> bytes:
    """An element of 32-bit numbers (UL)."""
    return element(tag, "UL", struct.pack(f"<{len(values)}I", *values))


def short(tag: int, *values: int) -> bytes:
    """An element of 16-bit numbers (US)."""
    return element(tag, "US", struct.pack(f"<{len(values)}H", *values))


def items(contents: Iterable[bytes]) -> bytes:
    """The value of a sequence: items of explicit length."""
    return b"".join(_ITEM + struct.pack("<I", len(content)) + content for content in contents)


def sequence(tag: int, *contents: bytes) -> bytes:
    """A sequence, one item for each content."""
    return element(tag, "SQ", items(contents))


def code(tag: int, value: str, scheme: str, meaning: str) -> bytes:
    """A code sequence of one item."""
    parts = (words(0x00080100, "SH", value), words(0x00080102, "SH", scheme), words(0x00080104, "LO", meaning))
    return sequence(tag, b"".join(parts))


def decimal(value: float) -> str:
    """A number as DS: at most 16 characters, as precise as they allow."""
    text = repr(float(value))
    text = text.removesuffix(".0")
    if len(text) <= 16:
        return text
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise AssertionError("every float has a short form")


def decimals(tag: int, values: Sequence[float]) -> bytes:
    """An element of decimal strings (DS)."""
    return words(tag, "DS", *(decimal(value) for value in values))
