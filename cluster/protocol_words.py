"""How a member of a message is read: its type and size, or `BadMessage`."""

from __future__ import annotations

import json
from typing import Any

from bithive.limits import CELL_BUNDLES_MAX, TOLD_BYTES_MAX
from cluster.errors import BadMessage


def members(value: Any, names: set[str]) -> dict[str, Any]:
    """`value` if it is an object of exactly these members. Raises `BadMessage`."""
    if not isinstance(value, dict) or set(value) != names:
        raise BadMessage(f"the members are exactly {', '.join(sorted(names))}")
    return value


def whole(value: Any) -> int:
    """`value` if it is an integer from 0 to 2^53. Raises `BadMessage`."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise BadMessage("a number is no integer or out of range")
    return value


def flag(value: Any) -> bool:
    """`value` if it is true or false. Raises `BadMessage`."""
    if type(value) is not bool:
        raise BadMessage("a member is neither true nor false")
    return value


def text(value: Any, length_max: int, *, empty: bool = False) -> str:
    """`value` if it is a printable text of at most that many characters. Raises `BadMessage`."""
    if not isinstance(value, str) or not (value or empty) or len(value) > length_max or not value.isprintable():
        raise BadMessage("a text is empty, too long or not printable")
    return value


def digits(value: Any, length: int = 64) -> str:
    """`value` if it is that many hexadecimal digits: a key, digest or signature. Raises `BadMessage`."""
    if not isinstance(value, str) or len(value) != length or not set(value) <= set("0123456789abcdef"):
        raise BadMessage(f"a key or digest is not {length} hexadecimal digits")
    return value


def sequence(value: Any, length_max: int) -> list[Any]:
    """`value` if it is a list of at most that many. Raises `BadMessage`."""
    if not isinstance(value, list) or len(value) > length_max:
        raise BadMessage("a list is none, or too long", length_max=length_max)
    return value


def bundles(value: Any) -> tuple[str, ...]:
    """`value` if it is a list of bundles by SHA-256, at most `CELL_BUNDLES_MAX`. Raises `BadMessage`."""
    if not isinstance(value, list) or len(value) > CELL_BUNDLES_MAX:
        raise BadMessage("a list of bundles is none, or too long", bundles_max=CELL_BUNDLES_MAX)
    return tuple(digits(bundle) for bundle in value)


def told(value: Any) -> dict[str, Any]:
    """`value` if it is an object that is kept as it was said, of at most `TOLD_BYTES_MAX` of JSON. Raises `BadMessage`."""
    try:
        size_bytes = len(json.dumps(value, allow_nan=False)) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        size_bytes = None
    if size_bytes is None or size_bytes > TOLD_BYTES_MAX:
        raise BadMessage("a member is no object, or too long", size_bytes_max=TOLD_BYTES_MAX)
    return dict(value)
