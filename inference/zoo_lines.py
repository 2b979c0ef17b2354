"""One axis on its way from the source to the network's grid, and back: cut, sampled evenly, cut again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.labels import AxisMap

Float64 = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of an axis that crops and pads left over.

    Attributes
    ----------
    low, size
        Its first index, on the axis that it is cut from (negative where padded), and its length.
    first, past
        The half-open stretch of that axis that every cut kept.
    """

    low: int
    size: int
    first: int
    past: int

    @classmethod
    def whole(cls, size: int) -> Window:
        return cls(0, size, 0, size)

    def cut(self, start: int, size: int) -> Window:
        """Its part from index `start`; a negative start, or an end beyond its own, pads."""
        low = self.low + start
        return Window(low, size, max(self.first, low), min(self.past, low + size))

    def flipped(self, length: int) -> Window:
        """The same seen from the other end of an axis of that length."""
        return Window(length - self.low - self.size, self.size, length - self.past, length - self.first)


@dataclass(frozen=True, slots=True)
class Sampling:
    """An even grid over an axis: index j lies at index `there[0] * j + there[1]` of the old one, clamped to its ends.

    Coordinates are rounded in the very steps that PyTorch takes: where voxels lie half-way, or on each other, the last
    bit decides which one is the nearest, and whether what should be zero is.

    Attributes
    ----------
    size
        Of the new grid.
    there, back
        (scale, offset) of new indices on the old axis, and of old indices on the new one; scales are positive.
    nearest
        Whether the nearest voxel is taken, or the two neighbours are interpolated.
    resized
        Whether it is sampled as PyTorch's `interpolate` does (MONAI's Resize), whose nearest voxel is counted from the
        low ends, or as its `grid_sample` does (MONAI's Spacing).
    mirrored
        Whether both grids were turned round since.
    """

    size: int
    there: tuple[float, float]
    back: tuple[float, float]
    nearest: bool = False
    resized: bool = False
    mirrored: bool = False

    def coordinates(self, length: int) -> Float64:
        """Where each new index lies on the old axis, of that length."""
        return self._lies(self.there, self.size, length)

    def picks(self, length: int) -> Whole:
        """The old voxel that each new index takes when the nearest is."""
        return self._picks(self.there, self.size, length)

    def back_coordinates(self, length: int) -> Float64:
        """Where each index of the old axis, of that length, lies on the new grid."""
        lies = self._lies(self.back, length, self.size)
        return self.size - 1.0 - lies[::-1] if self.mirrored else lies

    def back_picks(self, length: int) -> Whole:
        """The new index that each voxel of the old axis takes when the nearest is."""
        picks = self._picks(self.back, length, self.size)
        return self.size - 1 - picks[::-1] if self.mirrored else picks

    def _lies(self, way: tuple[float, float], count: int, length: int) -> Float64:
        scale, offset = way
        lies: Float64
        if self.resized:
            lies = np.clip(np.arange(count) * scale + offset, 0.0, length - 1.0)
            return lies
        narrow, half = 2.0 / length, np.array([[2.0 / count, 1.0 / count - 1.0], [0.0, 1.0]])
        wide, shift = np.linalg.inv(half)[0]
        steps = _minus_one_to_one(count) * (count - 1) / count
        places = steps * (narrow * scale * wide) + (narrow * scale * shift + (narrow * offset + (1.0 / length - 1.0)))
        lies = np.clip(((places + 1.0) * length - 1.0) / 2.0, 0.0, length - 1.0)
        return lies

    def _picks(self, way: tuple[float, float], count: int, length: int) -> Whole:
        if self.resized:
            scale = np.float32(length) / np.float32(count)
            lies: npt.NDArray[Any] = np.minimum(np.floor(np.arange(count, dtype=np.float32) * scale), length - 1)
        else:
            lies = np.rint(self._lies(way, count, length))
        return lies.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Line:
    """One axis from the source to the present grid.

    Attributes
    ----------
    source
        Voxels of the source along it.
    before
        What was cut before it was sampled.
    sampling
        How it was sampled, or None as long as it was not.
    after
        What was cut since; the whole sampled grid at first.
    """

    source: int
    before: Window
    sampling: Sampling | None = None
    after: Window | None = None

    @classmethod
    def whole(cls, size: int) -> Line:
        return cls(size, Window.whole(size))

    @property
    def size(self) -> int:
        """Of the present grid."""
        return (self.after or self.before).size

    def cut(self, start: int, size: int) -> Line:
        if self.after is None:
            return replace(self, before=self.before.cut(start, size))
        return replace(self, after=self.after.cut(start, size))

    def sampled(self, sampling: Sampling) -> Line:
        assert self.sampling is None, "a plan samples once"
        return replace(self, sampling=sampling, after=Window.whole(sampling.size))

    def flipped(self) -> Line:
        before = self.before.flipped(self.source)
        if self.sampling is None or self.after is None:
            return replace(self, before=before)
        return Line(
            self.source,
            before,
            replace(self.sampling, mirrored=not self.sampling.mirrored),
            self.after.flipped(self.sampling.size),
        )

    def back(self, *, interpolate: bool) -> tuple[tuple[int, int], Placed]:
        """How the answer on the present grid comes back to the source, as MONAI's `Invertd` brings it.

        What a crop took away has no answer and is background; what a pad added is dropped. Between the last voxel of a
        crop and the zeros that MONAI puts beyond it, interpolation scales all channels alike: the greatest stays the
        greatest as long as the crop's voxel counts at all.

        Returns
        -------
        (first, past), map
            The half-open stretch of source voxels that have an answer, and where they lie on the present grid: voxel
            `first` is index 0 of the map.
        """
        before, after = self.before, self.after
        steps = np.arange(before.first, before.past)
        if self.sampling is None or after is None:
            return (before.first, before.past), Placed.on(steps - before.low)
        inside = steps - before.low
        if interpolate:
            lies = self.sampling.back_coordinates(before.size)[inside]
            answered = (lies > after.first - 1) & (lies < after.past)
        else:
            lies = self.sampling.back_picks(before.size)[inside].astype(np.float64)
            answered = (lies >= after.first) & (lies < after.past)
        found = steps[answered]
        if not len(found):
            return (0, 0), Placed.on(np.zeros(1))
        kept = np.clip(lies[answered], after.first, after.past - 1.0)
        return (int(found[0]), int(found[-1]) + 1), Placed.on(kept - after.low)


@dataclass(frozen=True, slots=True, eq=False)
class Placed(AxisMap):
    """An `AxisMap` whose coordinates are already known.

    Attributes
    ----------
    lies
        float64: grid coordinate of each voxel.
    """

    lies: Float64 = field(default_factory=lambda: np.zeros(1))

    @classmethod
    def on(cls, lies: npt.NDArray[Any]) -> Placed:
        """Of coordinates."""
        return cls(len(lies), 1.0, float(lies[0]), lies.astype(np.float64))

    def coordinates(self, points: int) -> Float64:
        """Grid coordinate of each voxel, between 0 and `points` - 1."""
        return np.clip(self.lies, 0.0, points - 1.0)


def _minus_one_to_one(count: int) -> Float64:
    """As many numbers from -1 to 1, rounded as PyTorch's `linspace` rounds them: from both ends to the middle."""
    if count == 1:
        return np.array([-1.0])
    step = 2.0 / (count - 1)
    numbers = np.arange(count)
    return np.where(numbers < count // 2, -1.0 + step * numbers, 1.0 - step * (count - 1 - numbers))
