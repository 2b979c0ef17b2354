"""Phantoms of a trunk whose answers are known: ellipsoids in patient coordinates, each of a Hounsfield unit.

What is painted is decided at voxel centres, so the truth of every voxel is known exactly, whatever the affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.volume import Volume

AIR, FAT, MUSCLE, LUNG, BONE = -1000, -100, 50, -850, 700
LEFT_CENTRE, RIGHT_CENTRE = (80.0, 0.0, 0.0), (-80.0, 0.0, 0.0)
LUNG_AXES = (55.0, 80.0, 110.0)


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and half axes in LPS millimetres, and its HU; infinite half axes make a cylinder."""

    centre: Sequence[float]
    half_axes: Sequence[float]
    hu: int

    def at(self, centres: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
        """Which voxel centres, given as x, y and z, lie inside."""
        terms = [
            ((along - middle) / half) ** 2
            for along, middle, half in zip(centres, self.centre, self.half_axes, strict=True)
            if np.isfinite(half)
        ]
        inside: npt.NDArray[np.bool_] = sum(terms) <= 1.0
        return inside


BODY = (
    Ellipsoid((0, 0, 0), (180, 130, np.inf), FAT),
    Ellipsoid((0, 0, 0), (165, 115, np.inf), MUSCLE),
    Ellipsoid((0, 95, 0), (22, 15, np.inf), BONE),
)
LUNGS = (Ellipsoid(LEFT_CENTRE, LUNG_AXES, LUNG), Ellipsoid(RIGHT_CENTRE, LUNG_AXES, LUNG))
TABLE = (Ellipsoid((0, 190, 0), (220, 30, np.inf), -60), Ellipsoid((0, 190, 0), (210, 24, np.inf), -940))
ARMS = (Ellipsoid((215, 20, 0), (28, 32, np.inf), MUSCLE), Ellipsoid((-215, 20, 0), (28, 32, np.inf), MUSCLE))
TRACHEA = (Ellipsoid((0, 10, 110), (9, 10, 85), -1000),)


@dataclass(frozen=True)
class Phantom:
    """A Volume, and the truth of each of its voxels (the number of the ellipsoid painted last; 0 is air)."""

    volume: Volume
    truth: npt.NDArray[np.int16]
    parts: tuple[Ellipsoid, ...] = field(repr=False)

    def where(self, *parts: Ellipsoid) -> npt.NDArray[np.bool_]:
        """The voxels of those ellipsoids that no later one hides."""
        mask: npt.NDArray[np.bool_] = np.isin(self.truth, [self.parts.index(part) + 1 for part in parts])
        return mask


def affine_of(
    shape: Sequence[int], spacing_mm: Sequence[float], turn: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Index (x, y, z) to LPS, with the middle of the image at the origin; `turn` (3, 3) turns it."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def turned_by(degrees: float, axis: int) -> npt.NDArray[np.float64]:
    """A rotation (3, 3) about an axis of the patient."""
    angle = np.deg2rad(degrees)
    one, other = [item for item in range(3) if item != axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = np.cos(angle)
    turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
    return turn


def phantom(
    parts: Sequence[Ellipsoid],
    shape: Sequence[int] = (90, 100, 132),
    spacing_mm: Sequence[float] = (4.0, 4.0, 4.0),
    affine: npt.NDArray[np.float64] | None = None,
    dtype: str = "int16",
) -> Phantom:
    """Paint the parts in order.

    Parameters
    ----------
    shape
        (z, y, x).
    spacing_mm
        Along (x, y, z), when there is no affine.
    """
    placed = affine_of(shape, spacing_mm) if affine is None else affine
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    centres = [
        sum(step * axis for step, axis in zip(row, (x, y, z), strict=False) if step) + row[3] for row in placed[:3]
    ]
    truth = np.zeros(shape, dtype=np.int16)
    array = np.full(shape, AIR, dtype=dtype)
    for number, part in enumerate(parts, start=1):
        inside = part.at(centres)
        np.copyto(truth, number, where=inside)
        np.copyto(array, part.hu, where=inside)
    return Phantom(Volume(array, placed, "HU"), truth, tuple(parts))


def graded(made: Phantom, where: npt.NDArray[np.bool_]) -> Phantom:
    """The same with a known mixture of densities in a mask: -990, -987, ... -693 in turn, each as often as the others."""
    array = made.volume.array.copy()
    array[where] = -990 + 3 * (np.arange(np.count_nonzero(where)) % 100)
    return Phantom(Volume(array, made.volume.affine, "HU"), made.truth, made.parts)


def stored_as(volume: Volume, order: Sequence[int], flips: Sequence[bool]) -> Volume:
    """The same image stored along other axes: new axis n is old axis `order[n]`, reversed where `flips[n]`."""
    array = volume.array.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, old in enumerate(order):
        to_old[2 - old, 2 - new] = -1 if flips[new] else 1
        to_old[2 - old, 3] = array.shape[new] - 1 if flips[new] else 0
    return Volume(np.ascontiguousarray(array), volume.affine @ to_old, volume.unit)
