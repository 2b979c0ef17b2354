"""The image on its way to the network: a view of the source as long as possible, then one float32 array.

Turning and cropping are views. Intensities are changed where the values pass anyway: on planes that are about to be
interpolated, on slabs that are about to be counted, in place once the array is our own. Beside the source there is one
full array, the one that the network sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.geometry import Axes, ras_affine, turn_towards
from inference.volume import Volume
from inference.zoo_lines import Line, Sampling
from inference.zoo_resample import Float, Pointwise, resample, slowest

Lines = tuple[Line, Line, Line]
Part = tuple[slice, slice, slice]

_SLAB_VOXELS = 1 << 20


class Picture:
    """A Volume on its way to the network.

    Attributes
    ----------
    axes
        How the source's stored axes are seen.
    lines
        What became of each axis so far.
    affine
        (4, 4) float64: index of the present grid to RAS millimetres.
    """

    def __init__(self, volume: Volume) -> None:
        self.axes = Axes.plain()
        self.affine = ras_affine(volume)
        self._array: npt.NDArray[Any] = self.axes.view(volume.array)
        self.lines: Lines = _lines([Line.whole(size) for size in self._array.shape])
        self._owned = False
        self._pending: list[Pointwise] = [_finite] if volume.array.dtype == np.float32 else []

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the present grid, (x, y, z)."""
        x, y, z = self._array.shape
        return (x, y, z)

    def turn(self, axcodes: str) -> None:
        """See it along the axes closest to those named; no copy."""
        order, flipped = turn_towards(self.affine, axcodes)
        self.axes = self.axes.turned(order, flipped)
        ends = tuple(slice(None, None, -1 if flip else 1) for flip in flipped)
        self._array = self._array.transpose(order)[ends]
        turned = [self.lines[old] for old in order]
        self.lines = _lines([line.flipped() if flip else line for line, flip in zip(turned, flipped, strict=True)])
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1.0
        for new, (old, flip) in enumerate(zip(order, flipped, strict=True)):
            to_old[old, new] = -1.0 if flip else 1.0
            to_old[old, 3] = self._array.shape[new] - 1.0 if flip else 0.0
        self.affine = self.affine @ to_old

    def sample(self, samplings: Sequence[Sampling], affine: npt.NDArray[np.float64]) -> None:
        """Sample it on an even grid of that affine: from here on the array is our own."""
        self._array = resample(self._array, samplings, self._pending)
        self._owned, self._pending = True, []
        self.lines = _lines([line.sampled(way) for line, way in zip(self.lines, samplings, strict=True)])
        self.affine = affine

    def cut(self, starts: Sequence[int], sizes: Sequence[int], value: float | None = 0.0) -> None:
        """Crop, and pad where the part begins before or ends beyond the array.

        Parameters
        ----------
        starts, sizes
            Along (x, y, z).
        value
            Of the padding; None for that of the nearest voxel.
        """
        shape = self._array.shape
        inner = tuple(
            slice(max(low, 0), min(low + size, length)) for low, size, length in zip(starts, sizes, shape, strict=True)
        )
        pads = [
            (max(-low, 0), max(low + size - length, 0)) for low, size, length in zip(starts, sizes, shape, strict=True)
        ]
        self._array = self._array[inner]
        if any(width for pair in pads for width in pair):
            self._pad(pads, value)
        self.lines = _lines([line.cut(*cut) for line, *cut in zip(self.lines, starts, sizes, strict=True)])
        shift = np.eye(4)
        shift[:3, 3] = starts
        self.affine = self.affine @ shift

    def _pad(self, pads: Sequence[tuple[int, int]], value: float | None) -> None:
        """Padding is added to values as they are now, so what is pending is done first."""
        shape = [size + low + high for size, (low, high) in zip(self._array.shape, pads, strict=True)]
        inner = tuple(slice(low, low + size) for size, (low, _) in zip(self._array.shape, pads, strict=True))
        padded = np.full(shape, value or 0.0, dtype=np.float32)
        padded[inner] = self.finished() if self._pending else self._array
        if value is None:
            for axis, (low, high) in enumerate(pads):
                ends = np.moveaxis(padded, axis, 0)
                ends[:low] = ends[low]
                ends[len(ends) - high :] = ends[len(ends) - high - 1]
        self._array, self._owned = padded, True

    def change(self, pointwise: Pointwise) -> None:
        """Have every value changed in place, when it passes next."""
        self._pending.append(pointwise)

    def slabs(self) -> Iterator[tuple[Part, Float]]:
        """All values as they are now, float32, a few planes at a time, and where they lie; not to be changed."""
        if self._owned:
            self._settle()
        for part in self._parts():
            slab = self._array[part]
            if not self._owned:
                slab = np.array(slab, dtype=np.float32)
                for act in self._pending:
                    act(slab)
            yield part, slab

    def finished(self) -> Float:
        """All of it as one float32 array of our own, C-contiguous, axes (x, y, z)."""
        if not (self._owned and self._array.flags.c_contiguous):
            whole = np.empty(self._array.shape, dtype=np.float32)
            for part, slab in self.slabs():
                whole[part] = slab
            self._array, self._owned, self._pending = whole, True, []
        self._settle()
        return self._array

    def _settle(self) -> None:
        """Do what is pending on an array of our own."""
        for part in self._parts() if self._pending else ():
            for act in self._pending:
                act(self._array[part])
        self._pending = []

    def _parts(self) -> list[Part]:
        slow = slowest(self._array)
        length = self._array.shape[slow]
        step = max(1, _SLAB_VOXELS * length // max(1, self._array.size))
        whole = (slice(None), slice(None), slice(None))
        cuts = [slice(start, min(start + step, length)) for start in range(0, length, step)]
        return [_part([cut if axis == slow else whole[axis] for axis in range(3)]) for cut in cuts]

    def foreground(self) -> tuple[tuple[int, int], ...] | None:
        """The half-open box of what lies above zero, along (x, y, z); None when nothing does."""
        found = [np.zeros(size, dtype=np.bool_) for size in self.shape]
        for part, slab in self.slabs():
            above = slab > 0
            for axis, line in enumerate(found):
                line[part[axis]] |= above.any(axis=tuple(other for other in range(3) if other != axis))
        if not found[0].any():
            return None
        ends = [np.flatnonzero(line) for line in found]
        return tuple((int(line[0]), int(line[-1]) + 1) for line in ends)


def _finite(values: Float) -> None:
    """What is not finite counts as nothing."""
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)


def _lines(lines: Sequence[Line]) -> Lines:
    x, y, z = lines
    return (x, y, z)


def _part(cuts: Sequence[slice]) -> Part:
    x, y, z = cuts
    return (x, y, z)
