"""Even resampling of a stored array, axis by axis, in the order that its memory favours and a few planes at a time.

What is computed is what PyTorch's `grid_sample` computes for a grid along the axes, and MONAI's Spacing and Resize with
it: linear interpolation of neighbours or the nearest voxel, with coordinates clamped to the ends of the array, in float64 as MONAI does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from inference.zoo_lines import Sampling

Float = npt.NDArray[np.float32]
Pointwise = Callable[[Float], None]

_PLANES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Which voxels each index of a sampled axis takes: `(1 - weight) * low + weight * high`.

    Attributes
    ----------
    low, high
        int64, along the new axis.
    weight
        float64, of `high`.
    """

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sampling: Sampling, length: int) -> Taps:
        """Of an axis of that length."""
        if sampling.nearest:
            picks = sampling.picks(length)
            return cls(picks, picks, np.zeros(len(picks)))
        lies = sampling.coordinates(length)
        low = np.floor(lies).astype(np.int64)
        return cls(low, np.minimum(low + 1, length - 1), lies - low)

    def matrix(self, length: int) -> Any:
        """As a sparse matrix (new, old), float64."""
        new = np.arange(len(self.low))
        weights = np.concatenate((1.0 - self.weight, self.weight))
        rows, columns = np.concatenate((new, new)), np.concatenate((self.low, self.high))
        return csr_array((weights, (rows, columns)), shape=(len(new), length))


def resample(array: npt.NDArray[Any], samplings: Sequence[Sampling], pointwise: Sequence[Pointwise]) -> Float:
    """Sample an array on an even grid.

    Parameters
    ----------
    array
        Axes (x, y, z), any type and strides: a view of a stored array. It is not changed.
    samplings
        Along x, y and z.
    pointwise
        What to do in place with the values, as float32, before they are interpolated.

    Returns
    -------
    ndarray
        float32, C-contiguous, axes (x, y, z). Beside it only a few planes are held.
    """
    slow = slowest(array)
    rows, columns = sorted((axis for axis in range(3) if axis != slow), key=lambda axis: -abs(array.strides[axis]))
    planes = array.transpose(slow, rows, columns)
    across = _Across(planes, samplings[rows], samplings[columns], pointwise)
    taps = Taps.of(samplings[slow], len(planes))
    grid = np.empty([sampling.size for sampling in samplings], dtype=np.float32)
    into = grid.transpose(slow, rows, columns)
    block = np.empty((_PLANES, *into.shape[1:]), dtype=np.float64)
    for start in range(0, len(into), _PLANES):
        stop = min(start + _PLANES, len(into))
        for place in range(start, stop):
            low, high, weight = taps.low[place], taps.high[place], taps.weight[place]
            if weight == 0.0:
                block[place - start] = across.plane(int(low))
            else:
                np.multiply(across.plane(int(low)), 1.0 - weight, out=block[place - start])
                block[place - start] += weight * across.plane(int(high))
        into[start:stop] = block[: stop - start]
    return grid


def slowest(array: npt.NDArray[Any]) -> int:
    """The axis along which neighbours lie farthest apart in memory."""
    return max(range(3), key=lambda axis: (array.shape[axis] > 1, abs(array.strides[axis])))


class _Across:
    """Sampled planes of an array; the last two are kept, because neighbours share them."""

    def __init__(
        self, planes: npt.NDArray[Any], rows: Sampling, columns: Sampling, pointwise: Sequence[Pointwise]
    ) -> None:
        self._planes, self._pointwise = planes, pointwise
        self._rows, self._columns = Taps.of(rows, planes.shape[1]), Taps.of(columns, planes.shape[2])
        self._left, self._right = self._rows.matrix(planes.shape[1]), self._columns.matrix(planes.shape[2])
        self._nearest = rows.nearest and columns.nearest
        self._kept: dict[int, npt.NDArray[Any]] = {}

    def plane(self, index: int) -> npt.NDArray[Any]:
        if index not in self._kept:
            if len(self._kept) > 1:
                del self._kept[min(self._kept)]
            self._kept[index] = self._sampled(index)
        return self._kept[index]

    def _sampled(self, index: int) -> npt.NDArray[Any]:
        dtype = np.float32 if self._pointwise else np.float64
        plane: npt.NDArray[Any] = np.array(self._planes[index], dtype=dtype, order="C")
        for act in self._pointwise:
            act(plane)
        if self._nearest:
            return plane[self._rows.low][:, self._columns.low]
        narrowed = self._left @ plane.astype(np.float64, copy=False)
        sampled: npt.NDArray[np.float64] = (self._right @ narrowed.T).T
        return sampled
