"""Steps of a zoo bundle that change the grid: what MONAI computes, from the affine and the size of the image.

Each step knows its transform's rules for sizes; the picture does the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inference.errors import UnsupportedVolume
from inference.zoo_lines import Sampling
from inference.zoo_picture import Picture

Affine = npt.NDArray[np.float64]
Three = tuple[int, int, int]

_TOLERANCE = 1e-3
_SKEW_VOXELS_MAX = 0.25
_GRID_VOXELS_MAX = 1 << 30


class SpatialStep(Protocol):
    """Changes the grid."""

    def apply(self, picture: Picture) -> None:
        """Change the picture. Raises `UnsupportedVolume` when the image does not allow it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """`Orientationd`: along the axes closest to those that three letters name."""

    axcodes: str

    def apply(self, picture: Picture) -> None:
        picture.turn(self.axcodes)


@dataclass(frozen=True, slots=True)
class Space:
    """`Spacingd`: to another distance of voxels.

    Attributes
    ----------
    pixdim
        Millimetres along the axes of the grid; what is not above zero (or NaN) keeps the image's own.
    nearest
        Whether the nearest voxel is taken instead of interpolating.
    least, most
        Own distances between these are kept.
    """

    pixdim: tuple[float, float, float]
    nearest: bool = False
    least: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    most: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    def apply(self, picture: Picture) -> None:
        affine, shape = self.grid(picture.affine, picture.shape)
        to_old = np.linalg.solve(picture.affine, affine)
        same = shape == picture.shape and (
            np.allclose(picture.affine, affine, atol=_TOLERANCE) or np.allclose(to_old, np.eye(4), atol=_TOLERANCE)
        )
        if same:
            return
        skew = np.abs(to_old[:3, :3] - np.diag(np.diag(to_old[:3, :3]))) @ np.array(shape)
        if skew.max() > _SKEW_VOXELS_MAX:
            raise UnsupportedVolume("the axes of the image are not at right angles")
        check_grid(shape)
        placed = picture.affine @ to_old
        to_new = np.linalg.solve(placed, picture.affine)
        samplings = [
            Sampling(size, _way(to_old, axis), _way(to_new, axis), self.nearest) for axis, size in enumerate(shape)
        ]
        picture.sample(samplings, placed)

    def grid(self, affine: Affine, shape: Three) -> tuple[Affine, Three]:
        """The affine and size of the new grid, as MONAI places it: first voxel on first voxel where axes agree."""
        own = np.linalg.norm(affine[:3, :3], axis=0)
        wanted = [
            step if _between(step, target, least, most) or not target > 0 else target
            for step, target, least, most in zip(own, self.pixdim, self.least, self.most, strict=True)
        ]
        upper = np.linalg.cholesky(affine[:3, :3].T @ affine[:3, :3]).T
        placed = np.eye(4)
        placed[:3, :3] = affine[:3, :3] @ np.linalg.inv(upper) @ np.diag(wanted)
        corners = np.array(
            [[x, y, z, 1.0] for x in _ends(shape[0]) for y in _ends(shape[1]) for z in _ends(shape[2])]
        ).T
        seen = (np.linalg.solve(placed, affine) @ corners)[:3]
        size = np.round(np.ptp(seen, axis=1) + 1.0).astype(int)
        least = [column for column in range(8) if np.allclose(np.min(seen - seen[:, column : column + 1], axis=1), 0.0)]
        if least:
            placed[:3, 3] = (affine @ corners)[:3, least[0]]
        else:
            middle = affine[:3, :3] @ (np.array(shape) / 2.0) + affine[:3, 3]
            placed[:3, 3] = middle - placed[:3, :3] @ (size / 2.0)
        return placed, _three(size)


@dataclass(frozen=True, slots=True)
class Resize:
    """`Resized`: to a number of voxels.

    Attributes
    ----------
    size
        Along the axes of the grid; what is not above zero keeps the image's own.
    nearest
        PyTorch's `nearest`, which counts from the low ends; interpolation otherwise.
    align_corners
        Whether first and last voxels lie on each other, instead of the ends of the image.
    """

    size: Three
    nearest: bool = False
    align_corners: bool = False

    def apply(self, picture: Picture) -> None:
        shape = _three([new if new > 0 else old for new, old in zip(self.size, picture.shape, strict=True)])
        if shape == picture.shape:
            return
        check_grid(shape)
        scales = [
            max(old - 1, 1) / max(new - 1, 1) if self.align_corners else old / new
            for old, new in zip(picture.shape, shape, strict=True)
        ]
        offsets = [0.0 if self.align_corners else 0.5 * scale - 0.5 for scale in scales]
        samplings = [
            Sampling(size, (scale, offset), (1.0 / scale, -offset / scale), self.nearest, resized=True)
            for size, scale, offset in zip(shape, scales, offsets, strict=True)
        ]
        picture.sample(samplings, picture.affine @ _scaled(scales, offsets))


@dataclass(frozen=True, slots=True)
class CropForeground:
    """`CropForegroundd`: to the box of what lies above zero.

    Attributes
    ----------
    margin
        Voxels on each side.
    inside
        Whether the margin stays inside the image, instead of being padded with zeros.
    divisible
        The size grows to a multiple.
    """

    margin: Three
    inside: bool
    divisible: Three

    def apply(self, picture: Picture) -> None:
        box = picture.foreground()
        if box is None:
            raise UnsupportedVolume("nothing in the image lies above zero")
        starts, sizes = [], []
        for (low, high), margin, step, size in zip(box, self.margin, self.divisible, picture.shape, strict=True):
            first, past = low - margin, high + margin
            if self.inside:
                first, past = max(first, 0), min(past, size)
            length = math.ceil((past - first) / step) * step if step > 0 else past - first
            starts.append(first - (length - (past - first)) // 2)
            sizes.append(length)
        check_grid(sizes)
        picture.cut(starts, sizes)


@dataclass(frozen=True, slots=True)
class CropCentre:
    """`CenterSpatialCropd`: to a size about the centre, where the image is larger."""

    size: Three

    def apply(self, picture: Picture) -> None:
        starts, sizes = [], []
        for wanted, size in zip(self.size, picture.shape, strict=True):
            length = wanted if wanted > 0 else size
            start = max(size // 2 - length // 2, 0)
            starts.append(start)
            sizes.append(min(start + length, size) - start)
        picture.cut(starts, sizes)


@dataclass(frozen=True, slots=True)
class Pad:
    """`SpatialPadd`, `DivisiblePadd` and `BorderPadd`.

    Attributes
    ----------
    size
        Least size; what is not above zero asks for nothing.
    divisible
        The size grows to a multiple; what is not above zero asks for nothing.
    border
        Added to each side in any case.
    end
        Whether all of it is added behind, instead of half of it before.
    value
        Of the padding; None repeats the outermost voxels.
    """

    size: Three = (0, 0, 0)
    divisible: Three = (0, 0, 0)
    border: Three = (0, 0, 0)
    end: bool = False
    value: float | None = 0.0

    def apply(self, picture: Picture) -> None:
        starts, sizes = [], []
        for least, step, border, size in zip(self.size, self.divisible, self.border, picture.shape, strict=True):
            length = max(least, size)
            length = math.ceil(length / step) * step if step > 0 else length
            starts.append(-border - (0 if self.end else (length - size) // 2))
            sizes.append(length + 2 * border)
        check_grid(sizes)
        if tuple(sizes) != picture.shape:
            picture.cut(starts, sizes, self.value)


def check_grid(shape: Sequence[int]) -> None:
    """Raise `UnsupportedVolume` when a grid is larger than a node shall hold."""
    if math.prod(shape) > _GRID_VOXELS_MAX:
        raise UnsupportedVolume("the image has too many voxels on the network's grid", voxels_max=_GRID_VOXELS_MAX)


def _between(step: float, target: float, least: float, most: float) -> bool:
    low = target if math.isnan(least) else min(least, target)
    high = target if math.isnan(most) else max(most, target)
    return low - _TOLERANCE <= step <= high + _TOLERANCE


def _ends(size: int) -> tuple[float, float]:
    return (0.0, size - 1.0)


def _way(matrix: npt.NDArray[Any], axis: int) -> tuple[float, float]:
    return float(matrix[axis, axis]), float(matrix[axis, 3])


def _scaled(scales: Sequence[float], offsets: Sequence[float]) -> Affine:
    scaled = np.diag([*scales, 1.0])
    scaled[:3, 3] = offsets
    return scaled


def _three(values: Sequence[int] | npt.NDArray[np.int64]) -> Three:
    x, y, z = (int(value) for value in values)
    return (x, y, z)
