"""The outer form of our two binary containers: eight bytes of magic, a length, a JSON header, padding, raw content."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from bithive.errors import BadInput
from bithive.limits import VOLUME_AXIS_VOXELS_MAX

HEADER_BYTES_MAX = 2 << 20
ALIGNMENT = 64

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half open, axis by axis."""

_PREFIX = struct.Struct("<8sI")
_KEY = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


def pack_header(magic: bytes, header: Mapping[str, Any]) -> bytes:
    """The bytes before the raw content, a multiple of 64 long.

    Parameters
    ----------
    magic
        Eight bytes.
    header
        Plain values; floats keep all their bits (shortest text that reads back the same).
    """
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    padding = -(_PREFIX.size + len(text)) % ALIGNMENT
    return _PREFIX.pack(magic, len(text)) + text + b" " * padding


def unpack_header(
    magic: bytes,
    content: memoryview,
    error: type[BadInput],
    keys: frozenset[str],
    further: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], int]:
    """Read what `pack_header` wrote.

    Returns
    -------
    tuple
        The header, whose members are `keys`, each, and any of `further`; and the offset of the raw content.

    Raises
    ------
    BadInput
        As `error`: truncated, another magic, a header that is no such object, NaN in it, or dirty padding.
    """
    if len(content) < _PREFIX.size:
        raise error("it is shorter than its first header")
    found, length = _PREFIX.unpack_from(content)
    if found != magic:
        raise error("it does not start with the right magic")
    end = _PREFIX.size + length
    offset = end + -end % ALIGNMENT
    if length > HEADER_BYTES_MAX or offset > len(content):
        raise error("its header is too long, or it is truncated")
    if bytes(content[end:offset]).strip(b" "):
        raise error("its padding is not blank")
    try:
        text = bytes(content[_PREFIX.size : end]).decode("ascii")
        header = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise error("its header is not JSON") from None
    if not isinstance(header, dict) or not keys <= set(header) <= keys | further:
        raise error("members of its header are missing or unknown")
    return header, offset


def whole(value: Any, low: int, high: int, error: type[BadInput]) -> int:
    """`value` if it is an integer (no boolean) within the closed range; else raise `error`."""
    if type(value) is not int or not low <= value <= high:
        raise error("a number in its header is no integer or out of range")
    return value


def number(value: Any, error: type[BadInput]) -> float:
    """`value` as a finite float; else raise `error`."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        raise error("a number in its header is not finite")
    return float(value)


def key_of(value: Any, error: type[BadInput]) -> str:
    """`value` if it may name a finding: up to 64 lower-case letters, digits and underscores; else raise `error`."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise error("a key is malformed")
    return value


def members(value: Any, names: set[str], error: type[BadInput]) -> dict[str, Any]:
    """`value` if it is an object with exactly these members; else raise `error`."""
    if not isinstance(value, dict) or set(value) != names:
        raise error("members of its header are missing or unknown")
    return value


def rows(value: Any, count_max: int, error: type[BadInput]) -> list[Any]:
    """`value` if it is a list of at most that many; else raise `error`."""
    if not isinstance(value, list) or len(value) > count_max:
        raise error("a list in its header is missing or too long")
    return value


def box_of(row: Mapping[str, Any], shape_max: tuple[int, int, int], error: type[BadInput]) -> Box:
    """The `box` of a header's row, which lies within its `shape`, which lies within `shape_max`; else raise `error`."""
    shape, box = row["shape"], row["box"]
    if not (isinstance(shape, list) and len(shape) == 3 and isinstance(box, list) and len(box) == 3):
        raise error("a shape or box is not three-dimensional")
    ends = []
    for size, pair, size_max in zip(shape, box, shape_max, strict=True):
        whole(size, 1, min(size_max, VOLUME_AXIS_VOXELS_MAX), error)
        if not isinstance(pair, list) or len(pair) != 2:
            raise error("a box is malformed")
        low = whole(pair[0], 0, size, error)
        ends.append((low, whole(pair[1], low, size, error)))
    return (ends[0], ends[1], ends[2])


def extent_of(box: Box) -> int:
    """How many voxels a box holds."""
    return math.prod(high - low for low, high in box)


def slices_of(box: Box) -> tuple[slice, slice, slice]:
    """A box as an index."""
    z, y, x = (slice(low, high) for low, high in box)
    return (z, y, x)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a member occurs twice")
    return dict(pairs)
