"""Where the images of a series lie, and whether they form one block (PS3.3 C.7.6.2, C.7.6.16).

It fails closed: what is certain is put right, with a warning (order, exact duplicates, a localiser that lies otherwise,
a tilted gantry, uneven distances that are meant so); whatever could move anatomy is refused with a coded reason.
Directions come from the cosines alone, never from Patient Position.

Tolerances: each slice lies within 1 % of the slice step (at least 0.01 mm) of where even spacing puts it, or is
straightened; the stack leans by no more than 0.5 degrees, or is straightened; direction cosines agree within 1e-4;
pixel spacings within 0.01 %. `docs/geometry.md` lists every case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinic import elements, gaps, multiframe, refusals, several, straighten
from clinic.instance import InstanceRow, were_uids_corrected
from clinic.straighten import Straightening

POSITION_TOLERANCE = gaps.POSITION_TOLERANCE
POSITION_TOLERANCE_MM = gaps.POSITION_TOLERANCE_MM
LEAN_MAX = math.tan(math.radians(0.5))
"""What the affine keeps without straightening."""
TILT_MAX = math.tan(math.radians(45.0))
ASTRAY_PIXELS_MAX = 0.5
COSINE_TOLERANCE = 1e-4
SPACING_TOLERANCE = 1e-4
SPACING_MM_MIN, SPACING_MM_MAX = 1e-3, 1e3
POSITION_MM_MAX = 1e5

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SourcePlane:
    """One image of the source, and where it lies.

    Attributes
    ----------
    row
        The archived instance it is in.
    frame
        0 when the instance is one image; else which of its frames, from 1.
    position
        (3,) LPS millimetres of the centre of its first pixel (0020,0032).
    cosines
        (2, 3) directions along a row and along a column (0020,0037).
    spacing_mm
        Distance between rows and between columns (0028,0030).
    size
        Rows and Columns.
    attributes
        What the header says of this image, DICOM JSON Model: of a frame, its functional groups before the rest.
    view
        Of a planar image, from which side it was taken (`clinic.views.view_of`). Position and cosines of such an image
        are NaN; its spacing is 1 where it is not known.
    """

    row: InstanceRow
    frame: int
    position: Vector
    cosines: Vector
    spacing_mm: tuple[float, float]
    size: tuple[int, int]
    attributes: Mapping[str, Any]
    view: str = ""

    @property
    def normal(self) -> Vector:
        """Unit vector across the image: the one along a row times the one along a column."""
        across: Vector = np.cross(self.cosines[0], self.cosines[1])
        across /= np.linalg.norm(across)
        return across


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The images of a series as one block.

    Attributes
    ----------
    planes
        The images it is made of, by position along the normal.
    affine
        (4, 4): maps the Volume's index (x, y, z, 1) to LPS millimetres of the voxel's centre.
    shape
        (z, y, x) of the Volume.
    duplicates
        How many exact duplicates were left out.
    straightening
        How the planes become the Volume; None when plane k is the Volume's slice k as it stands.
    warnings
        Codes of what was put right, in the order of `clinic.refusals.CORRECTIONS`.
    planar
        Whether these are planar images (`clinic.planar`): plane k may be smaller than the Volume's slice k, whose
        right and bottom are then black, and nothing lies anywhere in a patient.
    """

    planes: tuple[SourcePlane, ...]
    affine: Vector
    shape: tuple[int, int, int]
    duplicates: int = 0
    straightening: Straightening | None = None
    warnings: tuple[str, ...] = ()
    planar: bool = False

    @property
    def rows(self) -> tuple[InstanceRow, ...]:
        """The instance of each plane, in order; a multi-frame instance once for each of its frames."""
        return tuple(plane.row for plane in self.planes)

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(planes, rows, columns) of the source."""
        return self.shape if self.planar else (len(self.planes), *self.planes[0].size)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of the Volume's voxel centres along (x, y, z)."""
        x, y, z = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return (x, y, z)


def planes_of(row: InstanceRow) -> list[SourcePlane]:
    """The images of an instance, and where each lies: one, or one for every frame.

    Raises
    ------
    NoGeometry
        If position, orientation, pixel spacing or size are absent or impossible.
    MultiFrame, Mosaic
        If there are several images in it that do not say where they lie.
    """
    return [_plane(row, frame, attributes) for frame, attributes in multiframe.images(row)]


def arrange(rows: Sequence[InstanceRow], same_pixels: Callable[[SourcePlane, SourcePlane], bool] | None = None) -> Grid:
    """The images of a series as one block.

    Parameters
    ----------
    rows
        Every instance of one series, in any order; at least one.
    same_pixels
        Says whether two images at one position are the same; one of them is then left out. Without it they count as
        the same unless their headers say otherwise.

    Raises
    ------
    LocaliserMixedIn, NoGeometry, MultiFrame, Mosaic, MixedFrames, MixedSizes, MixedSpacing, MixedOrientations
        If the images do not belong to one block.
    SeveralVolumes, DuplicatePositions
        If different images lie at one position.
    TooFewSlices, GantryTilt, ShiftedSlices, MissingSlices, UnevenSpacing
        If their positions form no block and cannot be straightened into one.
    """
    planes = [plane for row in rows for plane in planes_of(row)]
    used = _without_localisers(planes)
    _check_uniform(used)
    kept = several.single(_by_depth(used), same_pixels or (lambda _one, _other: True))
    if len(kept) < 2:
        raise refusals.TooFewSlices
    warnings = [
        code
        for code, holds in (
            ("localiser-dropped", len(used) < len(planes)),
            ("duplicates-dropped", len(kept) < len(used)),
            ("uids-corrected", any(were_uids_corrected(plane.row.header) for plane in kept)),
        )
        if holds
    ]
    return _block(kept, len(used) - len(kept), warnings)


def distance_mm(planes: Sequence[SourcePlane]) -> float | None:
    """The median distance of neighbouring images along the first one's normal, or None if they coincide."""
    depths = np.sort([float(plane.position @ planes[0].normal) for plane in planes])
    steps = np.diff(depths)
    steps = steps[steps > POSITION_TOLERANCE_MM]
    return float(np.median(steps)) if len(steps) else None


def _plane(row: InstanceRow, frame: int, attributes: Mapping[str, Any]) -> SourcePlane:
    position, cosines = elements.numbers(attributes, "00200032"), elements.numbers(attributes, "00200037")
    spacing = elements.numbers(attributes, "00280030")
    size = (elements.integer(attributes, "00280010"), elements.integer(attributes, "00280011"))
    if len(position) != 3 or len(cosines) != 6 or len(spacing) != 2 or min(size) < 1:
        raise refusals.NoGeometry
    if (
        not SPACING_MM_MIN <= min(spacing) <= max(spacing) <= SPACING_MM_MAX
        or max(map(abs, position)) > POSITION_MM_MAX
    ):
        raise refusals.NoGeometry("the images lie beyond any room, or their pixels have no possible size")
    pairs = ((cosines[:3], cosines[:3], 1.0), (cosines[3:], cosines[3:], 1.0), (cosines[:3], cosines[3:], 0.0))
    if any(abs(sum(a * b for a, b in zip(one, other, strict=True)) - due) > 1e-3 for one, other, due in pairs):
        raise refusals.NoGeometry("the directions of rows and columns are not perpendicular unit vectors")
    if "MOSAIC" in _kinds(attributes):
        raise refusals.Mosaic
    axes = np.array(cosines).reshape(2, 3)
    return SourcePlane(row, frame, np.array(position), axes, (spacing[0], spacing[1]), size, attributes)


def _kinds(attributes: Mapping[str, Any]) -> str:
    """Image Type and Frame Type as one text."""
    return " ".join(str(kind).upper() for tag in ("00080008", "00089007") for kind in elements.values(attributes, tag))


def _without_localisers(planes: Sequence[SourcePlane]) -> list[SourcePlane]:
    """The planes without localisers, if what sets these apart is more than their mark.

    Raises
    ------
    LocaliserMixedIn
        If some are marked as localisers, and lie like the others or are as many as they.
    """
    marked: list[SourcePlane] = []
    others: list[SourcePlane] = []
    for plane in planes:
        (marked if "LOCALIZER" in _kinds(plane.attributes) else others).append(plane)
    if not marked or not others:
        return list(planes)
    apart = all(np.abs(plane.cosines - others[0].cosines).max() > COSINE_TOLERANCE for plane in marked)
    if not apart or len(marked) >= len(others):
        raise refusals.LocaliserMixedIn(count=len(marked))
    return others


def _check_uniform(planes: Sequence[SourcePlane]) -> None:
    first = planes[0]
    frames = {elements.text(plane.attributes, "00200052") for plane in planes}
    if len(frames) > 1:
        raise refusals.MixedFrames(count=len(frames))
    if any(plane.size != first.size for plane in planes):
        raise refusals.MixedSizes
    spacing = np.array([plane.spacing_mm for plane in planes])
    if np.abs(spacing / spacing[0] - 1).max() > SPACING_TOLERANCE:
        raise refusals.MixedSpacing
    cosines = np.array([plane.cosines for plane in planes])
    if np.abs(cosines - cosines[0]).max() > COSINE_TOLERANCE:
        raise refusals.MixedOrientations


def _by_depth(planes: Sequence[SourcePlane]) -> list[list[SourcePlane]]:
    """Images in order along the normal, those at one depth together."""
    positions = np.array([plane.position for plane in planes])
    depths = positions @ planes[0].normal
    order = sorted(range(len(planes)), key=lambda k: (depths[k], planes[k].row.sop_uid, planes[k].frame))
    groups: list[list[int]] = []
    for k in order:
        if groups and depths[k] - depths[groups[-1][0]] <= POSITION_TOLERANCE_MM:
            groups[-1].append(k)
        else:
            groups.append([k])
    for group in groups:
        if len(group) > 1 and np.ptp(positions[group], axis=0).max() > 2 * POSITION_TOLERANCE_MM:
            raise refusals.SeveralVolumes("the images at one depth lie side by side", by="Image Position (Patient)")
    return [[planes[k] for k in group] for group in groups]


def _block(planes: Sequence[SourcePlane], duplicates: int, warnings: list[str]) -> Grid:
    """The planes, in order and each at a place of its own, as they are or straightened."""
    first = planes[0]
    offsets = np.array([plane.position for plane in planes]) - first.position
    depths = offsets @ first.normal
    across = offsets @ first.cosines.T
    uneven_mm = gaps.step_mm(depths, [plane.attributes for plane in planes])
    step = uneven_mm or float(depths[-1]) / (len(planes) - 1)
    lean = float(np.linalg.norm(across[-1])) / float(depths[-1])
    if lean > TILT_MAX:
        raise refusals.GantryTilt(degrees=round(math.degrees(math.atan(lean)), 1))
    astray = across - np.outer(depths / depths[-1], across[-1])
    shifted = float(np.linalg.norm(astray, axis=1).max())
    if shifted > max(gaps.tolerance_mm(step), ASTRAY_PIXELS_MAX * min(first.spacing_mm)):
        raise refusals.ShiftedSlices(shift_mm=round(shifted, 3))
    out_of_line = shifted > gaps.tolerance_mm(step)
    straight = not uneven_mm and not out_of_line and lean <= LEAN_MAX
    put_right = (
        ("tilt-corrected", lean > LEAN_MAX),
        ("spacing-corrected", bool(uneven_mm)),
        ("shift-corrected", out_of_line),
    )
    codes = (*warnings, *(code for code, holds in put_right if holds))
    affine = np.eye(4)
    affine[:3, 0] = first.cosines[0] * first.spacing_mm[1]
    affine[:3, 1] = first.cosines[1] * first.spacing_mm[0]
    affine[:3, 2] = offsets[-1] / (len(planes) - 1) if straight else first.normal * step
    affine[:3, 3] = first.position
    if straight:
        return Grid(tuple(planes), affine, (len(planes), *first.size), duplicates, None, codes)
    pixels = across / (first.spacing_mm[1], first.spacing_mm[0])
    straightening = straighten.plan(np.column_stack((pixels, depths / step)), first.size)
    affine[:3, 3] -= affine[:3, :2] @ straightening.places[0, :2]
    return Grid(tuple(planes), affine, straightening.shape, duplicates, straightening, codes)
