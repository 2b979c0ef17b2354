"""Where the images of a series lie, and whether they form one block (PS3.3 C.7.6.2).

It fails closed: an order, an exact duplicate or rounding is put right; whatever would move anatomy by more than the
tolerance is refused with a coded reason. Positions are compared along the slice normal and across it.

Tolerances: each slice lies within 1 % of the slice step (at least 0.01 mm) of where even spacing puts it; the stack
leans by no more than 0.5 degrees; direction cosines agree within 1e-4; pixel spacings within 0.01 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinic import elements, refusals
from clinic.instance import InstanceRow

POSITION_TOLERANCE = 0.01
"""Of one slice step."""
POSITION_TOLERANCE_MM = 0.01
LEAN_MAX = math.tan(math.radians(0.5))
COSINE_TOLERANCE = 1e-4
SPACING_TOLERANCE = 1e-4

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where one image lies.

    Attributes
    ----------
    row
        The archived instance.
    position
        (3,) LPS millimetres of the centre of its first pixel (0020,0032).
    cosines
        (2, 3) directions along a row and along a column (0020,0037).
    spacing_mm
        Distance between rows and between columns (0028,0030).
    size
        Rows and Columns.
    """

    row: InstanceRow
    position: Vector
    cosines: Vector
    spacing_mm: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> Vector:
        """Unit vector across the image: the one along a row times the one along a column."""
        return np.cross(self.cosines[0], self.cosines[1])


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The images of a series as one block.

    Attributes
    ----------
    rows
        One instance for each slice, by position along the normal.
    affine
        (4, 4): maps the index (x, y, z, 1) to LPS millimetres of the voxel's centre.
    shape
        (z, y, x).
    duplicates
        How many exact duplicates were left out.
    """

    rows: tuple[InstanceRow, ...]
    affine: Vector
    shape: tuple[int, int, int]
    duplicates: int = 0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of voxel centres along (x, y, z)."""
        x, y, z = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return (x, y, z)


def placement(row: InstanceRow) -> Placement:
    """Where one image lies.

    Raises
    ------
    NoGeometry
        If position, orientation, pixel spacing or size are absent or impossible.
    MultiFrame
        If the instance holds several frames.
    """
    header = row.header
    if elements.integer(header, "00280008") > 1:
        raise refusals.MultiFrame
    position, cosines = elements.numbers(header, "00200032"), elements.numbers(header, "00200037")
    spacing = elements.numbers(header, "00280030")
    size = (elements.integer(header, "00280010"), elements.integer(header, "00280011"))
    if len(position) != 3 or len(cosines) != 6 or len(spacing) != 2 or min(size) < 1 or min(spacing) <= 0:
        raise refusals.NoGeometry
    axes = np.array(cosines).reshape(2, 3)
    product = axes @ axes.T
    if np.abs(product - np.eye(2)).max() > 1e-3:
        raise refusals.NoGeometry("the directions of rows and columns are not perpendicular unit vectors")
    return Placement(row, np.array(position), axes, (spacing[0], spacing[1]), size)


def arrange(rows: Sequence[InstanceRow], same_pixels: Callable[[InstanceRow, InstanceRow], bool] | None = None) -> Grid:
    """The images of a series as one block.

    Parameters
    ----------
    rows
        Every instance of one series, in any order.
    same_pixels
        Says whether two instances at one position hold the same image; one of them is then left out. Without it they
        count as different.

    Raises
    ------
    LocaliserMixedIn, NoGeometry, MultiFrame, MixedFrames, MixedSizes, MixedSpacing, MixedOrientations
        If the images do not belong to one block.
    TooFewSlices, DuplicatePositions, GantryTilt, MissingSlices, UnevenSpacing
        If their positions do not form one.
    """
    _check_localisers(rows)
    placements = [placement(row) for row in rows]
    _check_uniform(placements)
    first = placements[0]
    normal = first.normal
    placements.sort(key=lambda item: (float(item.position @ normal), item.row.sop_uid))
    kept = _without_duplicates(placements, normal, same_pixels)
    if len(kept) < 2:
        raise refusals.TooFewSlices
    positions = np.array([item.position for item in kept])
    _check_even(positions, normal)
    affine = np.eye(4)
    affine[:3, 0] = first.cosines[0] * first.spacing_mm[1]
    affine[:3, 1] = first.cosines[1] * first.spacing_mm[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(kept) - 1)
    affine[:3, 3] = positions[0]
    return Grid(tuple(item.row for item in kept), affine, (len(kept), *first.size), len(placements) - len(kept))


def distance_mm(placements: Sequence[Placement]) -> float | None:
    """The median distance of neighbouring images along the first one's normal, or None if they coincide."""
    depths = np.sort([float(item.position @ placements[0].normal) for item in placements])
    steps = np.diff(depths)
    steps = steps[steps > POSITION_TOLERANCE_MM]
    return float(np.median(steps)) if len(steps) else None


def _check_localisers(rows: Sequence[InstanceRow]) -> None:
    marked = [any("LOCALIZER" in str(kind).upper() for kind in elements.values(row.header, "00080008")) for row in rows]
    if any(marked) and not all(marked):
        raise refusals.LocaliserMixedIn(count=sum(marked))


def _check_uniform(placements: Sequence[Placement]) -> None:
    first = placements[0]
    frames = {elements.text(item.row.header, "00200052") for item in placements}
    if len(frames) > 1:
        raise refusals.MixedFrames(count=len(frames))
    if any(item.size != first.size for item in placements):
        raise refusals.MixedSizes
    spacing = np.array([item.spacing_mm for item in placements])
    if np.abs(spacing / spacing[0] - 1).max() > SPACING_TOLERANCE:
        raise refusals.MixedSpacing
    cosines = np.array([item.cosines for item in placements])
    if np.abs(cosines - cosines[0]).max() > COSINE_TOLERANCE:
        raise refusals.MixedOrientations


def _without_duplicates(
    placements: Sequence[Placement], normal: Vector, same_pixels: Callable[[InstanceRow, InstanceRow], bool] | None
) -> list[Placement]:
    kept = [placements[0]]
    for item in placements[1:]:
        if abs(float((item.position - kept[-1].position) @ normal)) > POSITION_TOLERANCE_MM:
            kept.append(item)
        elif same_pixels is None or not same_pixels(kept[-1].row, item.row):
            raise refusals.DuplicatePositions
    return kept


def _check_even(positions: Vector, normal: Vector) -> None:
    """Refuse a stack that leans, has holes or is uneven; `positions` (n, 3) in order along `normal`."""
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    across = np.linalg.norm(steps - np.outer(along, normal), axis=1)
    if (across > np.maximum(LEAN_MAX * along, POSITION_TOLERANCE_MM)).any():
        raise refusals.GantryTilt(degrees=round(math.degrees(math.atan(float(np.median(across / along)))), 1))
    step = float(np.median(along))
    tolerance = max(POSITION_TOLERANCE * step, POSITION_TOLERANCE_MM)
    multiples = np.round(along / step)
    if (multiples > 1).any() and (np.abs(along - multiples * step) <= 2 * tolerance).all() and (multiples > 0).all():
        raise refusals.MissingSlices(count=int((multiples - 1).sum()))
    even = positions[0] + np.outer(np.arange(len(positions)), (positions[-1] - positions[0]) / (len(positions) - 1))
    if float(np.linalg.norm(positions - even, axis=1).max()) > tolerance:
        raise refusals.UnevenSpacing(
            steps_mm_min=round(float(along.min()), 3), steps_mm_max=round(float(along.max()), 3)
        )
