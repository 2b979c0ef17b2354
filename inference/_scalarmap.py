"""Scalar maps: one number for each voxel, and their part of the Findings container."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference import _slabs
from inference._frame import Box, box_of, key_of, members, rows
from inference.errors import BadFindings

SLAB_PLANES = 4
"""How many planes of a map are compressed, and unpacked, at once."""

_MEMBERS = {"key", "shape", "box", "chunks"}


@dataclass(frozen=True, slots=True, eq=False)
class ScalarMap:
    """A number for each voxel, such as how much each one counted for a score.

    Attributes
    ----------
    key
        What; the pipeline's outputs refer to it and say in which unit it is.
    array
        float32, axes (z, y, x), finite, of the source Volume's shape and geometry.

    Raises
    ------
    BadFindings
        If the array is something else, or a number is not finite.
    """

    key: str
    array: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if self.array.ndim != 3 or self.array.dtype != np.float32 or self.array.size == 0:
            raise BadFindings("a map is not a three-dimensional array of float32")
        if not all(np.isfinite(plane).all() for plane in self.array):
            raise BadFindings("a number of a map is not finite")

    def bounding_box(self) -> Box:
        """The half-open box of what is not zero, axis by axis; all zero when nothing is."""
        z = np.zeros(self.array.shape[0], np.bool_)
        plane = np.zeros(self.array.shape[1:], np.bool_)
        for k, layer in enumerate(self.array):
            there = layer != 0
            z[k] = there.any()
            plane |= there
        if not z.any():
            return ((0, 0), (0, 0), (0, 0))
        y, x = (_slabs.ends(np.logical_or.reduce(plane, axis=axis)) for axis in (1, 0))
        return (_slabs.ends(z), y, x)

    def pack(self) -> tuple[dict[str, Any], list[bytes]]:
        """Its row of the header, and its chunks: the box cut into slabs of 4 planes, each compressed by zlib."""
        box = self.bounding_box()
        chunks = _slabs.pack(self.array, box, SLAB_PLANES)
        sizes_bytes = [len(chunk) for chunk in chunks]
        return {"key": self.key, "shape": list(self.array.shape), "box": box, "chunks": sizes_bytes}, chunks


def check_row(value: Any, shape_max: tuple[int, int, int]) -> tuple[dict[str, Any], Box, int]:
    """Check a map's row of the header before anything is allocated.

    Returns
    -------
    tuple
        The row, its box, and how many bytes the whole array takes.

    Raises
    ------
    BadFindings
        If it is no such row, or exceeds `shape_max` (z, y, x).
    """
    row = members(value, _MEMBERS, BadFindings)
    key_of(row["key"], BadFindings)
    box = box_of(row, shape_max, BadFindings)
    expected = len(_slabs.slabs(box, SLAB_PLANES))
    if len(rows(row["chunks"], expected, BadFindings)) != expected:
        raise BadFindings("a map has fewer slabs than its box")
    return row, box, math.prod(row["shape"]) * np.dtype(np.float32).itemsize


def unpack(row: dict[str, Any], box: Box, content: memoryview) -> tuple[ScalarMap, int]:
    """Unpack a map slab by slab.

    Parameters
    ----------
    row, box
        As `check_row` gave them.
    content
        What begins with its chunks.

    Returns
    -------
    tuple
        The map, and how many bytes of `content` it took.
    """
    array = np.zeros(row["shape"], dtype=np.float32)
    size_bytes = _slabs.unpack(array, box, SLAB_PLANES, row["chunks"], content, "a map")
    return ScalarMap(row["key"], array), size_bytes
