"""Where voxels lie: canonical axes, boxes, and nearest-neighbour sampling without touching the rest of the image.

Canonical axes are those of the neuroimaging world: the index (x, y, z) grows to the patient's right, front and top
(RAS), as closely as whole axes allow. They are views of the stored array; nothing is copied to reorient.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.volume import Volume

Indices = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Axes:
    """How the stored axes (z, y, x) become canonical ones.

    Attributes
    ----------
    order
        Stored axis of each canonical axis (x, y, z).
    flipped
        Whether a canonical axis runs against its stored one.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: npt.NDArray[np.float64]) -> Axes:
        """The closest whole axes to RAS: those whose directions agree best.

        Parameters
        ----------
        affine
            As of a `Volume`: index (x, y, z) to LPS millimetres.
        """
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) * _LPS_TO_RAS[:, None]
        left, _, right = np.linalg.svd(directions)
        straight = left @ right
        best = max(
            itertools.permutations(range(3)),
            key=lambda columns: sum(abs(straight[row, column]) for row, column in enumerate(columns)),
        )
        x, y, z = best
        flips = tuple(bool(straight[row, column] < 0) for row, column in enumerate(best))
        return cls((2 - x, 2 - y, 2 - z), (flips[0], flips[1], flips[2]))

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A stored array (z, y, x) seen along canonical axes (x, y, z): no copy."""
        turned = array.transpose(self.order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def stored(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse: an array along canonical axes seen along the stored ones."""
        straight = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return straight.transpose(np.argsort(self.order))


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels along canonical axes.

    Attributes
    ----------
    low, high
        First voxel, and one past the last, along (x, y, z).
    """

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = (high - low for low, high in zip(self.low, self.high, strict=True))
        return (x, y, z)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        x, y, z = (slice(low, high) for low, high in zip(self.low, self.high, strict=True))
        return (x, y, z)

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Box:
        """Everything."""
        x, y, z = shape
        return cls((0, 0, 0), (x, y, z))


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """A Volume seen along canonical axes.

    Attributes
    ----------
    volume
        What it is a view of.
    axes, array
        How, and the view itself: axes (x, y, z).
    """

    volume: Volume
    axes: Axes
    array: npt.NDArray[Any]

    @classmethod
    def of(cls, volume: Volume) -> Canonical:
        axes = Axes.of(volume.affine)
        return cls(volume, axes, axes.view(volume.array))


def nearest_indices(size_from: int, size_to: int) -> npt.NDArray[np.int64]:
    """Which voxel each of `size_to` evenly spread centres falls into (PyTorch's `nearest-exact`, in float32 as there)."""
    scale = np.float32(size_from) / np.float32(size_to)
    centres = (np.arange(size_to, dtype=np.float32) + np.float32(0.5)) * scale
    indices: npt.NDArray[np.int64] = np.minimum(np.floor(centres).astype(np.int64), size_from - 1)
    return indices


def grid_indices(box: Box, spatial_size: tuple[int, int, int]) -> Indices:
    """The voxels of a box that an even grid of `spatial_size` falls into, along (x, y, z)."""
    x, y, z = (
        nearest_indices(size, wanted) + low for low, size, wanted in zip(box.low, box.shape, spatial_size, strict=True)
    )
    return (x, y, z)


def sample(array: npt.NDArray[Any], indices: Indices, into: npt.NDArray[Any]) -> None:
    """Copy `array[ix, iy, iz]` for every combination of indices, converting to the type of `into`.

    Parameters
    ----------
    array
        Axes (x, y, z), with any strides: a view of a stored array is read in the order that its memory favours.
    indices
        Along x, y and z.
    into
        Axes (x, y, z), C-contiguous, of the lengths of `indices`.
    """
    by_stride = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    middle = by_stride[1]
    rows, columns = (axis for axis in by_stride if axis != middle)
    source = np.moveaxis(array, middle, 0)
    target = np.moveaxis(into, middle, 0)
    swapped = rows > columns
    for position, index in enumerate(indices[middle]):
        plane = source[index].T if swapped else source[index]
        picked = plane[indices[rows]][:, indices[columns]]
        target[position] = picked.T if swapped else picked
