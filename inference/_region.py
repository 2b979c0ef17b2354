"""Boxes in the patient: where something was found, without saying which voxels it fills."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bithive.limits import FINDINGS_REGIONS_MAX
from inference._frame import key_of, members, number, rows, whole
from inference.errors import BadFindings

_FAR_MM = 10_000.0
_MEMBERS = {"key", "number", "centre_mm", "size_mm", "certainty"}

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Region:
    """A box along the patient's axes.

    Attributes
    ----------
    key
        What it holds; the pipeline's outputs refer to it.
    number
        Of the box, from 1; one for each of its key.
    centre_mm, size_mm
        Its middle and its edges along (x, y, z) of the patient, LPS millimetres.
    certainty
        0 to 1, as the network gives it.
    """

    key: str
    number: int
    centre_mm: Point
    size_mm: Point
    certainty: float

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        whole(self.number, 1, FINDINGS_REGIONS_MAX, BadFindings)
        if len(self.centre_mm) != 3 or len(self.size_mm) != 3:
            raise BadFindings("a region has not three axes")
        if not all(math.isfinite(value) and abs(value) <= _FAR_MM for value in (*self.centre_mm, *self.size_mm)):
            raise BadFindings("a region is nowhere, or too large")
        if min(self.size_mm) <= 0.0 or not 0.0 <= self.certainty <= 1.0:
            raise BadFindings("a region is empty, or its certainty is not within 0 and 1")

    @property
    def corners_mm(self) -> tuple[Point, Point]:
        """The lowest and the highest corner, LPS millimetres."""
        x, y, z = self.centre_mm
        a, b, c = (edge / 2.0 for edge in self.size_mm)
        return (x - a, y - b, z - c), (x + a, y + b, z + c)

    @property
    def longest_mm(self) -> float:
        """Its longest edge: of the box, not of what it holds."""
        return max(self.size_mm)

    def pack(self) -> dict[str, Any]:
        """Its row of a container's header."""
        return {
            "key": self.key,
            "number": self.number,
            "centre_mm": [float(value) for value in self.centre_mm],
            "size_mm": [float(value) for value in self.size_mm],
            "certainty": float(self.certainty),
        }


def unpack(value: Any) -> tuple[Region, ...]:
    """Regions of a container's header. Raises `BadFindings`."""
    listed = [members(row, _MEMBERS, BadFindings) for row in rows(value, FINDINGS_REGIONS_MAX, BadFindings)]
    return tuple(
        Region(
            key_of(row["key"], BadFindings),
            row["number"],
            _point(row["centre_mm"]),
            _point(row["size_mm"]),
            number(row["certainty"], BadFindings),
        )
        for row in listed
    )


def _point(value: Any) -> Point:
    if not isinstance(value, list) or len(value) != 3:
        raise BadFindings("a region has not three axes")
    x, y, z = (number(item, BadFindings) for item in value)
    return (x, y, z)
