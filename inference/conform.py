"""The cube that networks of the FreeSurfer kind look at: 256 voxels of 1 mm along each axis, eight bits.

What is computed is what brainchop 0.2.5 computes with `niimath -conform`, which follows FastSurfer's `conform.py`: the
brightest 2 % of the voxels that are not zero become 255 (by a histogram of 1,000 steps), values are scaled to that, and
the cube around the image's middle is filled by trilinear interpolation. Its axes are FreeSurfer's: the index (x, y, z)
grows to the patient's left, bottom and front. The middle is that of the image along canonical axes, so it does not
matter how the image is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference.errors import AnatomyAbsent
from inference.geometry import Box, Canonical, ras_affine
from inference.steps import Item, Keyed, Keys

Bytes = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

SIZE = 256
SHARE_BRIGHTEST = 0.02
TOP = 255.0

_STEPS = 1000
_SLAB = 16
_THREADS = 2
_ZERO = 1e-15
_TO_RAS = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Directions of the cube's axes: columns x to the left, y down, z to the front."""


@dataclass(frozen=True, slots=True, eq=False)
class Conformed:
    """An image in the cube.

    Attributes
    ----------
    array
        uint8, axes (x, y, z) that grow to the left, bottom and front; (256, 256, 256).
    to_source
        (4, 4): index in the cube to index along the source's canonical axes.
    source
        What it was made from.
    """

    array: Bytes
    to_source: Matrix
    source: Canonical

    @classmethod
    def of(cls, source: Canonical) -> Conformed:
        """Conform an image.

        Raises
        ------
        AnatomyAbsent
            If the image is the same everywhere, or nearly everywhere.
        """
        to_source = cube_to_source(source)
        return cls(_interpolated(source.array, to_source, scale_of(source.array)), to_source, source)

    def box_of(self, marked: npt.NDArray[np.bool_], margin: int) -> Box:
        """The box in the cube of what is marked along the source's canonical axes, `margin` voxels larger on each side.

        Raises
        ------
        AnatomyAbsent
            If nothing is marked, or it lies outside the cube.
        """
        inverse = np.linalg.inv(self.to_source)
        within = _surface(marked) @ inverse[:3, :3].T + inverse[:3, 3]
        if not len(within):
            raise AnatomyAbsent("nothing is marked")
        low = np.clip(np.floor(within.min(axis=0)).astype(int) - margin, 0, SIZE)
        high = np.clip(np.ceil(within.max(axis=0)).astype(int) + 1 + margin, 0, SIZE)
        if not (low < high).all():
            raise AnatomyAbsent("what is marked lies outside the cube")
        return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))

    def restored(self, labels: Bytes, box: Box) -> Bytes:
        """Labels of a box of the cube at the source's voxels and stored axes: each takes the nearest voxel of the cube.

        Parameters
        ----------
        labels
            Axes (x, y, z) of the cube, of the box's shape; 0 outside it.
        box
            Where in the cube.
        """
        into = np.zeros(self.source.volume.array.shape, np.uint8)
        view = self.source.axes.view(into)
        to_cube = np.linalg.inv(self.to_source).astype(np.float64)
        part = _reached(self.to_source, box, view.shape)
        offset: Matrix = (
            to_cube[:3, :3] @ np.array(part.low, np.float64) + to_cube[:3, 3] - np.array(box.low, np.float64)
        )
        target = view[part.slices]

        def fill(planes: slice) -> None:
            target[planes] = _resampled(labels, to_cube[:3, :3], offset, planes, target.shape, 0)

        _in_slabs(fill, target.shape[0])
        return into


class Conformd(Keyed):
    """Conform an image: a `Canonical` becomes a `Conformed`, under another key.

    Parameters
    ----------
    keys
        Of the `Canonical`.
    into
        Key of the `Conformed`.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, into: str) -> None:
        super().__init__(keys)
        self.into = into

    def __call__(self, data: Item) -> Item:
        return {**data, self.into: Conformed.of(data[self.key])}


def cube_to_source(source: Canonical) -> Matrix:
    """(4, 4): index in the cube to index along the source's canonical axes."""
    stored_to_ras = ras_affine(source.volume)
    canonical_to_ras = stored_to_ras @ _canonical_to_stored(source)
    cube = np.eye(4)
    cube[:3, :3] = _TO_RAS
    middle = canonical_to_ras[:3, :3] @ (np.array(source.array.shape) / 2) + canonical_to_ras[:3, 3]
    cube[:3, 3] = middle - _TO_RAS @ np.full(3, SIZE / 2)
    found: Matrix = np.linalg.inv(canonical_to_ras) @ cube
    return found


def _surface(marked: npt.NDArray[np.bool_]) -> Matrix:
    """Index of the first and the last voxel that is marked on each line along the last axis; (points, 3)."""
    found = []
    for x, plane in enumerate(marked):
        lines = np.flatnonzero(plane.any(axis=1))
        if len(lines):
            kept = plane[lines]
            first, last = kept.argmax(axis=1), kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
            found += [np.stack([np.full(len(lines), x), lines, ends], axis=1) for ends in (first, last)]
    return np.concatenate(found).astype(np.float64) if found else np.empty((0, 3))


def scale_of(array: npt.NDArray[Any]) -> tuple[float, float]:
    """(least, factor): `factor * (value - least)`, cut to 0 to 255, is what the cube holds.

    Raises
    ------
    AnatomyAbsent
        If the image is the same everywhere, or everything but the brightest voxels is.
    """
    low, high, nonzero = np.inf, -np.inf, 0
    for plane in array:
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        nonzero += int(np.count_nonzero(np.abs(plane) >= _ZERO if plane.dtype.kind == "f" else plane))
    if not np.isfinite([low, high]).all() or not low < high:
        raise AnatomyAbsent("the image is the same everywhere")
    width = np.float32((high - low) / _STEPS)
    counts = np.zeros(_STEPS, np.int64)
    for plane in array:
        steps = ((plane.astype(np.float32) - np.float32(low)) / width).astype(np.int64)
        counts += np.bincount(np.minimum(steps, _STEPS - 1).ravel(), minlength=_STEPS)
    wanted = array.size - int(SHARE_BRIGHTEST * nonzero)
    index = min(int(np.searchsorted(np.cumsum(counts)[1:], wanted)), _STEPS - 1)
    if index == 0:
        raise AnatomyAbsent("nearly all of the image is the same")
    return low, TOP / (index * float(width))


def window_of(array: Bytes, lower: float, upper: float) -> tuple[float, float]:
    """Two quantiles of an array of bytes, interpolated as numpy does, from its histogram."""
    counts = np.zeros(256, np.int64)
    for plane in array:
        counts += np.bincount(plane.ravel(), minlength=256)
    until = np.cumsum(counts)

    def at(share: float) -> float:
        rank = share * (array.size - 1)
        low = int(np.searchsorted(until, int(rank), side="right"))
        high = int(np.searchsorted(until, min(int(rank) + 1, array.size - 1), side="right"))
        return low + (high - low) * (rank - int(rank))

    return at(lower), at(upper)


def _canonical_to_stored(source: Canonical) -> Matrix:
    """(4, 4): index along canonical axes to the stored index (x, y, z)."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for axis, (stored, flipped) in enumerate(zip(source.axes.order, source.axes.flipped, strict=True)):
        matrix[2 - stored, axis] = -1.0 if flipped else 1.0
        matrix[2 - stored, 3] = source.array.shape[axis] - 1 if flipped else 0.0
    return matrix


def _interpolated(array: npt.NDArray[Any], to_source: Matrix, scale: tuple[float, float]) -> Bytes:
    """The cube, slab by slab: of the source no more is scaled at a time than a slab needs."""
    cube = np.zeros((SIZE,) * 3, np.uint8)
    least, factor = np.float32(scale[0]), np.float32(scale[1])
    turn, shift = to_source[:3, :3], to_source[:3, 3]

    def fill(planes: slice) -> None:
        slab = Box((planes.start, 0, 0), (planes.stop, SIZE, SIZE))
        part = _reached(to_source, slab, array.shape)
        if min(part.shape) < 2:
            return
        seen = np.ascontiguousarray(array[part.slices], np.float32)
        seen -= least
        seen *= factor
        np.nan_to_num(seen, copy=False, nan=0.0)
        np.clip(seen, 0.0, TOP, out=seen)
        found = _resampled(seen, turn, shift - np.array(part.low), planes, cube.shape, 1)
        cube[planes] = (found + np.float32(0.5)).astype(np.uint8)

    _in_slabs(fill, SIZE)
    return cube


def _resampled(
    array: npt.NDArray[Any], turn: Matrix, offset: Matrix, planes: slice, shape: tuple[int, ...], order: int
) -> npt.NDArray[Any]:
    """Planes of an image of `shape` whose index `i` lies at `turn @ i + offset` of an array; 0 outside it."""
    from scipy import ndimage

    start = offset + turn[:, 0] * planes.start
    wanted = (planes.stop - planes.start, *shape[1:])
    transform: Any = ndimage.affine_transform
    found: npt.NDArray[Any] = transform(array, turn, start, wanted, order=order, mode="constant", prefilter=False)
    return found


def _reached(to_image: Matrix, box: Box, shape: tuple[int, ...]) -> Box:
    """The box of an image of `shape` that a box is seen in, `to_image` mapping the box's index to the image's."""
    corners = np.stack(np.meshgrid(*zip(box.low, box.high, strict=True)), -1).reshape(-1, 3)
    seen = corners @ to_image[:3, :3].T + to_image[:3, 3]
    low = np.clip(np.floor(seen.min(axis=0)).astype(int) - 1, 0, shape)
    high = np.clip(np.ceil(seen.max(axis=0)).astype(int) + 2, 0, shape)
    high = np.maximum(low, high)
    return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def _in_slabs(fill: Callable[[slice], None], length: int) -> None:
    """Call for every slab, some at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(fill, _slabs(length)):
            pass


def _slabs(length: int) -> Iterator[slice]:
    for start in range(0, length, _SLAB):
        yield slice(start, min(start + _SLAB, length))
