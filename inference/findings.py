"""Findings: what a bundle has to say about a Volume, before anybody encodes it.

Container (`application/x-bithive-findings`): magic `BHFIND02`, header length (uint32, little-endian), JSON header
{`masks`: [{`key`, `shape`: [z, y, x], `box`: [[z0, z1], [y0, y1], [x0, x1]], `size_bytes`}], `measurements`: [{`key`,
`value`, `unit`, `mask`}], `scores`: [{`key`, `value`}], `labels`: null or {`shape`, `box`, `dtype`, `keys`, `chunks`:
[size_bytes]}}, blanks up to a multiple of 64 bytes, then for each mask its box as packed bits (C order, most
significant bit first) compressed by zlib, one after the other, then the label map's box in slabs of 32 planes (the last
one has what is left), each as its little-endian labels in C order compressed by zlib.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import FINDINGS_BYTES_MAX, FINDINGS_ITEMS_MAX, FINDINGS_VOXELS_MAX, VOLUME_AXIS_VOXELS_MAX
from inference._frame import (
    Box,
    box_of,
    extent_of,
    key_of,
    members,
    number,
    pack_header,
    rows,
    slices_of,
    unpack_header,
    whole,
)
from inference._labelmap import LabelMap, check_row, unpack
from inference.errors import BadFindings

__all__ = ["Findings", "LabelMap", "Mask", "Measurement", "Score", "announced_shapes", "bounding_box"]

MAGIC = b"BHFIND02"

_KEYS = frozenset({"masks", "measurements", "scores", "labels"})
_UNIT = re.compile(r"[!-~]{1,16}")
_LEVEL = 1
_SHAPE_MAX = (VOLUME_AXIS_VOXELS_MAX,) * 3


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


@dataclass(frozen=True, slots=True)
class Measurement:
    """How much of something there is.

    Attributes
    ----------
    key, value
        What, and its finite value.
    unit
        UCUM code, for example `mL`.
    mask
        Key of the mask, or of the label map's structure, that was measured, or None.
    """

    key: str
    value: float
    unit: str
    mask: str | None = None

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if not math.isfinite(self.value) or not _UNIT.fullmatch(self.unit):
            raise BadFindings("a measurement is not finite, or its unit is malformed")


@dataclass(frozen=True, slots=True)
class Score:
    """A number without a unit, such as a probability."""

    key: str
    value: float

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if not math.isfinite(self.value):
            raise BadFindings("a score is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Masks, measurements, scores and at most one label map of one Attempt.

    Raises
    ------
    BadFindings
        If two of a kind share a key, a mask has the key of a structure of the label map, a measurement names neither a
        mask nor a structure, or there are too many.
    """

    masks: tuple[Mask, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    scores: tuple[Score, ...] = ()
    labels: LabelMap | None = None

    def __post_init__(self) -> None:
        kinds: tuple[tuple[Mask | Measurement | Score, ...], ...] = (self.masks, self.measurements, self.scores)
        for kind in kinds:
            if len(kind) > FINDINGS_ITEMS_MAX or len({item.key for item in kind}) != len(kind):
                raise BadFindings("there are too many findings of a kind, or two with one key")
        known = set(self.structures)
        if len(known) != len(self.structures):
            raise BadFindings("a mask has the key of a structure of the label map")
        if not all(item.mask is None or item.mask in known for item in self.measurements):
            raise BadFindings("a measurement names a mask that is not here")

    @property
    def structures(self) -> tuple[str, ...]:
        """Keys of the masks, then of the label map."""
        return (*(mask.key for mask in self.masks), *(self.labels.keys if self.labels else ()))

    def mask(self, key: str) -> Mask | None:
        """The mask of that key, or None. One of the label map is made for it: a boolean for each voxel."""
        found = next((mask for mask in self.masks if mask.key == key), None)
        if found is None and self.labels is not None and key in self.labels.keys:
            return Mask(key, self.labels.array == self.labels.number(key))
        return found

    def plane(self, key: str, z: int) -> npt.NDArray[np.bool_]:
        """Where a mask or structure is in one plane, axes (y, x), without making the rest. Raises `KeyError`."""
        found = next((mask for mask in self.masks if mask.key == key), None)
        if found is None and (self.labels is None or key not in self.labels.keys):
            raise KeyError(key)
        if found is not None:
            plane: npt.NDArray[np.bool_] = found.array[z]
        else:
            assert self.labels is not None, "the key is one of its structures"
            plane = self.labels.array[z] == self.labels.number(key)
        return plane

    def measurement(self, key: str) -> Measurement | None:
        """The measurement of that key, or None."""
        return next((item for item in self.measurements if item.key == key), None)

    def to_bytes(self) -> bytes:
        """The container: each mask cut to its bounding box, as packed bits; the label map cut to its own, in slabs."""
        packed, listed = [], []
        for mask in self.masks:
            box = bounding_box(mask.array)
            bits = zlib.compress(np.packbits(mask.array[slices_of(box)]).data, _LEVEL)
            packed.append(bits)
            listed.append({"key": mask.key, "shape": list(mask.array.shape), "box": box, "size_bytes": len(bits)})
        labels, chunks = self.labels.pack() if self.labels else (None, [])
        header = {
            "masks": listed,
            "labels": labels,
            "measurements": [
                {"key": item.key, "value": float(item.value), "unit": item.unit, "mask": item.mask}
                for item in self.measurements
            ],
            "scores": [{"key": item.key, "value": float(item.value)} for item in self.scores],
        }
        return b"".join((pack_header(MAGIC, header), *packed, *chunks))

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview, shape_max: tuple[int, int, int]) -> Findings:
        """Read a container from somebody we do not trust.

        Parameters
        ----------
        content
            The plain container.
        shape_max
            Largest size of a mask along (z, y, x): the shape of the Volume that was sent. Nothing larger is allocated.

        Raises
        ------
        BadFindings
            If the content is truncated, has something after its end, expands beyond what it announces or what the
            limits allow, or does not describe Findings.
        """
        view = memoryview(content).cast("B")
        if len(view) > FINDINGS_BYTES_MAX:
            raise BadFindings("it is longer than findings may be", size_bytes_max=FINDINGS_BYTES_MAX)
        header, offset = unpack_header(MAGIC, view, BadFindings, _KEYS)
        announced = [_mask_row(row, shape_max) for row in rows(header["masks"], FINDINGS_ITEMS_MAX, BadFindings)]
        labels = None if header["labels"] is None else check_row(header["labels"], shape_max)
        if sum(extent_of(box) for _, box in announced) + (labels[2] if labels else 0) > FINDINGS_VOXELS_MAX:
            raise BadFindings("its masks or labels expand beyond the limit", voxels_max=FINDINGS_VOXELS_MAX)
        masks = []
        for row, box in announced:
            size_bytes = whole(row["size_bytes"], 1, len(view) - offset, BadFindings)
            masks.append(_unpack(row, box, view[offset : offset + size_bytes]))
            offset += size_bytes
        label_map = None
        if labels is not None:
            label_map, size_bytes = unpack(labels[0], labels[1], view[offset:])
            offset += size_bytes
        if offset != len(view):
            raise BadFindings("something follows its end")
        return cls(tuple(masks), _measurements(header["measurements"]), _scores(header["scores"]), label_map)


def announced_shapes(content: bytes | bytearray | memoryview) -> list[tuple[int, int, int]]:
    """The shapes (z, y, x) of the masks and the label map, by the header alone: nothing is unpacked or allocated.

    Raises
    ------
    BadFindings
        If the header is not one of Findings.
    """
    header, _ = unpack_header(MAGIC, memoryview(content).cast("B"), BadFindings, _KEYS)
    listed = [_mask_row(row, _SHAPE_MAX)[0] for row in rows(header["masks"], FINDINGS_ITEMS_MAX, BadFindings)]
    if header["labels"] is not None:
        listed.append(check_row(header["labels"], _SHAPE_MAX)[0])
    return [(row["shape"][0], row["shape"][1], row["shape"][2]) for row in listed]


def bounding_box(array: npt.NDArray[np.bool_]) -> Box:
    """The half-open box of what is set, axis by axis; all zero when nothing is."""
    plane = np.logical_or.reduce(array, axis=0)
    if not plane.any():
        return ((0, 0), (0, 0), (0, 0))
    z = np.logical_or.reduce(array, axis=(1, 2))
    return (_ends(z), _ends(np.logical_or.reduce(plane, axis=1)), _ends(np.logical_or.reduce(plane, axis=0)))


def _ends(line: npt.NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(line)
    return (int(found[0]), int(found[-1]) + 1)


def _unpack(row: dict[str, Any], box: Box, content: memoryview) -> Mask:
    count = extent_of(box)
    expected = -(-count // 8)
    engine = zlib.decompressobj()
    try:
        bits = engine.decompress(content, expected + 1)
    except zlib.error:
        raise BadFindings("a mask is not compressed as it should be") from None
    if len(bits) != expected or not engine.eof or engine.unused_data:
        raise BadFindings("a mask is shorter or longer than its box")
    if count % 8 and bits[-1] & ((1 << (8 - count % 8)) - 1):
        raise BadFindings("a mask has bits beyond its box")
    array = np.zeros(row["shape"], dtype=np.bool_)
    inner = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)
    array[slices_of(box)] = inner.view(np.bool_).reshape([high - low for low, high in box])
    return Mask(row["key"], array)


def _mask_row(value: Any, shape_max: tuple[int, int, int]) -> tuple[dict[str, Any], Box]:
    row = members(value, {"key", "shape", "box", "size_bytes"}, BadFindings)
    key_of(row["key"], BadFindings)
    return row, box_of(row, shape_max, BadFindings)


def _measurements(value: Any) -> tuple[Measurement, ...]:
    names = {"key", "value", "unit", "mask"}
    listed = [members(row, names, BadFindings) for row in rows(value, FINDINGS_ITEMS_MAX, BadFindings)]
    for row in listed:
        if not isinstance(row["unit"], str) or not isinstance(row["mask"], str | None):
            raise BadFindings("a measurement is malformed")
    return tuple(
        Measurement(key_of(row["key"], BadFindings), number(row["value"], BadFindings), row["unit"], row["mask"])
        for row in listed
    )


def _scores(value: Any) -> tuple[Score, ...]:
    listed = [members(row, {"key", "value"}, BadFindings) for row in rows(value, FINDINGS_ITEMS_MAX, BadFindings)]
    return tuple(Score(key_of(row["key"], BadFindings), number(row["value"], BadFindings)) for row in listed)
