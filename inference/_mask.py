"""Masks: where something is, and their part of the Findings container."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference import _slabs
from inference._frame import Box, box_of, extent_of, key_of, members, slices_of, whole
from inference.errors import BadFindings


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Where something is.

    Attributes
    ----------
    key
        What; the pipeline's outputs refer to it. Lower-case letters, digits and underscores.
    array
        bool, axes (z, y, x), of the source Volume's shape and geometry.
    """

    key: str
    array: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if self.array.ndim != 3 or self.array.dtype != np.bool_ or self.array.size == 0:
            raise BadFindings("a mask is not a three-dimensional array of booleans")

    def pack(self) -> tuple[dict[str, Any], bytes]:
        """Its row of the header, and its box as packed bits, compressed by zlib."""
        box = bounding_box(self.array)
        bits = zlib.compress(np.packbits(self.array[slices_of(box)]).data, _slabs.LEVEL)
        return {"key": self.key, "shape": list(self.array.shape), "box": box, "size_bytes": len(bits)}, bits


def bounding_box(array: npt.NDArray[np.bool_]) -> Box:
    """The half-open box of what is set, axis by axis; all zero when nothing is."""
    plane = np.logical_or.reduce(array, axis=0)
    if not plane.any():
        return ((0, 0), (0, 0), (0, 0))
    z = np.logical_or.reduce(array, axis=(1, 2))
    across = (np.logical_or.reduce(plane, axis=axis) for axis in (1, 0))
    y, x = (_slabs.ends(line) for line in across)
    return (_slabs.ends(z), y, x)


def check_row(value: Any, shape_max: tuple[int, int, int]) -> tuple[dict[str, Any], Box]:
    """Check a mask's row of the header before anything is allocated: the row and its box. Raises `BadFindings`."""
    row = members(value, {"key", "shape", "box", "size_bytes"}, BadFindings)
    key_of(row["key"], BadFindings)
    return row, box_of(row, shape_max, BadFindings)


def unpack(row: dict[str, Any], box: Box, content: memoryview) -> tuple[Mask, int]:
    """Unpack a mask.

    Parameters
    ----------
    row, box
        As `check_row` gave them.
    content
        What begins with its bits.

    Returns
    -------
    tuple
        The mask, and how many bytes of `content` it took.
    """
    size_bytes = whole(row["size_bytes"], 1, len(content), BadFindings)
    count = extent_of(box)
    bits = _slabs.inflate(content[:size_bytes], -(-count // 8), "a mask")
    if count % 8 and bits[-1] & ((1 << (8 - count % 8)) - 1):
        raise BadFindings("a mask has bits beyond its box")
    array = np.zeros(row["shape"], dtype=np.bool_)
    inner = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)
    array[slices_of(box)] = inner.view(np.bool_).reshape([high - low for low, high in box])
    return Mask(row["key"], array), size_bytes
