"""Label maps: one array that says of each voxel which structure it belongs to, and its part of the Findings container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import FINDINGS_ITEMS_MAX
from inference import _slabs
from inference._frame import Box, box_of, extent_of, key_of, members, rows
from inference.errors import BadFindings

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SLAB_PLANES = 32
"""How many planes of a label map are compressed, and unpacked, at once."""

LABEL_TYPES = ("uint8", "uint16")

_MEMBERS = {"shape", "box", "dtype", "keys", "chunks"}


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Where many structures are, of which each voxel belongs to one at most.

    Attributes
    ----------
    array
        uint8 or uint16, axes (z, y, x), of the source Volume's shape and geometry: 0 is background.
    keys
        `keys[i]` is the structure of label i + 1.

    Raises
    ------
    BadFindings
        If the array is something else, a key is malformed or occurs twice, or a label has no key.
    """

    array: Labels
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.dtype.name not in LABEL_TYPES or self.array.size == 0:
            raise BadFindings("a label map is not a three-dimensional array of uint8 or uint16")
        for key in self.keys:
            key_of(key, BadFindings)
        if not 1 <= len(self.keys) <= FINDINGS_ITEMS_MAX or len(set(self.keys)) != len(self.keys):
            raise BadFindings("a label map names no structure, too many, or one twice")
        if int(self.array.max()) > len(self.keys):
            raise BadFindings("a label has no structure")

    def number(self, key: str) -> int:
        """The label of a structure; 0 when it is none of these."""
        return self.keys.index(key) + 1 if key in self.keys else 0

    def counts(self) -> npt.NDArray[np.int64]:
        """Voxels of each label: `counts()[0]` of the background, `counts()[i + 1]` of `keys[i]`."""
        total = np.zeros(len(self.keys) + 1, dtype=np.int64)
        for plane in self.array:
            total += np.bincount(plane.reshape(-1), minlength=len(total))
        return total

    def bounding_box(self) -> Box:
        """The half-open box of what is not background, axis by axis; all zero when nothing is."""
        plane = self.array.max(axis=0)
        if not plane.any():
            return ((0, 0), (0, 0), (0, 0))
        z = np.fromiter((layer.any() for layer in self.array), np.bool_, len(self.array))
        return (_slabs.ends(z), _slabs.ends(plane.any(axis=1)), _slabs.ends(plane.any(axis=0)))

    def pack(self) -> tuple[dict[str, Any], list[bytes]]:
        """Its row of the header, and its chunks: the box cut into slabs of 32 planes, each compressed by zlib."""
        box = self.bounding_box()
        chunks = _slabs.pack(self.array, box, SLAB_PLANES)
        row = {
            "shape": list(self.array.shape),
            "box": box,
            "dtype": self.array.dtype.name,
            "keys": list(self.keys),
            "chunks": [len(chunk) for chunk in chunks],
        }
        return row, chunks


def check_row(value: Any, shape_max: tuple[int, int, int]) -> tuple[dict[str, Any], Box, int]:
    """Check a label map's row of the header before anything is allocated.

    Returns
    -------
    tuple
        The row, its box, and how many bytes the box takes when it is unpacked.

    Raises
    ------
    BadFindings
        If it is no such row, or exceeds `shape_max` (z, y, x).
    """
    row = members(value, _MEMBERS, BadFindings)
    box = box_of(row, shape_max, BadFindings)
    if row["dtype"] not in LABEL_TYPES:
        raise BadFindings("a label map's type is not one of ours")
    rows(row["keys"], FINDINGS_ITEMS_MAX, BadFindings)
    expected = len(_slabs.slabs(box, SLAB_PLANES))
    if len(rows(row["chunks"], expected, BadFindings)) != expected:
        raise BadFindings("a label map has fewer slabs than its box")
    return row, box, extent_of(box) * np.dtype(row["dtype"]).itemsize


def unpack(row: dict[str, Any], box: Box, content: memoryview) -> tuple[LabelMap, int]:
    """Unpack a label map slab by slab.

    Parameters
    ----------
    row, box
        As `check_row` gave them.
    content
        What begins with its chunks.

    Returns
    -------
    tuple
        The label map, and how many bytes of `content` it took.
    """
    array = np.zeros(row["shape"], dtype=np.dtype(row["dtype"]))
    size_bytes = _slabs.unpack(array, box, SLAB_PLANES, row["chunks"], content, "a label map")
    return LabelMap(array, tuple(row["keys"])), size_bytes
