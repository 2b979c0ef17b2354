"""Plain values out of the archive's header index (DICOM JSON Model, PS3.18 Annex F)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def values(header: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an element, by its eight hexadecimal digits; empty when it is absent or has none."""
    element = header.get(tag)
    found = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in found if item is not None] if isinstance(found, list) else []


def text(header: Mapping[str, Any], tag: str) -> str:
    """The first value of an element as text; a name by its alphabetic form; empty when absent."""
    found = values(header, tag)
    if not found:
        return ""
    first = found[0].get("Alphabetic", "") if isinstance(found[0], Mapping) else found[0]
    return str(first).strip()


def numbers(header: Mapping[str, Any], tag: str) -> list[float]:
    """The values of an element as finite numbers; empty when any of them is not one."""
    try:
        found = [float(item) for item in values(header, tag)]
    except (TypeError, ValueError):
        return []
    return found if all(math.isfinite(item) for item in found) else []


def number(header: Mapping[str, Any], tag: str) -> float | None:
    """The first value of an element as a finite number, or None."""
    found = numbers(header, tag)
    return found[0] if found else None


def integer(header: Mapping[str, Any], tag: str) -> int:
    """The first value of an element as a whole number; 0 when absent or not one."""
    found = number(header, tag)
    return int(found) if found is not None and found == int(found) else 0
