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
_LETTERS = {"L": (0, False), "R": (0, True), "P": (1, False), "A": (1, True), "I": (2, False), "S": (2, True)}


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

    @classmethod
    def plain(cls) -> Axes:
        """The stored axes themselves, as (x, y, z)."""
        return cls((2, 1, 0), (False, False, False))

    def turned(self, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> Axes:
        """These axes seen along others.

        Parameters
        ----------
        order
            For each new axis, which of these it is.
        flipped
            Whether the new axis runs against it.
        """
        x, y, z = order
        ends = [self.flipped[old] != flip for old, flip in zip(order, flipped, strict=True)]
        return Axes((self.order[x], self.order[y], self.order[z]), (ends[0], ends[1], ends[2]))

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


def ras_affine(volume: Volume) -> npt.NDArray[np.float64]:
    """(4, 4): maps the index (x, y, z, 1) to RAS millimetres, as the neuroimaging world has it."""
    affine = volume.affine.copy()
    affine[:3] *= _LPS_TO_RAS[:, None]
    return affine


def turn_towards(affine: npt.NDArray[np.float64], axcodes: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to see an image along the axes closest to those that three letters name, as nibabel decides it.

    The axes of the image are taken from the strongest to the weakest; each gets the patient's axis that it changes most
    among those that are left.

    Parameters
    ----------
    affine
        (4, 4), index to RAS millimetres.
    axcodes
        Where the index grows to: `RAS` for right, front and top.

    Returns
    -------
    order, flipped
        For each new axis, which old one it is, and whether it runs against it.

    Raises
    ------
    ValueError
        If the letters do not name three axes.
    """
    wanted = [_LETTERS.get(letter, (3, False)) for letter in axcodes]
    if sorted(axis for axis, _ in wanted) != [0, 1, 2]:
        raise ValueError("the axes are not named by one letter of each pair of LR, PA and IS")
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    straight = left @ right
    found = {}
    for column in np.argsort(np.min(-(straight**2), axis=0), kind="stable"):
        row = int(np.argmax(np.abs(straight[:, column])))
        found[row] = (int(column), bool(straight[row, column] > 0))
        straight[row] = 0.0
    x, y, z = (found[axis][0] for axis, _ in wanted)
    flips = [found[axis][1] != grows for axis, grows in wanted]
    return (x, y, z), (flips[0], flips[1], flips[2])


def nearest_indices(size_from: int, size_to: int) -> npt.NDArray[np.int64]:
    """Which voxel each of `size_to` evenly spread centres falls into: PyTorch's `nearest-exact`, rounded as there.

    PyTorch computes in float32 with one rounding for `scale * centre - 0.5`: where a centre falls between two voxels,
    that decides.
    """
    scale = np.float64(np.float32(size_from) / np.float32(size_to))
    starts = ((np.arange(size_to) + 0.5) * scale - 0.5).astype(np.float32)
    indices: npt.NDArray[np.int64] = np.minimum(np.floor(starts + np.float32(0.5)).astype(np.int64), size_from - 1)
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
