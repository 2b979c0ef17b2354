"""Steps of a zoo bundle that change intensities: what MONAI computes, from statistics that are counted slab by slab.

A step is fitted to the image as it is when the step's turn comes; what it gives changes values in place, wherever they
pass next.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.zoo_picture import Picture
from inference.zoo_resample import Float, Pointwise

_HALF = 16
_BINS = 1 << _HALF
_SIGN = np.uint32(1 << 31)


class IntensityStep(ABC):
    """Changes intensities."""

    __slots__ = ()

    def apply(self, picture: Picture) -> None:
        """Change the picture."""
        picture.change(self.fitted(picture))

    @abstractmethod
    def fitted(self, picture: Picture, /) -> Pointwise:
        """What to do with each value, by the image as it is now."""


@dataclass(frozen=True, slots=True)
class ScaleRange(IntensityStep):
    """`ScaleIntensityRanged`: from one range to another.

    Attributes
    ----------
    a_min, a_max
        The range that is scaled.
    b_min, b_max
        The range that it is scaled to; None leaves it at 0 to 1.
    clip
        Whether values beyond the second range are set to its ends.
    """

    a_min: float
    a_max: float
    b_min: float | None
    b_max: float | None
    clip: bool

    def fitted(self, _picture: Picture, /) -> Pointwise:
        return self.act

    def act(self, values: Float) -> None:
        values -= np.float32(self.a_min)
        if self.a_max == self.a_min:
            values += np.float32(self.b_min or 0.0)
            return
        values /= np.float32(self.a_max - self.a_min)
        if self.b_min is not None and self.b_max is not None:
            values *= np.float32(self.b_max - self.b_min)
            values += np.float32(self.b_min)
        if self.clip:
            np.clip(values, self.b_min, self.b_max, out=values)


@dataclass(frozen=True, slots=True)
class ScalePercentiles(IntensityStep):
    """`ScaleIntensityRangePercentilesd`: `ScaleRange` from two percentiles of the image."""

    lower: float
    upper: float
    b_min: float | None
    b_max: float | None
    clip: bool
    relative: bool

    def fitted(self, picture: Picture, /) -> Pointwise:
        low, high = percentiles(picture, (self.lower, self.upper))
        b_min, b_max = self.b_min, self.b_max
        if self.relative and b_min is not None and b_max is not None:
            width, first = b_max - b_min, b_min
            b_min, b_max = width * (self.lower / 100.0) + first, width * (self.upper / 100.0) + first
        return ScaleRange(low, high, b_min, b_max, self.clip).act


@dataclass(frozen=True, slots=True)
class ScaleExtremes(IntensityStep):
    """`ScaleIntensityd`: the least and the greatest value of the image become `minv` and `maxv`.

    Attributes
    ----------
    minv, maxv
        When one of them is None the range is 0 to 1.
    """

    minv: float | None
    maxv: float | None

    def fitted(self, picture: Picture, /) -> Pointwise:
        found = [(float(slab.min()), float(slab.max())) for _, slab in picture.slabs()]
        low, high = min(pair[0] for pair in found), max(pair[1] for pair in found)
        if low == high:
            return Multiply(1.0 if self.minv is None else self.minv).act
        if self.minv is None or self.maxv is None:
            return ScaleRange(low, high, None, None, clip=False).act
        return ScaleRange(low, high, self.minv, self.maxv, clip=False).act


@dataclass(frozen=True, slots=True)
class Multiply(IntensityStep):
    """`ScaleIntensityd` with a factor."""

    by: float

    def fitted(self, _picture: Picture, /) -> Pointwise:
        return self.act

    def act(self, values: Float) -> None:
        values *= np.float32(self.by)


@dataclass(frozen=True, slots=True)
class Normalise(IntensityStep):
    """`NormalizeIntensityd`: less the mean, in standard deviations.

    Attributes
    ----------
    subtrahend, divisor
        Instead of mean and standard deviation.
    nonzero
        Whether zeros are left alone, and not counted.
    """

    subtrahend: float | None
    divisor: float | None
    nonzero: bool

    def fitted(self, picture: Picture, /) -> Pointwise:
        mean, std = self._moments(picture) if None in (self.subtrahend, self.divisor) else (0.0, 1.0)
        subtrahend = mean if self.subtrahend is None else self.subtrahend
        divisor = std if self.divisor is None else self.divisor
        return _Shift(subtrahend, divisor or 1.0, self.nonzero).act

    def _moments(self, picture: Picture) -> tuple[float, float]:
        """Mean and standard deviation of the population, around a first mean so that nothing cancels."""
        count, total = 0, 0.0
        for values in self._counted(picture):
            count += values.size
            total += float(values.sum(dtype=np.float64))
        mean = total / count if count else 0.0
        squares = sum(
            float(np.square(values - np.float32(mean)).sum(dtype=np.float64)) for values in self._counted(picture)
        )
        return mean, math.sqrt(squares / count) if count else 0.0

    def _counted(self, picture: Picture) -> Iterator[Float]:
        for _, slab in picture.slabs():
            yield slab[slab != 0] if self.nonzero else slab


@dataclass(frozen=True, slots=True)
class _Shift:
    subtrahend: float
    divisor: float
    nonzero: bool

    def act(self, values: Float) -> None:
        kept = values == 0 if self.nonzero else None
        values -= np.float32(self.subtrahend)
        values /= np.float32(self.divisor)
        if kept is not None:
            values[kept] = 0.0


@dataclass(frozen=True, slots=True)
class Threshold(IntensityStep):
    """`ThresholdIntensityd`: what is not above (or not below) a threshold becomes `cval`."""

    threshold: float
    above: bool
    cval: float

    def fitted(self, _picture: Picture, /) -> Pointwise:
        return self.act

    def act(self, values: Float) -> None:
        threshold = np.float32(self.threshold)
        kept = values > threshold if self.above else values < threshold
        np.copyto(values, np.float32(self.cval), where=~kept)


def percentiles(picture: Picture, wanted: Sequence[float]) -> list[float]:
    """Percentiles by linear interpolation, exact, without a sorted copy of the image.

    The bits of a float, turned so that they ascend with its value, are counted by their upper half; the bins that hold
    the wanted ranks are then counted by their lower half.
    """
    last = math.prod(picture.shape) - 1
    places = [share / 100.0 * last for share in wanted]
    ranks = sorted({rank for place in places for rank in (math.floor(place), math.ceil(place))})
    coarse = np.zeros(_BINS, dtype=np.int64)
    for _, slab in picture.slabs():
        coarse += np.bincount(_ascending(slab) >> _HALF, minlength=_BINS)
    before = np.concatenate(([0], np.cumsum(coarse)))
    bins = {rank: int(np.searchsorted(before, rank, side="right")) - 1 for rank in ranks}
    fine = {upper: np.zeros(_BINS, dtype=np.int64) for upper in set(bins.values())}
    for _, slab in picture.slabs():
        keys = _ascending(slab)
        for upper in fine:
            fine[upper] += np.bincount(keys[keys >> _HALF == upper] & (_BINS - 1), minlength=_BINS)
    values = {
        rank: _value(
            (upper << _HALF) | int(np.searchsorted(np.cumsum(fine[upper]), rank - before[upper], side="right"))
        )
        for rank, upper in bins.items()
    }
    return [
        values[math.floor(place)] + (values[math.ceil(place)] - values[math.floor(place)]) * (place - math.floor(place))
        for place in places
    ]


def _ascending(slab: Float) -> npt.NDArray[np.uint32]:
    bits = np.ascontiguousarray(slab).view(np.uint32).ravel()
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(key: int) -> float:
    bits = np.uint32(key ^ 0x80000000 if key & 0x80000000 else key ^ 0xFFFFFFFF)
    return float(bits.view(np.float32))
