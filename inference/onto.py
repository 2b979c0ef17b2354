"""One image on another's grid: linear interpolation, plane by plane, by numpy alone so that the hub can do it.

It moves nothing: both images must lie in one frame of reference.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from inference.volume import Volume

_SNAP = 1e-3
"""Voxels by which a place may miss a voxel's centre and still count as it: positions are written with few digits."""


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether the voxels of two images lie on each other, to a thousandth of a voxel all over."""
    if one.array.shape != other.array.shape:
        return False
    matrix = np.linalg.solve(one.affine, other.affine)
    off = np.abs(matrix[:3] - np.eye(4)[:3]) @ np.array([*reversed(one.array.shape), 1.0])
    return bool(off.max() <= _SNAP)


def onto(volume: Volume, grid: Volume) -> npt.NDArray[np.float32]:
    """What an image shows at the voxels of another.

    Parameters
    ----------
    volume
        The image.
    grid
        Whose voxels are asked for.

    Returns
    -------
    ndarray
        float32, axes (z, y, x), the shape of `grid`; 0 where the image does not reach.
    """
    if same_grid(volume, grid):
        return volume.array.astype(np.float32)
    matrix = np.linalg.solve(volume.affine, grid.affine)
    planes, rows, columns = grid.array.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    found = np.zeros(grid.array.shape, dtype=np.float32)
    for z in range(planes):
        places = matrix[:3, 0, None, None] * x + matrix[:3, 1, None, None] * y
        places += (matrix[:3, 2] * z + matrix[:3, 3])[:, None, None]
        found[z] = _interpolated(volume.array, places)
    return found


def _interpolated(array: npt.NDArray[np.generic], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Values at places (x, y, z; rows, columns) of an array (z, y, x); half a voxel beyond its border counts as border."""
    sizes = np.array(array.shape[::-1])[:, None, None]
    whole = np.rint(places)
    places = np.where(np.abs(places - whole) <= _SNAP, whole, places)
    inside = ((places >= -0.5) & (places <= sizes - 0.5)).all(axis=0)
    if not inside.any():
        return np.zeros(inside.shape, dtype=np.float32)
    places = np.clip(places, 0.0, sizes - 1.0)
    low = np.minimum(np.floor(places).astype(np.intp), np.maximum(sizes - 2, 0))
    share = (places - low).astype(np.float32)
    total = np.zeros(inside.shape, dtype=np.float32)
    for corner in product((0, 1), repeat=3):
        weight = np.ones(inside.shape, dtype=np.float32)
        for axis, end in enumerate(corner):
            weight *= share[axis] if end else 1.0 - share[axis]
        x, y, z = (np.minimum(low[axis] + end, sizes[axis] - 1) for axis, end in enumerate(corner))
        total += weight * array[z, y, x].astype(np.float32)
    return np.where(inside, total, np.float32(0.0))
