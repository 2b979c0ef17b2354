"""From planes that lean or lie at uneven distances to a rectangular block, and back.

A gantry that is tilted moves each plane along its own rows and columns; a protocol that changes its slice thickness
half way leaves planes at uneven distances. Both become a block with perpendicular axes: every plane is moved in plane,
then planes are interpolated along the normal. What is found in the block goes back to the planes as they were
acquired: there, no voxel moves by more than half a step of the block.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Stack = npt.NDArray[Any]

_WEIGHT_MIN = 1e-4
"""Of a step of the block: what is nearer is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Straightening:
    """How the planes of a source lie in the block that was made of them.

    Attributes
    ----------
    places
        (planes, 3): the index (x, y, z) in the block, with fractions, of each plane's first pixel.
    stack_shape
        (planes, rows, columns) of the source.
    shape
        (z, y, x) of the block.
    """

    places: Vector
    stack_shape: tuple[int, int, int]
    shape: tuple[int, int, int]

    def plane(self, array: Stack, k: int) -> Stack:
        """Source plane k of an array in the block's geometry: of every pixel the nearest voxel. A view."""
        x, y, z = self._corner(k)
        _, rows, columns = self.stack_shape
        return array[z, y : y + rows, x : x + columns]

    def block(self, stack: Stack) -> Stack:
        """An array of planes (planes, rows, columns) in the block's geometry: of every voxel the nearest plane."""
        found = np.zeros(self.shape, stack.dtype)
        _, rows, columns = self.stack_shape
        nearest = np.abs(self.places[:, 2] - np.arange(self.shape[0])[:, None]).argmin(axis=1)
        for z, k in enumerate(nearest):
            x, y, _ = self._corner(int(k))
            found[z, y : y + rows, x : x + columns] = stack[k]
        return found

    def straightened(self, stack: Stack, padding: float, threads: int = 1) -> Stack:
        """Pixel values of the planes (planes, rows, columns) in the block: linear interpolation, `padding` around."""
        found = np.empty(self.shape, stack.dtype)

        def fill(z: int) -> None:
            parts = [(weight, self._moved(stack[k], k, padding)) for k, weight in self.weights(z)]
            moved = sum((np.float32(weight) * plane for weight, plane in parts[1:]), parts[0][0] * parts[0][1])
            found[z] = np.rint(moved) if stack.dtype.kind in "iu" else moved

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(self.shape[0])))
        return found

    def weights(self, z: int) -> list[tuple[int, float]]:
        """Which planes slice z of the block is made of, and by how much of each."""
        depths = self.places[:, 2]
        at = float(np.clip(z, depths[0], depths[-1]))
        above = int(np.clip(np.searchsorted(depths, at, side="right"), 1, len(depths) - 1))
        share = float((at - depths[above - 1]) / (depths[above] - depths[above - 1]))
        return [(k, weight) for k, weight in ((above - 1, 1.0 - share), (above, share)) if weight > _WEIGHT_MIN]

    def _moved(self, plane: Stack, k: int, padding: float) -> npt.NDArray[np.float32]:
        """One plane where it lies in the block, by parts of a pixel."""
        x, y, _ = self.places[k]
        values = plane.astype(np.float32)
        moved = np.full(self.shape[1:], padding, np.float32)
        for axis, place in ((0, y), (1, x)):
            part = place - math.floor(place)
            if part > _WEIGHT_MIN:
                wide = np.pad(values, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], constant_values=padding)
                near, far = (wide[1:], wide[:-1]) if axis == 0 else (wide[:, 1:], wide[:, :-1])
                values = (1 - part) * near + part * far
        rows, columns = values.shape
        top, left = math.floor(y), math.floor(x)
        moved[top : top + rows, left : left + columns] = values
        return moved

    def _corner(self, k: int) -> tuple[int, int, int]:
        x, y, z = np.rint(self.places[k]).astype(int).tolist()
        return x, y, z


def plan(places: Vector, size: tuple[int, int]) -> Straightening:
    """The block that holds every plane.

    Parameters
    ----------
    places
        (planes, 3): each plane's first pixel (x, y, z) in steps of the block, from the first plane's; z ascending
        from 0.
    size
        Rows and Columns of each plane.
    """
    tidy = np.where(np.abs(places - np.rint(places)) < _WEIGHT_MIN, np.rint(places), places)
    tidy[:, :2] -= np.floor(tidy[:, :2].min(axis=0))
    columns, rows = (math.ceil(float(most)) for most in tidy[:, :2].max(axis=0))
    shape = (round(float(tidy[-1, 2])) + 1, size[0] + rows, size[1] + columns)
    return Straightening(tidy, (len(places), *size), shape)
