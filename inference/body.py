"""The body on a CT image, without table, mattress and arms that lie apart; and the image as a stack of axial planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.components import keep_largest
from inference.errors import AnatomyAbsent
from inference.geometry import Axes
from inference.morphology import Mask, dilate, erode, fill_planes
from inference.volume import Volume

_HU_LOW, _HU_HIGH = -1024, 3071
_ROUNDS_MAX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A Volume as axial planes, a view: nothing is copied, and no axis is turned round.

    Attributes
    ----------
    volume
        What it is a view of.
    axes
        How its stored axes lie in the patient.
    array
        Axes (z, y, x): along the axes closest to the patient's feet-head, back-front and side to side, in whichever
        direction they are stored.
    spacing_mm
        Along (z, y, x).
    """

    volume: Volume
    axes: Axes
    array: npt.NDArray[Any]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume) -> Stack:
        axes = Axes.of(volume.affine)
        x, y, z = axes.order
        stored_mm = volume.spacing_mm[::-1]
        return cls(volume, axes, volume.array.transpose(z, y, x), (stored_mm[z], stored_mm[y], stored_mm[x]))

    @property
    def left_first(self) -> bool:
        """Whether the patient's left lies at low x: by the affine, never by custom."""
        return not self.axes.flipped[0]

    @property
    def top_first(self) -> bool:
        """Whether the patient's head lies at low z."""
        return self.axes.flipped[2]

    def stored(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array of this stack along the Volume's stored axes, C-contiguous."""
        x, y, z = self.axes.order
        return np.ascontiguousarray(array.transpose(np.argsort((z, y, x))))

    def radii(self, radius_mm: float) -> tuple[int, int, int]:
        """Whole voxels within a radius, along (z, y, x)."""
        z, y, x = (int(radius_mm / step + 1e-6) for step in self.spacing_mm)
        return (z, y, x)


def optimal_threshold(array: npt.NDArray[Any], start: float = -500.0) -> float:
    """The threshold that lies midway between the means of what it parts (Hu, Hoffman and Reinhardt 2001, section II-A).

    Parameters
    ----------
    array
        HU; what lies beyond the range of twelve bits counts at its end, so that padding outside the field of view is air.
    start
        HU of the first threshold.

    Returns
    -------
    float
        HU.
    """
    counts = histogram(array)
    levels = np.arange(_HU_LOW, _HU_HIGH + 1, dtype=np.float64)
    threshold = start
    for _ in range(_ROUNDS_MAX):
        below = levels < threshold
        parts = [(counts[side] @ levels[side], counts[side].sum()) for side in (below, ~below)]
        if not all(count for _, count in parts):
            return start
        moved = sum(float(total / count) for total, count in parts) / 2
        if abs(moved - threshold) < 0.5:
            return moved
        threshold = moved
    return threshold


def histogram(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Voxels of each whole HU from -1024 to 3071, what lies beyond at the ends; plane by plane."""
    counts = np.zeros(_HU_HIGH - _HU_LOW + 1, dtype=np.int64)
    for plane in array:
        levels = np.clip(np.rint(plane) if plane.dtype.kind == "f" else plane, _HU_LOW, _HU_HIGH)
        counts += np.bincount(levels.astype(np.int64).ravel() - _HU_LOW, minlength=len(counts))
    return counts


def body_of(stack: Stack, threshold: float, neck_mm: float, every_mm: float = 1.4) -> Mask:
    """What belongs to the body, with all that it encloses in each axial plane.

    What is denser than the threshold is thinned by `neck_mm` within its planes; the largest component that is left is
    grown back, twice as far, within what is denser. So a table's thin shell and an arm that lies against the trunk by less
    than that are left out, and the skin is not.

    Parameters
    ----------
    stack
        HU.
    threshold
        HU that parts air from tissue.
    neck_mm
        Half the width of the widest neck that is cut.
    every_mm
        Distance of the voxels that the thinning looks at, at most: the rest of a fine image only costs time.

    Returns
    -------
    array
        bool, axes of the stack.

    Raises
    ------
    AnatomyAbsent
        If nothing is that dense, or nothing that is has any thickness.
    """
    dense = stack.array >= threshold
    _, y_step, x_step = (max(1, int(every_mm / step)) for step in stack.spacing_mm)
    _, y, x = stack.radii(neck_mm)
    radii = (0, max(1, y // y_step), max(1, x // x_step))
    core = erode(np.ascontiguousarray(dense[:, ::y_step, ::x_step]), radii)
    if keep_largest(core) == 0:
        raise AnatomyAbsent("nothing on the image has the density and the thickness of a body")
    grown = dilate(core, (0, 2 * radii[1], 2 * radii[2]))
    body: Mask = dense
    for offset_y in range(y_step):
        for offset_x in range(x_step):
            part = body[:, offset_y::y_step, offset_x::x_step]
            np.logical_and(part, grown[:, : part.shape[1], : part.shape[2]], out=part)
    body = np.ascontiguousarray(body)
    fill_planes(body)
    return body
