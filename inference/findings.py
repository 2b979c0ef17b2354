"""Findings: what a bundle has to say about a Volume, before anybody encodes it.

Container (`application/x-bithive-findings`): magic `BHFIND01`, header length (uint32, little-endian), JSON header
{`masks`: [{`key`, `shape`: [z, y, x], `box`: [[z0, z1], [y0, y1], [x0, x1]], `size_bytes`}], `measurements`: [{`key`,
`value`, `unit`, `mask`}], `scores`: [{`key`, `value`}]}, blanks up to a multiple of 64 bytes, then for each mask its box
as packed bits (C order, most significant bit first) compressed by zlib, one after the other.
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
from inference._frame import number, pack_header, unpack_header, whole
from inference.errors import BadFindings

MAGIC = b"BHFIND01"

_KEYS = frozenset({"masks", "measurements", "scores"})
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNIT = re.compile(r"[!-~]{1,16}")
_LEVEL = 1
_Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


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
        _check_key(self.key)
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
        Key of the mask that was measured, or None.
    """

    key: str
    value: float
    unit: str
    mask: str | None = None

    def __post_init__(self) -> None:
        _check_key(self.key)
        if not math.isfinite(self.value) or not _UNIT.fullmatch(self.unit):
            raise BadFindings("a measurement is not finite, or its unit is malformed")


@dataclass(frozen=True, slots=True)
class Score:
    """A number without a unit, such as a probability."""

    key: str
    value: float

    def __post_init__(self) -> None:
        _check_key(self.key)
        if not math.isfinite(self.value):
            raise BadFindings("a score is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Masks, measurements and scores of one Attempt.

    Raises
    ------
    BadFindings
        If two of a kind share a key, a measurement names a mask that is not here, or there are too many.
    """

    masks: tuple[Mask, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    scores: tuple[Score, ...] = ()

    def __post_init__(self) -> None:
        kinds: tuple[tuple[Mask | Measurement | Score, ...], ...] = (self.masks, self.measurements, self.scores)
        for kind in kinds:
            if len(kind) > FINDINGS_ITEMS_MAX or len({item.key for item in kind}) != len(kind):
                raise BadFindings("there are too many findings of a kind, or two with one key")
        known = {mask.key for mask in self.masks}
        if not all(item.mask is None or item.mask in known for item in self.measurements):
            raise BadFindings("a measurement names a mask that is not here")

    def mask(self, key: str) -> Mask | None:
        """The mask of that key, or None."""
        return next((mask for mask in self.masks if mask.key == key), None)

    def measurement(self, key: str) -> Measurement | None:
        """The measurement of that key, or None."""
        return next((item for item in self.measurements if item.key == key), None)

    def to_bytes(self) -> bytes:
        """The container: each mask cut to its bounding box, as packed bits."""
        packed, rows = [], []
        for mask in self.masks:
            box = bounding_box(mask.array)
            bits = zlib.compress(np.packbits(mask.array[_slices(box)]).data, _LEVEL)
            packed.append(bits)
            rows.append({"key": mask.key, "shape": list(mask.array.shape), "box": box, "size_bytes": len(bits)})
        header = {
            "masks": rows,
            "measurements": [
                {"key": item.key, "value": float(item.value), "unit": item.unit, "mask": item.mask}
                for item in self.measurements
            ],
            "scores": [{"key": item.key, "value": float(item.value)} for item in self.scores],
        }
        return b"".join((pack_header(MAGIC, header), *packed))

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
        rows = [_members(row, {"key", "shape", "box", "size_bytes"}) for row in _rows(header["masks"])]
        boxes = [_box(row, shape_max) for row in rows]
        if sum(_volume(box) for box in boxes) > FINDINGS_VOXELS_MAX:
            raise BadFindings("its masks expand beyond the limit", voxels_max=FINDINGS_VOXELS_MAX)
        masks = []
        for row, box in zip(rows, boxes, strict=True):
            size_bytes = whole(row["size_bytes"], 1, len(view) - offset, BadFindings)
            masks.append(_unpack(row, box, view[offset : offset + size_bytes]))
            offset += size_bytes
        if offset != len(view):
            raise BadFindings("something follows its end")
        return cls(tuple(masks), _measurements(header["measurements"]), _scores(header["scores"]))


def announced_shapes(content: bytes | bytearray | memoryview) -> list[tuple[int, int, int]]:
    """The shapes (z, y, x) of the masks, by the header alone: nothing is unpacked or allocated.

    Raises
    ------
    BadFindings
        If the header is not one of Findings.
    """
    header, _ = unpack_header(MAGIC, memoryview(content).cast("B"), BadFindings, _KEYS)
    shapes = []
    for item in _rows(header["masks"]):
        row = _members(item, {"key", "shape", "box", "size_bytes"})
        _box(row, (VOLUME_AXIS_VOXELS_MAX,) * 3)
        shapes.append((row["shape"][0], row["shape"][1], row["shape"][2]))
    return shapes


def bounding_box(array: npt.NDArray[np.bool_]) -> _Box:
    """The half-open box of what is set, axis by axis; all zero when nothing is."""
    plane = np.logical_or.reduce(array, axis=0)
    if not plane.any():
        return ((0, 0), (0, 0), (0, 0))
    z = np.logical_or.reduce(array, axis=(1, 2))
    return (_ends(z), _ends(np.logical_or.reduce(plane, axis=1)), _ends(np.logical_or.reduce(plane, axis=0)))


def _ends(line: npt.NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(line)
    return (int(found[0]), int(found[-1]) + 1)


def _slices(box: _Box) -> tuple[slice, slice, slice]:
    z, y, x = (slice(low, high) for low, high in box)
    return (z, y, x)


def _volume(box: _Box) -> int:
    return math.prod(high - low for low, high in box)


def _unpack(row: dict[str, Any], box: _Box, content: memoryview) -> Mask:
    count = _volume(box)
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
    array[_slices(box)] = inner.view(np.bool_).reshape([high - low for low, high in box])
    return Mask(row["key"], array)


def _box(row: dict[str, Any], shape_max: tuple[int, int, int]) -> _Box:
    _check_key(row["key"])
    shape, box = row["shape"], row["box"]
    if not (isinstance(shape, list) and len(shape) == 3 and isinstance(box, list) and len(box) == 3):
        raise BadFindings("a mask's shape or box is not three-dimensional")
    ends = []
    for size, pair, size_max in zip(shape, box, shape_max, strict=True):
        whole(size, 1, min(size_max, VOLUME_AXIS_VOXELS_MAX), BadFindings)
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadFindings("a mask's box is malformed")
        low = whole(pair[0], 0, size, BadFindings)
        ends.append((low, whole(pair[1], low, size, BadFindings)))
    return (ends[0], ends[1], ends[2])


def _measurements(value: Any) -> tuple[Measurement, ...]:
    rows = [_members(row, {"key", "value", "unit", "mask"}) for row in _rows(value)]
    for row in rows:
        if not isinstance(row["unit"], str) or not isinstance(row["mask"], str | None):
            raise BadFindings("a measurement is malformed")
    return tuple(
        Measurement(_check_key(row["key"]), number(row["value"], BadFindings), row["unit"], row["mask"]) for row in rows
    )


def _scores(value: Any) -> tuple[Score, ...]:
    rows = [_members(row, {"key", "value"}) for row in _rows(value)]
    return tuple(Score(_check_key(row["key"]), number(row["value"], BadFindings)) for row in rows)


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > FINDINGS_ITEMS_MAX:
        raise BadFindings("a list in its header is missing or too long")
    return value


def _members(value: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise BadFindings("members of its header are missing or unknown")
    return value


def _check_key(key: Any) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise BadFindings("a key is malformed")
    return key
