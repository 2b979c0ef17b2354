"""Arrays in a container: the box that is not background, cut into slabs of planes, each compressed by zlib."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference._frame import Box, extent_of, slices_of, whole
from inference.errors import BadFindings

LEVEL = 1
_SAMPLE_BYTES, _WORTH = 1 << 16, 0.6


def slabs(box: Box, planes: int) -> list[tuple[int, int]]:
    """Where each slab of a box begins and ends, counted from the box's first plane; none of an empty box.

    Parameters
    ----------
    box
        (z, y, x), half open.
    planes
        How many planes a slab has; the last one has what is left.
    """
    if not extent_of(box):
        return []
    depth = box[0][1] - box[0][0]
    return [(start, min(start + planes, depth)) for start in range(0, depth, planes)]


def pack(array: npt.NDArray[Any], box: Box, planes: int) -> list[bytes]:
    """The slabs of an array's box, little-endian in C order, as zlib streams: stored where compressing does not pay."""
    inner = array[slices_of(box)]
    little = array.dtype.newbyteorder("<")
    packed = []
    for start, stop in slabs(box, planes):
        plain = np.ascontiguousarray(inner[start:stop], dtype=little).data.cast("B")
        packed.append(zlib.compress(plain, _level(plain)))
    return packed


def unpack(
    array: npt.NDArray[Any], box: Box, planes: int, sizes_bytes: Sequence[Any], content: memoryview, what: str
) -> int:
    """Fill the box of an array slab by slab.

    Parameters
    ----------
    array
        What is filled, in place.
    box, planes
        As `pack` had them.
    sizes_bytes
        Length of each slab as the header states it, one for each of `slabs(box, planes)`.
    content
        What begins with the slabs.
    what
        Name of the array in an error, such as `a label map`.

    Returns
    -------
    int
        How many bytes of `content` the slabs took.

    Raises
    ------
    BadFindings
        If a slab is truncated, is not zlib, or does not expand to exactly its part of the box.
    """
    inner = array[slices_of(box)]
    offset = 0
    for size_bytes, (start, stop) in zip(sizes_bytes, slabs(box, planes), strict=True):
        whole(size_bytes, 1, len(content) - offset, BadFindings)
        slab = inner[start:stop]
        plain = inflate(content[offset : offset + size_bytes], slab.size * array.dtype.itemsize, what)
        slab[...] = np.frombuffer(plain, dtype=array.dtype.newbyteorder("<")).reshape(slab.shape)
        offset += size_bytes
    return offset


def inflate(content: memoryview, size_bytes: int, what: str) -> bytes:
    """Expand to exactly that many bytes; never to more than one byte beyond. Raises `BadFindings`."""
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(content, size_bytes + 1)
    except zlib.error:
        raise BadFindings(f"{what} is not compressed as it should be") from None
    if len(plain) != size_bytes or not engine.eof or engine.unused_data:
        raise BadFindings(f"{what} is shorter or longer than its box")
    return plain


def _level(plain: memoryview) -> int:
    """Of numbers without a pattern, such as a smooth map's, compressing takes longer than sending: judged by the middle."""
    if len(plain) <= _SAMPLE_BYTES:
        return LEVEL
    middle = (len(plain) - _SAMPLE_BYTES) // 2
    sample = plain[middle : middle + _SAMPLE_BYTES]
    return LEVEL if len(zlib.compress(sample, LEVEL)) <= _WORTH * _SAMPLE_BYTES else 0


def ends(line: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The half-open range of what is set along a line of which something is."""
    found = np.flatnonzero(line)
    return (int(found[0]), int(found[-1]) + 1)
