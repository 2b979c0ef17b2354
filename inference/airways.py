"""Trachea and main bronchi on a CT image: air that is followed plane by plane from the neck down, until it opens into a lung.

In an axial plane the trachea is a round hole near the middle of the body. Below it come the holes that overlap it; where it
divides, both branches do. A hole that is too large is a lung, and there the way ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.body import Stack
from inference.components import Runs
from inference.findings import bounding_box
from inference.morphology import Mask

LUMEN_CM2 = (0.4, 8.0)
"""Area of the trachea in a plane: adults' tracheas are 10 to 27 mm wide and deep, tilted ones look longer."""
BRANCH_CM2_MAX = 6.0
OFF_CENTRE_MAX = 0.12
"""How far from the middle of the body it begins, as a share of the body's width."""
ELONGATION_MAX = 2.5
FILLING_MIN = 0.5
"""Share of its rectangle that a round hole fills at least (a circle: 0.785)."""
LENGTH_MM_MIN = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class _Holes:
    """Holes of air in their planes, numbered together.

    Attributes
    ----------
    runs, labels
        Runs of air, and the hole of each.
    plane, area
        Of each hole: its plane, its voxels.
    low, high
        (holes, 2) of each: its rectangle along (y, x), half open.
    """

    runs: Runs
    labels: npt.NDArray[np.int32]
    plane: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]

    @classmethod
    def of(cls, air: Mask) -> _Holes:
        runs = Runs.of(air)
        labels = runs.components(diagonal=False, in_plane=True)
        count = int(labels.max()) + 1
        plane, rest = np.divmod(runs.starts, runs.plane)
        line, start = np.divmod(rest, runs.line)
        lengths = runs.ends - runs.starts
        planes = np.zeros(count, dtype=np.int64)
        planes[labels] = plane
        low = np.full((count, 2), np.iinfo(np.int64).max)
        high = np.zeros((count, 2), dtype=np.int64)
        for column, (first, last) in enumerate(((line, line + 1), (start, start + lengths))):
            np.minimum.at(low[:, column], labels, first)
            np.maximum.at(high[:, column], labels, last)
        area = np.bincount(labels, weights=lengths, minlength=count).astype(np.int64)
        return cls(runs, labels, planes, area, low, high)

    def touching(self, label: int, candidates: npt.NDArray[np.int64]) -> list[int]:
        """Which of other planes' holes share a column of voxels with a hole."""
        mine = self._lines(label)
        return [int(other) for other in candidates if self._near(label, other) and self._meet(mine, int(other))]

    def _near(self, one: int, other: int) -> bool:
        return bool((self.low[one] < self.high[other]).all() and (self.low[other] < self.high[one]).all())

    def _lines(self, label: int) -> dict[int, list[tuple[int, int]]]:
        found: dict[int, list[tuple[int, int]]] = {}
        for start, end in zip(*self._ends(label), strict=True):
            line, column = divmod(int(start) % self.runs.plane, self.runs.line)
            found.setdefault(line, []).append((column, column + int(end - start)))
        return found

    def _ends(self, label: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        which = np.flatnonzero(self.labels == label)
        return self.runs.starts[which], self.runs.ends[which]

    def _meet(self, mine: dict[int, list[tuple[int, int]]], other: int) -> bool:
        for line, stretches in self._lines(other).items():
            for low, high in stretches:
                if any(low < end and start < high for start, end in mine.get(line, ())):
                    return True
        return False


def airways_of(stack: Stack, air: Mask, body: Mask) -> Mask:
    """Trachea and main bronchi.

    Parameters
    ----------
    stack
        HU.
    air, body
        Air that the body encloses, and the body with it; axes of the stack.

    Returns
    -------
    array
        bool, of the same axes; empty where no trachea is seen, as when the image begins below it.
    """
    found = np.zeros(air.shape, dtype=np.bool_)
    if not air.any():
        return found
    (z0, z1), (y0, y1), (x0, x1) = bounding_box(air)
    box = (slice(z0, z1), slice(y0, y1), slice(x0, x1))
    holes = _Holes.of(air[box])
    width = _width(body)
    way = _longest(holes, stack, width, x0)
    inner = found[box]
    holes.runs.paint(inner, np.isin(holes.labels, way), value=True)
    return found


def _width(body: Mask) -> tuple[float, float]:
    """Middle and width of the body along x, in voxels."""
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    return float(columns[0] + columns[-1] + 1) / 2, float(len(columns))


def _longest(holes: _Holes, stack: Stack, width: tuple[float, float], x0: int) -> list[int]:
    """Holes of the longest way down from any hole that can be a trachea's upper end."""
    z_mm, y_mm, x_mm = stack.spacing_mm
    area_cm2: npt.NDArray[np.float64] = np.asarray(holes.area * (y_mm * x_mm / 100.0), dtype=np.float64)
    by_plane = [np.flatnonzero(holes.plane == plane) for plane in range(holes.runs.shape[0])]
    planes = range(len(by_plane)) if stack.top_first else range(len(by_plane) - 1, -1, -1)
    seen: set[int] = set()
    best: list[int] = []
    for plane in planes:
        for label in by_plane[plane]:
            if int(label) in seen or not _is_trachea(holes, int(label), area_cm2, (y_mm, x_mm), width, x0):
                continue
            way = _way(holes, int(label), by_plane, area_cm2, 1 if stack.top_first else -1)
            seen.update(way)
            length_mm = len({int(holes.plane[item]) for item in way}) * z_mm
            if length_mm >= LENGTH_MM_MIN and len(way) > len(best):
                best = way
    return best


def _is_trachea(
    holes: _Holes,
    label: int,
    area_cm2: npt.NDArray[np.float64],
    step_mm: tuple[float, float],
    width: tuple[float, float],
    x0: int,
) -> bool:
    size = holes.high[label] - holes.low[label]
    deep, wide = size[0] * step_mm[0], size[1] * step_mm[1]
    centre = x0 + float(holes.low[label, 1] + holes.high[label, 1]) / 2
    return bool(
        LUMEN_CM2[0] <= area_cm2[label] <= LUMEN_CM2[1]
        and max(deep, wide) <= ELONGATION_MAX * min(deep, wide)
        and holes.area[label] >= FILLING_MIN * size[0] * size[1]
        and abs(centre - width[0]) <= OFF_CENTRE_MAX * width[1]
    )


def _way(
    holes: _Holes,
    start: int,
    by_plane: list[npt.NDArray[np.int64]],
    area_cm2: npt.NDArray[np.float64],
    step: int,
) -> list[int]:
    way, front, plane = [start], [start], int(holes.plane[start])
    while front and 0 <= plane + step < len(by_plane):
        plane += step
        narrow = by_plane[plane][area_cm2[by_plane[plane]] <= BRANCH_CM2_MAX]
        found: dict[int, None] = {}
        for label in front:
            found |= dict.fromkeys(holes.touching(label, narrow))
        front = list(found)
        way += front
    return way
