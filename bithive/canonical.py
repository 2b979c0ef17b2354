"""Canonical JSON: one value, one byte string. For everything that is hashed or signed.

A subset of RFC 8785 (JCS): objects with string keys, arrays, strings, integers within 2^53, booleans and null. Floats
are refused, since their text is where implementations disagree; write them as decimal strings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_SAFE_INTEGER_MAX = 2**53 - 1
_DEPTH_MAX = 64
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:
    """The canonical bytes of a value.

    Raises
    ------
    TypeError
        If the value holds a float, a non-string key or any other type.
    ValueError
        If an integer lies beyond 2^53 - 1, a string is not valid Unicode, or the value is nested too deeply.
    """
    _check(value, 0)
    return _ENCODER.encode(value).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _check(value: Any, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER_MAX:
            raise ValueError("integer beyond 2^53 - 1: write it as a string")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise TypeError("keys are ASCII strings")
            _check(item, depth + 1)
    elif isinstance(value, Sequence):
        for item in value:
            _check(item, depth + 1)
    else:
        raise TypeError(f"{type(value).__name__} has no canonical form")
