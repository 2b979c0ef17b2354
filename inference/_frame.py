"""The outer form of our two binary containers: eight bytes of magic, a length, a JSON header, padding, raw content."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from bithive.errors import BadInput

HEADER_BYTES_MAX = 1 << 20
ALIGNMENT = 64
_PREFIX = struct.Struct("<8sI")


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
    magic: bytes, content: memoryview, error: type[BadInput], keys: frozenset[str]
) -> tuple[dict[str, Any], int]:
    """Read what `pack_header` wrote.

    Returns
    -------
    tuple
        The header, whose members are exactly `keys`, and the offset of the raw content.

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
    if not isinstance(header, dict) or set(header) != keys:
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


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a member occurs twice")
    return dict(pairs)
